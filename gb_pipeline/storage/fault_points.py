"""This module has named points at which a write can be cut off, to prove that nothing is lost there.

With `GB_FAULT_POINT=<name>` in the environment the process is killed when it reaches that point for the first time, and with
`GB_FAULT_POINT=<name>:<n>` the n-th time. Nothing else in the package looks at the variable.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from functools import cache

POINTS = (
    "before_files",
    "file_written",
    "files_synced",
    "entry_written",
    "committed",
    "before_ledger",
    "acknowledged",
    "compacted_file",
    "vacuum_deleting",
    "checkpoint_written",
    "checkpoint_sealed",
    "catalog_built",
)


# The same of a copy of a lake.
COPY_POINTS = ("data_copied", "entry_copied")
# The same of a refresh of Iceberg tables.
ICEBERG_POINTS = ("iceberg_written", "iceberg_committed")
# The same of an import of another tool's files.
IMPORT_POINTS = ("import_begun", "import_recorded", "import_written", "import_intervals")
# The same of an answer that is kept in a file.
CACHE_POINTS = ("cache_file_opened", "cache_file_written")
# The same of what a collector heard, on its way into the lake.
SPOOL_POINTS = (
    "spool_written",
    "spool_synced",
    "segment_sealed",
    "rows_committed",
    "evidence_committed",
    "segment_deleted",
)
# The same of what backtests found: what a save reaches, and a purge.
RESULT_POINTS = ("artifacts_kept", "part_committed")
PURGE_POINTS = ("purge_noted", "runs_purged", "rows_purged", "notes_purged")


@dataclass
class _Fault:
    point: str
    remaining: int


@cache
def _requested_fault() -> _Fault:
    """What the environment asks for; looked at when the first point is reached."""
    name, _, count = os.environ.get("GB_FAULT_POINT", "").partition(":")
    return _Fault(name, int(count) if count.isdigit() else 1)


def reach(point: str) -> None:
    """Say that a point is reached; kills this process where the environment asks for it.

    Example:
        >>> reach("committed")
    """
    fault = _requested_fault()
    if point != fault.point:
        return
    fault.remaining -= 1
    if fault.remaining <= 0:
        os.kill(os.getpid(), signal.SIGKILL)
