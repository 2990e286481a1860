"""This module says what is wrong with a file of which too few stamps can be read as they are meant, and which format reads them.

A stamp that cannot be read is a row for quarantine; a file of them is a wrong option, and refused whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from gb_pipeline.errors import PermanentVendorError
from gb_pipeline.market.moments import from_microseconds
from gb_pipeline.providers.csv.options import CsvOptions
from gb_pipeline.providers.csv.rows import Reading, Rows
from gb_pipeline.providers.csv.stamp_format import AUTO, EPOCHS, UNITS
from gb_pipeline.providers.csv.stamps import IMPLAUSIBLE, NO_MIDNIGHT, bar_opens, epoch
from gb_pipeline.quality.reasons import NO_ZONE, SKIPPED_TIMESTAMP, UNNAMED_LINE

# More unreadable lines than this are no accident, whatever a source puts up with.
_MOST = 0.5
# A larger share of lines out of order than this is looked into, if there are enough different stamps to tell by.
_DISORDER, _TELLING = 0.02, 8
_DATES = (
    "%Y-%m-%d", "%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d", "%m/%d/%y",
    "%d/%m/%y", "%d.%m.%y", "%d-%b-%Y", "%d-%b-%y", "%d %b %Y", "%b %d, %Y", "%B %d, %Y",
)  # fmt: skip
_TIMES = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p", " %H%M%S", "T%H:%M:%S", ", %H:%M")
# A text that may be shown because it is nearly a date: digits, signs, names of months and days, halves of the day.
_SHOWN = re.compile(
    r"(?i)(?=(?:.*[0-9]){3})(?:[0-9 ,./:+-]|T|Z|[ap]m|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|"
    r"january|february|march|april|june|july|august|september|october|november|december|"
    r"mon|tue|wed|thu|fri|sat|sun){3,40}"
)
_ZONE = "`timezone`, the zone in which they are written, such as UTC or America/New_York"
# The years 2001 to 2100 are what most counts are meant to be of.
_SPAN = (978_307_200_000_000, 4_102_444_800_000_000)


@dataclass(frozen=True, slots=True)
class Refusal:
    """What is wrong with a text whose stamps cannot be read, or not as they are meant.

    Attributes:
        error: the words for it.
        certain: whether it is wrong in any case: most lines are unreadable, or there is a format that reads all of them. What is
            not may be quarantined line by line, if all its lines are validated together.
    """

    error: PermanentVendorError
    certain: bool


def refuse_unreadable(rows: Rows, where: str, reading: Reading, limit: float) -> Refusal | None:
    """What is wrong with a text of which more lines than the share `limit` have no readable stamp; None where nothing is."""
    bad = rows.unreadable.height / rows.lines if rows.lines else 0.0
    if bad <= limit and bad < 1.0:
        return None
    options = reading.options
    unnamed = int((rows.unreadable["fault"] == UNNAMED_LINE).sum())
    if unnamed * 2 >= rows.unreadable.height:
        error = PermanentVendorError(
            f"{unnamed:,} of {rows.lines:,} lines of {where} name no instrument in the column {options.mapped['symbol']!r}",
            fix="check `columns: {symbol: ...}` and the file: nobody can tell whose such lines are",
        )
        return Refusal(error, bad > max(_MOST, limit))
    better = formats_that_read(rows.stamps, reading)
    first = rows.unreadable.row(0, named=True)
    shown = (
        repr(first["stamp"]) if _SHOWN.fullmatch(first["stamp"] or "") else f"a line like {_shape(first['received'])}"
    )
    stamps = f"the stamps of {rows.unreadable.height:,} of {rows.lines:,} lines of {where}"
    if _lack_only_a_zone(rows):
        error = PermanentVendorError(f"{stamps} have no time zone; the first is {shown}", fix=f"set {_ZONE}")
        return Refusal(error, certain=True)
    zone = f", zone {options.timezone}" if options.timezone else ""
    why, fix = _explain(rows, reading, better)
    error = PermanentVendorError(
        f"{stamps} cannot be read as {options.timestamp_format}{zone}; the first is {shown}{why}", fix=fix
    )
    return Refusal(error, bad > max(_MOST, limit) or bad == 1.0 or bool(better))


def refuse_disordered(rows: Rows, where: str, reading: Reading) -> Refusal | None:
    """What is wrong with a text whose lines are in no order as they are read, and in order in another format; else None.

    Days up to the 12th read as day/month and as month/day. Which it is shows in the order of the lines.
    """
    name = reading.options.timestamp_format
    if name in {*EPOCHS, "iso", "ms_of_day"} or rows.unreadable.height:
        return None
    as_set = rows.frame["timestamp"] if rows.frame.height == len(rows.stamps) else _read(rows.stamps, name, reading)
    disorder = _disorder(as_set)
    if disorder <= _DISORDER or rows.stamps.n_unique() < _TELLING:
        return None
    for other in _formats_that_read(rows.stamps, reading):
        if _disorder(_read(rows.stamps, other, reading)) <= disorder / 10:
            error = PermanentVendorError(
                f"the lines of {where} are in no order of time read as {name}, and in order as {other}; the first stamp is "
                f"{str(rows.stamps[0])!r}",
                fix=f"set `timestamp_format: {other!r}`; if {name!r} is right, sort the lines",
            )
            return Refusal(error, certain=True)
    return None


def _disorder(stamps: pl.Series) -> float:
    """The share of steps from line to line that go the other way than most."""
    steps = stamps.drop_nulls().to_physical().diff()
    forward, back = int((steps > 0).sum()), int((steps < 0).sum())
    return min(forward, back) / max(1, forward + back)


def formats_that_read(stamps: pl.Series, reading: Reading) -> list[str]:
    """Common formats that read every one of the stamps, but for those that are set; most likely ones first."""
    found: list[str] = []
    for name in _formats_that_read(stamps, reading):
        found.append(name)
        if found[0] in {*EPOCHS, "iso"} or len(found) == 2:
            break
    return found


def _formats_that_read(stamps: pl.Series, reading: Reading) -> Iterator[str]:
    texts = stamps.drop_nulls().alias("stamp")
    if texts.is_empty() or len(texts) < len(stamps):
        return
    timed = [f"{date}{time}" for date in _DATES for time in _TIMES if time]
    candidates = [*UNITS, AUTO, "iso", *(() if reading.resolution.intraday else _DATES), *timed]
    sample = texts.head(50)
    for name in dict.fromkeys(candidates):
        if name != reading.options.timestamp_format and not any(
            _read(part, name, reading).null_count() for part in (sample, texts)
        ):
            yield name


def _lack_only_a_zone(rows: Rows) -> bool:
    """Whether most of the unreadable stamps are times of a clock, which is all that a zone is needed for."""
    return int((rows.unreadable["fault"] == NO_ZONE).sum()) * 2 > rows.unreadable.height


def _zoned(reading: Reading) -> CsvOptions:
    """The options of a reading with some zone, where bars of less than a day need one."""
    zone = reading.options.timezone or ("UTC" if reading.resolution.intraday else None)
    return reading.options.model_copy(update={"timezone": zone, "ambiguous": "earliest"})


def _read(texts: pl.Series, name: str, reading: Reading) -> pl.Series:
    options = _zoned(reading).model_copy(update={"timestamp_format": name})
    span = reading.span or _SPAN
    opens = bar_opens(pl.col("stamp"), pl.lit(None, pl.Date), options, reading.resolution, span=span, any_instant=True)
    return texts.alias("stamp").to_frame().select(opens).to_series()


def _explain(rows: Rows, reading: Reading, better: list[str]) -> tuple[str, str]:
    """What else is known of the stamps, and what to do."""
    faults = set(rows.unreadable["fault"])
    if NO_MIDNIGHT in faults:
        return (
            ": a daily bar is stamped with an instant that is no midnight, and without a zone its date is not certain",
            "set `timezone`, the zone whose date a bar has, such as America/New_York",
        )
    if IMPLAUSIBLE in faults and reading.options.timestamp_format not in EPOCHS:
        return (
            ", which is out of any plausible range",
            "check the option `timestamp_format`, and what wrote these stamps",
        )
    if IMPLAUSIBLE in faults:
        return _explain_unit(rows.unreadable["stamp"], reading.options.timestamp_format, better)
    if SKIPPED_TIMESTAMP in faults:
        return ", whose clock went forward past it", "check `timezone`: is it the zone of these stamps?"
    if better:
        needs_zone = reading.resolution.intraday and reading.options.timezone is None and better[0] not in EPOCHS
        return (
            f"; {' and '.join(better)} would read all of them",
            f"set `timestamp_format: {better[0]!r}`" + (f", and {_ZONE}" if needs_zone else ""),
        )
    return "", (
        "check the options `timestamp_format`, `timezone`, `columns` and `delimiter`; `comment` and `skip_rows` leave lines out"
    )


def _explain_unit(stamps: pl.Series, unit: str, better: list[str]) -> tuple[str, str]:
    """Epochs that are no date of any bar: what they came to, and in which unit they are one."""
    read = stamps.alias("stamp").to_frame().select(epoch(pl.col("stamp"), unit)).to_series().drop_nulls()
    # `unix_us` has no such date at all where the year is beyond 9999.
    came_to = f"the year {from_microseconds(int(read[0])).year}" if len(read) else "a year beyond 9999"
    guessed = _unit_of(stamps)
    why = f", which is {came_to}: out of any plausible range; the unit is probably {guessed}"
    if better == [AUTO]:
        return f"{why}, and the file mixes units", f"set `timestamp_format: {AUTO}`: the unit of each stamp by its size"
    return why, f"set `timestamp_format: {better[0] if better else guessed}`"


def _unit_of(stamps: pl.Series) -> str:
    frame = stamps.alias("stamp").to_frame()
    plausible = {name: frame.select(epoch(pl.col("stamp"), name, _SPAN).count()).item() for name in UNITS}
    return max(plausible, key=lambda name: plausible[name])


def _shape(line: str) -> str:
    """A line without what it says: `2024-01-02 09:30,1.5` as `9999-99-99 99:99,9.9`."""
    kinds = (
        "9" if c.isdigit() else "a" if c.isalpha() else c if c.isascii() and c.isprintable() else "?" for c in line[:60]
    )
    return repr("".join(kinds))
