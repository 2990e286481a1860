"""Opening, making and committing to the Delta tables.

Belongs here: handles, versions and conflicts. Does not belong here: layout (`specs`), finding rows (`files`).
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import polars as pl
import pyarrow as pa

from gb_pipeline.errors import LakeError
from gb_pipeline.lake.specs import TableSpec, table_names, writer_properties
from gb_pipeline.lake.storage import Storage
from gb_pipeline.market import schema

if TYPE_CHECKING:
    from deltalake import DeltaTable

# delta-rs retries a commit that others overtook; its default of 15 gave up on 4 % of the commits of eight processes.
COMMIT_RETRIES = 200
# A commit that others made wrong (they touched the same rows) is decided anew from what is stored then.
CONFLICT_ATTEMPTS = 60

T = TypeVar("T")


class Tables:
    """The tables under one root. Safe to share between threads; every process has its own."""

    def __init__(self, storage: Storage) -> None:
        """Nothing is opened or created before it is asked for."""
        self.storage = storage
        # What series were found to hold, by source, resolution and symbol; a series never changes it.
        self.adjustments: dict[tuple[str, str, str], schema.Adjustment] = {}
        # The newest split of each symbol by source, and the version of `corporate_actions` that says so.
        self.last_splits: dict[str, tuple[int, dict[str, date]]] = {}
        self._handles: dict[str, DeltaTable] = {}
        self._lock = threading.RLock()

    def existing(self) -> tuple[str, ...]:
        """Names of the tables that hold at least a schema."""
        return tuple(name for name in table_names() if self._is_there(name))

    @contextmanager
    def open(self, name: str) -> Iterator[DeltaTable | None]:
        """The table at its newest version, or None where there is no such table.

        The version stays as it is until the block ends: a commit inside the block conflicts with whatever other processes
        did since, and other threads of this process wait.
        """
        from deltalake import DeltaTable

        with self._lock:
            if name in self._handles:
                if self._may_have_grown(name):
                    self._handles[name].update_incremental()
            elif self._is_there(name):
                self._handles[name] = DeltaTable(self.storage.table(name), storage_options=dict(self.storage.options))
            yield self._handles.get(name)

    def ensure(self, spec: TableSpec) -> None:
        """Make the table unless it is there; several processes may try at once."""
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError

        if spec.name in self._handles or self._is_there(spec.name):
            return
        indexed = ",".join(key for key in spec.keys if key not in spec.partition_by)
        try:
            DeltaTable.create(
                self.storage.table(spec.name),
                spec.schema,
                mode="error",
                partition_by=list(spec.partition_by),
                name=spec.name,
                # The log is history that people may ask for; checkpoints keep opening fast.
                configuration={
                    "delta.dataSkippingStatsColumns": indexed,
                    "delta.logRetentionDuration": "interval 3650 days",
                },
                storage_options=dict(self.storage.options),
            )
        except (DeltaError, OSError) as error:
            # Somebody else may have made it a moment ago.
            if not self._is_there(spec.name):
                raise self._unwritable(spec, error) from error

    def append(self, spec: TableSpec, frame: pl.DataFrame) -> int:
        """Append rows in one commit; the version it became. Appends never conflict."""
        self.ensure(spec)
        with self.open(spec.name) as table:
            return self._write(table, spec, frame.sort(spec.order), mode="append")

    def replace(self, table: DeltaTable, spec: TableSpec, frame: pl.DataFrame, predicate: str) -> int:
        """Replace the rows that match the predicate, in one commit on top of the opened version.

        Args:
            frame: columns of the spec, in the order of the spec: bars are sorted already, and sorting a year again takes
                as long as hashing it.

        Raises:
            CommitFailedError: somebody else changed rows that match the predicate since it was opened (deltalake's own
                error: `retry_on_conflict` waits for it).
        """
        return self._write(table, spec, frame, mode="overwrite", predicate=predicate)

    def _write(self, table: DeltaTable | None, spec: TableSpec, frame: pl.DataFrame, **how: str) -> int:
        from deltalake import CommitProperties, write_deltalake
        from deltalake.exceptions import CommitFailedError, DeltaError

        if table is None:
            raise LakeError(
                f"table {spec.name} vanished from {self.storage.root}", fix="restore the folder, or start anew"
            )
        self._evolve(table, spec)
        columns = schema.polars_schema(spec.schema)
        arrow = frame.select(columns.names()).cast(columns).to_arrow().cast(spec.schema)
        try:
            write_deltalake(
                table,
                arrow,
                writer_properties=writer_properties(spec),
                commit_properties=CommitProperties(max_commit_retries=COMMIT_RETRIES),
                storage_options=dict(self.storage.options),
                **how,
            )
        except CommitFailedError:
            raise
        except (DeltaError, OSError) as error:
            raise self._unwritable(spec, error) from error
        return int(table.version())

    def _evolve(self, table: DeltaTable, spec: TableSpec) -> None:
        """Give a table that is older than a nullable column that column; rows written before hold null."""
        from deltalake import Schema

        there = {field.name for field in table.schema().fields}
        lacking = pa.schema([field for field in spec.schema if field.name not in there])
        if lacking.names:
            table.alter.add_columns(Schema.from_arrow(lacking).fields)

    def _unwritable(self, spec: TableSpec, error: Exception) -> LakeError:
        return LakeError(
            f"table {spec.name} under {self.storage.root} could not be written: {error}",
            fix="nothing was committed; check free space and permissions (`gb doctor`), then run it again",
        )

    def _may_have_grown(self, name: str) -> bool:
        """Versions count up by one, so a local log without the next one has not grown; listing it takes milliseconds."""
        following = f"{self._handles[name].version() + 1:020}.json"
        return bool(self.storage.options) or Path(self.storage.table(name), "_delta_log", following).exists()

    def _is_there(self, name: str) -> bool:
        from deltalake import DeltaTable

        if not self.storage.options:
            return any(Path(self.storage.table(name), "_delta_log").glob("*.json"))
        return bool(DeltaTable.is_deltatable(self.storage.table(name), storage_options=dict(self.storage.options)))


def retry_on_conflict(act: Callable[[], T]) -> T:
    """Run an act that reads a snapshot and commits on top of it, again whenever somebody else was faster.

    Raises:
        LakeError: others were faster every time.
    """
    from deltalake.exceptions import CommitFailedError

    for attempt in range(CONFLICT_ATTEMPTS):
        try:
            return act()
        except CommitFailedError:
            time.sleep(random.uniform(0, min(1.0, 0.02 * 2 ** min(attempt, 6))))
    raise LakeError(
        f"other writers changed the same rows {CONFLICT_ATTEMPTS} times in a row", fix="run it again when they are done"
    )
