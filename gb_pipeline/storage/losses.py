"""This module records versions that were lost for good: those that a repair could not keep and no vendor sends again.

They are listed beside a table's mirrors, so that a query as of a moment of which something is lost is refused instead of answered
with less. Repairing is done in `repair`.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from gb_pipeline.errors import LakeError
from gb_pipeline.storage.log import damaged_log
from gb_pipeline.storage.table import Table

# What somebody can do who asks as of a moment of which something is lost.
LOST_FIX = "ask for a moment outside of that, or restore the lake from a backup"


@dataclass(frozen=True, slots=True)
class Loss:
    """Versions of rows that are not there any more.

    Attributes:
        source, symbols: of the rows; first and last symbol of the file that held them.
        rows: how many.
        first, last: edges of the table's time column, as ISO text; empty where it has none.
        known_from, known_until: moments of which the lake no longer knows everything about these rows, as ISO text.
        file: that held them.
    """

    source: str
    symbols: tuple[str, str]
    rows: int
    first: str
    last: str
    known_from: str
    known_until: str
    file: str

    def concerns(
        self, source: str | None, symbols: Sequence[str], start: datetime, end: datetime, moment: datetime
    ) -> bool:
        """Whether the result of a query for bars [start, end) as of a moment may lack some of these rows."""
        return (
            source in {None, self.source}
            and (not symbols or any(self.symbols[0] <= code <= self.symbols[1] for code in symbols))
            and (not self.first or (_moment(self.first) < end and _moment(self.last) >= start))
            and self.valid_at(moment)
        )

    def first_moment_after(self, moment: datetime) -> datetime:
        """The first moment after another one of which something may be lost."""
        return max(moment, _moment(self.known_from))

    def valid_at(self, moment: datetime) -> bool:
        """Whether some of these versions may have been valid at a moment."""
        return _moment(self.known_from) <= moment < _moment(self.known_until)

    def __str__(self) -> str:
        """One sentence."""
        low, high = self.symbols
        series = f"{self.source} {low}" if low == high else f"{self.source} {low} to {high}"
        span = f", {self.first} to {self.last}" if self.first else ""
        return f"{self.rows:,} versions of {series.strip()}{span}, known from {self.known_from} until {self.known_until}, are lost"


def lost_error(loss: Loss, moment: datetime) -> LakeError:
    """The refusal of a question as of a moment of which something is lost."""
    return LakeError(f"what was known at {moment.isoformat()} is not known any more: {loss}", fix=LOST_FIX)


def read_losses(table: Table) -> tuple[Loss, ...]:
    """What was lost of a table, oldest first.

    Raises:
        DamagedLog: what says so is damaged.
    """
    try:
        data = table.files.read(_file_name(table))
    except FileNotFoundError:
        return ()
    try:
        document = json.loads(data)
        text = document["losses"]
        if zlib.crc32(text.encode()) != document["own"]:
            raise ValueError
        return tuple(Loss(**{**item, "symbols": tuple(item["symbols"])}) for item in json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise damaged_log(table.name, f"the list of lost versions is damaged ({_file_name(table)})") from None


def record_losses(table: Table, rows: Iterable[Mapping[str, Any]], until: datetime) -> None:
    """Record what files held that were taken out; the caller holds the table's lock or nobody else repairs.

    Args:
        rows: rows of `Snapshot.files`, `rows` being what of them was lost.
        until: versions that were current then are not known until this moment.
    """
    recorded = read_losses(table)
    recorded_files = {loss.file for loss in recorded}
    all_losses = [*recorded, *(_loss(table, row, until) for row in rows if row["path"] not in recorded_files)]
    if len(all_losses) == len(recorded):
        return
    text = json.dumps([asdict(item) for item in all_losses], separators=(",", ":"))
    table.files.put(_file_name(table), json.dumps({"losses": text, "own": zlib.crc32(text.encode())}).encode())


def _loss(table: Table, row: Mapping[str, Any], until: datetime) -> Loss:
    time = table.dataset.time
    first, last = row.get(f"min.{time}"), row.get(f"max.{time}")
    symbol = row.get("symbol")
    ends = row.get("max.superseded_at")
    return Loss(
        source=str(row.get("source") or ""),
        symbols=(str(symbol or row.get("min.symbol") or ""), str(symbol or row.get("max.symbol") or "")),
        rows=int(row["rows"] or 0),
        first="" if first is None else first.isoformat(),
        last="" if last is None else last.isoformat(),
        known_from=row["min.known_at"].isoformat(),
        known_until=(until if ends is None else ends).isoformat(),
        file=str(row["path"]),
    )


def _file_name(table: Table) -> str:
    return f"log/{table.name}/lost.json"


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
