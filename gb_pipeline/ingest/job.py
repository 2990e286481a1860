"""This module holds the values of an ingestion of bars: what is to be fetched, in which chunks, and what became of it.

Nothing here asks a vendor or writes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta

import polars as pl

from gb_pipeline.errors import GbError, QuotaExhausted, WindowRefused
from gb_pipeline.ingest.session_costs import SessionCost, share_costs
from gb_pipeline.lake.fetches import FetchRecord
from gb_pipeline.lake.report import UNSTORED, SessionReport, SessionStatus, WriteReport
from gb_pipeline.lake.row_counts import RowCounts
from gb_pipeline.market.schema import RECEIVED
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.market.window import Window
from gb_pipeline.providers.base import Fetched
from gb_pipeline.quality.advice import Advice
from gb_pipeline.quality.read_rows import ReadRows
from gb_pipeline.quality.rules import BarRules
from gb_pipeline.quality.unplaced import UnplacedRows

# Rows that one symbol's answer may have: a month of 24/7 minutes, some 10 MB as text.
CHUNK_ROWS = 50_000
_SECONDS_PER_DAY = 86_400
_A_MOMENT = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Job:
    """Sessions [start, end) of one symbol."""

    symbol: Symbol
    start: date
    end: date


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a job.

    Attributes:
        sessions: one report per day of [start, end), closed days included, in order; days that have not begun are absent.
        error: why some of the sessions are `failed`; None when every answer arrived.
        deferred: why some of them are `deferred`: the calls of the vendor's day are used up; nothing failed.
        latency_ms: milliseconds that the vendor took.
        calls: requests it took.
        vendor_bytes: size of the vendor's answers.
        costs: what each session had of them.
        counts: what became of their rows.
        read_rows: how many rows were read for them, and how many of these were not asked for: a file holds years.
        unplaced: rows that belong to no session that was asked for, and whether they refused an answer; None without any.
        version: newest version of the table that this job led to; None when nothing had to be committed.
        advice: the setting that would explain rows outside the sessions, where one would.
    """

    symbol: Symbol
    start: date
    end: date
    sessions: tuple[SessionReport, ...] = ()
    error: GbError | None = None
    deferred: QuotaExhausted | None = None
    latency_ms: int = 0
    calls: int = 0
    vendor_bytes: int = 0
    costs: Mapping[date, SessionCost] = field(default_factory=dict, repr=False)
    counts: RowCounts = field(default_factory=RowCounts)
    read_rows: ReadRows = field(default_factory=ReadRows)
    unplaced: UnplacedRows | None = None
    version: int | None = None
    advice: Advice | None = None

    @property
    def ok(self) -> bool:
        """Whether every session is stored as the vendor has it: none failed, none refused, none deferred."""
        bad_session = any(session.status in UNSTORED for session in self.sessions)
        refused = self.unplaced is not None and self.unplaced.refused
        return self.error is None and self.deferred is None and not bad_session and not refused

    @property
    def statuses(self) -> dict[str, int]:
        """How many sessions are in which state; closed days are no sessions."""
        counts = Counter(item.status.value for item in self.sessions if item.status is not SessionStatus.CLOSED)
        return dict(counts)

    @property
    def deferred_until(self) -> datetime | None:
        """When the vendor can be asked for the deferred sessions, in UTC; None where there are none."""
        return None if self.deferred is None else self.deferred.until


@dataclass(frozen=True, slots=True)
class Chunk:
    """A portion of a job that is fetched at once; `job` is the job's position."""

    job: int
    symbol: Symbol
    start: date
    end: date

    def split(self, sessions: Sequence[date]) -> tuple[Chunk, Chunk]:
        """Two halves, by the sessions of the chunk."""
        middle = sessions[len(sessions) // 2]
        return replace(self, end=middle), replace(self, start=middle)


@dataclass(frozen=True, slots=True)
class Fetch:
    """What became of a chunk at the vendor.

    Attributes:
        chunk: what was to be fetched.
        answer: what came; None where there was nothing to ask for.
        record: the row of the question; None where the vendor was not asked.
    """

    chunk: Chunk
    answer: Fetched | GbError | None = None
    record: FetchRecord | None = None

    @property
    def rows(self) -> int:
        """Rows of the answer."""
        return self.answer.frame.height if isinstance(self.answer, Fetched) else 0


def chunk_jobs(jobs: Sequence[Job], rules: BarRules) -> list[Chunk]:
    """Cut jobs into chunks of about CHUNK_ROWS rows, oldest first.

    The edges are the same for all jobs, so that symbols of one window share a commit.
    """
    if rules.resolution.duration is None:
        days = 3650
    else:
        days = max(1, int(CHUNK_ROWS * rules.resolution.duration.total_seconds() / _SECONDS_PER_DAY))
    chunks = []
    for position, job in enumerate(jobs):
        start = job.start
        while start < job.end:
            end = min(job.end, start + timedelta(days=days))
            chunks.append(Chunk(position, job.symbol, start, end))
            start = end
    return sorted(chunks, key=lambda chunk: (chunk.start, chunk.end, chunk.job))


def request_window(
    chunk: Chunk, rules: BarRules, listing: tuple[date | None, date | None], now: datetime
) -> Window | None:
    """What to ask the vendor for: nothing outside the listing, no bar that is still open; None where nothing is left."""
    start, end = listing
    first, last = max(chunk.start, start or chunk.start), min(chunk.end, end or chunk.end)
    if first >= last:
        return None
    window = rules.calendar.window(first, last, rules.resolution)
    # The newest bar that is closed opened so long ago. One that closes before the question is written down must be in its answer.
    length = rules.resolution.duration
    closed = now if length is None else now - length - rules.grace + _A_MOMENT
    if window.empty or window.start >= closed:
        return None
    return Window(window.start, min(window.end, closed))


@dataclass
class Progress:
    """A job on its way: how many of its chunks are stored, and what is known so far.

    Attributes:
        chunks: how many the job has.
        on_outcome: who waits for its outcome, if anybody does.
        removed: sessions of it that were removed on purpose, and are not asked for.
    """

    job: Job
    chunks: int
    on_outcome: Callable[[Outcome], None] | None = None
    removed: Sequence[SessionReport] = ()
    _reported: bool = False
    _done: int = 0
    _sessions: list[SessionReport] = field(default_factory=list)
    _error: GbError | None = None
    _deferred: QuotaExhausted | None = None
    _records: list[FetchRecord] = field(default_factory=list)
    _costs: dict[date, SessionCost] = field(default_factory=dict)
    _counts: RowCounts = field(default_factory=RowCounts)
    _read_rows: ReadRows = field(default_factory=ReadRows)
    _unplaced: UnplacedRows | None = None
    _version: int | None = None
    _advice: Advice | None = None

    def expect(self, more: int) -> None:
        """A chunk was split: so many more will come."""
        self.chunks += more

    @property
    def complete(self) -> bool:
        """Whether every chunk has been stored or has failed."""
        return self._done >= self.chunks

    def add(
        self,
        sessions: Sequence[SessionReport],
        record: FetchRecord | None,
        report: WriteReport | None,
        error: GbError | None = None,
        read_rows: ReadRows | None = None,
    ) -> None:
        """Take in what became of one chunk."""
        self._done += 1
        self._sessions += sessions
        if record is not None:
            self._records.append(record)
            self._costs |= share_costs(sessions, record)
        if isinstance(error, QuotaExhausted):
            self._deferred = self._deferred or error
        else:
            self._error = self._error or error
        if read_rows is not None:
            self._read_rows += read_rows
        if report is not None:
            code = self.job.symbol.code
            self._counts += report.counts.get(code, RowCounts())
            if (unplaced := report.unplaced.get(code)) is not None:
                self._unplaced = unplaced if self._unplaced is None else self._unplaced + unplaced
        if report is not None and report.version is not None:
            self._version = max(self._version or 0, report.version)

    def advise(self, advice: Advice | None) -> None:
        """Take in what would explain rows outside the sessions; the first explanation stays."""
        self._advice = self._advice or advice

    def report(self) -> None:
        """Hand the outcome over, once, when every chunk has come in."""
        if self.complete and not self._reported:
            self._reported = True
            if self.on_outcome is not None:
                self.on_outcome(self.outcome())

    def outcome(self) -> Outcome:
        """What is known now."""
        return Outcome(
            symbol=self.job.symbol,
            start=self.job.start,
            end=self.job.end,
            sessions=tuple(sorted([*self.removed, *self._sessions], key=lambda session: session.session)),
            error=self._error,
            deferred=self._deferred,
            latency_ms=sum(record.latency_ms for record in self._records),
            calls=sum(record.calls for record in self._records),
            vendor_bytes=sum(record.bytes for record in self._records),
            costs=self._costs,
            counts=self._counts,
            read_rows=self._read_rows,
            unplaced=self._unplaced,
            version=self._version,
            advice=self._advice,
        )


def concat_answers(fetches: Sequence[Fetch]) -> pl.DataFrame:
    """The rows of several symbols' answers, with a column `symbol`.

    Raises:
        WindowRefused: an answer lacks a column.
    """
    frames = [pl.DataFrame(schema={"symbol": pl.String(), **RECEIVED})]
    for fetch in fetches:
        symbol, answer = fetch.chunk.symbol, fetch.answer
        if isinstance(answer, Fetched):
            absent = sorted(set(RECEIVED) - set(answer.frame.columns))
            if absent:
                # Joined with others, the column would be there and empty.
                raise WindowRefused(
                    f"the answer for {symbol} lacks {', '.join(absent)}", fix="a provider fills every column"
                )
            frames.append(answer.frame.with_columns(pl.lit(symbol.code).alias("symbol")))
    return pl.concat(frames, how="diagonal")
