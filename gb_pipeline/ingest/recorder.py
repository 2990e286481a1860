"""This module asks vendors, and records in `fetches` what became of every question, whoever asks it.

Bars, corporate actions and lists of instruments all go this way, in one order that is a promise: the bodies of an answer are on
disk before a row names them, and the row is recorded before anything that was read from them is stored. So nothing stored lacks
the row of its fetch, wherever the process dies; one that dies in between leaves a row without data, and running it again stores
them.

What is done with an answer is left to whoever asks (`bars`, `corporate_actions`, `universe.vendor_lists`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Collection, Iterable, Sequence, Sized
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol, TypeVar

from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.errors import GbError, QuotaExhausted, VendorError
from gb_pipeline.ingest.body_redaction import redact_body
from gb_pipeline.ingest.circuit import Circuit
from gb_pipeline.lake.fetches import FetchOutcome, FetchRecord
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.providers.base import Fetched
from gb_pipeline.providers.http.redaction import redact_errors
from gb_pipeline.providers.http.transport import counted
from gb_pipeline.storage.raw_responses import RawStore

# Files that one row names: a folder of years has thousands.
_FILES = 100
T = TypeVar("T", bound="Fetched | Sized")


class Recorded(Protocol):
    """What a task of `Recorder.stop` returns: anything that has the row of its question, if there was one."""

    @property
    def record(self) -> FetchRecord | None:
        """The row; None where the vendor was not asked."""
        ...


@dataclass(frozen=True, slots=True)
class Recorder:
    """Asks one source's vendor and records it.

    Attributes:
        store: where rows go, and bodies where the source keeps them.
        source: who is asked.
        run_id: of the run that asks.
        circuit: of this vendor in this run; open, it answers in the vendor's place.
    """

    store: LakeStore
    source: SourceSettings
    run_id: str | None = None
    circuit: Circuit = field(default_factory=Circuit)

    def question(
        self,
        kind: str,
        *,
        symbol: str = "",
        resolution: str = "",
        start: datetime | None = None,
        end: datetime | None = None,
        normaliser: str | None = None,
    ) -> FetchRecord:
        """The row of a question that is about to be asked; it is an error until it has been answered.

        Args:
            kind: `bars`, `corporate_actions`, `instruments` or `search`.
            symbol: canonical code; empty where it is about all of them.
            resolution: of bars.
            start: of the range that is asked for; the present by default.
            end: of that range, exclusive; `start` by default.
            normaliser: name and version of the code that reads the answer.
        """
        now = self.store.clock()
        first = start or now
        return FetchRecord(
            source=self.source.name,
            symbol=symbol,
            resolution=resolution,
            window_start=first,
            window_end=end or first,
            fetched_at=now,
            outcome=FetchOutcome.ERROR,
            kind=kind,
            normaliser=normaliser,
            run_id=self.run_id,
        )

    async def ask(self, question: FetchRecord, call: Awaitable[T]) -> tuple[T | GbError, FetchRecord]:
        """Await one call, and keep the bodies of its answer.

        Args:
            question: its row.
            call: such as `provider.fetch_bars(...)` or `provider.instruments()`.

        Returns:
            The answer, a `Fetched` without its bodies, or the vendor's error; and the row for `record`.

        Raises:
            LakeError: the bodies cannot be written.
            BaseException: a bug, or everything is being stopped. The vendor was asked all the same: the row is recorded by then.
        """
        if (refusal := self.circuit.refusal()) is not None:
            if asyncio.iscoroutine(call):
                call.close()
            return refusal, as_failed(question, refusal, 0.0)
        began = time.monotonic()
        try:
            with redact_errors(self.source.secrets), counted() as tally:
                answer = await call
        except GbError as error:
            self.circuit.note(question.symbol, error)
            return error, as_failed(question, error, time.monotonic() - began, calls=tally.calls, size=tally.bytes)
        except BaseException as error:
            seconds = time.monotonic() - began
            self.record([as_failed(question, error, seconds, calls=tally.calls, size=tally.bytes)])
            raise
        self.circuit.note(question.symbol, answer)
        if isinstance(answer, Fetched):
            # From here on memory holds the rows only.
            lean, row = await self._persist_bodies(question, answer)
            return lean, row  # type: ignore[return-value]
        return answer, replace(
            question,
            outcome=FetchOutcome.OK if len(answer) else FetchOutcome.EMPTY,
            received=len(answer),
            calls=tally.calls,
            bytes=tally.bytes,
            latency_ms=round(tally.latency * 1000),
        )

    def record(self, rows: Iterable[FetchRecord | None]) -> None:
        """Record questions in one commit: before anything that was read from their answers is stored.

        Raises:
            LakeError: the rows cannot be written.
        """
        self.store.record_fetches([row for row in rows if row is not None])

    async def stop(self, tasks: Collection[asyncio.Task[Recorded]]) -> None:
        """Stop questions that are under way; those whose answer nobody took leave their rows all the same."""
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        self.record(item.record for item in ended if not isinstance(item, BaseException))

    async def _persist_bodies(self, question: FetchRecord, answer: Fetched) -> tuple[Fetched, FetchRecord]:
        """Keep the bodies of an answer; in a thread, as that waits for the disk."""
        try:
            hashes = await asyncio.to_thread(_put_bodies, self.store, self.source, answer)
        except asyncio.CancelledError:
            self.record([_as_answered(question, answer, ())])
            raise
        return replace(answer, bodies=()), _as_answered(question, answer, hashes)


async def ask_vendor(
    store: LakeStore,
    source: SourceSettings,
    call: Awaitable[T],
    *,
    kind: str,
    symbol: str = "",
    start: datetime | None = None,
    end: datetime | None = None,
    normaliser: str | None = None,
    run_id: str | None = None,
) -> T:
    """Ask one question by itself, and record it; arguments as of `Recorder.question`.

    Returns:
        The answer, a `Fetched` without its bodies.

    Raises:
        VendorError: as the call does; the row is there by then, also when the call dies of a bug.
        LakeError: bodies or row cannot be written.
    """
    recorder = Recorder(store, source, run_id)
    question = recorder.question(kind, symbol=symbol, start=start, end=end, normaliser=normaliser)
    answer, row = await recorder.ask(question, call)
    recorder.record([row])
    if isinstance(answer, GbError):
        raise answer
    return answer


def as_failed(
    question: FetchRecord, error: BaseException, seconds: float, *, calls: int = 0, size: int = 0
) -> FetchRecord:
    """The row of a question that was not answered; of a bug only its kind is told, its text may hold anything.

    Args:
        seconds: that it took.
        calls: requests that were counted, for errors that do not say how many there were.
        size: bytes that were received.
    """
    what = error.what if isinstance(error, GbError) else "the run was stopped"
    if isinstance(error, Exception) and not isinstance(error, GbError):
        what = "a bug; the run's log has its traceback"
    return replace(
        question,
        # Of an answer that is not taken nothing was received.
        received=0,
        read=None,
        outside=None,
        files=None,
        outcome=FetchOutcome.DEFERRED if isinstance(error, QuotaExhausted) else FetchOutcome.ERROR,
        calls=(error.calls if isinstance(error, VendorError) else 0) or calls,
        latency_ms=round(seconds * 1000),
        bytes=size,
        error=type(error).__name__,
        message=what,
    )


def _as_answered(question: FetchRecord, answer: Fetched, hashes: Sequence[str]) -> FetchRecord:
    """The row of a question that was answered."""
    rows = answer.read_rows
    return replace(
        question,
        outcome=FetchOutcome.OK if rows.received else FetchOutcome.EMPTY,
        received=rows.received,
        read=rows.read,
        outside=rows.outside,
        files=tuple(sorted(rows.files, key=lambda item: -item.outside)[:_FILES]) or None,
        calls=answer.calls,
        latency_ms=round(answer.latency * 1000),
        bytes=answer.bytes,
        response_hash=answer.response_hash,
        raw=tuple(hashes) or None,
    )


def _put_bodies(store: LakeStore, source: SourceSettings, answer: Fetched) -> tuple[str, ...]:
    """Put the bodies of an answer into the raw store, durably, each without the source's credentials; their hashes.

    Raises:
        LakeError: they cannot be written.
    """
    if not answer.bodies:
        return ()
    raw = RawStore(store.storage)
    secrets = tuple(source.secrets)
    return tuple(raw.put(redact_body(body, secrets)) for body in answer.bodies)
