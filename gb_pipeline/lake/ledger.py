"""The ledger of sessions: what the lake knows about every series in every trading day.

Belongs here: the valid row of a session now or at a moment, and adding rows that say something new. The table only grows; of
several rows of one session the one that became known last holds. A commit of bars carries what the ledger is to say of it in its
own entry, so neither is ever there without the other; readers unite the table with what newer entries carry, and from time to time
the table takes that over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any
from urllib.parse import unquote
from weakref import WeakKeyDictionary

import polars as pl

from gb_pipeline.lake.datasets import SESSIONS, bars, bars_of
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
# What may differ although nothing happened.
_ABOUT_THE_ROW = {"fetched_at", "table_version"}
SAID = tuple(name for name in SESSIONS.columns.names if name not in {*KEYS, *_ABOUT_THE_ROW})
SESSIONS_EMPTY = pl.DataFrame(schema=SESSIONS.polars)
_DAY = timedelta(days=1)
_EPOCH = date(1970, 1, 1).toordinal()
# Where an entry of bars keeps what the ledger is to say.
_NOTE = "ledger"
# More rows than this are carried as a file.
_MANY = 1_000
# So many entries may wait for the ledger before a writer makes it take them over.
BATCH = 25
_KEPT = 4 * BATCH
_DECODED: WeakKeyDictionary[Table, dict[int, pl.DataFrame]] = WeakKeyDictionary()


def _plain(kind: Any) -> Any:
    """A type as it stands in JSON: moments and days are integers."""
    if isinstance(kind, pl.Datetime):
        return pl.Int64()
    if isinstance(kind, pl.Date):
        return pl.Int32()
    if isinstance(kind, pl.List):
        return pl.List(_plain(kind.inner))
    if isinstance(kind, pl.Struct):
        return pl.Struct({field.name: _plain(field.dtype) for field in kind.fields})
    return kind


_PLAIN = pl.Schema({name: _plain(kind) for name, kind in SESSIONS.polars.items() if name != PERIOD})


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
    waiting = _waiting(tables, source, resolution, between)
    lazy = reading.scan(tables.storage, SESSIONS, files, columns, between=cut)
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
    named = (("source", source), ("resolution", resolution and resolution.value))
    files = tables.newest(SESSIONS.name).select(
        {name: value for name, value in named if value is not None},
        between={"session": between} if between else None,
        holding={"symbol": symbols} if symbols is not None else None,
    )
    return files, None if between is None else ("session", *between)


def valid(said: pl.LazyFrame, as_of: datetime | None = None) -> pl.LazyFrame:
    """Of all rows of the ledger, the valid one of every session, sorted by key."""
    if as_of is not None:
        said = said.filter(valid_at(as_of, history=False))
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
    waiting = _waiting(tables, source, resolution, between)
    found = reading.read(tables.storage, SESSIONS, files, between=cut)
    if waiting.height:
        found = pl.concat([found, waiting])
    if symbols is not None:
        found = found.filter(pl.col("symbol").is_in(list(symbols)))
    if as_of is not None:
        found = found.filter(valid_at(as_of, history=False))
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
    if new.height:
        after = newest_moment(tables, Resolution(new["resolution"][0]))
        append.append(tables[SESSIONS.name], new, clock=clock, after=after)
    return new


def newest_moment(tables: Tables, resolution: Resolution) -> datetime:
    """The newest moment that anything about bars of a resolution was stamped with.

    Bars of both precisions and the ledger answer one question together, so what is written next is stamped later than all of
    them, also where the wall clock went back.
    """
    names = (SESSIONS.name, *(bars(resolution, precision).name for precision in Precision))
    return from_microseconds(max(tables.newest(name).clock for name in names))


def note(tables: Tables, said: pl.DataFrame, stamp: datetime) -> dict[str, Any]:
    """What a commit of bars has to carry for the ledger: a few rows as they are, many as files."""
    if said.is_empty():
        return {}
    days = said["session"].cast(pl.Int32)
    about = {"source": said["source"][0], "days": [days.min(), days.max()]}
    if said.height > _MANY:
        return {_NOTE: {**about, "files": append.prepare_files(tables[SESSIONS.name], said, stamp)}}
    rows = with_known_at(said, stamp, history=False).select(_PLAIN.names()).cast(_PLAIN)
    return {_NOTE: {**about, "rows": rows.to_dict(as_series=False)}}


def take_over(
    tables: Tables,
    table: Table,
    *,
    least: int = 1,
    without: frozenset[str] = frozenset(),
    clock: Clock = wall_clock,
) -> int:
    """Let the ledger take over what a table's entries carry, where at least so many entries wait.

    The caller holds the table's lock. Rows keep the moment at which they became known with their bars.

    Args:
        without: paths of files that are left out, as they are damaged: what they said is lost.

    Returns:
        How many entries that were.
    """
    if len(_carried(tables, table)) < least:
        return 0

    def decide(draft: Draft) -> int:
        notes = _carried(tables, table)
        if not notes:
            return 0
        draft.set_transaction(table.name, notes[-1].version)
        for action in _file_actions(notes):
            if unquote(action["path"]) not in without:
                draft.add_file(action)
        few = [_rows_of(tables, table, entry) for entry in notes if "rows" in entry.info[_NOTE]]
        if few:
            draft.add(append.sort_rows(tables[SESSIONS.name], pl.concat(few)))
        # An entry of bars that carries something stamped it with its own clock.
        moments = [from_microseconds(entry.transactions[CLOCK]) for entry in notes]
        draft.stamp = max(draft.stamp, *moments)
        return len(notes)

    return commit(tables[SESSIONS.name], decide, clock=clock)


def take_over_all(tables: Tables, *, without: frozenset[str] = frozenset(), clock: Clock = wall_clock) -> int:
    """The same for every table of bars that nobody is writing to just now."""
    found = 0
    for snapshot in list(tables.existing(damaged=[])):
        if bars_of(snapshot.dataset.name) is None:
            continue
        with locked(tables.storage.state, snapshot.dataset.name, wait=False) as held:
            if held:
                found += take_over(tables, tables[snapshot.dataset.name], without=without, clock=clock)
    return found


def waiting_files(tables: Tables) -> pl.DataFrame:
    """Files of the ledger that only entries of bars name so far, as rows of `Snapshot.files`."""
    names = [snapshot.dataset.name for snapshot in tables.existing(damaged=[]) if bars_of(snapshot.dataset.name)]
    return index_files(SESSIONS, [action for name in names for action in _file_actions(_carried(tables, tables[name]))])


def needed(tables: Tables) -> Needed:
    """What the ledger has yet to take over: a vacuum keeps these entries, and the files that they name."""
    entries, files = {}, set[str]()
    for snapshot in tables.existing():
        if bars_of(snapshot.dataset.name) is None:
            continue
        name = snapshot.dataset.name
        # All of them are looked at, also those that carry nothing.
        entries[name] = tables.newest(SESSIONS.name).transactions.get(name, -1) + 1
        files |= {unquote(action["path"]) for action in _file_actions(_carried(tables, tables[name]))}
    return Needed(entries, {SESSIONS.name: frozenset(files)})


def _waiting(
    tables: Tables, source: str | None, resolution: Resolution | None, between: tuple[date, date] | None
) -> pl.DataFrame:
    """What entries carry that the ledger has not taken over, of any symbol."""
    days = None if between is None else (_number(between[0]), _number(between[1]))
    found = []
    for dataset in tables.datasets:
        kind = bars_of(dataset.name)
        if kind is None or resolution not in {None, kind[0]}:
            continue
        table = tables[dataset.name]
        for entry in _carried(tables, table):
            about = entry.info[_NOTE]
            if source not in {None, about["source"]}:
                continue
            if days is None or (about["days"][0] < days[1] and about["days"][1] >= days[0]):
                found.append(_rows_of(tables, table, entry))
    if not found:
        return SESSIONS_EMPTY
    rows = pl.concat(found)
    if between is not None:
        rows = rows.filter((pl.col("session") >= between[0]) & (pl.col("session") < between[1]))
    return rows


def _number(day: date) -> int:
    """Days since 1970, as they stand in a note."""
    return day.toordinal() - _EPOCH


def _carried(tables: Tables, table: Table) -> list[Entry]:
    """The entries of a table of bars that carry something which the ledger has not taken over."""
    # The ledger first: what it takes over meanwhile is then seen twice, which means nothing, and never missed.
    done = tables.newest(SESSIONS.name).transactions.get(table.name, -1)
    newest = table.newest().version
    return [entry for entry in table.entries(done + 1, newest) if _NOTE in entry.info]


def _file_actions(notes: Sequence[Entry]) -> list[Mapping[str, Any]]:
    return [action for entry in notes for action in entry.info[_NOTE].get("files", ())]


def _rows_of(tables: Tables, table: Table, entry: Entry) -> pl.DataFrame:
    held = _DECODED.setdefault(table, {})
    if entry.version not in held:
        carried = entry.info[_NOTE]
        if "files" in carried:
            files = index_files(SESSIONS, carried["files"])
            rows = reading.read(tables.storage, SESSIONS, files)
        else:
            plain = pl.DataFrame(carried["rows"], schema=_PLAIN)
            year = pl.col("session").dt.strftime(str(SESSIONS.period)).alias(PERIOD)
            rows = plain.cast({name: SESSIONS.polars[name] for name in _PLAIN.names()}).with_columns(year)
        held[entry.version] = rows.select(SESSIONS.schema.names)
        for version in [version for version in held if version < entry.version - _KEPT]:
            held.pop(version, None)
    return held[entry.version]
