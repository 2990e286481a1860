"""This module stores answers that were fetched: one commit for all symbols of a window, and what became of every session.

Asking is left to `fetcher`, and the write itself to `lake`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime

from gb_pipeline.errors import GbError, QuotaExhausted, WindowRefused
from gb_pipeline.ingest.job import Chunk, Fetch, Progress, concat_answers
from gb_pipeline.ingest.recorder import Recorder, as_failed
from gb_pipeline.ingest.splits import without_overtaken
from gb_pipeline.ingest.unapplied_splits import find_unapplied_split
from gb_pipeline.lake.coverage import deferred_sessions
from gb_pipeline.lake.fetches import FetchRecord
from gb_pipeline.lake.report import SessionReport, session_reports
from gb_pipeline.lake.row_counts import RowCounts
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import Adjustment
from gb_pipeline.market.window import Window
from gb_pipeline.providers.base import Fetched
from gb_pipeline.quality.advice import advise
from gb_pipeline.quality.reasons import HARMLESS, OUTSIDE
from gb_pipeline.quality.rules import BarRules
from gb_pipeline.quality.unplaced import UnplacedRows, is_far


@dataclass
class BatchWriter:
    """Stores the answers of one ingestion.

    Attributes:
        recorder: of their questions.
        resolution: of the bars.
        rules: by which they are validated.
        listings: first session and end of each symbol, where they are known.
        progress: of each job, which is told what became of its chunks.
        planned_at: when it was decided what to ask for.
        stamp_zone: the zone in which stamps without an offset were read, where gb.yaml can say it.
    """

    recorder: Recorder
    resolution: Resolution
    rules: BarRules
    listings: Mapping[str, tuple[date | None, date | None]]
    progress: Sequence[Progress]
    planned_at: datetime | None = None
    stamp_zone: str | None = None

    @property
    def _store(self) -> LakeStore:
        return self.recorder.store

    def write(self, batch: Sequence[Fetch]) -> None:
        """Store a batch, then report every job that is complete.

        Raises:
            LakeError: the lake cannot be written.
        """
        if self.rules.adjustment is Adjustment.SPLIT:
            batch = without_overtaken(self._store, self.recorder.source, batch)
        self.recorder.record(fetch.record for fetch in batch)
        stored: list[FetchRecord | None] = []
        for group in _commits(batch):
            stored += self._write_answers([fetch for fetch in group if not isinstance(fetch.answer, GbError)])
            errors = [(fetch, fetch.answer) for fetch in group if isinstance(fetch.answer, GbError)]
            self._record_failures([item for item in errors if not isinstance(item[1], QuotaExhausted)])
            self._defer([item for item in errors if isinstance(item[1], QuotaExhausted)])
        self.recorder.record(stored)
        for fetch in batch:
            self.progress[fetch.chunk.job].report()

    def _write_answers(self, group: Sequence[Fetch]) -> list[FetchRecord | None]:
        """Store answers of different symbols; the rows of their questions, with what became of them."""
        if not group:
            return []
        try:
            report = self._store.write_bars(
                self.recorder.source.name,
                [fetch.chunk.symbol for fetch in group],
                self.resolution,
                self._window(group[0].chunk),
                concat_answers(group),
                rules=self.rules,
                fetched_at=_asked_at(group, self._store.clock()),
                run_id=self.recorder.run_id,
                listings=self.listings,
                rows_read=_rows_read(group),
                planned_at=self.planned_at,
            )
        except WindowRefused as refusal:
            if len(group) > 1:
                # One vendor answer of the batch is broken; find out whose.
                return [record for fetch in group for record in self._write_answers([fetch])]
            [fetch] = group
            failed = fetch.record and as_failed(
                fetch.record, refusal, fetch.record.latency_ms / 1000, calls=fetch.record.calls, size=fetch.record.bytes
            )
            self._record_failures([(replace(fetch, record=failed), refusal)])
            return [failed]
        by_symbol = _by_symbol(report.sessions)
        records = []
        for fetch in group:
            code = fetch.chunk.symbol.code
            record = fetch.record and fetch.record.with_counts(report.counts.get(code, RowCounts()))
            progress = self.progress[fetch.chunk.job]
            read_rows = fetch.answer.read_rows if isinstance(fetch.answer, Fetched) else None
            progress.add(by_symbol[code], record, report, read_rows=read_rows)
            if isinstance(fetch.answer, Fetched) and _outside_sessions(by_symbol[code], report.unplaced.get(code)):
                # Stamps of other years are no matter of time zones and calendars.
                near = fetch.answer.frame.filter(~is_far(self._window(fetch.chunk)))["timestamp"]
                progress.advise(advise(near, self.rules, zone=self.stamp_zone))
            if self.rules.adjustment is Adjustment.SPLIT:
                days = (fetch.chunk.start, fetch.chunk.end)
                source = self.recorder.source
                progress.advise(find_unapplied_split(self._store, source, self.resolution, self.rules, code, days))
            records.append(record)
        return records

    def _record_failures(self, failures: Sequence[tuple[Fetch, GbError]]) -> None:
        """One commit for all symbols of a window: a vendor that is down fails for hundreds at once."""
        if not failures:
            return
        sessions = self._store.record_failure(
            self.recorder.source.name,
            _codes(failures),
            self._window(failures[0][0].chunk),
            rules=self.rules,
            listings=self.listings,
        )
        self._add_errors(failures, sessions)

    def _defer(self, deferred: Sequence[tuple[Fetch, GbError]]) -> None:
        """Of what is deferred the ledger says nothing new."""
        if not deferred:
            return
        window = self._window(deferred[0][0].chunk)
        sessions = deferred_sessions(_codes(deferred), self.rules, window, self._store.clock(), self.listings)
        self._add_errors(deferred, session_reports(sessions))

    def _add_errors(self, errors: Sequence[tuple[Fetch, GbError]], sessions: Iterable[SessionReport]) -> None:
        by_symbol = _by_symbol(sessions)
        for fetch, error in errors:
            self.progress[fetch.chunk.job].add(by_symbol[fetch.chunk.symbol.code], fetch.record, None, error)

    def _window(self, chunk: Chunk) -> Window:
        return self.rules.calendar.window(chunk.start, chunk.end, self.resolution)


def _commits(batch: Sequence[Fetch]) -> Iterable[Sequence[Fetch]]:
    """Fetches that are stored together: of one window, and each symbol once, so that its rows are those of one answer."""
    groups: dict[tuple[date, date, int], list[Fetch]] = defaultdict(list)
    seen: Counter[tuple[date, date, str]] = Counter()
    for fetch in batch:
        chunk = fetch.chunk
        turn = seen[chunk.start, chunk.end, chunk.symbol.code]
        seen[chunk.start, chunk.end, chunk.symbol.code] += 1
        groups[chunk.start, chunk.end, turn].append(fetch)
    return groups.values()


def _rows_read(group: Sequence[Fetch]) -> dict[str, int]:
    """Rows that were read for each symbol's answer, where these are more than it has."""
    return {
        fetch.chunk.symbol.code: fetch.answer.rows_read
        for fetch in group
        if isinstance(fetch.answer, Fetched) and fetch.answer.rows_read is not None
    }


def _codes(errors: Sequence[tuple[Fetch, GbError]]) -> list[str]:
    return list(dict.fromkeys(fetch.chunk.symbol.code for fetch, _ in errors))


def _by_symbol(sessions: Iterable[SessionReport]) -> Mapping[str, list[SessionReport]]:
    by_symbol: dict[str, list[SessionReport]] = defaultdict(list)
    for session in sessions:
        by_symbol[session.symbol].append(session)
    return by_symbol


def _outside_sessions(sessions: Sequence[SessionReport], unplaced: UnplacedRows | None) -> bool:
    """Whether rows of a symbol lay where its market is closed, other than such as its vendor always sends."""
    return bool(unplaced and unplaced.reasons.keys() - HARMLESS) or any(
        OUTSIDE & session.reasons.keys() for session in sessions
    )


def _asked_at(group: Sequence[Fetch], now: datetime) -> dict[str, datetime]:
    """When the vendor was asked about each symbol: what was open then is open in its answer, however late that is written.

    Of two answers of one symbol the earlier one counts; whoever was not asked is not older than the present.
    """
    moments: dict[str, datetime] = {}
    for fetch in group:
        code, moment = fetch.chunk.symbol.code, now if fetch.record is None else fetch.record.fetched_at
        moments[code] = min(moment, moments.get(code, moment))
    return moments
