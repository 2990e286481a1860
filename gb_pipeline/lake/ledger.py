"""This module keeps the ledger of sessions: what the lake knows about every series in every trading day.

The table only grows; of several rows of one session the one that became known last is valid. A commit of bars carries its rows of
the ledger in its own entry, so neither is ever there without the other. Readers unite the table with what newer entries carry,
and from time to time the table takes that over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any
from urllib.parse import unquote
from weakref import WeakKeyDictionary

import polars as pl

from gb_pipeline.lake.datasets import SESSIONS, bars_dataset, parse_bar_table
from gb_pipeline.market.moments import from_microseconds
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import Precision
from gb_pipeline.storage import append, reading
from gb_pipeline.storage.commit import Clock, Draft, commit, wall_clock, with_known_at
from gb_pipeline.storage.dataset import PERIOD
from gb_pipeline.storage.locks import locked
from gb_pipeline.storage.log import Entry
from gb_pipeline.storage.reading import valid_at
from gb_pipeline.storage.snapshot import CLOCK, index_files
from gb_pipeline.storage.table import Table, Tables
from gb_pipeline.storage.vacuum import Needed

KEYS = ("source", "symbol", "resolution", "session")
# Columns that may differ although nothing happened.
_ABOUT_THE_ROW = {"fetched_at", "table_version"}
COMPARED = tuple(name for name in SESSIONS.columns.names if name not in {*KEYS, *_ABOUT_THE_ROW})
SESSIONS_EMPTY = pl.DataFrame(schema=SESSIONS.polars)
_DAY = timedelta(days=1)
_EPOCH = date(1970, 1, 1).toordinal()
# The key under which an entry of bars carries rows of the ledger.
_NOTE = "ledger"
# More rows than this are carried as a file.
_NOTE_ROWS = 1_000
# A writer makes the ledger take over what waits once there are this many entries.
BATCH = 25
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


def scan(
    tables: Tables,
    source: str | None = None,
    resolution: Resolution | None = None,
    symbols: Sequence[str] | None = None,
    between: tuple[date, date] | None = None,
    columns: Sequence[str] | None = None,
) -> pl.LazyFrame:
    """Every row that was ever recorded of a series, a range of sessions (half-open), or everything."""
    files, needed_range = _files(tables, source, resolution, symbols, between)
    waiting = _pending_rows(tables, source, resolution, between)
    lazy = reading.scan(tables.storage, SESSIONS, files, columns, between=needed_range)
    if waiting.height:
        lazy = pl.concat([lazy, waiting.lazy().select(SESSIONS.schema.names if columns is None else list(columns))])
    return lazy if symbols is None else lazy.filter(pl.col("symbol").is_in(list(symbols)))


def _files(
    tables: Tables,
    source: str | None,
    resolution: Resolution | None,
    symbols: Sequence[str] | None,
    between: tuple[date, date] | None,
) -> tuple[pl.DataFrame, reading.Between | None]:
    """The files that may hold such rows, and the range of sessions as a reader takes it."""
    filters = (("source", source), ("resolution", resolution and resolution.value))
    files = tables.newest(SESSIONS.name).select(
        {name: value for name, value in filters if value is not None},
        between={"session": between} if between else None,
        holding={"symbol": symbols} if symbols is not None else None,
    )
    return files, None if between is None else ("session", *between)


def select_valid(rows: pl.LazyFrame, as_of: datetime | None = None) -> pl.LazyFrame:
    """Of all rows of the ledger, the valid one of every session, sorted by key."""
    if as_of is not None:
        rows = rows.filter(valid_at(as_of, history=False))
    return rows.sort(*KEYS, "known_at").unique(KEYS, keep="last", maintain_order=True)


def current(
    tables: Tables,
    source: str | None = None,
    resolution: Resolution | None = None,
    symbols: Sequence[str] | None = None,
    between: tuple[date, date] | None = None,
    as_of: datetime | None = None,
) -> pl.DataFrame:
    """The valid rows of the ledger for a series, a range of sessions, or everything.

    Args:
        between: half-open range of sessions.
        as_of: what was valid at this moment.

    Returns:
        Columns of the dataset `sessions`, sorted by source, symbol, resolution and session.
    """
    files, needed_range = _files(tables, source, resolution, symbols, between)
    waiting = _pending_rows(tables, source, resolution, between)
    rows = reading.read(tables.storage, SESSIONS, files, between=needed_range)
    if waiting.height:
        rows = pl.concat([rows, waiting])
    if symbols is not None:
        rows = rows.filter(pl.col("symbol").is_in(list(symbols)))
    if as_of is not None:
        rows = rows.filter(valid_at(as_of, history=False))
    return rows.sort(*KEYS, "known_at").unique(KEYS, keep="last", maintain_order=True) if rows.height else rows


def select_changed(rows: pl.DataFrame, recorded: pl.DataFrame) -> pl.DataFrame:
    """The rows that differ from what the ledger has recorded.

    Args:
        rows: columns of `market.schema.SESSIONS`, of one source and resolution.
        recorded: `current` of at least these series and sessions.
    """
    if recorded.is_empty() or rows.is_empty():
        return rows
    previous = recorded.select(*KEYS, *(pl.col(name).alias(f"known {name}") for name in COMPARED))
    joined = rows.join(previous, on=KEYS, how="left", maintain_order="left")
    differs = pl.any_horizontal(pl.col(name).ne_missing(pl.col(f"known {name}")) for name in COMPARED)
    return joined.filter(differs).select(rows.columns)


def read_recorded(tables: Tables, rows: pl.DataFrame) -> pl.DataFrame:
    """What the ledger holds about the sessions of some rows, all of one source and resolution."""
    first, last = rows["session"].min(), rows["session"].max()
    if not isinstance(first, date) or not isinstance(last, date):
        return SESSIONS_EMPTY
    symbols = rows["symbol"].unique().to_list()
    return current(tables, rows["source"][0], Resolution(rows["resolution"][0]), symbols, (first, last + _DAY))


def append_changed(
    tables: Tables, rows: pl.DataFrame, recorded: pl.DataFrame | None = None, *, clock: Clock = wall_clock
) -> pl.DataFrame:
    """Add the rows that differ from the recorded ones, in a commit of their own if there are any; returns them.

    Args:
        recorded: what the ledger holds about these sessions, where the caller has it.
    """
    new = select_changed(rows, read_recorded(tables, rows) if recorded is None else recorded)
    if new.height:
        after = newest_moment(tables, Resolution(new["resolution"][0]))
        append.append(tables[SESSIONS.name], new, clock=clock, after=after)
    return new


def newest_moment(tables: Tables, resolution: Resolution) -> datetime:
    """The newest moment that anything about bars of a resolution was stamped with.

    Bars of both precisions and the ledger are read together, so what is written next is stamped later than all of them, even if
    the wall clock went back.
    """
    names = (SESSIONS.name, *(bars_dataset(resolution, precision).name for precision in Precision))
    return from_microseconds(max(tables.newest(name).clock for name in names))


def encode_note(tables: Tables, rows: pl.DataFrame, stamp: datetime) -> dict[str, Any]:
    """What a commit of bars carries for the ledger: a few rows as they are, many as files."""
    if rows.is_empty():
        return {}
    days = rows["session"].cast(pl.Int32)
    about = {"source": rows["source"][0], "days": [days.min(), days.max()]}
    if rows.height > _NOTE_ROWS:
        return {_NOTE: {**about, "files": append.prepare_files(tables[SESSIONS.name], rows, stamp)}}
    plain_rows = with_known_at(rows, stamp, history=False).select(_NOTE_SCHEMA.names()).cast(_NOTE_SCHEMA)
    return {_NOTE: {**about, "rows": plain_rows.to_dict(as_series=False)}}


def take_over(
    tables: Tables,
    table: Table,
    *,
    least: int = 1,
    without: frozenset[str] = frozenset(),
    clock: Clock = wall_clock,
) -> int:
    """Let the ledger take over what a table's entries carry, if at least `least` entries wait.

    The caller holds the table's lock. Rows keep the moment at which they became known with their bars.

    Args:
        without: paths of files that are left out, as they are damaged: their rows are lost.

    Returns:
        How many entries that were.
    """
    if len(_pending_entries(tables, table)) < least:
        return 0

    def decide(draft: Draft) -> int:
        notes = _pending_entries(tables, table)
        if not notes:
            return 0
        draft.set_transaction(table.name, notes[-1].version)
        for action in _file_actions(notes):
            if unquote(action["path"]) not in without:
                draft.add_file(action)
        small_notes = [_rows_of(tables, table, entry) for entry in notes if "rows" in entry.info[_NOTE]]
        if small_notes:
            draft.add(append.sort_rows(tables[SESSIONS.name], pl.concat(small_notes)))
        # An entry of bars that carries something stamped it with its own clock.
        moments = [from_microseconds(entry.transactions[CLOCK]) for entry in notes]
        draft.stamp = max(draft.stamp, *moments)
        return len(notes)

    return commit(tables[SESSIONS.name], decide, clock=clock)


def take_over_all(tables: Tables, *, without: frozenset[str] = frozenset(), clock: Clock = wall_clock) -> int:
    """The same for every table of bars that nobody is writing to just now."""
    count = 0
    for snapshot in list(tables.existing(damaged=[])):
        if parse_bar_table(snapshot.dataset.name) is None:
            continue
        with locked(tables.storage.state, snapshot.dataset.name, wait=False) as is_locked:
            if is_locked:
                count += take_over(tables, tables[snapshot.dataset.name], without=without, clock=clock)
    return count


def pending_files(tables: Tables) -> pl.DataFrame:
    """Files of the ledger that only entries of bars name so far, as rows of `Snapshot.files`."""
    names = [
        snapshot.dataset.name for snapshot in tables.existing(damaged=[]) if parse_bar_table(snapshot.dataset.name)
    ]
    return index_files(
        SESSIONS, [action for name in names for action in _file_actions(_pending_entries(tables, tables[name]))]
    )


def find_needed(tables: Tables) -> Needed:
    """What the ledger has yet to take over: a vacuum keeps these entries, and the files that they name."""
    entries, files = {}, set[str]()
    for snapshot in tables.existing():
        if parse_bar_table(snapshot.dataset.name) is None:
            continue
        name = snapshot.dataset.name
        # Every entry has to be read, even those that carry nothing.
        entries[name] = tables.newest(SESSIONS.name).transactions.get(name, -1) + 1
        files |= {unquote(action["path"]) for action in _file_actions(_pending_entries(tables, tables[name]))}
    return Needed(entries, {SESSIONS.name: frozenset(files)})


def _pending_rows(
    tables: Tables, source: str | None, resolution: Resolution | None, between: tuple[date, date] | None
) -> pl.DataFrame:
    """What entries carry that the ledger has not taken over, of any symbol."""
    days = None if between is None else (_day_number(between[0]), _day_number(between[1]))
    pending = []
    for dataset in tables.datasets:
        kind = parse_bar_table(dataset.name)
        if kind is None or resolution not in {None, kind[0]}:
            continue
        table = tables[dataset.name]
        for entry in _pending_entries(tables, table):
            about = entry.info[_NOTE]
            if source not in {None, about["source"]}:
                continue
            if days is None or (about["days"][0] < days[1] and about["days"][1] >= days[0]):
                pending.append(_rows_of(tables, table, entry))
    if not pending:
        return SESSIONS_EMPTY
    rows = pl.concat(pending)
    if between is not None:
        rows = rows.filter((pl.col("session") >= between[0]) & (pl.col("session") < between[1]))
    return rows


def _day_number(day: date) -> int:
    """Days since 1970, as they stand in a note."""
    return day.toordinal() - _EPOCH


def _pending_entries(tables: Tables, table: Table) -> list[Entry]:
    """The entries of a table of bars that carry something which the ledger has not taken over."""
    # The ledger first: what it takes over meanwhile is then seen twice, which is harmless, and never missed.
    taken_over = tables.newest(SESSIONS.name).transactions.get(table.name, -1)
    newest = table.newest().version
    return [entry for entry in table.entries(taken_over + 1, newest) if _NOTE in entry.info]


def _file_actions(notes: Sequence[Entry]) -> list[Mapping[str, Any]]:
    return [action for entry in notes for action in entry.info[_NOTE].get("files", ())]


def _rows_of(tables: Tables, table: Table, entry: Entry) -> pl.DataFrame:
    decoded = _DECODED.setdefault(table, {})
    if entry.version not in decoded:
        note_content = entry.info[_NOTE]
        if "files" in note_content:
            files = index_files(SESSIONS, note_content["files"])
            rows = reading.read(tables.storage, SESSIONS, files)
        else:
            plain = pl.DataFrame(note_content["rows"], schema=_NOTE_SCHEMA)
            year = pl.col("session").dt.strftime(str(SESSIONS.period)).alias(PERIOD)
            rows = plain.cast({name: SESSIONS.polars[name] for name in _NOTE_SCHEMA.names()}).with_columns(year)
        decoded[entry.version] = rows.select(SESSIONS.schema.names)
        for version in [version for version in decoded if version < entry.version - _DECODED_ENTRIES]:
            decoded.pop(version, None)
    return decoded[entry.version]
