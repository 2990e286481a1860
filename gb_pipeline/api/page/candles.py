"""This module reads what the page draws of a series: the newest bars before a moment, and what happened to them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import polars as pl

from gb_pipeline.api.page.frames import to_json
from gb_pipeline.api.page.session_index import SessionIndexes
from gb_pipeline.errors import UnknownSeries
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.reading.lake import Lake

# What one chart reads at most: three years of minutes for daily candles.
_MOST_STORED = 1_600_000
_MOST_EVENTS = 2000
_DAYS = {Resolution.DAY: 1, Resolution.WEEK: 7, Resolution.MONTH: 31}


def read_candles(
    lake: Lake,
    indexes: SessionIndexes,
    source: str,
    symbol: str,
    resolution: Resolution,
    *,
    shown: Resolution,
    before: datetime | None,
    count: int,
    adjustment: str | None,
    as_of: datetime | None,
) -> dict[str, Any]:
    """The last bars before a moment, and what happened to bars in their time.

    Args:
        lake, source, symbol, resolution: which series.
        indexes: where its sessions begin.
        shown: the resolution of the candles, that of the series or a longer one.
        before: candles that open before it; all by default.
        count: how many candles.
        adjustment, as_of: as in `Lake.bars`.

    Returns:
        `time` (seconds since 1970 UTC), `open, high, low, close, volume` (numbers), each a list in the order of time; `more`, true
        where older bars are stored; `restatements, gaps, actions`, tables of what happened from the first to the last candle.

    Raises:
        UnknownSeries, ReadError: as `Lake.bars`.
    """
    index = indexes.find(source, symbol, resolution, as_of)
    sessions = index.sessions if before is None else index.sessions.filter(pl.col("first_timestamp") < before)
    if sessions.is_empty():
        return {name: [] for name in ("time", "open", "high", "low", "close", "volume")} | {"more": False}
    chosen = _newest(sessions, resolution, shown, count)
    [(start, last)] = chosen.select(pl.col("first_timestamp").min(), pl.col("last_timestamp").max()).rows()
    end = last + timedelta(microseconds=1) if before is None else before
    bars = lake.bars(
        symbol,
        resolution,
        start,
        end,
        source=source,
        columns=["timestamp", "open", "high", "low", "close", "volume"],
        as_of=as_of,
        as_float=True,
        adjustment=adjustment,
        resample=None if shown is resolution else shown,
    ).tail(count)
    first = start if bars.is_empty() else bars["timestamp"][0]
    data = bars.with_columns(time=pl.col("timestamp").dt.epoch("s")).drop("timestamp").to_dict(as_series=False)
    more = index.sessions.select((pl.col("first_timestamp") < first).any()).item()
    return data | {"more": more} | _events(lake, source, symbol, resolution, first, end, as_of)


def _newest(sessions: pl.DataFrame, resolution: Resolution, shown: Resolution, count: int) -> pl.DataFrame:
    """The newest sessions that hold so many candles, and no more than can be read at once."""
    newest = sessions.reverse().with_columns(read=pl.col("actual").cum_sum())
    if shown.duration is not None and resolution.duration is not None:
        wanted = pl.col("read") - pl.col("actual") < count * max(1, shown.duration // resolution.duration)
    else:
        wanted = pl.int_range(pl.len()) < count * _DAYS.get(shown, 1)
    return newest.filter(wanted & ((pl.col("read") <= _MOST_STORED) | (pl.int_range(pl.len()) == 0)))


def _events(
    lake: Lake, source: str, symbol: str, resolution: Resolution, start: datetime, end: datetime, as_of: datetime | None
) -> dict[str, Any]:
    of = (source, symbol, resolution, start, end)
    restated = lake.restatements(*of)
    if as_of is not None:
        restated = restated.filter(pl.col("replaced_at") <= as_of)
    gaps = lake.gaps(*of, as_of=as_of).drop("source", "symbol", "resolution")
    try:
        actions = lake.corporate_actions(symbol, source=source, start=start, end=end, as_of=as_of)
    except UnknownSeries:
        # They were never fetched, which is the usual case of crypto.
        actions = pl.DataFrame(schema=["ex_date", "kind", "label", "split_to", "split_from", "amount", "currency"])
    return {
        "restatements": _some(restated.select("timestamp", "old_close", "new_close", "first_known", "replaced_at")),
        "gaps": _some(gaps.select("start", "end", "missing", "reason", "incident_reason")),
        "actions": _some(actions.select("ex_date", "kind", "label", "split_to", "split_from", "amount", "currency")),
    }


def _some(frame: pl.DataFrame) -> dict[str, Any]:
    return to_json(frame.tail(_MOST_EVENTS), total=frame.height, offset=max(0, frame.height - _MOST_EVENTS))
