"""A program: eight processes on one home, each of them a run of many series and days, beside somebody who looks."""

# No postponed annotations: Dagster looks at that of `context`.
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

import dagster as dg

from gb_pipeline.dagster_runtime.event_log import together
from gb_pipeline.dagster_runtime.opening import open_home
from gb_pipeline.dagster_runtime.status_cache import keep_status_warm

RUNS = 8
DAYS = dg.DailyPartitionsDefinition("2024-01-01", end_date="2024-01-11")
SERIES = [f"S{number:02d}" for number in range(10)]
KEYS = [dg.AssetKey(name) for name in SERIES]


@dg.multi_asset(specs=[dg.AssetSpec(name, partitions_def=DAYS, skippable=True) for name in SERIES], can_subset=True)
def many(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult]:
    """Every series and day, as our assets report them."""
    for key in context.partition_keys:
        with together(context.instance, context.run.run_id):
            for series in SERIES:
                context.log_event(dg.AssetMaterialization(series, partition=key))
    keep_status_warm(context.instance, KEYS, DAYS)
    yield from ()


def run(home: Path) -> None:
    first, *_, last = DAYS.get_partition_keys()
    tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    job = dg.Definitions(assets=[many]).resolve_implicit_global_asset_job_def()
    with open_home(home) as instance:
        assert job.execute_in_process(instance=instance, tags=tags).success


def main(home: Path) -> int:
    children = []
    for _ in range(RUNS):
        # The imports are paid for once.
        if not (child := os.fork()):
            code = 1
            try:
                run(home)
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        children.append(child)
    return sum(os.waitpid(child, 0)[1] != 0 for child in children)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
