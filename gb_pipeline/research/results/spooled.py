"""This module saves many small runs: each is durable on a local disk once `save` returns, and many become one commit.

A run waits in a spool, the same kind of journal as collectors write. Committing is idempotent, as a run that is there with this
content is left alone: killed at any point, nothing that was acknowledged is lost, and nothing is there twice.
"""

from __future__ import annotations

import io
import json
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import polars as pl
import pyarrow as pa

from gb_pipeline.collectors.spool import Segment, Spool, is_open
from gb_pipeline.errors import LakeError, RunRefused
from gb_pipeline.market.moments import from_microseconds, microseconds
from gb_pipeline.research.results.prepared import PreparedRun
from gb_pipeline.research.results.run import BacktestRun, RunName
from gb_pipeline.research.results.writing import SaveOutcome, SaveReport
from gb_pipeline.storage.fault_points import reach

_TABLE = "runs"
_SCHEMAS = {_TABLE: pa.schema([pa.field("run", pa.large_binary())])}


class SpooledWriter:
    """Saves runs through a spool; see `Results.spooled`. Safe to share between threads.

    Attributes:
        reports: of runs that were committed, in their order, until they are taken with `take_reports`.
    """

    def __init__(
        self,
        folder: Path,
        prepare: Callable[[BacktestRun], PreparedRun],
        commit: Callable[[Sequence[PreparedRun]], list[SaveReport]],
        find: Callable[[Sequence[RunName]], Mapping[RunName, Mapping[str, object]]],
        *,
        runs: int,
        seconds: float,
    ) -> None:
        """Use `Results.spooled`."""
        self._folder = folder
        self._prepare, self._commit, self._find = prepare, commit, find
        self._most_runs, self._seconds = runs, seconds
        self._spool = _open_spool(folder)
        self._waiting: dict[RunName, str] = {}
        # Who looked for a name before a commit has to look again after it.
        self._commits = 0
        self._guard, self._flushing = threading.Lock(), threading.Lock()
        self._wake, self._closed = threading.Event(), False
        self._failure: LakeError | None = None
        self.reports: list[SaveReport] = []
        self.flush()
        self._thread = threading.Thread(target=self._run, name="results-spool", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Commit what waits."""
        self.close()

    def save(self, run: BacktestRun) -> str:
        """Make a run durable; it is in the lake after the next flush.

        Returns:
            The digest of its content.

        Raises:
            RunRefused: a run of this name is saved, or waits, with other content.
            ConfigError, WindowRefused, NaiveTimestamp: something of it cannot be kept; nothing was saved.
            LakeError: the disk cannot be written, or the writer is closed. What was acknowledged before stays.
        """
        [report] = self.save_prepared([self._prepare(run)])
        if report.outcome is SaveOutcome.REFUSED:
            raise RunRefused(
                f"run {report.name} is saved already with other content", fix="save it under another run id"
            )
        return report.digest

    def save_prepared(self, runs: Sequence[PreparedRun]) -> list[SaveReport]:
        """Make runs durable together, as one write to the disk; they are in the lake after the next flush.

        Args:
            runs: as `Results.prepare` returns them.

        Returns:
            A report for each, in their order: `saved`, `unchanged` where it is saved or waits with this content, or `refused`.

        Raises:
            LakeError: the disk cannot be written, or the writer is closed. What was acknowledged before stays.
        """
        encoded = [_encode(run) for run in runs]
        while True:
            commits = self._commits
            known = {name: str(row["digest"]) for name, row in self._find([run.name for run in runs]).items()}
            with self._guard:
                if self._closed:
                    raise LakeError("the writer is closed", fix="open another one: results.spooled()")
                if commits == self._commits:
                    known |= {run.name: self._waiting[run.name] for run in runs if run.name in self._waiting}
                    return self._append(runs, encoded, known)

    def _append(
        self, runs: Sequence[PreparedRun], encoded: Sequence[pa.RecordBatch], known: dict[RunName, str]
    ) -> list[SaveReport]:
        reports, new, rows = [], {}, []
        for run, row in zip(runs, encoded, strict=True):
            outcome = SaveOutcome.SAVED
            if run.name in known:
                outcome = SaveOutcome.UNCHANGED if known[run.name] == run.digest else SaveOutcome.REFUSED
            else:
                known[run.name] = new[run.name] = run.digest
                rows.append((_TABLE, row))
            reports.append(SaveReport(run.name, outcome, known[run.name]))
        try:
            self._spool.append(rows)
        except OSError as error:
            raise LakeError(
                f"{', '.join(map(str, [*new][:3]))} could not be written to {self._folder}: {error.strerror or error}",
                fix="check free space and permissions; what was acknowledged before stays",
            ) from error
        self._waiting |= new
        if len(self._waiting) >= self._most_runs:
            self._wake.set()
        return reports

    @property
    def has_waiting(self) -> bool:
        """Whether runs wait for their commit."""
        return bool(self._waiting)

    def flush(self) -> list[SaveReport]:
        """Commit everything that waits, as one commit per table.

        Returns:
            A report for each run. One whose name somebody else took meanwhile, with other content, is `refused`, and kept
            under its own run id with `~` and the beginning of its digest.

        Raises:
            LakeError: the lake cannot be written; what waits stays in the spool.
        """
        with self._flushing:
            with self._guard:
                names = dict(self._waiting)
                self._spool.seal()
                segments = self._spool.segments()
            reports = [report for segment in segments for report in self._commit_segment(segment)]
            with self._guard:
                for name in names:
                    self._waiting.pop(name, None)
                self._commits += 1
                self.reports += reports
            return reports

    def take_reports(self) -> list[SaveReport]:
        """Reports since the last call.

        Raises:
            LakeError: the last flush failed; what waits stays in the spool, and is tried again.
        """
        with self._guard:
            taken, self.reports = self.reports, []
            failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        return taken

    def close(self) -> None:
        """Commit what waits, and let go of the spool.

        Raises:
            LakeError: the lake cannot be written; what waits stays in the spool, and the next writer commits it.
        """
        with self._guard:
            if self._closed:
                return
            self._closed = True
        self._wake.set()
        self._thread.join()
        try:
            self.flush()
        finally:
            empty = not self._spool.waiting_bytes() and not any(self._folder.glob("*.damaged"))
            self._spool.close()
            if empty:
                shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self) -> None:
        while not self._closed:
            self._wake.wait(self._seconds)
            self._wake.clear()
            if self._waiting and not self._closed:
                try:
                    self.flush()
                except LakeError as error:
                    self._failure = error

    def _commit_segment(self, segment: Segment) -> list[SaveReport]:
        runs = [_decode(data) for batch in segment.read(_TABLE) for data in batch["run"]]
        reports = self._commit(runs) if runs else []
        lost = [run for run, report in zip(runs, reports, strict=True) if report.outcome is SaveOutcome.REFUSED]
        if lost:
            self._commit([_renamed(run) for run in lost])
        reach("rows_committed")
        if sum(batch.height for batch in segment.read(_TABLE, after_damage=True)) < len(runs):
            # A run that was acknowledged and that the disk has damaged is never dropped in silence.
            kept = segment.path.with_suffix(".damaged")
            segment.path.rename(kept)
            raise LakeError(
                f"a journal of runs is damaged in its midst: {len(runs):,} whole ones were committed, others are lost",
                fix=f"compute again what `gb results list` lacks; the journal is kept as {kept}",
            )
        segment.delete()
        reach("segment_deleted")
        return reports


def recover(folder: Path, open_writer: Callable[[Path], SpooledWriter]) -> int:
    """Commit what writers that are gone have left; how many spools that were."""
    count = 0
    for place in sorted(folder.glob("*/")) if folder.is_dir() else []:
        if (place / "lock").is_file() and not is_open(place):
            with suppress(_Taken):
                open_writer(place).close()
                count += 1
    return count


class _Taken(LakeError):
    """Another process has the spool open."""


def _open_spool(folder: Path) -> Spool:
    try:
        return Spool(folder, _SCHEMAS)
    except LakeError as error:
        if is_open(folder):
            raise _Taken(
                f"another process writes the spool {folder}", fix="give each writer a name of its own"
            ) from None
        raise LakeError(f"the spool {folder} could not be opened", fix="check free space and permissions") from error


def _encode(run: PreparedRun) -> pa.RecordBatch:
    """A run as one value: its row as JSON, and behind it the rows of its parts as Arrow streams, and its artifacts."""
    row = {name: microseconds(value) if isinstance(value, datetime) else value for name, value in run.row.items()}
    bodies = {}
    for table, part in run.parts.items():
        sink = io.BytesIO()
        part.write_ipc_stream(sink)
        bodies[table] = sink.getvalue()
    moments = [name for name, value in run.row.items() if isinstance(value, datetime)]
    head = json.dumps(
        {
            "row": row, "moments": moments, "parts": {table: len(body) for table, body in bodies.items()},
            "artifacts": {name: len(body) for name, body in run.artifacts.items()},
        }
    ).encode()  # fmt: skip
    data = b"".join([len(head).to_bytes(8, "little"), head, *bodies.values(), *run.artifacts.values()])
    return pa.record_batch([pa.array([data], pa.large_binary())], schema=_SCHEMAS[_TABLE])


def _decode(data: bytes) -> PreparedRun:
    end = 8 + int.from_bytes(data[:8], "little")
    head = json.loads(data[8:end])
    parts = {}
    for table, size in head["parts"].items():
        parts[table] = pl.read_ipc_stream(io.BytesIO(data[end : end + size]))
        end += size
    artifacts = {}
    for name, size in head.get("artifacts", {}).items():
        artifacts[name] = data[end : end + size]
        end += size
    row = head["row"] | {name: from_microseconds(head["row"][name]) for name in head["moments"]}
    return PreparedRun(RunName(row["strategy"], row["version"], row["run_id"]), row, parts, artifacts)


def _renamed(run: PreparedRun) -> PreparedRun:
    name = RunName(run.name.strategy, run.name.version, f"{run.name.run_id[:180]}~{run.digest[:12]}")
    return replace(run, name=name, row={**run.row, "run_id": name.run_id, "run_key": name.key})
