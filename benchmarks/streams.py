"""A day of one symbol's trades: bytes a row, and reading it beside DuckDB's own tables, ArcticDB and NautilusTrader.

Time is that of the processor, on all threads. The others verify nothing and stitch nothing; ArcticDB holds floats, and
NautilusTrader hands out objects. Without an index of packages there is only DuckDB.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl

from benchmarks.measurement import Measurement, medians, new_lake
from benchmarks.peers.environment import PeersUnavailable, peers_python
from gb_pipeline.lake.datasets import stream_dataset
from gb_pipeline.market.schema import polars_schema
from gb_pipeline.storage.append import append

TRADES, BYTES, RATIO = 2_000_000, 12, 1.0
_DAY = 1_704_153_600 * 10**9
_WINDOW = "where symbol = 'BTC-USD' and timestamp >= '2024-01-02' and timestamp < '2024-01-03' order by timestamp"


def measure(trades: int = TRADES, repeats: int = 3) -> Iterator[Measurement]:
    """Simulated trades, with random moments, which pack worse than real ones."""
    import duckdb

    rows = _trades(trades)
    others = _others(rows, repeats)
    with new_lake() as lake:
        append(lake.store.tables["trades"], rows)
        size = lake.stream_data()["bytes"][0] / trades
        yield Measurement("streams: trades", size, "bytes/row", f"<= {BYTES}", size <= BYTES)
        root = lake.store.storage.root
        assert isinstance(root, Path), "a folder"
        connection = duckdb.connect(str(root.parent / f"{root.name}.duckdb"))
        try:
            connection.register("rows", rows.to_arrow())
            connection.execute("create table trades as select * from rows; checkpoint; set timezone = 'UTC'")
            few = ["timestamp", "side", "price", "size"]
            ends = ("2024-01-02", "2024-01-03")
            names: tuple[tuple[str, list[str] | None, str], ...] = (
                ("all columns", None, "*"),
                ("4 columns", few, ", ".join(few)),
            )
            for name, columns, listed in names:
                sides: dict[str, Callable[[], object]] = {
                    "ours": lambda c=columns: lake.trades("BTC-USD", *ends, columns=c),  # type: ignore[misc]
                    "duckdb": lambda s=listed: pl.from_arrow(
                        connection.sql(f"select {s} from trades {_WINDOW}").to_arrow_table()
                    ),  # type: ignore[misc]
                }
                taken = medians(sides, repeats, time.process_time)
                peers = {"DuckDB": taken["duckdb"]}
                peers |= {told.split(",")[0]: value for told, value in others.items() if told.endswith(f", {name}")}
                ratio = taken["ours"] / min(peers.values())
                by_hand = ", ".join(f"{peer} {value:.3f} s" for peer, value in peers.items())
                yield Measurement(
                    f"streams: a day, {name}", taken["ours"], "s", f"<= {RATIO} of the best", ratio <= RATIO,
                    f"{by_hand}: {ratio:.2f} times the best",
                )  # fmt: skip
        finally:
            connection.close()
            Path(f"{root}.duckdb").unlink(missing_ok=True)


def _others(rows: pl.DataFrame, repeats: int) -> dict[str, float]:
    """Seconds and bytes of ArcticDB and NautilusTrader, in an environment of their own; none where it cannot be made."""
    peers = Path(__file__).parent / "peers"
    try:
        python = peers_python(peers / "trade_days.txt")
    except PeersUnavailable as error:
        print(f"    {error}", file=sys.stderr)
        return {}
    with TemporaryDirectory(prefix="gb-benchmark-") as folder:
        file = Path(folder) / "day.parquet"
        floats = rows.select(
            pl.col("exchange_time").alias("ts"), "side", pl.col("price", "size").cast(pl.Float64), "trade_id"
        )
        floats.write_parquet(file, use_pyarrow=True)
        command = [str(python), "-P", str(peers / "trade_days.py"), str(file), str(repeats)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    if done.returncode:
        raise RuntimeError(f"the peers failed: {done.stderr[-1500:]}")
    told: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return told


def _trades(count: int) -> pl.DataFrame:
    generator = np.random.default_rng(7)
    moments = _DAY + np.sort(generator.integers(0, 86_400 * 10**6, count)) * 1000
    dataset = stream_dataset("trades")
    rows = pl.DataFrame(
        {
            "exchange_time": moments,
            "receive_time": moments + generator.integers(2_000_000, 90_000_000, count),
            "price": 42_000 + np.cumsum(generator.integers(-1, 2, count)) / 100,
            "size": generator.geometric(0.002, count) / 10_000,
            "side": np.where(generator.random(count) < 0.5, "buy", "sell"),
            "trade_id": np.arange(count) + 4_000_000_000,
        }
    )
    return (
        rows.select(
            *(
                pl.lit(value).alias(name)
                for name, value in (("source", "venue"), ("symbol", "BTC-USD"), ("ordinal", 0))
            ),
            *(
                pl.lit(value).alias(name)
                for name, value in (("collector", "one"), ("origin", "stream"), ("sequence", None))
            ),
            (pl.col("exchange_time") // 1000).alias("timestamp"),
            pl.all(),
        )
        .select(dataset.columns.names)
        .cast(polars_schema(dataset.columns))
    )
