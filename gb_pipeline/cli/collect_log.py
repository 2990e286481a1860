"""How the happenings of a collector are written: a line for a person, or JSON by structlog for who keeps logs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gb_pipeline.cli.output import format_value

if TYPE_CHECKING:
    from gb_pipeline.collectors.logs import Log

# What somebody should look at.
_PROBLEMS = ("disconnected", "refused", "error", "failed", "damaged", "slow", "stalled", "unreadable")


def build_log(write: Callable[[str], object], *, as_json: bool) -> Log:
    """A log that hands each happening on as one line.

    Args:
        write: takes a line without its end.
        as_json: as a JSON object with `event`, `level`, `timestamp` and the facts; otherwise for a person.
    """
    return _json_log(write) if as_json else _plain_log(write)


def print_line(line: str) -> None:
    """A line on stderr."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def is_problem(event: str) -> bool:
    """Whether somebody should look at a happening.

    Example:
        >>> is_problem("flush_failed"), is_problem("flushed")
        (True, False)
    """
    return any(word in event for word in _PROBLEMS)


def _plain_log(write: Callable[[str], object]) -> Log:
    def log(event: str, /, **facts: str | float | bool | None) -> None:
        told = [
            f"{name} {' '.join(format_value(value).split())}"
            for name, value in facts.items()
            if value not in {None, ""}
        ]
        write(f"{datetime.now(UTC):%H:%M:%S} {event.replace('_', ' ')}{': ' if told else ''}{', '.join(told)}")

    return log


def _json_log(write: Callable[[str], object]) -> Log:
    import structlog

    class Writer:
        """What structlog calls with each rendered line."""

        def msg(self, line: str) -> None:
            write(line)

        info = warning = msg

    logger = structlog.wrap_logger(
        Writer(),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
        wrapper_class=structlog.BoundLogger,
    )

    def log(event: str, /, **facts: str | float | bool | None) -> None:
        (logger.warning if is_problem(event) else logger.info)(event, **facts)

    return log
