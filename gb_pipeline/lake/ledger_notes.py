"""This module carries rows of the ledger in the entries of bars, until the ledger takes them over.

A commit of bars notes its rows of the ledger in its own entry, so neither is ever there without the other: a few rows as they are,
many as files that the entry names. Readers of the ledger (`ledger`) unite its table with what waits in such notes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any
from weakref import WeakKeyDictionary

import polars as pl

from gb_pipeline.lake.datasets import SESSIONS, parse_bar_table
from gb_pipeline.market.moments import MICROSECOND, day_number, from_microseconds
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.storage import append, reading
from gb_pipeline.storage.commit import Draft, with_known_at
from gb_pipeline.storage.dataset import PERIOD
from gb_pipeline.storage.log import Entry
from gb_pipeline.storage.snapshot import index_files
from gb_pipeline.storage.table import Table, Tables

# A writer makes the ledger take over what waits once there are this many entries.
BATCH = 25
# The key under which an entry of bars carries rows of the ledger.
_NOTE = "ledger"
# More rows than this are carried as a file.
_MAX_NOTE_ROWS = 1_000
_NO_ROWS = pl.DataFrame(schema=SESSIONS.polars)
_DECODED_ENTRIES = 4 * BATCH
_DECODED: WeakKeyDictionary[Table, dict[int, pl.DataFrame]] = WeakKeyDictionary()


def _json_type(kind: Any) -> Any:
    """A type as it stands in JSON: moments and days are integers."""
    if isinstance(kind, pl.Datetime):
        return pl.Int64()
    if isinstance(kind, pl.Date):
        return pl.Int32()
    if isinstance(kind, pl.List):
        return pl.List(_json_type(kind.inner))
    if isinstance(kind, pl.Struct):
        return pl.Struct({field.name: _json_type(field.dtype) for field in kind.fields})
    return kind


_NOTE_SCHEMA = pl.Schema({name: _json_type(kind) for name, kind in SESSIONS.polars.items() if name != PERIOD})


def encode_note(tables: Tables, rows: pl.DataFrame, stamp: datetime) -> tuple[dict[str, Any], pl.DataFrame | None]:
    """What a commit of bars carries for the ledger: a few rows as they are, many as files.

    Args:
        rows: of one source and resolution, sorted by symbol and session.

    Returns:
        What goes into the entry, and the rows that it carries, for `remember`.
    """
    if rows.is_empty():
        return {}, None
    days = rows["session"].cast(pl.Int32)
    about = {"source": rows["source"][0], "days": [days.min(), days.max()]}
    if rows.height > _MAX_NOTE_ROWS:
        return {_NOTE: {**about, "files": append.prepare_files(tables[SESSIONS.name], rows, stamp)}}, None
    known_rows = with_known_at(rows, stamp, history=False)
    plain_rows = {name: known_rows[name].cast(kind).to_list() for name, kind in _NOTE_SCHEMA.items()}
    return {_NOTE: {**about, "rows": plain_rows}}, _with_period(known_rows)


def carry(draft: Draft, tables: Tables, rows: pl.DataFrame) -> pl.DataFrame | None:
    """Let a commit of bars carry rows for the ledger; what it carries as rows, for `remember`."""
    if rows.is_empty():
        return None
    # Whatever the ledger or the sibling of another precision was stamped with, this is said later.
    if draft.is_empty:
        draft.stamp = max(draft.stamp, from_microseconds(tables.newest(SESSIONS.name).clock) + MICROSECOND)
    note, carried = encode_note(tables, rows, draft.stamp)
    draft.carry(note)
    return carried


def remember(table: Table, version: int, rows: pl.DataFrame) -> None:
    """Keep the rows that an entry carries, so that they need not be decoded from it."""
    decoded = _DECODED.setdefault(table, {})
    decoded[version] = rows
    for older in [older for older in decoded if older < version - _DECODED_ENTRIES]:
        decoded.pop(older, None)


def _with_period(rows: pl.DataFrame) -> pl.DataFrame:
    """All columns of the dataset `sessions`."""
    periods = rows["session"].dt.strftime(str(SESSIONS.period)).alias(PERIOD)
    complete: pl.DataFrame = rows.hstack([periods])[SESSIONS.schema.names]
    return complete


def pending_files(tables: Tables) -> pl.DataFrame:
    """Files of the ledger that only entries of bars name so far, as rows of `Snapshot.files`."""
    names = [
        snapshot.dataset.name for snapshot in tables.existing(damaged=[]) if parse_bar_table(snapshot.dataset.name)
    ]
    return index_files(
        SESSIONS, [action for name in names for action in file_actions(pending_entries(tables, tables[name]))]
    )


def pending_rows(
    tables: Tables, source: str | None, resolution: Resolution | None, between: tuple[date, date] | None
) -> pl.DataFrame:
    """What entries carry that the ledger has not taken over, of any symbol."""
    days = None if between is None else (day_number(between[0]), day_number(between[1]))
    pending = []
    for dataset in tables.possible():
        kind = parse_bar_table(dataset.name)
        if kind is None or resolution not in {None, kind[0]}:
            continue
        table = tables[dataset.name]
        for entry in pending_entries(tables, table):
            about = entry.info[_NOTE]
            if source not in {None, about["source"]}:
                continue
            if days is None or (about["days"][0] < days[1] and about["days"][1] >= days[0]):
                pending.append(decode_rows(tables, table, entry))
    if not pending:
        return _NO_ROWS
    rows = pl.concat(pending)
    if between is not None:
        sessions = rows["session"]
        inside = (sessions >= between[0]) & (sessions < between[1])
        rows = rows if inside.all() else rows.filter(inside)
    return rows


def pending_entries(tables: Tables, table: Table) -> list[Entry]:
    """The entries of a table of bars that carry something which the ledger has not taken over."""
    # The ledger first: what it takes over meanwhile is then seen twice, which is harmless, and never missed.
    taken_over = tables.newest(SESSIONS.name).transactions.get(table.name, -1)
    newest = tables.newest(table.name).version
    return [entry for entry in table.entries(taken_over + 1, newest) if _NOTE in entry.info]


def carries_rows(entry: Entry) -> bool:
    """Whether an entry carries its rows as they are, not as files."""
    return "rows" in entry.info[_NOTE]


def file_actions(notes: Sequence[Entry]) -> list[Mapping[str, Any]]:
    """Add actions of the files that entries carry."""
    return [action for entry in notes for action in entry.info[_NOTE].get("files", ())]


def decode_rows(tables: Tables, table: Table, entry: Entry) -> pl.DataFrame:
    """The rows that an entry carries, all columns of the dataset `sessions`; those of newer entries are kept decoded."""
    decoded = _DECODED.setdefault(table, {})
    if entry.version not in decoded:
        note_content = entry.info[_NOTE]
        if "files" in note_content:
            rows = reading.read(tables.storage, SESSIONS, index_files(SESSIONS, note_content["files"]))
        else:
            columns = note_content["rows"]
            # A release before this one had fewer columns.
            absent = [None] * len(columns["symbol"])
            plain_rows = [pl.Series(name, columns.get(name, absent), kind) for name, kind in _NOTE_SCHEMA.items()]
            rows = _with_period(pl.DataFrame([column.cast(SESSIONS.polars[column.name]) for column in plain_rows]))
        remember(table, entry.version, rows)
        return rows
    return decoded[entry.version]
