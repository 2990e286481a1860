"""The ledger of sessions: what the lake knows about every series in every trading day.

Belongs here: the valid row of a session now or at a moment, and adding rows that say something new. The table only grows; of
several rows of one session the one that became known last holds. A commit of bars carries its ledger rows in files that are
written before it, and the ledger takes them over afterwards: a crash in between is finished by `recover`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

import polars as pl

from gb_pipeline.lake.datasets import SESSIONS, bars_of
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.storage import append, reading
from gb_pipeline.storage.commit import Clock, from_microseconds, microseconds, wall_clock
from gb_pipeline.storage.locks import locked
from gb_pipeline.storage.reading import held_at
from gb_pipeline.storage.table import Table, Tables

KEYS = ("source", "symbol", "resolution", "session")
# What may differ although nothing happened.
_ABOUT_THE_ROW = {"fetched_at", "table_version"}
SAID = tuple(name for name in SESSIONS.columns.names if name not in {*KEYS, *_ABOUT_THE_ROW})
SESSIONS_EMPTY = pl.DataFrame(schema=SESSIONS.polars)
_DAY = timedelta(days=1)
# Where an entry of bars keeps its ledger rows.
_NOTE = "ledger"


def rows(
    tables: Tables,
    source: str | None = None,
    resolution: Resolution | None = None,
    symbols: Sequence[str] | None = None,
    between: tuple[date, date] | None = None,
    columns: Sequence[str] | None = None,
) -> pl.LazyFrame:
    """Every row that was ever said of a series, a range of sessions (half-open), or everything."""
    files, cut = _files(tables, source, resolution, symbols, between)
    lazy = reading.scan(tables.storage, SESSIONS, files, columns, between=cut)
    return lazy if symbols is None else lazy.filter(pl.col("symbol").is_in(list(symbols)))


def _files(
    tables: Tables,
    source: str | None,
    resolution: Resolution | None,
    symbols: Sequence[str] | None,
    between: tuple[date, date] | None,
) -> tuple[pl.DataFrame, reading.Between | None]:
    """The files that may hold such rows, and the range of sessions as a reader takes it."""
    named = (("source", source), ("resolution", resolution and resolution.value))
    files = tables.newest(SESSIONS.name).select(
        {name: value for name, value in named if value},
        between={"session": between} if between else None,
        holding={"symbol": symbols} if symbols is not None else None,
    )
    return files, None if between is None else ("session", *between)


def valid(said: pl.LazyFrame, as_of: datetime | None = None) -> pl.LazyFrame:
    """Of all rows of the ledger, the valid one of every session, sorted by key."""
    if as_of is not None:
        said = said.filter(held_at(as_of, history=False))
    return said.sort(*KEYS, "known_at").unique(KEYS, keep="last", maintain_order=True)


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
    files, cut = _files(tables, source, resolution, symbols, between)
    found = reading.read(tables.storage, SESSIONS, files, between=cut)
    if symbols is not None:
        found = found.filter(pl.col("symbol").is_in(list(symbols)))
    if as_of is not None:
        found = found.filter(held_at(as_of, history=False))
    return found.sort(*KEYS, "known_at").unique(KEYS, keep="last", maintain_order=True) if found.height else found


def changed(said: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """The rows that say something else than the ledger does.

    Args:
        said: columns of `market.schema.SESSIONS`, of one source and resolution.
        known: `current` of at least these series and sessions.
    """
    if known.is_empty() or said.is_empty():
        return said
    before = known.select(*KEYS, *(pl.col(name).alias(f"known {name}") for name in SAID))
    joined = said.join(before, on=KEYS, how="left", maintain_order="left")
    differs = pl.any_horizontal(pl.col(name).ne_missing(pl.col(f"known {name}")) for name in SAID)
    return joined.filter(differs).select(said.columns)


def known_of(tables: Tables, said: pl.DataFrame) -> pl.DataFrame:
    """What the ledger holds about the sessions of some rows, all of one source and resolution."""
    first, last = said["session"].min(), said["session"].max()
    if not isinstance(first, date) or not isinstance(last, date):
        return SESSIONS_EMPTY
    symbols = said["symbol"].unique().to_list()
    return current(tables, said["source"][0], Resolution(said["resolution"][0]), symbols, (first, last + _DAY))


def append_changed(
    tables: Tables, said: pl.DataFrame, known: pl.DataFrame | None = None, *, clock: Clock = wall_clock
) -> pl.DataFrame:
    """Add the rows that say something new, in a commit of their own; none where there are none. Returns them.

    Args:
        known: what the ledger holds about these sessions, where the caller has it.
    """
    new = changed(said, known_of(tables, said) if known is None else known)
    append.append(tables[SESSIONS.name], new, clock=clock)
    return new


def note(tables: Tables, said: pl.DataFrame, stamp: datetime) -> dict[str, Any]:
    """Write ledger rows as files, and what the commit of bars has to carry of them."""
    return {_NOTE: {"actions": append.prepare(tables[SESSIONS.name], said, stamp), "stamp": microseconds(stamp)}}


def take_over(tables: Tables, name: str, version: int, info: Mapping[str, Any], *, clock: Clock = wall_clock) -> None:
    """Commit the ledger rows that an entry of a table of bars carries, unless that has been done."""
    carried = info.get(_NOTE)
    if carried is not None:
        stamp = from_microseconds(int(carried["stamp"]))
        append.take_over(tables[SESSIONS.name], carried["actions"], stamp, (name, version), clock=clock)


def recover(tables: Tables, table: Table, *, clock: Clock = wall_clock) -> int:
    """Take over what killed writers left behind; the caller holds the table's lock. Returns how many entries that were."""
    newest = table.newest().version
    done = tables.newest(SESSIONS.name).transactions.get(table.name, -1)
    found = 0
    for version in range(done + 1, newest + 1):
        entry = table.entry(version)
        if entry is not None and _NOTE in entry.info:
            take_over(tables, table.name, version, entry.info, clock=clock)
            found += 1
    return found


def recover_all(tables: Tables, *, clock: Clock = wall_clock) -> int:
    """The same for every table of bars that nobody is writing to just now."""
    found = 0
    for snapshot in list(tables.existing(damaged=[])):
        if bars_of(snapshot.dataset.name) is None:
            continue
        with locked(tables.storage.state, snapshot.dataset.name, wait=False) as held:
            if held:
                found += recover(tables, tables[snapshot.dataset.name], clock=clock)
    return found
