"""This module writes bars: one idempotent act, in one commit.

A frame is validated outside the lock, and bad rows go to `quarantine`, each once. Then, in one attempt on the table's newest
version, the current rows of the window are read and compared (`merge`). Identical content commits nothing; new versions, the
superseded ones and their rows of the ledger become one entry of the log.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import cached_property

import polars as pl

from gb_pipeline.errors import LakeError
from gb_pipeline.lake import ledger, ledger_notes, overrides, quarantine
from gb_pipeline.lake.admission import Admission
from gb_pipeline.lake.bars_request import BarsRequest, count_by_symbol, validate_requested
from gb_pipeline.lake.coverage import describe_sessions, ledger_frame
from gb_pipeline.lake.datasets import bars_dataset
from gb_pipeline.lake.expectation import expect
from gb_pipeline.lake.held_back import describe_held, find_held, hold_back, late_rows
from gb_pipeline.lake.merge import KEY, MergeResult, merge, remove
from gb_pipeline.lake.recounting import recount
from gb_pipeline.lake.report import REFUSED, WriteReport
from gb_pipeline.lake.row_counts import RowCounts
from gb_pipeline.lake.stored import (
    filter_window,
    in_window,
    read_files,
    refuse_narrower,
    refuse_unrecorded,
    window_files,
)
from gb_pipeline.lake.unanswered import find_doubtful, find_unlisted
from gb_pipeline.market.moments import MICROSECOND
from gb_pipeline.market.repeated import repeated
from gb_pipeline.market.schema import CONTENT, Precision
from gb_pipeline.quality.bars import ValidationResult
from gb_pipeline.quality.fingerprint import fingerprint_runs
from gb_pipeline.quality.rules import BarRules
from gb_pipeline.quality.runs import Integers, SessionRuns, session_runs, sum_by_symbol
from gb_pipeline.storage.commit import Clock, Draft, commit
from gb_pipeline.storage.fault_points import reach
from gb_pipeline.storage.history import revise
from gb_pipeline.storage.table import Tables
from gb_pipeline.storage.workers import side_pool

_ROWS = ("symbol", "session", "timestamp", *CONTENT, "withdrawn")


def write(
    tables: Tables,
    request: BarsRequest,
    frame: pl.DataFrame,
    rules: BarRules,
    clock: Clock,
    override: overrides.Override | None = None,
) -> WriteReport:
    """See `LakeStore.write_bars`; an override comes into force with the commit."""
    validation = validate_requested(frame, request, rules)
    admission = Admission(frame, request, rules, validation)
    if validation.bad.height:
        newest = tables.newest(bars_dataset(request.resolution, rules.precision).name)
        admission.admit(tables, overrides.read_requested(tables, newest, request))
    _quarantine(tables, request, admission.validation.bad, clock)
    return _commit(_Writer(tables, request, rules, admission, clock, override))


def decide(
    tables: Tables,
    request: BarsRequest,
    validation: ValidationResult,
    rules: BarRules,
    clock: Clock,
    override: overrides.Override,
) -> WriteReport:
    """Release refused rows, or take that back: nothing was received, and the bars are those of the override."""
    admission = Admission(validation.good, request, rules, validation)
    return _commit(_Writer(tables, request, rules, admission, clock, override))


def _commit(writer: _Writer) -> WriteReport:
    tables, request = writer.tables, writer.request
    report = commit(
        tables[bars_dataset(request.resolution, writer.rules.precision).name],
        writer.decide,
        clock=writer.clock,
        afterwards=writer.afterwards,
    )
    if writer.merged.late.height:
        _quarantine(tables, request, late_rows(writer.merged.late, writer.held), writer.clock)
    return report


class _Writer:
    """One write: an attempt is one `decide`, which is repeated when others changed the table meanwhile."""

    def __init__(
        self,
        tables: Tables,
        request: BarsRequest,
        rules: BarRules,
        admission: Admission,
        clock: Clock,
        override: overrides.Override | None,
    ) -> None:
        self.tables, self.request, self.rules, self.clock = tables, request, rules, clock
        self.admission, self.validation = admission, admission.validation
        self.override = override
        self.expectation = expect(rules, request.window, request.earliest)
        self.merged: MergeResult
        self.held: pl.DataFrame
        self.view: Tables
        self.noted: pl.DataFrame | None = None

    def decide(self, draft: Draft) -> WriteReport:
        self.view = self.tables.view(draft.base)
        if self.rules.precision is Precision.STANDARD:
            refuse_narrower(self.view, self.request.source, self.request.resolution, self.request.symbols)
        self._correct(draft)
        files = window_files(draft.base, self.request.source, self.request.symbols, self.expectation.hull)
        recorded = self._recorded_sessions()
        self.held = find_held(recorded, self.request.planned_at)
        is_answer = self.override is None
        if is_answer and files.height and (report := self._report_if_unchanged(recorded)) is not None:
            return report
        stored, file_rows = self._read_stored(draft, files)
        inside = filter_window(stored, self.request.window)
        if self.override is not None:
            # Of the other bars of the sessions nothing is said.
            inside = inside.join(self.override.rows, on=KEY, how="semi", maintain_order="left")
        refused = pl.concat(
            [self.validation.bad[KEY], find_unlisted(inside, self.request), find_doubtful(inside, self.validation)]
        )
        merged = merge(self.validation.good, inside, refused, self.request.fetched_at)
        self.merged = merged = self._override(hold_back(merged, self.held), inside)
        # Before anything is written or acknowledged.
        counts = count_by_symbol(self.validation, merged)
        # Describing sessions and writing files take about as long, and neither needs the other's result.
        description = side_pool().submit(self._describe, self._runs_after_write(stored), merged)
        try:
            size = self._fill_draft(draft, files, file_rows) if not merged.is_empty else 0
        finally:
            sessions = describe_held(description.result(), self.held)
        version = None if merged.is_empty else draft.base.version + 1
        ledger_rows = self._ledger_rows(sessions, version)
        if self.override is not None and self.override.decides:
            bars = _rows_after_write(stored, merged)
            ledger_rows = recount(ledger_rows, recorded, bars, self.expectation.grid, self._decided_rows())
        elif self.override is not None:
            ledger_rows = overrides.keep_recorded(ledger_rows, recorded)
        if self.held.height:
            ledger_rows = ledger_rows.join(self.held, on=["symbol", "session"], how="anti", maintain_order="left")
        if version is None and not self.tables.storage.in_bucket:
            ledger.append_changed(self.tables, ledger_rows, recorded, clock=self.clock)
        else:
            # Where no lock keeps others away, only an entry of the bars themselves proves that they are still what is described.
            changed = ledger.select_changed(ledger_rows, recorded)
            self.noted = ledger_notes.carry(draft, self.view, changed)
        if self.override is not None:
            self.override.apply(draft)
        return self._report(sessions, merged, counts, version, size)

    def _override(self, merged: MergeResult, inside: pl.DataFrame) -> MergeResult:
        """What the override means for the stored bars that it is about."""
        if self.override is None:
            return merged
        self.override.refuse_if_changed(inside)
        if self.override.removes:
            return remove(inside)
        if self.override.decides:
            return merged
        # A correction does not say that the vendor returns the bar.
        is_withdrawn = pl.lit(inside["withdrawn"][0], pl.Boolean).alias("withdrawn")
        return replace(merged, added=merged.added.with_columns(is_withdrawn))

    def _correct(self, draft: Draft) -> None:
        """Let corrected bars take the place of the vendor's, whose own are noted for the day on which it is taken back."""
        request = self.request
        in_force = overrides.read_requested(self.tables, draft.base, request)
        if self.override is None:
            if self.admission.admit(self.tables, in_force):
                _quarantine(self.tables, request, self.admission.validation.bad, self.clock)
            said = self.admission.said
            overrides.note_vendor(self.tables, in_force, said, request.fetched_at, clock=self.clock)
        else:
            in_force = self.override.replace_in(in_force)
        received = self.admission.validation
        good = overrides.correct(received.good, in_force)
        if good is received.good and self.validation is received:
            return
        is_corrected = good is not received.good
        self.validation = replace(received, good=good, runs=session_runs(good)) if is_corrected else received
        self.__dict__.pop("_fingerprints", None)

    def _decided_rows(self) -> pl.DataFrame:
        """The rows of the override with their sessions, and by how much each changes the number of refused rows."""
        assert self.override is not None
        rows = self.override.rows
        sessions = self.rules.calendar.session_of(rows["timestamp"], self.request.resolution).alias("session")
        return rows.hstack([sessions]).select(
            "symbol", "session", pl.lit(1 if self.override.removes else -1).alias("refused")
        )

    def _recorded_sessions(self) -> pl.DataFrame:
        """What the ledger holds about the days of the window."""
        days = [*self.expectation.sessions, *self.expectation.closed]
        if not days:
            return ledger.SESSIONS_EMPTY
        between = min(days), max(days) + timedelta(days=1)
        return ledger.current(self.view, self.request.source, self.request.resolution, self.request.symbols, between)

    def _report_if_unchanged(self, recorded: pl.DataFrame) -> WriteReport | None:
        """The report where the ledger has recorded just these sessions with just these fingerprints: no file is opened."""
        if not self.expectation.whole or self.validation.bad.height or recorded.is_empty():
            return None
        if not self.request.resolution.intraday:
            # Their fingerprints are too short to say that nothing is new.
            return None
        runs = self.validation.runs
        if not self._holds_just_these(recorded, runs):
            return None
        no_rows = runs.frame.clear()
        unchanged = MergeResult(no_rows, no_rows, no_rows, no_rows, no_rows, sum_by_symbol(runs.symbols, runs.counts))
        sessions = self._describe(runs, unchanged)
        if ledger.select_changed(self._ledger_rows(sessions, None), recorded).height:
            return None
        self.merged = unchanged
        return self._report(sessions, unchanged, count_by_symbol(self.validation, unchanged), None, 0)

    def _holds_just_these(self, recorded: pl.DataFrame, runs: SessionRuns) -> bool:
        """Whether the sessions that have bars are these, with just these bars; both are sorted by symbol and session."""
        known = recorded.filter(recorded["actual"] > 0)
        return bool(
            known.height == len(runs.starts)
            and known["fingerprint"].null_count() == 0
            and (known["actual"].to_numpy() == runs.counts).all()
            and (known["session"] == runs.sessions).all()
            and (known["symbol"] == runs.symbols).all()
            and (known["fingerprint"].to_numpy() == self._fingerprints).all()
        )

    @cached_property
    def _fingerprints(self) -> Integers:
        """Of the good rows' sessions; whoever needs them first computes them, once for all attempts."""
        return fingerprint_runs(
            self.validation.runs, self.request.source, self.request.resolution, self.rules.precision
        )

    def _runs_after_write(self, stored: pl.DataFrame) -> SessionRuns:
        """Everything that the window's sessions hold after the write: very often just what was received."""
        merged, received = self.merged, self.validation.runs
        height = stored.height - merged.replaced.height + merged.added.height
        if merged.late.is_empty() and height == received.frame.height:
            return received
        return session_runs(_rows_after_write(stored, merged))

    def _ledger_rows(self, sessions: pl.DataFrame, version: int | None) -> pl.DataFrame:
        """The ledger's rows of the sessions."""
        table_version = -1 if version is None else version
        return ledger_frame(
            self.request.source, self.rules, sessions, fetched_at=self.request.earliest, version=table_version
        )

    def afterwards(self, draft: Draft) -> None:
        """Let the ledger take over what waits for it, now and then."""
        reach("before_ledger")
        if self.noted is not None:
            ledger_notes.remember(draft.table, draft.base.version + 1, self.noted)
        with suppress(LakeError, OSError):
            # The next writer can do it as well.
            ledger.take_over(self.tables, draft.table, least=ledger_notes.BATCH, clock=self.clock)
        reach("acknowledged")

    def _read_stored(self, draft: Draft, files: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        """The current rows of the window's sessions, and everything that their files hold."""
        request = self.request
        file_rows = read_files(self.view, draft.base, files)
        rows = in_window(self.view, draft.base, file_rows, request.source, request.symbols, self.expectation.hull)
        sessions = self.rules.calendar.session_of(rows["timestamp"], request.resolution)
        return rows.hstack([sessions.alias("session")]), file_rows

    def _fill_draft(self, draft: Draft, files: pl.DataFrame, file_rows: pl.DataFrame) -> int:
        """Write the files of new and superseded versions; how many bytes they have."""
        request = self.request
        draft.stamp = max(draft.stamp, ledger.newest_moment(self.view, request.resolution) + MICROSECOND)
        draft.info = {
            "operation": "WRITE",
            "gb": {
                "source": request.source,
                "resolution": request.resolution.value,
                "symbols": len(request.symbols),
                "window": [request.window.start.isoformat(), request.window.end.isoformat()],
                "run_id": request.run_id,
            },
        }
        added = self.merged.added
        new = added.hstack([repeated("source", request.source, pl.String(), added.height)])
        replaced = self.merged.replaced
        if replaced.height:
            replaced = replaced.filter(pl.col("file").is_not_null())

        def check(rows: pl.DataFrame) -> None:
            refuse_unrecorded(self.view, request.source, self.rules, rows)

        revise(draft, new, replaced, files, file_rows, check=check)
        return sum(int(action["size"]) for action in draft.write())

    def _describe(self, runs: SessionRuns, merged: MergeResult) -> pl.DataFrame:
        return describe_sessions(
            self.request.source,
            self.request.symbols,
            self.rules,
            self.expectation,
            runs,
            self.validation,
            listings=self.request.listings,
            touched=merged.added,
            restated=merged.restated,
            withdrawn=merged.withdrawn,
            late=merged.late,
            fingerprints=self._fingerprints if runs is self.validation.runs else None,
        )

    def _report(
        self,
        sessions: pl.DataFrame,
        merged: MergeResult,
        counts: Mapping[str, RowCounts],
        version: int | None,
        size: int,
    ) -> WriteReport:
        return WriteReport(
            source=self.request.source,
            resolution=self.rules.resolution,
            window=self.request.window,
            sessions_frame=sessions,
            counts=counts,
            unplaced=self.validation.unplaced,
            refused=pl.concat([self.validation.bad, late_rows(merged.late, self.held)], how="diagonal")[
                REFUSED.names()
            ],
            restated=merged.restated.height,
            withdrawn=merged.withdrawn.height,
            late=merged.late.height,
            bytes=size,
            version=version,
        )


def _quarantine(tables: Tables, request: BarsRequest, bad: pl.DataFrame, clock: Clock) -> None:
    quarantine.record(
        tables,
        request.source,
        request.resolution,
        request.window,
        bad,
        quarantined_at=max(request.earliest, clock()),
        run_id=request.run_id,
        clock=clock,
    )


def _rows_after_write(stored: pl.DataFrame, merged: MergeResult) -> pl.DataFrame:
    """Everything that the window's sessions hold after the write."""
    added, unchanged = merged.added.select(_ROWS), stored.select(_ROWS)
    if added.is_empty():
        ended = merged.replaced.select(KEY)
        return unchanged.join(ended, on=KEY, how="anti", maintain_order="left") if ended.height else unchanged
    return pl.concat([unchanged.join(added.select(KEY), on=KEY, how="anti"), added]).sort(KEY)
