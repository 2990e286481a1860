"""Frames of bars for tests, as a provider hands them over, and a look at what became of them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import polars as pl

from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.window import Window


def at(text: str) -> datetime:
    """An instant in UTC from ISO text without a zone."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def day(text: str, days: int = 1) -> Window:
    """The window of one or several UTC days."""
    first = date.fromisoformat(text)
    return Window.of(first, first + timedelta(days=days))


class SetClock:
    """The present of a lake, which moves only when a test moves it: `LakeStore.at(root, clock=SetClock(moment))`."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


def minutes(start: str, count: int = 1440, *, symbol: str = "BTC-USD", step: int = 60, base: int = 100) -> pl.DataFrame:
    """`count` consistent bars as text; the price walks with the minute of the hour, so that no two days are stale."""
    first = at(start)
    rows = []
    for number in range(count):
        price = base + number % 60
        rows.append(
            {
                "symbol": symbol,
                "timestamp": first + timedelta(seconds=step * number),
                "open": f"{price}.25",
                "high": f"{price + 1}.5",
                "low": f"{price}.125",
                "close": f"{price}.75",
                "volume": f"1.{number % 97:05d}",
            }
        )
    return pl.DataFrame(rows, schema_overrides={"timestamp": pl.Datetime("us", "UTC")})


def changed(frame: pl.DataFrame, row: int, **values: str | None) -> pl.DataFrame:
    """The frame with some cells of one row replaced."""
    here = pl.int_range(pl.len()) == row
    return frame.with_columns(
        pl.when(here).then(pl.lit(value, pl.String)).otherwise(name).alias(name) for name, value in values.items()
    )


def every_version(store: LakeStore, table: str = "bars_1m") -> pl.DataFrame:
    """All rows of a table of bars as delta-rs reads them, which shares no code with the lake; newest version last."""
    return pl.read_delta(store.storage.table(table)).sort("symbol", "timestamp", "known_at")


def stored(store: LakeStore, table: str = "bars_1m") -> pl.DataFrame:
    """The rows that hold now, read in the same way."""
    return every_version(store, table).filter("is_current")
