"""This module decides which rows of a chart are bars, and refuses charts that are not what was requested.

What Yahoo sends that is no bar: rows without any price where nothing traded; the last quote as one more row, stamped with
the moment of the last trade, also after the end that was asked for; the last row twice; trading after an early close although only
regular hours were asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from gb_pipeline.errors import HistoryNotAvailable, TransientVendorError
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import PRICES, RECEIVED
from gb_pipeline.providers.yahoo.chart import Chart, epoch_moment, is_epoch_second
from gb_pipeline.providers.yahoo.errors import WHO

# Where the feed of an exchange is delayed, its session is over for everybody this long after the close.
_LONGEST_DELAY = timedelta(minutes=30)
# The row that holds the beginning of what was asked for, and the quote after its end.
_STRAY_ROWS = 2
# So many steps without a single one of half an hour are no accident.
_SEVERAL = 6


@dataclass(frozen=True, slots=True)
class Page:
    """What one request is for: bars that open within [start, end), UTC; `period` is what the vendor was asked for.

    The period is in epoch seconds, its end exclusive.
    """

    start: datetime
    end: datetime
    period: tuple[int, int]


def bars(chart: Chart, page: Page, resolution: Resolution, *, extended: bool = False) -> pl.DataFrame:
    """The bars of one page.

    Args:
        chart: the answer.
        page: which bars are wanted.
        resolution: of the chart.
        extended: whether trading outside of regular hours was asked for.

    Returns:
        Columns of `RECEIVED`, sorted by time. A day is stamped with the exchange's date at 00:00 UTC. The bar in progress
        is there, for whoever compares bars with the clock.

    Raises:
        HistoryNotAvailable: the share was not traded before the end of the page.
        TransientVendorError: the answer is about another time.
    """
    _refuse_other_times(chart, page)
    _refuse_hours_for_half_hours(chart, resolution)
    rows = chart.rows.sort("stamp", maintain_order=True).unique(maintain_order=True, keep="first")
    # No price at all: nothing traded, and the quality layer is told so. One that is missing among others is its to validate.
    is_blank = pl.all_horizontal(pl.col(name).is_null() for name in PRICES)
    blank = rows.filter(is_blank)
    rows = _without_quote(chart, rows.filter(~is_blank), resolution)
    rows = _without_unfinished(chart, rows, page, resolution)
    rows = pl.concat([rows, blank]).sort("stamp", maintain_order=True)
    if resolution.intraday and not extended:
        rows = _in_regular_hours(chart, rows, _step(resolution))
    opens = (_instant() if resolution.intraday else _sessions(chart.zone)).dt.replace_time_zone("UTC")
    framed = rows.select(opens.alias("timestamp"), *PRICES, "volume").cast(RECEIVED)
    if blank.height:
        framed = framed.with_columns(pl.when(is_blank).then(pl.lit("no_bar")).alias("fault"))
    inside = framed.filter((pl.col("timestamp") >= page.start) & (pl.col("timestamp") < page.end))
    if inside.filter(~is_blank).is_empty():
        _refuse_before_listing(chart, page)
    return inside


# --- which rows are bars ----------------------------------------------------------------------------------------------


def _step(resolution: Resolution) -> int:
    length = resolution.duration
    return 86_400 if length is None else round(length.total_seconds())


def _period(chart: Chart) -> tuple[int, int] | None:
    """Begin and end of the regular session that Yahoo calls the current one."""
    current = chart.meta.get("currentTradingPeriod")
    regular = current.get("regular") if isinstance(current, dict) else None
    if not isinstance(regular, dict):
        return None
    start, end = regular.get("start"), regular.get("end")
    return (start, end) if is_epoch_second(start) and is_epoch_second(end) else None


def _instant() -> pl.Expr:
    return pl.from_epoch("stamp", time_unit="s").cast(pl.Datetime("us"))


def _sessions(zone: ZoneInfo) -> pl.Expr:
    """The date that a daily stamp means, as midnight: it is midnight, the open or the last trade by the exchange's clock."""
    local = _instant().dt.replace_time_zone("UTC").dt.convert_time_zone(zone.key).dt.replace_time_zone(None)
    # Where a zone changed its rules, Yahoo's midnights come an hour or two early.
    early = (local.dt.minute() == 0) & (local.dt.hour() >= 22)
    return local.dt.truncate("1d") + pl.when(early).then(pl.duration(days=1)).otherwise(pl.duration(days=0))


def _without_quote(chart: Chart, rows: pl.DataFrame, resolution: Resolution) -> pl.DataFrame:
    """Without the last quote where it came as one more row; a day's only row is the day so far, and stays."""
    if rows.is_empty():
        return rows
    if not resolution.intraday:
        # The same day twice: the second one has all of its volume.
        days = rows.tail(2).select(_sessions(chart.zone)).to_series()
        return pl.concat([rows.head(-2), rows.tail(1)]) if days.n_unique() < len(days) else rows
    last, traded = rows["stamp"].item(-1), chart.meta.get("regularMarketTime")
    if last != traded and last % 60 == 0:
        return rows
    period = _period(chart)
    off_grid = last % 60 != 0 or (period is not None and (last - period[0]) % _step(resolution) != 0)
    # On the grid it is a bar, unless nobody traded in it: then it is the close, said again.
    silent = rows["volume"].item(-1) in {None, "0"}
    return rows.head(-1) if off_grid or silent else rows


def _without_unfinished(chart: Chart, rows: pl.DataFrame, page: Page, resolution: Resolution) -> pl.DataFrame:
    """Without a bar that is over by the clock and not yet by a delayed feed."""
    traded, period = chart.meta.get("regularMarketTime"), _period(chart)
    if rows.is_empty() or not is_epoch_second(traded) or period is None or not period[0] <= traded < period[1]:
        return rows
    last = rows["stamp"].item(-1)
    ends = min(last + _step(resolution), period[1]) if resolution.intraday else period[1]
    asked_until = page.end.timestamp()
    over_for_everybody = asked_until >= period[1] + _LONGEST_DELAY.total_seconds()
    still_open = asked_until < ends
    of_now = last <= traded < ends and chart.local_date(last) == chart.local_date(traded)
    return rows.head(-1) if of_now and not still_open and not over_for_everybody else rows


def _in_regular_hours(chart: Chart, rows: pl.DataFrame, step: int) -> pl.DataFrame:
    """Without bars outside the regular hours of their day, where the answer tells these hours."""
    spans = sorted(set(_spans(chart.meta.get("tradingPeriods"))))
    if not spans or rows.is_empty():
        return rows
    starts, ends = np.array(spans, np.int64).T
    stamps = rows["stamp"].to_numpy()
    at = np.searchsorted(starts, stamps + step - 1, side="right") - 1
    within = (at >= 0) & (stamps < ends[at])
    if within.all():
        return rows
    days = {chart.local_date(int(start)) for start in starts}
    unknown = np.array([chart.local_date(stamp) not in days for stamp in stamps.tolist()])
    return rows.filter(pl.Series(within | unknown))


def _spans(periods: Any) -> list[tuple[int, int]]:
    if isinstance(periods, dict) and "regular" in periods:
        return _spans(periods["regular"])
    if isinstance(periods, dict):
        start, end = periods.get("start"), periods.get("end")
        return [(start, end)] if is_epoch_second(start) and is_epoch_second(end) else []
    return [span for part in periods for span in _spans(part)] if isinstance(periods, list) else []


# --- what is refused --------------------------------------------------------------------------------------------------


def _refuse_other_times(chart: Chart, page: Page) -> None:
    stamps = chart.rows["stamp"]
    stray = stamps.filter((stamps < page.period[0]) | (stamps >= page.period[1]))
    if len(stray) > _STRAY_ROWS and len(stray) == len(stamps):
        raise TransientVendorError(
            f"{WHO} answered bars of {epoch_moment(stray.item(0)):%Y-%m-%d %H:%M} when asked for {page.start:%Y-%m-%d %H:%M}",
            fix="the same call may succeed later",
        )


def _refuse_hours_for_half_hours(chart: Chart, resolution: Resolution) -> None:
    """Yahoo was seen to answer 60m when asked for 30m, and to call it 30m."""
    if resolution is not Resolution.MINUTE_30:
        return
    apart = chart.rows["stamp"].unique().sort().diff().drop_nulls()
    if len(apart) >= _SEVERAL and cast("int", apart.min()) > _step(resolution):
        raise TransientVendorError(
            f"{WHO} answered hours when asked for half hours of {chart.meta.get('symbol')}",
            fix="the same call may succeed later; if it does not, use another resolution",
        )


def _refuse_before_listing(chart: Chart, page: Page) -> None:
    first = chart.first_trade
    if first is not None and first >= page.end:
        raise HistoryNotAvailable(
            f"{WHO} has nothing of {chart.meta.get('symbol')} before {first:%Y-%m-%d}",
            first=first,
            fix="set `listed_from` of the symbol, or ask for later days",
        )
