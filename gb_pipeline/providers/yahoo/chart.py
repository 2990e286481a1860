"""This module reads Yahoo's chart answers strictly: a body becomes rows of text and time, and those that are bars a frame.

Requests and their pages are decided by `provider`; corporate actions are read by `actions`.

What Yahoo sends that is no bar: rows without any price where nothing traded; the last quote as one more row, stamped with
the moment of the last trade, also after the end that was asked for; the last row twice; trading after an early close although only
regular hours were asked for. Prices are 32-bit floats written as 64-bit ones: 266.04 comes as 266.0400085449219.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, localcontext
from typing import Any, TypeGuard, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import polars as pl

from gb_pipeline.errors import HistoryNotAvailable, TransientVendorError
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import PRICES, RECEIVED
from gb_pipeline.providers.base import Body
from gb_pipeline.providers.http.responses import broken_body, one_of_each
from gb_pipeline.providers.yahoo.errors import WHO, refusal_in

INTERVALS = {
    Resolution.MINUTE: "1m",
    Resolution.MINUTE_5: "5m",
    Resolution.MINUTE_15: "15m",
    Resolution.MINUTE_30: "30m",
    Resolution.HOUR: "1h",
    Resolution.DAY: "1d",
}
_SAME_INTERVAL = {"1h": {"1h", "60m"}}
# Where the feed of an exchange is delayed, its session is over for everybody this long after the close.
_LONGEST_DELAY = timedelta(minutes=30)
# The row that holds the beginning of what was asked for, and the quote after its end.
_STRAY_ROWS = 2
# So many steps without a single one of half an hour are no accident.
_SEVERAL = 6
_LATEST = 4_102_444_800  # the year 2100: a later second is no time


@dataclass(frozen=True, slots=True)
class Chart:
    """One answer: `meta` and `events` as Yahoo sent them, `rows` with `stamp` (Int64, epoch seconds) and text columns."""

    meta: dict[str, Any]
    events: dict[str, Any]
    rows: pl.DataFrame
    zone: ZoneInfo

    @property
    def first_trade(self) -> datetime | None:
        """The first bar that Yahoo has, where it says so."""
        return _moment(self.meta.get("firstTradeDate"))

    def local_date(self, stamp: int) -> date:
        """The exchange's date of an epoch second.

        Raises:
            ValueError: it is none.
        """
        moment = _moment(stamp)
        if moment is None:
            raise ValueError(f"{str(stamp)[:30]} is no time")
        return moment.astimezone(self.zone).date()


@dataclass(frozen=True, slots=True)
class Page:
    """What one request is for: bars that open within [start, end), UTC; `period` is what the vendor was asked for.

    The period is in epoch seconds, its end exclusive."""

    start: datetime
    end: datetime
    period: tuple[int, int]


def read_chart(body: Body, vendor: str, resolution: Resolution) -> Chart:
    """Parse and check one answer.

    Args:
        body: the vendor's bytes, of an answer with a status below 300.
        vendor: Yahoo's spelling of the symbol that was asked for.
        resolution: which was asked for.

    Raises:
        VendorError: Yahoo explains why there is nothing (typed by its words), or the answer is no chart of this symbol and
            resolution (TransientVendorError).
    """
    text = body.decode("utf-8", errors="replace")
    try:
        # Infinity is a text like any other here: it was seen in columns that nobody reads.
        document = json.loads(text, parse_float=str, parse_constant=str, object_pairs_hook=one_of_each)
    except (ValueError, RecursionError):
        raise broken_body(WHO, 200, "text", text) from None
    refused = refusal_in(200, document)
    if refused is not None:
        raise refused
    try:
        (result,) = document["chart"]["result"]
        meta = dict(result["meta"])
        zone = ZoneInfo(str(meta["exchangeTimezoneName"]))
        _refuse_another(meta, vendor, INTERVALS[resolution])
        return Chart(meta, dict(result.get("events") or {}), _rows(result), zone)
    except (LookupError, TypeError, ValueError, OverflowError, ZoneInfoNotFoundError):
        raise broken_body(WHO, 200, "no chart", text) from None


def bars(chart: Chart, page: Page, resolution: Resolution, *, extended: bool = False) -> pl.DataFrame:
    """The bars of one page.

    Args:
        chart: the answer.
        page: which bars are wanted.
        resolution: of the chart.
        extended: whether trading outside of regular hours was asked for.

    Returns:
        Columns of `RECEIVED`, sorted by time. A day is stamped with the exchange's date at 00:00 UTC. The bar in progress
        is there, for whoever judges bars by the clock.

    Raises:
        HistoryNotAvailable: the share was not traded before the end of the page.
        TransientVendorError: the answer is about another time.
    """
    _refuse_other_times(chart, page)
    _refuse_hours_for_half_hours(chart, resolution)
    rows = chart.rows.sort("stamp", maintain_order=True)
    # No price at all: nothing traded. One that is missing among others is the quality layer's to judge.
    rows = rows.filter(~pl.all_horizontal(pl.col(name).is_null() for name in PRICES))
    rows = rows.unique(maintain_order=True, keep="first")
    rows = _without_quote(chart, rows, resolution)
    rows = _without_unfinished(chart, rows, page, resolution)
    if resolution.intraday and not extended:
        rows = _in_regular_hours(chart, rows, _step(resolution))
    opens = (_instant() if resolution.intraday else _sessions(chart.zone)).dt.replace_time_zone("UTC")
    framed = rows.select(opens.alias("timestamp"), *PRICES, "volume").cast(RECEIVED)
    inside = framed.filter((pl.col("timestamp") >= page.start) & (pl.col("timestamp") < page.end))
    if inside.is_empty():
        _refuse_before_listing(chart, page)
    return inside


def float32_text(values: list[Any]) -> list[str | None]:
    """The shortest decimal that names the same 32-bit float; text that names no such float stays as it is.

    Args:
        values: JSON numbers as text or int, None for null.

    Example:
        >>> float32_text(["266.0400085449219", "266.040009", 189, None])
        ['266.04', '266.04', '189', None]
    """
    numbers = [_number(value) for value in values]
    doubles = np.array(numbers, np.float64)
    with np.errstate(over="ignore"):
        singles = doubles.astype(np.float32)
    same = (doubles == singles.astype(np.float64)) & np.isfinite(singles)
    return [
        np.format_float_positional(single, trim="-") if exact or _rounds_to(value, single) else _as_sent(value)
        for value, single, exact in zip(values, singles, same.tolist(), strict=True)
    ]


# --- reading ----------------------------------------------------------------------------------------------------------


def _rows(result: dict[str, Any]) -> pl.DataFrame:
    quotes = result["indicators"]["quote"]
    quote = quotes[0] if quotes else {}
    stamps = result.get("timestamp") or []
    if not all(map(_is_time, stamps)):
        raise ValueError("a time is no whole number of seconds")
    columns = {name: quote.get(name) or [] if not stamps else quote[name] for name in (*PRICES, "volume")}
    if any(len(column) != len(stamps) for column in columns.values()):
        raise ValueError("columns of different lengths")
    texts: dict[str, Any] = {name: pl.Series(float32_text(columns[name]), dtype=pl.String) for name in PRICES}
    texts["volume"] = pl.Series([_as_sent(value) for value in columns["volume"]], dtype=pl.String)
    return pl.DataFrame({"stamp": pl.Series(stamps, dtype=pl.Int64), **texts})


def _refuse_another(meta: dict[str, Any], vendor: str, interval: str) -> None:
    about, step = str(meta.get("symbol", "")).upper(), str(meta.get("dataGranularity", ""))
    # Pairs with the dollar have a short name as well: JPY=X is USDJPY=X.
    if about not in {vendor.upper(), vendor.upper().removeprefix("USD")}:
        raise TransientVendorError(f"{WHO} answered about {about[:20]} when asked for {vendor}", fix="try again later")
    if step not in _SAME_INTERVAL.get(interval, {interval}):
        raise TransientVendorError(
            f"{WHO} answered bars of {step[:20]} when asked for {interval} of {vendor}",
            fix="the same call may succeed later; if it does not, use another resolution",
        )


def _number(value: Any) -> float:
    try:
        return float(value) if isinstance(value, str | int) and not isinstance(value, bool) else np.nan
    except (ValueError, OverflowError):
        return np.nan


def _rounds_to(value: Any, single: np.float32) -> bool:
    """Whether the text is the float's own value, rounded: 266.040009 is 266.0400085449219."""
    if not isinstance(value, str) or not np.isfinite(single):
        return False
    sent, own = Decimal(value), Decimal(float(single))
    digits = sent.as_tuple()
    with localcontext() as context:
        context.prec = 200
        return len(digits.digits) <= 20 and own.quantize(Decimal(1).scaleb(int(digits.exponent))) == sent


def _as_sent(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value)


def _is_time(value: Any) -> TypeGuard[int]:
    return type(value) is int and abs(value) < _LATEST


def _moment(value: Any) -> datetime | None:
    return datetime.fromtimestamp(value, UTC) if _is_time(value) else None


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
    return (start, end) if _is_time(start) and _is_time(end) else None


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
    if rows.is_empty() or not _is_time(traded) or period is None or not period[0] <= traded < period[1]:
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
        return [(start, end)] if _is_time(start) and _is_time(end) else []
    return [span for part in periods for span in _spans(part)] if isinstance(periods, list) else []


# --- what is refused --------------------------------------------------------------------------------------------------


def _refuse_other_times(chart: Chart, page: Page) -> None:
    stamps = chart.rows["stamp"]
    stray = stamps.filter((stamps < page.period[0]) | (stamps >= page.period[1]))
    if len(stray) > _STRAY_ROWS and len(stray) == len(stamps):
        raise TransientVendorError(
            f"{WHO} answered bars of {_moment(stray.item(0)):%Y-%m-%d %H:%M} when asked for {page.start:%Y-%m-%d %H:%M}",
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
