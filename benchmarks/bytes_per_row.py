"""Bytes a row on disk, ledgers included, of simulated and of real minutes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import polars as pl

from benchmarks.measurement import Measurement, compact, new_lake
from benchmarks.minutes import PRICES, floats, texts
from gb_pipeline import Lake, Resolution, SourceSettings, Window
from gb_pipeline.ingest.bars import ingest
from gb_pipeline.ingest.job import Job
from gb_pipeline.simulation.instruments import DEFAULT_SYMBOLS

SIMULATED, REAL = 15.4, 20
# As in the tests: the collection of real data lies beside the repository unless a variable says where.
COLLECTION = Path(os.environ.get("GB_MARKET_DATA") or Path(__file__).resolve().parents[2] / "shared" / "market-data")
COINBASE = {
    "preset": "lean",
    "lean_market": "crypto/coinbase",
    "path": "crypto-minute/lean-crypto-coinbase-minute/{ticker}/{date}_trade.zip",
    "missing_date": "empty",
}
FUTURES = {
    "preset": "lean",
    "lean_market": "future/cme",
    "path": "futures-minute/lean-future-cme-minute/es/{date}_trade.zip",
    "missing_date": "empty",
}
SPY = {"preset": "ninjatrader", "path": "equities-minute/nt-spy-minute-2011.csv"}
SERIES: tuple[tuple[str, str, dict[str, str], dict[str, object], date, date], ...] = (
    ("BTC-USD, Coinbase", "BTC-USD", COINBASE, {"asset_class": "crypto"}, date(2017, 9, 3), date(2018, 4, 7)),
    ("ETH-USD, Coinbase", "ETH-USD", COINBASE, {"asset_class": "crypto"}, date(2017, 9, 3), date(2018, 4, 7)),
    ("E-mini S&P, CME", "ESZ13", FUTURES, {"asset_class": "future", "calendar": "CMES"}, date(2013, 10, 1), date(2014, 1, 1)),
    ("SPY", "SPY", SPY, {"calendar": "XNYS", "extended_hours": True}, date(2011, 1, 1), date(2011, 3, 1)),
)  # fmt: skip


def measure() -> Iterator[Measurement]:
    """Twelve simulated symbols, and every real series that is there; compacted, as they come to rest."""
    start, end = date(2023, 3, 1), date(2023, 4, 1)
    symbols = DEFAULT_SYMBOLS[:12]
    frame = pl.concat([texts(symbol, start, end) for symbol in symbols])
    with new_lake() as lake:
        lake.write_bars("sim", symbols, "1m", Window.of(start, end), frame)
        yield _measured("simulated minutes, 12 symbols", lake, SIMULATED)
    if not COLLECTION.is_dir():
        return
    rows, size = 0, 0
    for name, code, options, more, first, last in SERIES:
        source = SourceSettings.model_validate(
            {"name": "files", "provider": "csv", "start": first, "symbols": [code], "gap_policy": "no_trade"}
            | {"options": {"root": str(COLLECTION), **options}, "max_bad_fraction": 1.0, **more}
        )
        with new_lake() as lake:
            for outcome in ingest(lake.store, source, Resolution.MINUTE, [Job(source.instruments[0], first, last)]):
                if outcome.error is not None:
                    raise outcome.error
            measured = _measured(f"real minutes, {name}", lake, REAL)
            rows, size = rows + _rows(lake), size + _size(lake)
        yield measured
    yield Measurement(
        "real minutes, together", size / rows, "B/row", f"<= {REAL}", size / rows <= REAL, f"{rows:,} rows"
    )


def _measured(name: str, lake: Lake, target: float) -> Measurement:
    rows, size = _rows(lake), _size(lake)
    by_hand = Path(str(lake.store.storage.root), "by-hand.parquet")
    total = 0
    for (symbol,), part in lake.bars(None, "1m").group_by("symbol"):
        del symbol
        floats(part.select("timestamp", *PRICES, "volume")).write_parquet(by_hand, compression="zstd")
        total += by_hand.stat().st_size
    return Measurement(
        name,
        size / rows,
        "B/row",
        f"<= {target}",
        size / rows <= target,
        f"{size / total:.2f} x plain zstd floats ({total / rows:.1f} B/row); {rows:,} rows",
    )


def _rows(lake: Lake) -> int:
    return int(lake.symbols()["record_count"].sum())


def _size(lake: Lake) -> int:
    """Of all files that the tables consist of, the ledgers' as well."""
    compact(lake.store)
    return sum(int(snapshot.files["size"].sum()) for snapshot in lake.store.tables.existing())
