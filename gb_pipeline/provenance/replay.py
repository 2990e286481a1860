"""This module says what the lake would hold if all kept responses were read today, and puts right what differs.

It goes through jobs in chunks, which `chunk_replay` reads and compares; `differences` has the results.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.ingest.job import Job, chunk_jobs
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.provenance.chunk_replay import ChunkReplay
from gb_pipeline.provenance.differences import Replayed
from gb_pipeline.provenance.stored_responses import find_responses
from gb_pipeline.providers.base import Provider
from gb_pipeline.providers.registry import build_provider


def replay(
    store: LakeStore,
    source: SourceSettings,
    resolution: Resolution,
    jobs: Sequence[Job],
    *,
    provider: Provider | None = None,
    write: bool = False,
    run_id: str | None = None,
    on_done: Callable[[Replayed], None] | None = None,
) -> list[Replayed]:
    """Read kept answers again, compare with what is stored, and with `write` store what differs.

    No request is made. What is written goes the way of a fetch: changed bars become restatements, `known_at` is now, and what a
    later answer brought is never replaced. Bars that no kept answer explains stay: a lake forgets nothing.

    Args:
        store: the lake.
        source: whose answers, and how they are validated.
        resolution: of the bars.
        jobs: symbols and ranges of sessions.
        provider: instead of the one that the settings name.
        write: whether differences are put right; `changed` and `missing` then say what was found before.
        run_id: kept with what is refused.
        on_done: called after each job.

    Returns:
        One per job, in the order of the jobs.

    Raises:
        ConfigError: the source's provider or calendar cannot be built.
        LakeError: the lake cannot be written.
    """
    reader = provider or build_provider(source)
    rules = source.rules(resolution)
    results = []
    try:
        for job in jobs:
            replayed = Replayed(job.symbol.code, job.start, job.end)
            window = rules.calendar.window(job.start, job.end, resolution)
            responses = find_responses(store.tables, source.name, resolution, [job.symbol.code], window)
            for chunk in chunk_jobs([job], rules):
                work = ChunkReplay(store, source, resolution, chunk, reader, replayed, responses)
                work.run(write=write, run_id=run_id)
            results.append(replayed)
            if on_done is not None:
                on_done(replayed)
    finally:
        if provider is None:
            asyncio.run(reader.aclose())
    return results
