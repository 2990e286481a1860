"""A day of one symbol's trades: bytes a row, and reading it beside DuckDB's own tables, which verify nothing and stitch nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.measurement import Measurement, medians, new_lake
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
                taken = medians(sides, repeats)
                ratio = taken["ours"] / taken["duckdb"]
                by_hand = f"DuckDB {taken['duckdb']:.2f} s, {ratio:.2f} times as long"
                yield Measurement(
                    f"streams: a day, {name}", taken["ours"], "s", f"<= {RATIO} of DuckDB", ratio <= RATIO, by_hand
                )
        finally:
            connection.close()
            Path(f"{root}.duckdb").unlink(missing_ok=True)


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
