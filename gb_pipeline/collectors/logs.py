"""This module says what a collector's log is: a function that is told an event's name and facts about it.

Who writes events where, as JSON or for people, is decided by the command line.
"""

from __future__ import annotations

from typing import Protocol


class Log(Protocol):
    """Told of every happening: connections, flushes, errors. Facts are never credentials."""

    def __call__(self, event: str, /, **facts: str | float | bool | None) -> None:
        """Note one event."""


def silent_log(event: str, /, **facts: str | float | bool | None) -> None:
    """A log that keeps nothing."""
