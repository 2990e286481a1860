"""This module holds outcomes back until several can be written at once: each transaction and each look at the ledger costs."""

from __future__ import annotations

import time

from gb_pipeline.ingest.job import Outcome

# Events of so many partitions are one transaction; Dagster's own writers wait for so many at most.
TOGETHER = 100


class WaitingOutcomes:
    """Outcomes that wait for company.

    Args:
        seconds: how long after the last were taken the next are due.
        partitions: how many partitions are due at once, however little time has passed; None where only the time counts.

    Example:
        >>> waiting = WaitingOutcomes(seconds=5.0)
        >>> if waiting.add(outcome):
        ...     write(waiting.take())
    """

    def __init__(self, seconds: float, partitions: int | None = None) -> None:
        """Nothing waits yet."""
        self._seconds, self._most = seconds, partitions
        self._outcomes: list[Outcome] = []
        self._partitions, self._taken = 0, time.monotonic()

    def add(self, outcome: Outcome, partitions: int = 0) -> bool:
        """Take in an outcome and the number of partitions that it touches; whether all that wait are due."""
        self._outcomes.append(outcome)
        self._partitions += partitions
        enough = self._most is not None and self._partitions >= self._most
        return enough or time.monotonic() - self._taken > self._seconds

    def take(self) -> list[Outcome]:
        """All that wait, in the order in which they came; afterwards none does."""
        taken, self._outcomes = self._outcomes, []
        self._partitions, self._taken = 0, time.monotonic()
        return taken
