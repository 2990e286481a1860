"""Zipline's bcolz: columns of uint32, prices times 1,000, volumes in whole units.

Minutes grow at their end only and days are written all at once, so it sits out what it cannot do. Of reads it answers those of
bars: it keeps no count, and resamples in a layer above.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from zipline.data.bcolz_daily_bars import (  # type: ignore[import-not-found]
    BcolzDailyBarReader,
    BcolzDailyBarWriter,
)
from zipline.data.bcolz_minute_bars import (  # type: ignore[import-not-found]
    BcolzMinuteBarMetadata,
    BcolzMinuteBarReader,
    BcolzMinuteBarWriter,
)
from zipline.utils.calendar_utils import get_calendar  # type: ignore[import-not-found]

from benchmarks.peers import numbers
from benchmarks.peers.batch import NUMBERS, Batch, floats, table_by_symbol, units
from benchmarks.peers.contender import Contender
from benchmarks.peers.questions import BARS, Question

MINUTES_A_DAY = 1440
MINUTE = np.timedelta64(1, "m")
Frames = list[tuple[int, pd.DataFrame]]


class ZiplineBcolz(Contender):
    """A symbol is a number; a minute is labelled by its end."""

    acts = frozenset({"write", "append", "add_day", BARS})
    exactness = "whole volumes"

    def open(self, folder: Path, resolution: str) -> None:
        self.folder, self.daily = folder, resolution == "1d"
        self.reader: Any = None
        self.calendar = get_calendar("24/7", start=pd.Timestamp("2014-01-01"), end=pd.Timestamp("2025-12-31"))

    def prepare(self, batch: Batch) -> Frames:
        shift = np.timedelta64(0, "m") if batch.resolution == "1d" else MINUTE
        return [(int(symbol[1:4]), _frame(part, shift)) for symbol, part in batch.by_symbol().items()]

    def write(self, data: Frames) -> None:
        first, last = (pd.Timestamp(moment.date()) for moment in _ends(data, self.daily))
        if self.daily:
            BcolzDailyBarWriter(str(self.folder / "days"), self.calendar, first, last).write(data)
        else:
            BcolzMinuteBarWriter(str(self.folder), self.calendar, first, last, MINUTES_A_DAY).write(data)

    def append(self, data: Frames) -> None:
        last = pd.Timestamp(_ends(data, self.daily)[1].date())
        BcolzMinuteBarWriter.open(str(self.folder), end_session=last).write(data)

    def add_day(self, data: Frames) -> None:
        begun = Path(BcolzMinuteBarMetadata.metadata_path(str(self.folder))).exists()
        (self.append if begun else self.write)(data)

    def replace(self, data: Any) -> None:
        raise NotImplementedError("bcolz only grows")

    def compact(self) -> None:
        raise NotImplementedError("bcolz has one table for each series")

    def read(self) -> pa.Table:
        return table_by_symbol(self._days() if self.daily else self._minutes())

    def ask(self, question: Question) -> tuple[Any, list[Any]]:
        """Timestamps, and for each column an array of times by symbols."""
        wanted = [int(symbol[1:4]) for symbol in question.symbols]
        if self.reader is None:
            self.reader = (
                BcolzDailyBarReader(str(self.folder / "days")) if self.daily else BcolzMinuteBarReader(str(self.folder))
            )
        first, last = (pd.Timestamp(edge).tz_localize(None) for edge in (question.start, question.end))
        if self.daily:
            stamps = self.reader.sessions
            stamps = stamps[stamps.slice_indexer(first, last - pd.Timedelta(1, "ns"))]
        else:
            stamps = pd.date_range(first + MINUTE, last, freq="min", tz="UTC")
        arrays = self.reader.load_raw_arrays(list(question.columns), stamps[0], stamps[-1], wanted)
        return stamps, arrays

    def columns(self, answer: tuple[Any, list[Any]]) -> Iterator[Any]:
        yield answer[0].asi8
        yield from answer[1]

    def rows(self, answer: tuple[Any, list[Any]], question: Question) -> pa.Table:
        stamps, arrays = answer
        when = stamps.tz_localize(None).to_numpy() - (np.timedelta64(0, "m") if self.daily else MINUTE)
        return pa.concat_tables(
            numbers.rows(
                symbol, when, {name: array[:, place] for name, array in zip(question.columns, arrays, strict=True)}
            )
            for place, symbol in enumerate(question.symbols)
        )

    def _minutes(self) -> dict[str, dict[str, Any]]:
        reader = BcolzMinuteBarReader(str(self.folder))
        numbers = sorted(int(path.stem) for path in self.folder.glob("*/*/*.bcolz"))
        first = self.calendar.session_first_minute(reader.first_trading_day)
        minutes = self.calendar.minutes_in_range(first, reader.last_available_dt)
        arrays = dict(
            zip(NUMBERS, reader.load_raw_arrays(list(NUMBERS), minutes[0], minutes[-1], numbers), strict=True)
        )
        return _parts(arrays, numbers, minutes.tz_localize(None).to_numpy() - MINUTE)

    def _days(self) -> dict[str, dict[str, Any]]:
        reader = BcolzDailyBarReader(str(self.folder / "days"))
        numbers = sorted(int(number) for number in reader._first_rows)
        sessions = reader.sessions
        arrays = reader.load_raw_arrays(list(NUMBERS), sessions[0], sessions[-1], numbers)
        return _parts(dict(zip(NUMBERS, arrays, strict=True)), numbers, sessions.to_numpy())


def _parts(arrays: dict[str, Any], numbers: list[int], stamps: Any) -> dict[str, dict[str, Any]]:
    when = stamps.astype("datetime64[us]").astype(np.int64)
    parts = {}
    for column, number in enumerate(numbers):
        there = arrays["volume"][:, column] > 0
        values = {name: units(array[there, column]) for name, array in arrays.items()}
        parts[f"S{number:03d}-USD"] = {"timestamp": when[there], **values}
    return parts


def _frame(part: dict[str, Any], shift: Any) -> pd.DataFrame:
    index = pd.DatetimeIndex((part["timestamp"].astype("datetime64[us]") + shift).astype("datetime64[ns]"))
    values = {name: floats(part[name]) for name in NUMBERS}
    # A volume of zero means that there is no bar, and uint32 has no fractions.
    values["volume"] = np.maximum(values["volume"], 1)
    return pd.DataFrame(values, index=index)


def _ends(data: Frames, daily: bool) -> tuple[pd.Timestamp, pd.Timestamp]:
    """First and last session of some rows."""
    shift = pd.Timedelta(0) if daily else pd.Timedelta(minutes=1)
    return min(frame.index[0] for _, frame in data) - shift, max(frame.index[-1] for _, frame in data) - shift


def contender() -> Contender:
    return ZiplineBcolz()
