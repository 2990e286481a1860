"""What a process does that ingests: there is something to kill, and something to compete with.

Windows and batches are much smaller than in earnest, which makes a few seconds hold dozens of commits to be interrupted.
"""

from __future__ import annotations

import sys
from datetime import date
from multiprocessing.connection import Connection
from pathlib import Path

from gb_pipeline.config.settings import Settings
from gb_pipeline.ingest import bars as pipeline
from gb_pipeline.ingest import job
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution


def ingest_when_told(
    connection: Connection, project: Path, symbols: list[str], start: str, end: str, name: str
) -> None:
    """Get ready, wait for the start, ingest; ends with 3 where something could not be stored."""
    job.PART_ROWS, pipeline.BATCH_ROWS = 5 * 1440, 10 * 1440
    settings = Settings.load(project)
    source = settings.source("sim")
    store = LakeStore.at(settings.lake)
    wanted = [symbol for symbol in source.instruments if symbol.code in symbols]
    jobs = [job.Job(symbol, date.fromisoformat(start), date.fromisoformat(end)) for symbol in wanted]
    connection.send("ready")
    connection.recv()
    outcomes = pipeline.ingest(store, source, Resolution.MINUTE, jobs, run_id=name)
    sys.exit(0 if all(outcome.ok for outcome in outcomes) else 3)
