"""How far a command is, on stderr: a bar on a terminal, a line now and then in a pipe, and above it what the package logs."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, ProgressColumn, Task

# Of lines in a pipe: somebody who reads a log wants to see that it goes on, and not a line for every second.
_LINE_SECONDS = 5.0
_BAR = 16
# What stands beside the name of a task and its numbers: a spinner, the bar, the time so far, and a space after each column.
_BESIDE = 1 + _BAR + len("0:00:00") + 4


@contextmanager
def progress(unit: str, *, quiet: bool = False) -> Iterator[Progress]:
    """Progress of tasks that are counted in a unit, with rate and remaining time.

    Where stderr is no terminal, a plain line is printed every few seconds, so that short commands print none.

    Args:
        unit: what is counted, in the plural: `sessions`.
        quiet: show nothing at all.

    Example:
        >>> with progress("files") as bar:
        ...     task = bar.add_task("reading", total=2)
        ...     bar.advance(task)
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    errors = Console(stderr=True, highlight=False)
    terminal = errors.is_terminal and not quiet
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=_BAR),
        _text_column(unit, errors),
        TimeElapsedColumn(),
    )
    with (
        Progress(*columns, console=errors, transient=True, disable=not terminal) as bar,
        _log_above(errors, hidden=not terminal),
        _lines(bar, unit, hidden=terminal or quiet),
    ):
        yield bar


def describe_task(task: Task, unit: str, room: int | None = None) -> str:
    """`1,234/29,400 sessions, 45/s, 0:10:22 left`; what is not known yet is left out, and the rate where there is no room for it.

    A task that was added with a function `detail` says its text as well.
    """
    if task.total is None and not task.completed:
        return ""
    total = "" if task.total is None else f"/{int(task.total):,}"
    parts = {"count": f"{int(task.completed):,}{total} {unit}"}
    if (detail := task.fields.get("detail")) is not None:
        parts["detail"] = detail()
    if task.speed:
        parts["rate"] = f"{task.speed:,.0f}/s" if task.speed >= 10 else f"{task.speed:.1f}/s"
    if task.time_remaining is not None and not task.finished:
        hours, seconds = divmod(round(task.time_remaining), 3600)
        parts["left"] = f"{hours}:{seconds // 60:02}:{seconds % 60:02} left"
    for least in ("rate", "detail"):
        if room is None or len(", ".join(parts.values())) <= room:
            break
        parts.pop(least, None)
    return ", ".join(parts.values())


def _text_column(unit: str, errors: Console) -> ProgressColumn:
    from rich.progress import ProgressColumn
    from rich.text import Text

    class Described(ProgressColumn):
        def render(self, task: Task) -> Text:
            # A line that is folded would jump up and down.
            return Text(describe_task(task, unit, errors.width - _BESIDE - len(task.description)), no_wrap=True)

    return Described()


@contextmanager
def _lines(bar: Progress, unit: str, *, hidden: bool) -> Iterator[None]:
    """Print a line for the tasks under way every few seconds."""
    if hidden:
        yield
        return
    ended = threading.Event()

    def print_lines() -> None:
        while not ended.wait(_LINE_SECONDS):
            for task in bar.tasks:
                if task.visible:
                    sys.stderr.write(f"{task.description}: {describe_task(task, unit)}\n")
            sys.stderr.flush()

    thread = threading.Thread(target=print_lines, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextmanager
def _log_above(errors: Console, *, hidden: bool) -> Iterator[None]:
    """Print log messages above the progress bar: a person wants to see why it takes so long, a pipe does not."""

    class Above(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            errors.print(record.getMessage(), style="dim", markup=False)

    logger = logging.getLogger("gb_pipeline")
    handler = logging.NullHandler() if hidden else Above()
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
