"""This module writes the SQL by which `<name>_as_of(ts)` refuses moments of which versions were lost for good.

Fewer rows would read as all that were known then; `Lake.bars` refuses them as well.
"""

from __future__ import annotations

from collections.abc import Sequence

from gb_pipeline.errors import LakeError
from gb_pipeline.storage.losses import LOST_FIX, read_losses
from gb_pipeline.storage.snapshot import Snapshot
from gb_pipeline.storage.table import Tables


def lost_moments(tables: Tables, snapshots: Sequence[Snapshot]) -> dict[str, str]:
    """A condition on `ts` by table, which ends a query with an error; only of tables that have lost something."""
    conditions = {}
    for snapshot in snapshots:
        name = snapshot.dataset.name
        if not snapshot.dataset.history or snapshot.version < 0:
            continue
        try:
            losses = read_losses(tables[name])
        except LakeError as error:
            conditions[name] = f"{_error(str(error))} is null"
            continue
        if losses:
            cases = " ".join(
                f"when {_moment('ts')} >= timestamptz '{loss.known_from}' and {_moment('ts')} < timestamptz '{loss.known_until}'"
                f" then {_error(f'what was known then is not known any more: {loss} -> {LOST_FIX}')}"
                for loss in losses
            )
            conditions[name] = f"case {cases} else true end"
    return conditions


def _moment(argument: str) -> str:
    return f"cast({argument} as timestamp with time zone)"


def _error(message: str) -> str:
    text = " ".join(message.split()).replace("'", "''")
    return f"cast(error('{text}') as boolean)"
