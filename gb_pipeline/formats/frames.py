"""A frame in another tool's types as rows that the lake validates: times in UTC, floats as the shortest text that reads back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import time as clock_time

import polars as pl

from gb_pipeline.errors import FormatRefused, NaiveTimestamp
from gb_pipeline.formats.numbers import shortest_text
from gb_pipeline.market.calendar import get_calendar
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import OPTIONAL, PRICES

TIMES = ("timestamp", "datetime", "date", "time", "index")
_NEEDED = (*PRICES, "volume")


def read_frame(
    frame: pl.DataFrame,
    place: str,
    resolution: Resolution,
    *,
    zone: str | None = None,
    stamp: str | None = None,
    calendar: str | None = None,
) -> pl.DataFrame:
    """Columns of `market.schema.RECEIVED`, and those of `OPTIONAL` that there are.

    Args:
        frame: open, high, low, close, volume and a column of times, in any case and order; other columns are left out.
        place: file, and what in it, for messages.
        resolution: of the bars: of a day and longer, dates and times without a zone are sessions.
        zone: of times without one.
        stamp: `close` where times are the ends of bars.
        calendar: whose zone's midnight may be the stamp of a day; None where stamps are taken as they are.

    Raises:
        FormatRefused: a column is missing or of a type that holds no number.
        NaiveTimestamp: times of day without a zone, and nobody says which.
    """
    names = {name.strip().lower(): name for name in reversed(frame.columns)}
    time = next((names[name] for name in TIMES if name in names), None)
    if missing := [name for name in _NEEDED if name not in names] + ([] if time else ["timestamp"]):
        raise FormatRefused(
            f"{place} has no column {', '.join(missing)}; there is {', '.join(frame.columns)[:200] or 'none'}",
            fix="name files of bars: times, open, high, low, close and volume",
        )
    assert time is not None
    wanted = [name for name in (*_NEEDED, *OPTIONAL) if name in names]
    stamps = _opens(as_stamps(frame[time], place, resolution, zone), resolution, stamp)
    if calendar is not None and not resolution.intraday:
        zones = [getattr(frame[time].dtype, "time_zone", None), zone, get_calendar(calendar).zone.key, "UTC"]
        stamps = _sessions(stamps, place, list(dict.fromkeys(filter(None, zones))))
    return pl.DataFrame(
        [
            stamps,
            *(_numbers(frame[names[name]].alias(name), place) for name in wanted),
        ]
    )


def _opens(stamps: pl.Series, resolution: Resolution, stamp: str | None) -> pl.Series:
    length = resolution.duration
    return stamps - length if stamp == "close" and resolution.intraday and length is not None else stamps


def _sessions(stamps: pl.Series, place: str, zones: Sequence[str]) -> pl.Series:
    """Days by their session: a stamp that is midnight in one of the zones is that day's, at 00:00 UTC.

    A stamp that is midnight nowhere stays as it is, for validation to refuse.

    Raises:
        FormatRefused: none of them is midnight anywhere.
    """
    dates = []
    for zone in zones:
        local = stamps.dt.convert_time_zone(zone)
        dates.append(pl.select(pl.when(local.dt.time() == clock_time()).then(local.dt.date())).to_series())
    days = pl.select(pl.coalesce(dates)).to_series()
    known = stamps.drop_nulls()
    if len(known) and not days.count():
        raise FormatRefused(
            f"{place}: its days are stamped {known[0]:%H:%M} UTC, which is no midnight of {' or '.join(zones)}",
            fix="name the exchange whose midnight it is, such as --calendar XNYS",
        )
    midnights = days.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    return pl.select(pl.coalesce(midnights, stamps).alias("timestamp")).to_series()


def as_stamps(series: pl.Series, place: str, resolution: Resolution, zone: str | None) -> pl.Series:
    """Opens in UTC, whole microseconds, under the name `timestamp`."""
    kind = series.dtype
    if isinstance(kind, pl.Date):
        series = series.cast(pl.Datetime("us"))
        kind = series.dtype
    if not isinstance(kind, pl.Datetime):
        raise FormatRefused(f"{place}: its times are {kind}", fix="write them as datetimes")
    if kind.time_unit == "ns" and (series.dt.nanosecond() % 1000 != 0).any():
        raise FormatRefused(
            f"{place}: its times are finer than a microsecond", fix="round them: bars begin on whole ones"
        )
    exact = series.dt.cast_time_unit("us").alias("timestamp")
    if kind.time_zone is not None:
        return exact.dt.convert_time_zone("UTC")
    if not resolution.intraday and (exact == exact.dt.truncate("1d")).all():
        return exact.dt.replace_time_zone("UTC")
    if zone is None:
        raise NaiveTimestamp(f"{place}: its times have no zone", fix="say which, such as --timezone UTC")
    try:
        # Of an hour that occurs twice nothing tells which one it is, and one that was skipped never was.
        local = exact.dt.replace_time_zone(zone, ambiguous="null", non_existent="null")
    except pl.exceptions.PolarsError as error:
        raise FormatRefused(f"{place}: {zone!r} is no time zone: {error}", fix="such as America/New_York") from None
    return local.dt.convert_time_zone("UTC")


def _numbers(series: pl.Series, place: str) -> pl.Series:
    kind = series.dtype
    if kind.is_float():
        if series.name == "trade_count":
            return series.fill_nan(None).cast(pl.Int64, strict=False)
        return shortest_text(series)
    if isinstance(kind, pl.String | pl.Null) or kind.is_integer() or kind.is_decimal():
        return series
    raise FormatRefused(f"{place}: column {series.name} is {kind}, no numbers", fix="name files of bars")
