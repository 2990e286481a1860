"""Runs that were sent wait in a spool of the server: durable once they are confirmed, and in the lake with the next commit.

Many uploads become one commit. Whoever asks this server about runs finds all that it has confirmed: what waits is committed first.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

from gb_pipeline.errors import LakeError
from gb_pipeline.research.results import Results, SaveOutcome, SaveReport, SpooledWriter
from gb_pipeline.research.results.prepared import PreparedRun

log = logging.getLogger(__name__)


class RunSpool:
    """The runs that this server was sent. Safe to share between threads.

    Args:
        results: of the lake.
    """

    def __init__(self, results: Results) -> None:
        """Nothing is opened; the first run, or what a server that was killed has left, opens a spool."""
        self._results = results
        self._guard = threading.Lock()
        self._writer: SpooledWriter | None = None
        self._closed = False

    def save(self, runs: Sequence[PreparedRun]) -> list[SaveReport]:
        """Make runs durable; a report for each, in their order.

        Raises:
            LakeError: the disk cannot be written, or the server ends.
        """
        writer = self._open()
        reports = writer.save_prepared(runs)
        self._tell(writer)
        return reports

    def settle(self) -> None:
        """Commit what waits, also what a server that was killed has left, so that whoever asks finds it.

        Raises:
            LakeError: the lake cannot be written; what waits stays in the spool.
        """
        writer = self._writer
        if writer is None:
            if self._closed or not self._results.has_spools():
                return
            writer = self._open()
        if writer.has_waiting:
            writer.flush()
            self._tell(writer)

    def close(self) -> None:
        """Commit what waits, and take no more."""
        with self._guard:
            self._closed = True
            writer, self._writer = self._writer, None
        if writer is not None:
            try:
                writer.close()
            except LakeError as error:
                log.error("runs wait in the spool for the next server: %s", error)
            self._tell(writer)

    def _open(self) -> SpooledWriter:
        with self._guard:
            if self._closed:
                raise LakeError("the server ends", fix="send it again to the next one")
            if self._writer is None:
                self._writer = self._results.spooled()
            return self._writer

    def _tell(self, writer: SpooledWriter) -> None:
        """Put into the log what became of runs after they were confirmed, where it is not what was said."""
        try:
            lost = [report for report in writer.take_reports() if report.outcome is SaveOutcome.REFUSED]
        except LakeError as error:
            log.error("confirmed runs wait in the spool, as a commit failed: %s", error)
            return
        for report in lost:
            log.warning("run %s was taken by another writer; what was confirmed has a ~ behind its id", report.name)
