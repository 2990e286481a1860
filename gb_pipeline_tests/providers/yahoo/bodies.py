"""Chart answers as Yahoo lays them out, made by hand.

Belongs here: bodies for tests that need a row or a time that the simulation does not make. Does not belong here: assertions.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

Row = tuple[str, Any, Any, Any, Any, Any]


def seconds(text: str) -> int:
    """Epoch seconds of ISO text with an offset."""
    return round(datetime.fromisoformat(text).timestamp())


def body(
    rows: Sequence[Row],
    *,
    symbol: str = "AAPL",
    interval: str = "1d",
    zone: str = "America/New_York",
    traded: str | None = None,
    regular: tuple[str, str] | None = None,
    periods: Sequence[tuple[str, str]] | None = None,
    **more: Any,
) -> bytes:
    """One answer.

    Args:
        rows: ISO stamp, open, high, low, close, volume.
        symbol, interval, zone: of the meta part.
        traded: `regularMarketTime`.
        regular: begin and end of the current regular session.
        periods: `tradingPeriods`.
        more: further fields of the result; of `meta` they are added to it.
    """
    meta: dict[str, Any] = {
        "symbol": symbol,
        "currency": "USD",
        "exchangeTimezoneName": zone,
        "dataGranularity": interval,
    }
    if traded:
        meta["regularMarketTime"] = seconds(traded)
    if regular:
        meta["currentTradingPeriod"] = {"regular": {"start": seconds(regular[0]), "end": seconds(regular[1])}}
    if periods is not None:
        meta["tradingPeriods"] = [[{"start": seconds(start), "end": seconds(end)}] for start, end in periods]
    meta |= more.pop("meta", {})
    names = ("open", "high", "low", "close", "volume")
    quote = {name: [row[1 + at] for row in rows] for at, name in enumerate(names)}
    result: dict[str, Any] = {"meta": meta, "indicators": {"quote": [quote if rows else {}]}, **more}
    if rows:
        result["timestamp"] = [seconds(row[0]) for row in rows]
    return json.dumps({"chart": {"result": [result], "error": None}}).encode()
