"""This module asks a vendor for the chunks of an ingestion, many at a time, and hands out their answers as they arrive.

Vendor trouble never raises: it is the answer of the chunk that it concerns. Answers are stored by `batch_writer`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import chain

from gb_pipeline.errors import GbError, LakeError, NotEntitled, PermanentVendorError, QuotaExhausted, UnknownSymbol
from gb_pipeline.ingest.job import Chunk, Fetch, Progress, request_window
from gb_pipeline.ingest.recorder import Recorder, as_failed
from gb_pipeline.lake.fetches import FetchRecord
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.window import Window
from gb_pipeline.providers.base import Fetched, Provider
from gb_pipeline.quality.rules import BarRules


@dataclass
class Fetcher:
    """Fetches the chunks of one ingestion.

    Attributes:
        recorder: asks, and records every question.
        provider: of the recorder's source.
        resolution: of the bars.
        rules: of these bars.
        listings: first session and end of each symbol, where they are known.
        blocked: symbols of which nothing may be stored, and why: their splits are not known, or not settled.
        progress: of each job, which is told when one of its chunks is split.
    """

    recorder: Recorder
    provider: Provider
    resolution: Resolution
    rules: BarRules
    listings: Mapping[str, tuple[date | None, date | None]]
    blocked: Mapping[str, GbError]
    progress: Sequence[Progress]
    # Whether a row says that the calls of the vendor's day are used up: one says it for all that wait.
    _quota_recorded: bool = False

    async def fetch_all(self, chunks: Sequence[Chunk]) -> AsyncGenerator[Fetch, None]:
        """Every chunk's answer as it arrives; at most `max_concurrency` are asked for, and as many wait to be stored."""
        waiting: Iterator[Chunk] = iter(chunks)
        running: set[asyncio.Task[Fetch]] = set()
        limit = self.recorder.source.max_concurrency
        try:
            while True:
                while len(running) < limit and (chunk := next(waiting, None)) is not None:
                    running.add(asyncio.create_task(self._fetch(chunk)))
                if not running:
                    return
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                # A bug comes last: what the others brought is stored before it ends everything.
                for task in sorted(done, key=lambda task: task.exception() is not None):
                    fetch = task.result()
                    halves = self._bisect(fetch)
                    if halves:
                        self.progress[fetch.chunk.job].expect(1)
                        waiting = chain(halves, waiting)
                        self.recorder.record([fetch.record])
                    else:
                        yield fetch
        finally:
            await self.recorder.stop(running)

    def _bisect(self, fetch: Fetch) -> tuple[Chunk, ...]:
        """A window that fails for good may fail because of one of its sessions: find out which."""
        chunk, answer = fetch.chunk, fetch.answer
        unsplittable = (
            fetch.record is None
            or isinstance(answer, UnknownSymbol | NotEntitled)
            or not isinstance(answer, PermanentVendorError)
            or answer.whole
        )
        sessions = [] if unsplittable else self.rules.calendar.sessions(chunk.start, chunk.end)
        return chunk.split(sessions) if len(sessions) > 1 else ()

    async def _fetch(self, chunk: Chunk) -> Fetch:
        code = chunk.symbol.code
        window = request_window(chunk, self.rules, self.listings[code], self.recorder.store.clock())
        if window is None:
            return Fetch(chunk)
        question = self.recorder.question(
            "bars",
            symbol=code,
            resolution=self.resolution.value,
            start=window.start,
            end=window.end,
            normaliser=self.provider.normaliser,
        )
        if (why := self.blocked.get(code)) is not None:
            # The row says why it is not stored, and that somebody wanted it; the calls are counted where they were made.
            return Fetch(chunk, why, None if isinstance(why, QuotaExhausted) else _as_blocked(question, why))
        answer, record = await self.recorder.ask(question, self._request(chunk, window))
        if isinstance(answer, QuotaExhausted):
            # The others are put to the provider all the same: it may have their answer already, and sends nothing.
            recorded, self._quota_recorded = self._quota_recorded, True
            return Fetch(chunk, answer, None if recorded and not answer.calls else record)
        return Fetch(chunk, answer, record)

    async def _request(self, chunk: Chunk, window: Window) -> Fetched:
        if not self.provider.supports(chunk.symbol, self.resolution):
            raise PermanentVendorError(
                f"{self.recorder.source.name} has no {self.resolution} bars of {chunk.symbol}",
                fix="choose another resolution for this source in gb.yaml",
            )
        return await self.provider.fetch_bars(chunk.symbol, window, self.resolution)


def _as_blocked(question: FetchRecord, why: GbError) -> FetchRecord:
    """The row of bars that were not asked for. That the vendor refused its splits for good does not say that it has no bars."""
    error = LakeError(why.what, fix=why.fix) if isinstance(why, PermanentVendorError) else why
    return replace(as_failed(question, error, 0.0), calls=0)
