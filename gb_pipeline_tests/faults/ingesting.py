"""A process that ingests: `python ingesting.py PROJECT SYMBOLS START END READY GO`.

Run by the tests of this folder, so that there is something to kill and something to compete with. Windows and batches are much
smaller than in earnest, which makes a few seconds hold dozens of commits to be interrupted.
"""

from __future__ import annotations

import sys
import time
from datetime import date
from pathlib import Path

from gb_pipeline.config.settings import Settings
from gb_pipeline.ingest import bars as pipeline
from gb_pipeline.ingest import job
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution


def main() -> None:
    """Get ready, wait for the start, ingest."""
    project, symbols, start, end, ready, go = sys.argv[1:7]
    job.PART_ROWS, pipeline.BATCH_ROWS = 5 * 1440, 10 * 1440
    settings = Settings.load(project)
    source = settings.source("sim")
    store = LakeStore.at(settings.lake)
    wanted = [symbol for symbol in source.instruments if symbol.code in symbols.split(",")]
    jobs = [job.Job(symbol, date.fromisoformat(start), date.fromisoformat(end)) for symbol in wanted]
    Path(ready).touch()
    while not Path(go).exists():
        time.sleep(0.01)
    outcomes = pipeline.ingest(store, source, Resolution.MINUTE, jobs, run_id=ready)
    sys.exit(0 if all(outcome.ok for outcome in outcomes) else 3)


if __name__ == "__main__":
    main()
