"""This module keeps the ledger of sessions: what the lake knows about every series in every trading day.

The table only grows; of several rows of one session the one that became known last is valid. Commits of bars carry their rows of
the ledger themselves (`ledger_notes`): readers unite the table with them, and from time to time the table takes them over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from urllib.parse import unquote

import polars as pl

from gb_pipeline.lake.datasets import SESSIONS, bars_dataset, parse_bar_table
from gb_pipeline.lake.ledger_notes import carries_rows, carry, decode_rows, file_actions, pending_entries, pending_rows
from gb_pipeline.lake.report import SessionStatus
from gb_pipeline.market.moments import from_microseconds
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import Precision
from gb_pipeline.quality.rules import BarRules
from gb_pipeline.storage import append, reading
from gb_pipeline.storage.commit import Clock, Draft, commit, wall_clock
from gb_pipeline.storage.decoding import Between
from gb_pipeline.storage.locks import locked
from gb_pipeline.storage.reading import valid_at
from gb_pipeline.storage.snapshot import CLOCK
from gb_pipeline.storage.table import Table, Tables
from gb_pipeline.storage.vacuum import Needed

KEYS = ("source", "symbol", "resolution", "session")
# Columns that may differ although nothing happened.
_ABOUT_THE_ROW = {"fetched_at", "table_version", "calendar"}
COMPARED = tuple(name for name in SESSIONS.columns.names if name not in {*KEYS, *_ABOUT_THE_ROW})
SESSIONS_EMPTY = pl.DataFrame(schema=SESSIONS.polars)
_DAY = timedelta(days=1)


def scan(
    tables: Tables,
    source: str | None = None,
    resolution: Resolution | None = None,
    symbols: Sequence[str] | None = None,
    between: tuple[date, date] | None = None,
    columns: Sequence[str] | None = None,
) -> pl.LazyFrame:
    """Every row that was ever recorded of a series, a range of sessions (half-open), or everything."""
    tables = tables.view()
    files, needed_range = _files(tables, source, resolution, symbols, between)
    waiting = pending_rows(tables, source, resolution, between)
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
) -> tuple[pl.DataFrame, Between | None]:
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
    tables = tables.view()
    files, needed_range = _files(tables, source, resolution, symbols, between)
    waiting = pending_rows(tables, source, resolution, between)
    if files.is_empty() and waiting.is_empty():
        return SESSIONS_EMPTY
    rows = pl.concat([reading.read(tables.storage, SESSIONS, files, between=needed_range), waiting])
    if symbols is not None and not set(rows["symbol"].unique()) <= set(symbols):
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
    names = (*COMPARED, "fetched_at")
    previous = recorded.select(*KEYS, *(pl.col(name).alias(f"known {name}") for name in names))
    joined = rows.join(previous, on=KEYS, how="left", maintain_order="left")
    differs = pl.any_horizontal(pl.col(name).ne_missing(pl.col(f"known {name}")) for name in COMPARED)
    # That a session is still empty is news a day later: what was said long ago expires (`ingest.backlog`).
    is_confirmed_later = (pl.col("status") == SessionStatus.EMPTY.value) & (
        pl.col("fetched_at") >= pl.col("known fetched_at") + _DAY
    )
    return joined.filter(differs | is_confirmed_later).select(rows.columns)


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


def record_undisturbed(
    tables: Tables, rules: BarRules, describe: Callable[[Tables], pl.DataFrame], *, clock: Clock = wall_clock
) -> int:
    """Record what is said of sessions, while nobody stores bars of them.

    Args:
        rules: of the bars: their resolution and precision.
        describe: columns of `market.schema.SESSIONS` for the lake as it is then; called again where somebody was faster.

    Returns:
        How many rows differed from what was recorded.
    """
    name = bars_dataset(rules.resolution, rules.precision).name
    if not tables.storage.in_bucket:
        with locked(tables.storage.state, name):
            return append_changed(tables, describe(tables), clock=clock).height

    def decide(draft: Draft) -> int:
        view = tables.view(draft.base)
        rows = describe(view)
        new = select_changed(rows, read_recorded(view, rows)) if rows.height else rows
        carry(draft, view, new)
        return new.height

    return commit(tables[name], decide, clock=clock)


def newest_moment(tables: Tables, resolution: Resolution) -> datetime:
    """The newest moment that anything about bars of a resolution was stamped with.

    Bars of both precisions and the ledger are read together, so what is written next is stamped later than all of them, even if
    the wall clock went back.
    """
    names = (SESSIONS.name, *(bars_dataset(resolution, precision).name for precision in Precision))
    return from_microseconds(max(tables.newest(name).clock for name in names))


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
    if len(pending_entries(tables, table)) < least:
        return 0

    def decide(draft: Draft) -> int:
        notes = pending_entries(tables, table)
        if not notes:
            return 0
        draft.set_transaction(table.name, notes[-1].version)
        for action in file_actions(notes):
            if unquote(action["path"]) not in without:
                draft.add_file(action)
        small_notes = [decode_rows(tables, table, entry) for entry in notes if carries_rows(entry)]
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


def find_needed(tables: Tables) -> Needed:
    """What the ledger has yet to take over: a vacuum keeps these entries, and the files that they name."""
    entries, files = {}, set[str]()
    for snapshot in tables.existing():
        if parse_bar_table(snapshot.dataset.name) is None:
            continue
        name = snapshot.dataset.name
        # Every entry has to be read, even those that carry nothing.
        entries[name] = tables.newest(SESSIONS.name).transactions.get(name, -1) + 1
        files |= {unquote(action["path"]) for action in file_actions(pending_entries(tables, tables[name]))}
    return Needed(entries, {SESSIONS.name: frozenset(files)})
