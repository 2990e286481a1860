"""This module turns time stamps as files write them into a bar's open in UTC.

It knows time zones, DST, bar ends and session dates; formats are in `stamp_format`, columns and lines in `rows`. What
cannot be read with certainty becomes null.
"""

from __future__ import annotations

import polars as pl

from gb_pipeline.errors import ConfigError
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.providers.csv.options import CsvOptions
from gb_pipeline.providers.csv.stamp_format import UNITS, StampFormat

_DAY = 86_400_000_000
_YEAR_10000 = 253_402_300_800_000_000
_US = pl.Datetime("us")
# `Z`, `+09`, `+0900` or `+09:00` after a time of day: the `-05` at the end of a date is none.
_OFFSET = r"^(.*(?:[0-9]:[0-9][0-9]|[0-9]{6}).*?)\s*(?:(Z)|([+-])([01][0-9])(?::?([0-5][0-9]))?)$"
# Date; hours and minutes, seconds, fraction; then `Z`, or sign, hours and minutes of the offset.
_ISO = (
    r"^([0-9]{4}-[0-9]{2}-[0-9]{2})(?:[T ]\s*([0-9]{1,2}:[0-9]{2})(?::([0-5][0-9])(?:\.([0-9]{1,6})0*)?)?"
    r"\s*(?:(Z)|([+-])([01][0-9])(?::?([0-5][0-9]))?)?)?$"
)


def bar_opens(stamp: pl.Expr, day: pl.Expr, options: CsvOptions, resolution: Resolution) -> pl.Expr:
    """When each bar opens.

    Args:
        stamp: the stamps as written (String; null where the line has none).
        day: the local day of each row (Date), for `ms_of_day`.
        options: format, zone, which end of the bar is stamped, and what an ambiguous local time means.
        resolution: bars of a day or longer get the midnight in UTC of the session's date as it is written in the
            file (in `timezone`, for stamps that are instants); weeks that of their Monday, months of their first.

    Returns:
        Datetime("us", "UTC"), null where the text is no stamp, does not exist on a DST day, occurs twice on one (unless
        `ambiguous` says which), or has no zone. Milliseconds of the day count on the wall clock, as LEAN writes them.

    Raises:
        ConfigError: the format has no time of day, but the bars are shorter than a day.
    """
    duration = resolution.duration
    local, offset = _wall_clock(stamp, day, options, intraday=duration is not None)
    instant = (local - offset).dt.replace_time_zone("UTC")
    zone = options.timezone
    if duration is not None:
        if zone is not None:
            here = local.dt.replace_time_zone(zone, ambiguous=options.ambiguous or "null", non_existent="null")
            instant = pl.coalesce(instant, here.dt.convert_time_zone("UTC"))
        return instant - duration if options.stamp == "close" else instant
    if zone is not None:
        local = pl.coalesce(instant.dt.convert_time_zone(zone).dt.replace_time_zone(None), local)
    if options.stamp == "close" and _has_time_of_day(options):
        # A bar that ends at midnight belongs to the day before; a plain date is a label, not an end.
        dated = stamp.str.len_chars() <= 10 if options.timestamp_format == "iso" else pl.lit(False)
        local = pl.when(dated).then(local).otherwise(local - pl.duration(microseconds=1))
    unit = {Resolution.WEEK: "1w", Resolution.MONTH: "1mo"}.get(resolution, "1d")
    return local.dt.truncate(unit).dt.replace_time_zone("UTC")


def local_day(text: pl.Expr, form: str) -> pl.Expr:
    """The Date of a text in a strptime format, null where it is none."""
    return _parse(text, StampFormat.compile(form)).cast(pl.Date)


def _has_time_of_day(options: CsvOptions) -> bool:
    name = options.timestamp_format
    return name in UNITS or name in {"iso", "ms_of_day"} or StampFormat.compile(name).has_time


def _wall_clock(stamp: pl.Expr, day: pl.Expr, options: CsvOptions, *, intraday: bool) -> tuple[pl.Expr, pl.Expr]:
    """The time as written, and its offset from UTC (null where the stamp says none)."""
    name, utc, unknown = options.timestamp_format, pl.duration(microseconds=0), pl.lit(None, pl.Duration("us"))
    if name in UNITS:
        return _exact(stamp, UNITS[name], -_YEAR_10000, _YEAR_10000).cast(_US), utc
    if name == "ms_of_day":
        since = _exact(stamp, 3, 0, _DAY + (options.stamp == "close"))
        return day.cast(_US) + since.cast(pl.Duration("us")), unknown
    if name != "iso":
        form = StampFormat.compile(name)
        if intraday and not form.has_time:
            raise ConfigError(
                f"timestamp_format {name!r} has no time of day, but the bars are shorter than a day",
                fix="give a format with %H:%M, name the `time` column, or use resolution 1d",
            )
        if not form.has_offset:
            return _parse(stamp, form), unknown
        text, offset = _split_offset(stamp)
        return _parse(text, form), offset
    return _iso(stamp, intraday=intraday)


def _iso(stamp: pl.Expr, *, intraday: bool) -> tuple[pl.Expr, pl.Expr]:
    parts = stamp.str.extract_groups(_ISO).struct
    clock = parts.field("2") if intraday else parts.field("2").fill_null("00:00")
    text = pl.concat_str(parts.field("1"), pl.lit(" "), clock, pl.lit(":"), parts.field("3").fill_null("00"))
    fraction = parts.field("4").fill_null("").str.pad_end(6, "0").cast(pl.Int64, strict=False).cast(pl.Duration("us"))
    local = text.str.strptime(_US, "%Y-%m-%d %H:%M:%S", strict=False) + fraction
    return local, _offset(parts.field("5"), parts.field("6"), parts.field("7"), parts.field("8"))


def _parse(text: pl.Expr, form: StampFormat) -> pl.Expr:
    return pl.when(text.str.contains(form.pattern)).then(text).str.strptime(_US, form.parser, strict=False)


def _split_offset(text: pl.Expr) -> tuple[pl.Expr, pl.Expr]:
    parts = text.str.extract_groups(_OFFSET).struct
    return parts.field("1"), _offset(parts.field("2"), parts.field("3"), parts.field("4"), parts.field("5"))


def _offset(utc: pl.Expr, sign: pl.Expr, hours: pl.Expr, minutes: pl.Expr) -> pl.Expr:
    """A Duration; null where there is neither `Z` nor a sign."""
    total = hours.cast(pl.Int64, strict=False) * 60 + minutes.cast(pl.Int64, strict=False).fill_null(0)
    signed = pl.when(utc.is_not_null()).then(0).when(sign == "-").then(-total).otherwise(total)
    return (signed * 60_000_000).cast(pl.Duration("us"))


def _exact(text: pl.Expr, places: int, low: int, high: int) -> pl.Expr:
    """Microseconds in `[low, high)` of a count of 10**`places` microseconds; null where they are no whole number."""
    parts = text.str.extract_groups(r"^(-?)([0-9]{1,19})(?:\.([0-9]*))?$")
    negative, whole = parts.struct.field("1") == "-", parts.struct.field("2").cast(pl.Int64, strict=False)
    fraction = parts.struct.field("3").fill_null("").str.strip_chars_end("0")
    value: pl.Expr
    if places < 0:
        unit = 10**-places
        value = pl.when((whole % unit == 0) & (fraction == "")).then(whole // unit)
    else:
        unit = 10**places
        rest = pl.concat_str(pl.lit("0"), fraction.str.pad_end(places, "0")).cast(pl.Int64, strict=False)
        value = pl.when((whole <= high // unit) & (fraction.str.len_chars() <= places)).then(whole * unit + rest)
    value = pl.when(negative).then(-value).otherwise(value)
    return pl.when((value >= low) & (value < high)).then(value)
