"""The lake's tables for one SQL query, every file verified as it is read.

The catalog's own views let DuckDB read Parquet, which does not verify checksums. Here the tables that a query names are
registered as Arrow datasets instead, and views of the same names come before the catalog's. `catalog.views` has their SQL, and
`sql` runs the query.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import polars as pl

from gb_pipeline.catalog import tables as catalog_tables
from gb_pipeline.catalog.lost import lost_moments
from gb_pipeline.catalog.views import build_statements, registered_rows
from gb_pipeline.config.project_incidents import Incidents
from gb_pipeline.errors import LakeError
from gb_pipeline.lake import corporate_actions, ledger
from gb_pipeline.lake.datasets import parse_bar_table
from gb_pipeline.lake.explained import explain_sessions
from gb_pipeline.storage import reading
from gb_pipeline.storage.arrow_datasets import VerifiedFiles, verified_dataset
from gb_pipeline.storage.losses import lost_error, read_losses
from gb_pipeline.storage.table import Tables

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


# Tables of the catalog that sum up a table of the same name.
_SUMMARIES = ("corporate_actions", "quarantine", "fetches")
# What DuckDB says when a registered table could not be read to its end.
_READING_FAILED = "reading the stream registered as"


class SqlTables:
    """What a query may read of a lake's tables."""

    def __init__(self, tables: Tables, text: str, incidents: Incidents) -> None:
        """Take the newest version of every table that the query names.

        Args:
            incidents: what explains gaps.

        Raises:
            LakeError: what one of them holds is not known.
        """
        self._tables = tables
        self._text = text.lower()
        self._incidents = incidents
        self._watching: list[VerifiedFiles] = []
        self._snapshots = [snapshot for snapshot in map(tables.newest, self._named()) if snapshot.version >= 0]

    def damage_behind(self, error: Exception) -> list[LakeError]:
        """The damaged files that made a query end with an error.

        Where reading a table failed on the way, every file that was opened is checked: DuckDB does not say which one it was.
        """
        failed = _READING_FAILED in str(error)
        return [damage for watch in self._watching for damage in (watch.look_for_damage() if failed else watch.damage)]

    def register(
        self, connection: DuckDBPyConnection, as_of: datetime | None = None, priority: Sequence[str] = ()
    ) -> None:
        """Put views and macros of the tables before those of the catalog.

        Args:
            as_of: tables are seen as they were known at this moment.
            priority: names of sources, the one that answers first at the beginning.
        """
        names = {}
        if as_of is not None:
            self._refuse_lost(as_of)
        for snapshot in self._snapshots:
            for current in (True, False):
                if current and as_of is not None:
                    continue
                name = f"arrow_{snapshot.dataset.name}_{'now' if current else 'ever'}"
                files = reading.current_files(snapshot) if current else snapshot.files
                dataset, watch = verified_dataset(self._tables.storage, snapshot.dataset, files)
                connection.register(name, dataset)
                self._watching.append(watch)
                names[snapshot.dataset.name, current] = name
        skip = _SUMMARIES if "restatements" in self._text else (*_SUMMARIES, "restatements")
        statements = build_statements(
            self._snapshots,
            registered_rows(names),
            skip=skip,
            as_of=as_of,
            priority=priority,
            lost=lost_moments(self._tables, self._snapshots),
        )
        for statement in statements.values():
            connection.execute(statement.replace("create ", "create or replace temp ", 1))
        if as_of is not None:
            for name, frame in self._summaries(as_of):
                connection.register(name, frame.to_arrow())

    def _refuse_lost(self, moment: datetime) -> None:
        """Raise where versions that held at the moment are lost for good."""
        for snapshot in self._snapshots:
            for loss in read_losses(self._tables[snapshot.dataset.name]):
                if loss.valid_at(moment):
                    raise lost_error(loss, moment)

    def _summaries(self, as_of: datetime) -> Iterator[tuple[str, pl.DataFrame]]:
        """The catalog's tables about series and sessions as of a moment, where the query names them."""
        sessions = None
        for name in ("coverage", "gaps", "symbol_data"):
            if name in self._text:
                if sessions is None:
                    sessions = explain_sessions(ledger.current(self._tables, as_of=as_of), self._incidents)
                if name == "symbol_data":
                    files = catalog_tables.file_list(self._tables, as_of)
                    yield name, catalog_tables.symbol_data(self._tables, files, sessions, by_log=False)
                else:
                    yield (
                        name,
                        catalog_tables.coverage(sessions) if name == "coverage" else catalog_tables.gaps(sessions),
                    )
        if "corporate_actions" in self._text:
            yield "corporate_actions", corporate_actions.read(self._tables, as_of=as_of)

    def _named(self) -> list[str]:
        """Tables of which a name, or that of a view of it, is in the query; siblings of bars come along."""
        names = [dataset.name for dataset in self._tables.datasets]
        if "restatements" in self._text:
            return [name for name in names if parse_bar_table(name) or name in self._text]
        return [name for name in names if name.removesuffix("_wide") in self._text]
