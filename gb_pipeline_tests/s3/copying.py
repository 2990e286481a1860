"""A copy of a lake that is going to be killed: `python -m gb_pipeline_tests.s3.copying COMMAND FROM TO`.

It prints `ready` when everything is imported, and begins. How buckets are reached is in the environment.
"""

from __future__ import annotations

import sys

from gb_pipeline.lake.backup import plan_copy
from gb_pipeline.lake.store import LakeStore


def run(command: str, source: str, target: str) -> str:
    """Copy as `gb backup`, `gb sync` or `gb restore` does; the fingerprint of both."""
    copy = plan_copy(LakeStore.at(source), LakeStore.at(target), restore=command == "restore")
    return copy.run(remove=command == "sync").fingerprint


if __name__ == "__main__":
    import deltalake  # noqa: F401
    import duckdb  # noqa: F401
    import pandera.polars  # noqa: F401
    import s3fs  # noqa: F401

    print("ready", flush=True)
    print(run(*sys.argv[1:]), flush=True)
