"""The newest partitions of a source that ended are its last ones, in a process of its own: nothing else here is corrected."""

from __future__ import annotations

import subprocess
import sys

import pytest

LIST = """
import sys
from datetime import datetime, UTC
import dagster as dg
from gb_pipeline.dagster_runtime.ended_partitions import list_ended_partitions_from_their_end
from dagster._core.definitions.partitions.context import PartitionLoadingContext
from dagster._core.definitions.temporal_context import TemporalContext

list_ended_partitions_from_their_end()
list_ended_partitions_from_their_end()
now = TemporalContext(effective_dt=datetime(2026, 1, 10, tzinfo=UTC), last_event_id=None)
context = PartitionLoadingContext(temporal_context=now, dynamic_partitions_store=None)
days = dg.DailyPartitionsDefinition("2024-01-01", end_date=sys.argv[1] or None, exclusions=["0 0 * * 0"])
print(*days.get_paginated_partition_keys(context, 3, ascending=False).results)
"""


@pytest.mark.parametrize(
    ("end", "keys"),
    [("2024-01-09", "2024-01-08 2024-01-06 2024-01-05"), ("", "2026-01-09 2026-01-08 2026-01-07"),
     ("2026-02-01", "2026-01-09 2026-01-08 2026-01-07")],
)  # fmt: skip
def test_they_are_listed_from_the_end_backwards(end, keys):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LIST, end], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.split() == keys.split()
