"""Days of an exchange and corporate actions, as a vendor says them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time

import polars as pl

from gb_pipeline import Lake
from gb_pipeline.lake.fetches import FetchOutcome, FetchRecord
from gb_pipeline_tests.actions import received
from gb_pipeline_tests.bars import at


def put_days(
    lake: Lake, symbol: str, days: Sequence[str], closes: Sequence[float], *, source: str = "sim", **rules: object
) -> None:
    """Store one flat bar per day."""
    prices = {name: [str(close) for close in closes] for name in ("open", "high", "low", "close")}
    stamps = pl.Series("timestamp", [at(day) for day in days], pl.Datetime("us", "UTC"))
    frame = pl.DataFrame({"timestamp": stamps, **prices, "volume": ["1000"] * len(days)})
    lake.put(frame, source=source, resolution="1d", symbol=symbol, calendar="XNYS", **rules)


def tell_actions(lake: Lake, *actions: dict, source: str = "sim") -> None:
    """Store all that a vendor says of a symbol's corporate actions, and that it was asked."""
    ever = date(2000, 1, 1), date(2035, 1, 1)
    symbol = actions[0]["symbol"]
    lake.store.write_actions(source, symbol, ever, received(*actions))
    window = (datetime.combine(edge, time(), UTC) for edge in ever)
    lake.store.record_fetches(
        [FetchRecord(source, symbol, "", *window, lake.store.clock(), FetchOutcome.OK, kind="corporate_actions")]
    )
