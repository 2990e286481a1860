"""Runs in the environment of ArcticDB and NautilusTrader: a day of trades is written to both, read, and seconds are printed.

`python -P trade_days.py FILE REPEATS`, where FILE is Parquet with `ts` (int64 ns), `side`, `price`, `size`, `trade_id`. ArcticDB
holds floats in a frame with an index of times, and NautilusTrader its own fixed-point `TradeTick`, of which it hands out objects.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import pyarrow.parquet as pq


def main(file: str, repeats: int) -> None:
    """Seconds of processor time by peer and columns, and bytes a row."""
    rows = pq.read_table(file).to_pandas()
    told: dict[str, float] = {}
    with TemporaryDirectory(prefix="gb-benchmark-") as folder:
        for act in (_arctic, _nautilus):
            try:
                told |= act(rows, Path(folder) / act.__name__, repeats)
            except ImportError as error:
                print(f"{act.__name__}: {error}", file=sys.stderr)
    print(json.dumps(told))


def _arctic(rows: pd.DataFrame, folder: Path, repeats: int) -> dict[str, float]:
    from arcticdb import Arctic  # type: ignore[import-not-found]

    library = Arctic(f"lmdb://{folder}").get_library("trades", create_if_missing=True)
    library.write("BTC-USD", rows.set_index(pd.to_datetime(rows["ts"], unit="ns", utc=True)))
    start, end = pd.Timestamp("2024-01-02", tz="UTC"), pd.Timestamp("2024-01-03", tz="UTC")

    def read(columns: list[str] | None) -> int:
        return len(library.read("BTC-USD", date_range=(start, end), columns=columns).data)

    return {
        "ArcticDB, all columns": _median(lambda: read(None), repeats, len(rows)),
        "ArcticDB, 4 columns": _median(lambda: read(["side", "price", "size"]), repeats, len(rows)),
        "ArcticDB, bytes": sum(item.stat().st_size for item in folder.rglob("*") if item.is_file()) / len(rows),
    }


def _nautilus(rows: pd.DataFrame, folder: Path, repeats: int) -> dict[str, float]:
    from nautilus_trader.model.data import TradeTick  # type: ignore[import-not-found]
    from nautilus_trader.model.enums import AggressorSide  # type: ignore[import-not-found]
    from nautilus_trader.model.identifiers import InstrumentId, TradeId  # type: ignore[import-not-found]
    from nautilus_trader.model.objects import Price, Quantity  # type: ignore[import-not-found]
    from nautilus_trader.persistence.catalog import ParquetDataCatalog  # type: ignore[import-not-found]

    folder.mkdir()
    catalog, name = ParquetDataCatalog(str(folder)), InstrumentId.from_str("BTC-USD.VENUE")
    sides = {"buy": AggressorSide.BUYER, "sell": AggressorSide.SELLER}
    columns = (rows[column].tolist() for column in ("ts", "side", "price", "size", "trade_id"))
    catalog.write_data(
        [
            TradeTick(name, Price(price, 2), Quantity(size, 4), sides[side], TradeId(trade), ts, ts)
            for ts, side, price, size, trade in zip(*columns, strict=True)
        ]
    )

    def read() -> int:
        return len(catalog.trade_ticks([str(name)], start="2024-01-02", end="2024-01-03"))

    size = sum(item.stat().st_size for item in folder.rglob("*.parquet")) / len(rows)
    return {"NautilusTrader, all columns": _median(read, repeats, len(rows)), "NautilusTrader, bytes": size}


def _median(read: Callable[[], Any], repeats: int, rows: int) -> float:
    seconds = []
    for turn in range(repeats + 1):
        began = time.process_time()
        found = read()
        if turn:  # the first turn warms up
            seconds.append(time.process_time() - began)
        if found != rows:
            raise RuntimeError(f"{found:,} rows of {rows:,}")
    return statistics.median(seconds)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
