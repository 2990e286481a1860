"""This module saves many small runs: each is durable on a local disk once `save` returns, and many become one commit.

A run waits in a spool, the same kind of journal as collectors write. Committing is idempotent, as a run that is there with this
content is left alone: killed at any point, nothing that was acknowledged is lost, and nothing is there twice.
"""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import polars as pl
import pyarrow as pa

from gb_pipeline.collectors.spool import Segment, Spool, is_open
from gb_pipeline.errors import LakeError, RunRefused
from gb_pipeline.lake.datasets import RUNS
from gb_pipeline.market.schema import polars_schema
from gb_pipeline.research.results.prepared import PreparedRun
from gb_pipeline.research.results.run import BacktestRun, RunName
from gb_pipeline.research.results.writing import PARTS, SaveOutcome, SaveReport
from gb_pipeline.storage.fault_points import reach

_TABLES = {dataset.name: dataset for dataset in (*PARTS, RUNS)}
_SCHEMAS: dict[str, pa.Schema] = {name: dataset.columns for name, dataset in _TABLES.items()}
_NAMES = ("shard", "strategy", "version", "run_id", "run_key", "save_id", "started_at")


class SpooledWriter:
    """Saves runs through a spool; see `Results.spooled`. Safe to share between threads.

    Attributes:
        reports: of runs that were committed, in their order, until they are taken with `take_reports`.
    """

    def __init__(
        self,
        folder: Path,
        prepare: Callable[[BacktestRun], PreparedRun],
        keep: Callable[[PreparedRun], None],
        commit: Callable[[Sequence[PreparedRun]], list[SaveReport]],
        find: Callable[[Sequence[RunName]], Mapping[RunName, Mapping[str, object]]],
        *,
        runs: int,
        seconds: float,
    ) -> None:
        """Use `Results.spooled`."""
        self._folder = folder
        self._prepare, self._keep, self._commit, self._find = prepare, keep, commit, find
        self._most_runs, self._seconds = runs, seconds
        self._spool = _open_spool(folder)
        self._waiting: dict[RunName, str] = {}
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
        prepared = self._prepare(run)
        known = self._find([prepared.name]).get(prepared.name)
        with self._guard:
            if self._closed:
                raise LakeError("the writer is closed", fix="open another one: results.spooled()")
            digest = self._waiting.get(prepared.name) or (str(known["digest"]) if known else None)
            if digest is not None:
                if digest != prepared.digest:
                    raise RunRefused(
                        f"run {prepared.name} is saved already with other content", fix="save it under another run id"
                    )
                return digest
            self._keep(prepared)
            try:
                self._spool.append(_batches(prepared))
            except OSError as error:
                raise LakeError(
                    f"run {prepared.name} could not be written to {self._folder}: {error.strerror or error}",
                    fix="check free space and permissions; what was acknowledged before stays",
                ) from error
            self._waiting[prepared.name] = prepared.digest
            if len(self._waiting) >= self._most_runs:
                self._wake.set()
        return prepared.digest

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
            empty = not self._spool.waiting_bytes()
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
        runs, torn = _runs_of(segment)
        reports = self._commit(runs) if runs else []
        lost = [run for run, report in zip(runs, reports, strict=True) if report.outcome is SaveOutcome.REFUSED]
        if lost:
            self._commit([_renamed(run) for run in lost])
        reach("rows_committed")
        if torn:
            # An acknowledged run that the disk has damaged is never dropped in silence.
            kept = segment.path.with_suffix(".damaged")
            with suppress(OSError):
                segment.path.rename(kept)
            raise LakeError(
                f"{len(torn)} runs of the spool are damaged, the first is {torn[0]}; all others were committed",
                fix=f"compute them again; their journal is {kept}",
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


def _batches(run: PreparedRun) -> list[tuple[str, pl.DataFrame]]:
    """The rows of a run by table, its row in `runs` last: without that one, the others do not count."""
    found = [(dataset.name, rows) for dataset in PARTS if (rows := run.rows(dataset.name, 0)) is not None]
    types = polars_schema(RUNS.columns)
    row = pl.DataFrame({name: [0 if name == "save_id" else run.row[name]] for name in types}, schema=types)
    return [*found, (RUNS.name, row)]


def _runs_of(segment: Segment) -> tuple[list[PreparedRun], list[RunName]]:
    """The runs of a journal, and names of those of which rows are missing."""
    rows = pl.concat([RUNS.no_rows.select(RUNS.columns.names), *segment.read(RUNS.name)], how="vertical_relaxed")
    parts: dict[str, dict[int, pl.DataFrame]] = {}
    for dataset in PARTS:
        batches = list(segment.read(dataset.name))
        whole = pl.concat(batches) if batches else pl.DataFrame()
        parts[dataset.name] = (
            {
                int(key): part.drop(_NAMES)
                for (key,), part in whole.partition_by("run_key", as_dict=True, maintain_order=True).items()
            }
            if batches
            else {}
        )
    runs, torn = [], []
    for row in rows.iter_rows(named=True):
        name = RunName(row["strategy"], row["version"], row["run_id"])
        mine = {table: found[row["run_key"]] for table, found in parts.items() if row["run_key"] in found}
        if all(_is_whole(table, contents, mine) for table, contents in json.loads(row["contents"]).items()):
            runs.append(PreparedRun(name, row, mine, {}))
        else:
            torn.append(name)
    return runs, torn


def _is_whole(table: str, contents: Mapping[str, Any], parts: Mapping[str, pl.DataFrame]) -> bool:
    expected: int = contents["rows"] * (len(contents["columns"]) - 1 if table == "equity" else 1)
    return expected == (parts[table].height if table in parts else 0)


def _renamed(run: PreparedRun) -> PreparedRun:
    name = RunName(run.name.strategy, run.name.version, f"{run.name.run_id[:180]}~{run.digest[:12]}")
    return replace(run, name=name, row={**run.row, "run_id": name.run_id, "run_key": name.key})
