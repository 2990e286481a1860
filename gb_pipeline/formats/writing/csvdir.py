"""CSV files that zipline's `csvdir` bundle reads: a file per symbol under `daily/` or `minute/`.

Days are dates; minutes are labelled by their end, in UTC without a zone. Days have prices as traded: `split` (new shares per old
one) and `dividend` stand on their ex dates, and zipline adjusts by them itself. Minutes cannot be ingested together with days, and
have no row that an adjustment could name: they are adjusted for splits instead. A daily file needs a row for every session
between its first and its last, so sessions without a bar are rows of zeros, which zipline reads as none.

The text is exact. Zipline's bundle is not: it keeps thousandths of a price and whole volumes in 32 bits, so values that it
changes are counted as changed.

Source: `zipline/data/bundles/csvdir.py`, `bcolz_daily_bars.py` and `bcolz_minute_bars.py` of zipline-reloaded 3.2.1.
"""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar

import polars as pl

from gb_pipeline.formats.writing.actions import by_session, decimal_text, dividends_of, in_newest_shares, splits_of
from gb_pipeline.formats.writing.base import AS_STORED, NUMBERS, Converted, Exported, FormatWriter
from gb_pipeline.formats.writing.conversion import plain_text
from gb_pipeline.formats.writing.staging import StagedFolder
from gb_pipeline.market.calendar import Calendar, get_calendar
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import PRICES

_LARGEST = 2**32 - 1
_THOUSANDTHS = 3
_WORDS = {
    AS_STORED: "as stored",
    "none": "as traded",
    "splits": "adjusted for splits",
    "splits+dividends": "adjusted for both",
}


class CsvdirWriter(FormatWriter):
    """Writes a CSV file per series."""

    resolutions: ClassVar = {Resolution.DAY: "daily", Resolution.MINUTE: "minute"}

    def __init__(self, market: str | None = None) -> None:
        """See `FormatWriter`."""
        super().__init__(market)
        self._filled: dict[str, int] = {}

    def adjustment_of(self, series: Exported) -> str:
        """Days as traded and minutes adjusted for splits, where it is known what became of the shares."""
        if series.actions is None:
            return AS_STORED
        return "none" if series.resolution is Resolution.DAY else "splits"

    def place_of(self, series: Exported) -> str:
        """The file; zipline takes what follows a dot for a suffix."""
        return f"{self.resolution_name(series)}/{series.symbol.replace('.', '_')}.csv"

    def convert(self, series: Exported, bars: pl.DataFrame) -> Converted:
        """Bars of zipline's own sessions and minutes, in the thousandths and whole volumes of its bundle."""
        calendar = _calendar_of(series)
        reasons = {
            "before 1970": bars["timestamp"].dt.epoch("us") < 0,
            f"outside of the sessions of {calendar.name}": ~calendar.in_hours(bars["timestamp"], series.resolution),
            "a price below zero": bars.select(pl.any_horizontal(pl.col(PRICES) < 0)).to_series(),
        }
        left_out, kept = {}, pl.repeat(True, bars.height, eager=True)
        for reason, here in reasons.items():
            stamps = bars["timestamp"].filter(here & kept)
            if len(stamps):
                left_out[reason] = stamps
                kept = kept & ~here
        bars = bars.filter(kept)
        values = bars.select(
            *(_zero_above(pl.col(name).round(_THOUSANDTHS), _LARGEST / 1000).alias(name) for name in PRICES),
            _zero_above(pl.col("volume").floor(), _LARGEST).alias("volume"),
        )
        return Converted(bars, values, left_out)

    def write(self, series: Exported, bars: pl.DataFrame, folder: StagedFolder) -> None:
        """Append lines."""
        path = folder.path(self.place_of(series), series.name)
        lines = _days(series, bars) if series.resolution is Resolution.DAY else _minutes(bars)
        self._filled[series.name] = lines.height - bars.height
        with path.open("ab") as file:
            file.write(lines.write_csv(include_header=file.tell() == 0).encode())

    def notes(self, series: Exported) -> list[str]:
        """How zipline will take it."""
        calendar = _calendar_of(series).name
        found = [] if calendar == "XNYS" else [f"register the bundle with calendar_name={calendar!r}"]
        if "." in series.symbol:
            found.append(f"zipline's name of {series.symbol} is {series.symbol.replace('.', '_')}")
        if series.resolution is Resolution.MINUTE:
            found.append(f"zipline's minutes have no splits and dividends: prices are {_WORDS[series.adjustment]}")
        elif series.adjustment == AS_STORED:
            found.append("prices are as stored, without splits and dividends")
        return found


def _calendar_of(series: Exported) -> Calendar:
    """Zipline has regular hours only."""
    return get_calendar(series.calendar.name)


def _zero_above(number: pl.Expr, largest: float) -> pl.Expr:
    """What does not fit into 32 bits is a zero in a bundle."""
    return pl.when(number > largest).then(pl.lit(0)).otherwise(number)


def _minutes(bars: pl.DataFrame) -> pl.DataFrame:
    ends = (pl.col("timestamp") + timedelta(minutes=1)).dt.strftime("%Y-%m-%d %H:%M:%S").alias("date")
    return bars.select(ends, *(plain_text(name) for name in NUMBERS))


def _days(series: Exported, bars: pl.DataFrame) -> pl.DataFrame:
    days = bars["timestamp"].dt.date()
    sessions = _calendar_of(series).sessions(days[0], days[-1] + timedelta(days=1))
    splits = {} if series.actions is None else splits_of(series.actions)
    dividends = {} if series.actions is None else dividends_of(series.actions)
    if series.adjustment == "splits":
        splits, dividends = {}, in_newest_shares(dividends, splits)
    elif series.adjustment != "none":
        splits, dividends = {}, {}
    on_days = {
        "dividend": by_session(dividends, sessions, multiplied=False),
        "split": by_session(splits, sessions, multiplied=True),
    }
    empty = {"dividend": "0", "split": "1"}
    texts = {
        name: pl.Series(
            name, [decimal_text(values[day]) if day in values else empty[name] for day in sessions], pl.String
        )
        for name, values in on_days.items()
    }
    grid = pl.DataFrame({"date": pl.Series(sessions, dtype=pl.Date), **texts})
    rows = bars.select(days.alias("date"), *(plain_text(name) for name in NUMBERS))
    joined = grid.join(rows, on="date", how="left", maintain_order="left")
    return joined.select("date", pl.col(NUMBERS).fill_null("0"), "dividend", "split")
