"""The lake's tables for one SQL query: only those files that its filters leave, every one verified as it is read.

The catalog's own views let DuckDB read Parquet, which does not verify checksums. Here the tables that a query names are
registered as Arrow datasets instead, and views of the same names come before the catalog's. `catalog.views` has their SQL, and
`sql` runs the query.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import polars as pl

from gb_pipeline.catalog import tables as catalog_tables
from gb_pipeline.catalog.incidents import known_incidents
from gb_pipeline.catalog.lost import lost_moments
from gb_pipeline.catalog.macros import MACROS, STREAM_MACRO
from gb_pipeline.catalog.stream_views import StreamView, describe_views
from gb_pipeline.catalog.summaries import SUMMARIES
from gb_pipeline.catalog.views import build_statements, registered_rows
from gb_pipeline.errors import LakeError
from gb_pipeline.lake import corporate_actions, ledger
from gb_pipeline.lake.datasets import STREAM_TABLES, parse_bar_table
from gb_pipeline.lake.explained import explain_sessions
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.reading.sql_guard import REGISTERED
from gb_pipeline.storage import reading
from gb_pipeline.storage.arrow_datasets import VerifiedDataset
from gb_pipeline.storage.file_pruning import FilePruner
from gb_pipeline.storage.losses import lost_error, read_losses
from gb_pipeline.storage.snapshot import Snapshot

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


# Tables of the catalog that sum up a table of the same name.
_SUMMARIES = ("corporate_actions", "quarantine", "fetches")
# Tables of the catalog that are made for a moment.
_AT_A_MOMENT = ("coverage", "gaps", "symbol_data", "corporate_actions")
# What only a catalog can answer: its own tables, and what lists tables.
_OF_THE_CATALOG = re.compile(
    "|".join([*SUMMARIES, "sources", "incidents", "catalog_meta", "view_statements"])
    + "|show|duckdb_|pragma_|information_schema|sqlite_|pg_"
)
# What lists tables, views and columns, and a text in SQL.
_LISTS = re.compile(r"information_schema|duckdb_(tables|views|columns)|pg_|sqlite_")
_LITERAL = re.compile(r"'(?:[^']|'')*'")
# What DuckDB says when a registered table could not be read to its end.
_READING_FAILED = "reading the stream registered as"


def needs_catalog(text: str) -> bool:
    """Whether a query may name one of the catalog's own tables; it may also ask for something that is nowhere."""
    return _OF_THE_CATALOG.search(text.lower()) is not None


class Pruners:
    """What chooses among the files of each table, made once per version. Safe to share between threads."""

    def __init__(self) -> None:
        """Nothing is made before it is needed."""
        self._made: dict[tuple[str, bool], tuple[tuple[str, int], FilePruner]] = {}
        self._guard = threading.Lock()

    def of(self, snapshot: Snapshot, *, current: bool) -> FilePruner:
        """The files of a version, or of them those of newest rows."""
        place, version = (snapshot.dataset.name, current), (snapshot.table_id, snapshot.version)
        with self._guard:
            made = self._made.get(place)
            if made is None or made[0] != version:
                files = reading.current_files(snapshot) if current else snapshot.files
                made = self._made[place] = version, FilePruner(snapshot.dataset, files)
            return made[1]


class SqlTables:
    """What a query may read of a lake's tables, each at one version."""

    def __init__(self, store: LakeStore, text: str, pruners: Pruners, *, only_asked: bool = False) -> None:
        """Take the newest version of every table that the query names.

        Args:
            store: the lake.
            text: the query.
            pruners: of earlier queries.
            only_asked: the tables have no rows, and note what is asked of them.

        Raises:
            LakeError: what one of them holds is not known.
        """
        self._store, self._tables = store, store.tables.view()
        self._text = text.lower()
        if _LISTS.search(self._text):
            # A name that a list is searched for is not read; what is registered to be read would stand in the list.
            self._text = _LITERAL.sub("''", self._text)
        self._pruners, self._only_asked = pruners, only_asked
        self._macros = [name for name in MACROS if re.search(rf"(?<![\w]){name}(?![\w])", self._text)]
        named = map(self._tables.newest, self._named())
        self._snapshots = [snapshot for snapshot in named if snapshot.version >= 0]
        self.datasets: dict[str, VerifiedDataset] = {}

    def damage_behind(self, error: Exception) -> list[LakeError]:
        """The damaged files that made a query end with an error.

        Where reading a table failed on the way, every file that was opened is checked: DuckDB does not say which one it was.
        """
        failed = _READING_FAILED in str(error)
        watches = [scan.watch for dataset in self.datasets.values() for scan in dataset.scans]
        return [damage for watch in watches for damage in (watch.look_for_damage() if failed else watch.damage)]

    def register(
        self, connection: DuckDBPyConnection, as_of: datetime | None = None, priority: Sequence[str] = ()
    ) -> None:
        """Put the views and macros that the query names before those of the catalog.

        Args:
            connection: of this query alone.
            as_of: tables are seen as they were known at this moment.
            priority: names of sources, the one that answers first at the beginning.
        """
        if as_of is not None:
            self._refuse_lost(as_of)
        statements = self._statements(as_of, priority)
        text = "\n".join(statements.values())
        for (table, current), name in self._names().items():
            if re.search(rf"\b{name}\b", text):
                snapshot = self._tables.newest(table)
                pruner = self._pruners.of(snapshot, current=current)
                dataset = VerifiedDataset(self._tables.storage, pruner, only_asked=self._only_asked)
                self.datasets[name] = dataset
                connection.register(name, dataset)
        for statement in statements.values():
            connection.execute(statement.replace("create ", "create or replace temp ", 1))
        if as_of is not None:
            for name, frame in self._summaries(as_of):
                connection.register(name, frame.to_arrow())

    def _statements(self, as_of: datetime | None, priority: Sequence[str]) -> dict[str, str]:
        """Of the views and macros those that the query names, and what they are made of."""
        skip = _SUMMARIES if "restatements" in self._text else (*_SUMMARIES, "restatements")
        lost = lost_moments(self._tables, self._snapshots) if "as_of" in self._text else None
        statements = build_statements(
            self._snapshots, registered_rows(self._names()), skip=skip, as_of=as_of, priority=priority, lost=lost,
            streams=self._streams(),
        )  # fmt: skip
        needed: set[str] = set()
        # What is made of others comes after them.
        for name in reversed(statements):
            if (
                (name in self._macros)
                if name in MACROS
                else (name in self._text or any(_is_part(name, statements[other]) for other in needed))
            ):
                needed.add(name)
        return {name: statement for name, statement in statements.items() if name in needed}

    def _streams(self) -> dict[str, StreamView]:
        """What views of streams have to know, where the query names one: evidence is not read for rows as they are stored."""
        shown = [name for name in STREAM_TABLES if re.search(rf"(?<!\w){name}({STREAM_MACRO})?(?!\w)", self._text)]
        return describe_views(self._tables, shown) if shown else {}

    def _names(self) -> dict[tuple[str, bool], str]:
        """Under which name each table is registered: its newest rows, and all of them."""
        return {
            (name, current): f"{REGISTERED}{name}_{'now' if current else 'ever'}"
            for name in (snapshot.dataset.name for snapshot in self._snapshots)
            for current in (True, False)
        }

    def _refuse_lost(self, moment: datetime) -> None:
        """Raise where versions that held at the moment are lost for good."""
        for snapshot in self._snapshots:
            for loss in read_losses(self._tables[snapshot.dataset.name]):
                if loss.valid_at(moment):
                    raise lost_error(loss, moment)

    def _summaries(self, as_of: datetime) -> Iterator[tuple[str, pl.DataFrame]]:
        """The catalog's tables about series and sessions as of a moment, where the query names them."""
        sessions = None
        for name in (name for name in _AT_A_MOMENT if name in self._text):
            if name == "corporate_actions":
                yield name, corporate_actions.read(self._tables, as_of=as_of)
                continue
            if sessions is None:
                sessions = explain_sessions(ledger.current(self._tables, as_of=as_of), known_incidents(self._store))
            if name == "symbol_data":
                files = catalog_tables.file_list(self._tables, as_of)
                yield name, catalog_tables.symbol_data(self._tables, files, sessions, by_log=False)
            else:
                yield name, catalog_tables.coverage(sessions) if name == "coverage" else catalog_tables.gaps(sessions)

    def _named(self) -> list[str]:
        """Tables of which a name, or that of a view of it, is in the query; siblings of bars come along."""
        names = [dataset.name for dataset in self._tables.datasets]
        if "restatements" in self._text or self._macros:
            return [name for name in names if parse_bar_table(name) or name in self._text]
        return [name for name in names if name.removesuffix("_wide") in self._text]


def _is_part(name: str, statement: str) -> bool:
    return re.search(rf"\b{name}\b", statement) is not None
