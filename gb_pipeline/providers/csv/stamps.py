"""This module turns time stamps as files write them into a bar's open in UTC.

It knows time zones, DST, bar ends and session dates; formats are in `stamp_format`, columns and lines in `rows`. What
cannot be read with certainty becomes null.
"""

from __future__ import annotations

from datetime import date

import polars as pl

from gb_pipeline.errors import ConfigError
from gb_pipeline.market.moments import day_number
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.providers.csv.options import CsvOptions
from gb_pipeline.providers.csv.stamp_format import AUTO, EPOCHS, UNITS, StampFormat
from gb_pipeline.quality.reasons import NO_ZONE, SKIPPED_TIMESTAMP

# Microseconds since 1970: the first that is plausible, and the first that is not any more.
Span = tuple[int, int]
# Why a stamp has no certain reading. The first is harmless: the line is known, only not which of two hours it is of.
AMBIGUOUS, IMPLAUSIBLE, NO_MIDNIGHT = "ambiguous_timestamp", "implausible_timestamp", "instant_without_timezone"
_DAY = 86_400_000_000
_FIRST_PLAUSIBLE, _LAST_PLAUSIBLE = day_number(date(1980, 1, 1)) * _DAY, day_number(date(2100, 1, 1)) * _DAY
_FIRST_WEEKS = day_number(date(1970, 2, 18)) * _DAY
_FIRST_YEAR, _END_YEAR = 1700, 2100
_YEAR_10000 = 253_402_300_800_000_000
_US = pl.Datetime("us")
# `Z`, `+09`, `+0900` or `+09:00` after a time of day: the `-05` at the end of a date is none.
_OFFSET = r"^(.*(?:[0-9]:[0-9][0-9]|[0-9]{6}).*?)\s*(?:(Z)|([+-])([01][0-9])(?::?([0-5][0-9]))?)$"
# Date; hours and minutes, seconds, fraction; then `Z`, or sign, hours and minutes of the offset.
_ISO = (
    r"^([0-9]{4}-[0-9]{2}-[0-9]{2})(?:[T ]\s*([0-9]{1,2}:[0-9]{2})(?::([0-5][0-9])(?:\.([0-9]{1,6})0*)?)?"
    r"\s*(?:(Z)|([+-])([01][0-9])(?::?([0-5][0-9]))?)?)?$"
)


def plausible_span(start: date) -> Span:
    """When bars of a source that begins on a day may open, in microseconds since 1970.

    Units lie a factor of 1000 apart: a date of our days in another one lies in January 1970 or in the year 56,000.
    """
    return min(_FIRST_PLAUSIBLE, day_number(start) * _DAY), _LAST_PLAUSIBLE


def since_1980(span: Span) -> Span:
    """The span without the years before 1980."""
    return max(span[0], _FIRST_PLAUSIBLE), span[1]


def in_first_weeks(stamps: pl.Series, span: Span) -> bool:
    """Whether a span reaches back to 1970 and all stamps lie in its first weeks, as those do that were read in too small a unit.

    Years 1980 to 2100 in seconds, read as milliseconds, end on 1970-02-17.
    """
    return span[0] < _FIRST_PLAUSIBLE and lie_in_first_weeks(stamps)


def lie_in_first_weeks(stamps: pl.Series) -> bool:
    """Whether there are stamps, and all of them lie in the first weeks of 1970."""
    low, high = stamps.to_physical().min(), stamps.to_physical().max()
    return isinstance(low, int) and isinstance(high, int) and low >= 0 and high < _FIRST_WEEKS


def begins_in_first_weeks(span: Span) -> bool:
    """Whether a source begins so early that its bars may be of the first weeks of 1970."""
    return span[0] < _FIRST_WEEKS


def is_absurd_open() -> pl.Expr:
    """A `timestamp` of a year of which no source has bars: before 1700, or from 2100 on."""
    year = pl.col("timestamp").dt.year()
    return ((year < _FIRST_YEAR) | (year >= _END_YEAR)).fill_null(False)


def bar_opens(
    stamp: pl.Expr,
    day: pl.Expr,
    options: CsvOptions,
    resolution: Resolution,
    *,
    span: Span | None = None,
    any_instant: bool = False,
) -> pl.Expr:
    """When each bar opens.

    Args:
        stamp: the stamps as written (String; null where the line has none).
        day: the local day of each row (Date), for `ms_of_day`.
        options: format, zone, which end of the bar is stamped, and what an ambiguous local time means.
        resolution: bars of a day or longer get the midnight in UTC of the session's date as it is written in the
            file (in `timezone`, for stamps that are instants); weeks that of their Monday, months of their first.
        span: of the epochs that are plausible: others are in another unit, and null.
        any_instant: without a `timezone` an instant that is no midnight has no certain date; true takes the date of UTC, or
            of the stamp's own offset, all the same.

    Returns:
        Datetime("us", "UTC"), null where the text is no stamp, does not exist on a DST day, occurs twice on one (unless
        `ambiguous` says which), or has no zone. Milliseconds of the day count on the wall clock, as LEAN writes them.

    Raises:
        ConfigError: the format has no time of day, but the bars are shorter than a day.
    """
    duration = resolution.duration
    local, offset = _wall_clock(stamp, day, options, span, intraday=duration is not None)
    instant = (local - offset).dt.replace_time_zone("UTC")
    zone = options.timezone
    if duration is not None:
        if zone is not None:
            ambiguous = "null" if options.ambiguous is None or options.ambiguous == "order" else options.ambiguous
            here = local.dt.replace_time_zone(zone, ambiguous=ambiguous, non_existent="null")
            instant = pl.coalesce(instant, here.dt.convert_time_zone("UTC"))
        return instant - duration if options.stamp == "close" else instant
    if zone is not None:
        local = pl.coalesce(instant.dt.convert_time_zone(zone).dt.replace_time_zone(None), local)
    elif not any_instant:
        # The end of a day may be written as its last second.
        midnight = local if options.stamp == "open" else local + pl.duration(seconds=1)
        begun = (local == local.dt.truncate("1d")) | (
            midnight.dt.truncate("1s") == local.dt.truncate("1d").dt.offset_by("1d")
        )
        local = pl.when(offset.is_null() | begun).then(local)
    if options.stamp == "close" and _has_time_of_day(options):
        # A bar that ends at midnight belongs to the day before; a plain date is a label, not an end.
        dated = stamp.str.len_chars() <= 10 if options.timestamp_format == "iso" else pl.lit(False)
        local = pl.when(dated).then(local).otherwise(local - pl.duration(microseconds=1))
    unit = {Resolution.WEEK: "1w", Resolution.MONTH: "1mo"}.get(resolution, "1d")
    return local.dt.truncate(unit).dt.replace_time_zone("UTC")


def fault(stamp: pl.Expr, day: pl.Expr, options: CsvOptions, resolution: Resolution, span: Span | None) -> pl.Expr:
    """Why `bar_opens` made null of a stamp, or null where it is no stamp at all.

    `AMBIGUOUS`, `SKIPPED_TIMESTAMP` (the clock went forward past it), `NO_ZONE`, `IMPLAUSIBLE` or `NO_MIDNIGHT`.
    """
    either = options.model_copy(update={"ambiguous": "earliest"})
    twice = bar_opens(stamp, day, either, resolution, span=span).is_not_null()
    instant = bar_opens(stamp, day, either, resolution, span=span, any_instant=True).is_not_null()
    some = bar_opens(stamp, day, either, resolution, any_instant=True).is_not_null()
    if options.timestamp_format in EPOCHS:
        # In a much smaller unit they are beyond the year 9999, and no moment at all.
        some = stamp.str.contains(r"^-?[0-9]+(?:\.[0-9]*)?$")
    # What one zone's clock skips, or needs a zone to be a moment, has one on the clock of UTC.
    in_utc = bar_opens(stamp, day, options.model_copy(update={"timezone": "UTC"}), resolution, span=span).is_not_null()
    zoned = resolution.intraday or options.timezone is not None
    unzoned = pl.lit(NO_ZONE if options.timezone is None else SKIPPED_TIMESTAMP)
    reasons = pl.when(twice).then(pl.lit(AMBIGUOUS)).when(in_utc & pl.lit(zoned)).then(unzoned)
    reasons = reasons.when(instant).then(pl.lit(NO_MIDNIGHT))
    return reasons.when(some).then(pl.lit(IMPLAUSIBLE)).otherwise(pl.lit(None, pl.String())).alias("fault")


def by_order(lines: pl.DataFrame, zone: str) -> pl.Series:
    """When bars open whose hours the clock shows twice: the lines before it goes back are of the first, those behind of the second.

    Args:
        lines: of one file, in its order or the opposite one: `timestamp` and `latest` (Datetime us UTC), both readings of a
            stamp, and `owner`, whose lines they are.
        zone: of the stamps.

    Returns:
        `timestamp`; null where the lines of such an hour do not go back exactly once, so that it is not certain which is which.
    """
    rows = lines.select("line", "timestamp", "latest", "owner")
    known = rows["timestamp"].drop_nulls()
    backwards = len(known) > 1 and known[0] > known[-1]
    twice = rows.filter(pl.col("timestamp") != pl.col("latest"))
    if backwards:
        twice = twice.reverse()
    turn = ["owner", "day"]
    twice = twice.with_columns(day=pl.col("timestamp").dt.convert_time_zone(zone).dt.date())
    goes_back = (pl.col("timestamp") <= pl.col("timestamp").shift(1).over(turn)).fill_null(False)
    passed = goes_back.cast(pl.UInt32).cum_sum().over(turn)
    chosen = pl.when(passed == 0).then("timestamp").otherwise("latest")
    decided = twice.with_columns(opens=pl.when(goes_back.sum().over(turn) == 1).then(chosen)).select("line", "opens")
    certain = rows.select("line", pl.when(pl.col("timestamp") == pl.col("latest")).then("timestamp"))
    joined = certain.join(decided, on="line", how="left", maintain_order="left")
    return joined.select(timestamp=pl.coalesce("timestamp", "opens")).to_series()


def local_day(text: pl.Expr, form: str) -> pl.Expr:
    """The Date of a text in a strptime format, null where it is none."""
    return _parse(text, StampFormat.compile(form)).cast(pl.Date)


def _has_time_of_day(options: CsvOptions) -> bool:
    name = options.timestamp_format
    return name in EPOCHS or name in {"iso", "ms_of_day"} or StampFormat.compile(name).has_time


def _wall_clock(
    stamp: pl.Expr, day: pl.Expr, options: CsvOptions, span: Span | None, *, intraday: bool
) -> tuple[pl.Expr, pl.Expr]:
    """The time as written, and its offset from UTC (null where the stamp says none)."""
    name, utc, unknown = options.timestamp_format, pl.duration(microseconds=0), pl.lit(None, pl.Duration("us"))
    if name in EPOCHS:
        return epoch(stamp, name, span).cast(_US), utc
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


def epoch(text: pl.Expr, unit: str, span: Span | None = None) -> pl.Expr:
    """Microseconds since 1970 (Int64) of a count of `unix_s`, `unix_ms`, `unix_us` or `unix_ns`; null outside the span.

    `unix_auto` tells the unit of each count by its size: what is a date of the years 1973 to 5138 in one unit is none in
    another.
    """
    low, high = span or (-_YEAR_10000, _YEAR_10000)
    if unit != AUTO:
        return _exact(text, UNITS[unit], low, high)
    digits = text.str.extract(r"^-?0*([0-9]+)(?:\.|$)").str.len_chars()
    exact = {name: _exact(text, places, low, high) for name, places in UNITS.items()}
    return (
        pl.when(digits <= 11).then(exact["unix_s"]).when(digits <= 14).then(exact["unix_ms"])
        .when(digits <= 17).then(exact["unix_us"]).otherwise(exact["unix_ns"])
    )  # fmt: skip


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
