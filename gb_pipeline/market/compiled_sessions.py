"""This module reads the exchanges' sessions, which ship with the package as they were compiled from exchange_calendars.

`tools/compile_calendars.py` says how and why. What follows from the sessions of a calendar is decided in `exchange_sessions`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from importlib import resources
from zoneinfo import ZoneInfo

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

_FILE = "exchange_sessions.parquet"
_TIMES = ("open", "close", "break_start", "break_end")


@dataclass(frozen=True, slots=True)
class CompiledCalendar:
    """What is known of a calendar beside its sessions.

    Attributes:
        code: its canonical code.
        zone: the exchange's zone.
        first: first day that the sessions speak about.
        end: first day that they do not speak about any more.
        row_group: where in the file its sessions are.
        version: changes with any of its sessions.
    """

    code: str
    zone: ZoneInfo
    first: date
    end: date
    row_group: int
    version: str


@dataclass(frozen=True, slots=True)
class CompiledCalendars:
    """All calendars of the file.

    Attributes:
        made_from: library and version that they were compiled from.
        corrections: how many sessions were corrected after what an exchange published.
        aliases: other names of calendars, with their codes.
    """

    made_from: str
    corrections: int
    calendars: Mapping[str, CompiledCalendar]
    aliases: Mapping[str, str]

    @property
    def names(self) -> list[str]:
        """Every code and every other name, in order."""
        return sorted([*self.calendars, *self.aliases])

    def find(self, name: str) -> CompiledCalendar | None:
        """The calendar of a code or another name; None where there is none."""
        return self.calendars.get(self.aliases.get(name, name))


@cache
def compiled_calendars() -> CompiledCalendars:
    """What the file's footer says; no session is read."""
    with _open() as file:
        facts = json.loads(file.schema_arrow.metadata[b"gb_calendars"])
    calendars = {
        code: CompiledCalendar(
            code,
            ZoneInfo(item["zone"]),
            date.fromisoformat(item["first"]),
            date.fromisoformat(item["end"]),
            item["row_group"],
            item["version"],
        )
        for code, item in facts["calendars"].items()
    }
    return CompiledCalendars(facts["made_from"], facts["corrections"], calendars, facts["aliases"])


def read_sessions(calendar: CompiledCalendar) -> pl.DataFrame:
    """All sessions of a calendar.

    Returns:
        `session` (Date), `open`, `close`, `break_start`, `break_end` (Datetime us UTC; the last two null where there is no
        break), sorted by session.

    Example:
        >>> read_sessions(compiled_calendars().calendars["XNYS"]).height
        22896
    """
    with _open() as file:
        table = file.read_row_group(calendar.row_group)
    rows = pl.DataFrame(table)
    midnight = pl.col("session").cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    minutes = [(midnight + pl.col(name).cast(pl.Int64) * timedelta(minutes=1)).alias(name) for name in _TIMES]
    return rows.with_columns(minutes)


def _open() -> pq.ParquetFile:
    # As bytes: a package may lie in a zip.
    data = resources.files("gb_pipeline.market").joinpath("data", _FILE).read_bytes()
    return pq.ParquetFile(pa.BufferReader(data))
