"""This module lets Dagster's plots over partitions end where the partitions do.

Dagster 1.13 lists the newest partitions from the present backwards, also of a source that ended years ago: the plots are of days
that do not exist, and so they are empty.
"""

from __future__ import annotations

from typing import Any

import dagster as dg


def list_ended_partitions_from_their_end() -> None:
    """Correct the listing in this process; as often as one likes."""
    original = dg.TimeWindowPartitionsDefinition.get_paginated_partition_keys
    if getattr(original, "corrected", False):
        return

    def list_keys(
        self: dg.TimeWindowPartitionsDefinition, context: Any, limit: int, ascending: bool, cursor: str | None = None
    ) -> Any:
        end = self.end
        if end is not None and context.effective_dt > end:
            context = context.updated(effective_dt=end, dynamic_partitions_store=None)
        return original(self, context, limit, ascending, cursor)

    list_keys.corrected = True  # type: ignore[attr-defined]
    dg.TimeWindowPartitionsDefinition.get_paginated_partition_keys = list_keys  # type: ignore[method-assign]
