"""This module lists the catalog's tables by name, all made from one reading of the ledgers.

Each table is made by itself, so that damage in one ledger does not keep the others from being known. Their contents are computed
in `tables`; `projection` puts them into DuckDB.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import polars as pl

from gb_pipeline.catalog import tables as contents
from gb_pipeline.config.project_incidents import NO_INCIDENTS, Incidents
from gb_pipeline.lake import corporate_actions, decisions, fetches, ledger, quarantine, stream_files
from gb_pipeline.lake.datasets import FETCHES, QUARANTINE
from gb_pipeline.lake.explained import explain_sessions
from gb_pipeline.storage.table import Tables


@dataclass(frozen=True)
class Summaries:
    """The catalog's tables, each made on demand, from one reading of the ledgers.

    Attributes:
        tables: of the lake.
        instruments: see `symbol_data`.
        incidents: what explains gaps.
    """

    tables: Tables
    instruments: pl.DataFrame | None = None
    incidents: Incidents = NO_INCIDENTS

    @cached_property
    def files(self) -> pl.DataFrame:
        """See `file_list`."""
        return contents.file_list(self.tables)

    @cached_property
    def _sessions(self) -> pl.DataFrame:
        return explain_sessions(ledger.current(self.tables), self.incidents)

    def make(self, name: str) -> pl.DataFrame:
        """One table of the catalog.

        Args:
            name: one of `SUMMARIES`.

        Raises:
            LakeError: its contents are not known, because a ledger is damaged.
        """
        builders: dict[str, Callable[[], pl.DataFrame]] = {
            "symbol_data": lambda: contents.symbol_data(self.tables, self.files, self._sessions, self.instruments),
            "files": lambda: self.files,
            "coverage": lambda: contents.coverage(self._sessions),
            "gaps": lambda: contents.gaps(self._sessions),
            "quarantine": lambda: contents.quarantine_summary(
                decisions.with_decisions(self.tables, quarantine.read(self.tables))
            ),
            "corporate_actions": lambda: corporate_actions.read(self.tables),
            "fetches": lambda: contents.fetch_summary(fetches.read(self.tables)),
            "stream_files": lambda: stream_files.list_files(self.tables),
            "stream_data": lambda: stream_files.summarize_files(stream_files.list_files(self.tables)),
        }
        return builders[name]()


# Names of the tables, and each without a row.
SUMMARIES: Mapping[str, Callable[[], pl.DataFrame]] = {
    "symbol_data": lambda: pl.DataFrame(schema=contents.SYMBOL_DATA),
    "files": lambda: pl.DataFrame(schema=contents.FILES),
    "coverage": lambda: contents.coverage(ledger.SESSIONS_EMPTY),
    "gaps": lambda: contents.gaps(ledger.SESSIONS_EMPTY),
    "quarantine": lambda: contents.quarantine_summary(pl.DataFrame(schema={**QUARANTINE.polars, **decisions.DECIDED})),
    "corporate_actions": lambda: pl.DataFrame(schema=corporate_actions.ACTIONS_STORED),
    "fetches": lambda: contents.fetch_summary(pl.DataFrame(schema=FETCHES.polars)),
    "stream_files": lambda: pl.DataFrame(schema=stream_files.FILES),
    "stream_data": lambda: pl.DataFrame(schema=stream_files.STREAM_DATA),
}
