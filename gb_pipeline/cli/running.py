"""Commands that run until they are stopped: signals, and waiting beside a running Dagster.

`dagster_runtime.instance` starts and stops Dagster itself.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NoReturn

from gb_pipeline.cli.output import note
from gb_pipeline.errors import GbError

if TYPE_CHECKING:
    from gb_pipeline.dagster_runtime.instance import Stack
    from gb_pipeline.dagster_runtime.runs import RunNews

_CHECK_SECONDS = 1.0
_LOOKS_PER_NEWS = 2


@contextmanager
def stoppable() -> Iterator[None]:
    """Ctrl-C, SIGTERM and a closed terminal all unwind the block, so that everything in it is stopped in order.

    A shell starts `gb up &` with SIGINT ignored, and Python then leaves it so: it is set back. `nohup gb up` outlives its terminal.
    """
    terminals = [stream for stream in (1, 2) if os.isatty(stream)]

    def stop(number: int, _: object) -> NoReturn:
        raise SystemExit(128 + number)

    def stop_silently(number: int, _: object) -> NoReturn:
        # Writing to a terminal that is closed is an error.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in terminals:
            os.dup2(nowhere, stream)
        os.close(nowhere)
        raise SystemExit(128 + number)

    handlers: dict[signal.Signals, Callable[..., object]] = {signal.SIGINT: signal.default_int_handler}
    handlers[signal.SIGTERM] = stop
    # Windows has no such signal.
    hang_up = getattr(signal, "SIGHUP", None)
    if hang_up is not None and signal.getsignal(hang_up) is not signal.SIG_IGN:
        handlers[hang_up] = stop_silently
    previous_handlers = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in previous_handlers.items():
            signal.signal(number, handler)


@contextmanager
def running(stack: Stack, *, daemon: bool = True) -> Iterator[Stack]:
    """Run Dagster for the length of a block, and show what is being waited for; without `daemon`, the block starts it."""
    from rich.console import Console

    errors = Console(stderr=True, highlight=False)
    shown: list[str] = []
    try:
        with errors.status("starting Dagster") as status:

            def show(what: str) -> None:
                text = f"starting Dagster, waiting for its {what}"
                status.update(text)
                # In a pipe there is no status line, and it takes long enough to wonder.
                if not errors.is_terminal and text not in shown:
                    shown.append(text)
                    note(text)

            stack.start(on_wait=show, daemon=daemon)
        yield stack
    except GbError as error:
        # The last lines of what died.
        for line in getattr(error, "__notes__", ()):
            note(f"  | {line}")
        raise
    finally:
        status = errors.status("stopping Dagster")
        # Who reads it may be gone.
        with suppress(OSError):
            status.start()
        stack.stop()
        with suppress(OSError):
            status.stop()


def until_stopped(stack: Stack) -> NoReturn:
    """Wait for Ctrl-C, keep Dagster alive, and say in a line what each run came to.

    Raises:
        DagsterError: one of Dagster's processes died again and again.
    """
    note("Ctrl-C stops everything")
    looks = 0
    while True:
        stack.check()
        if looks % _LOOKS_PER_NEWS == 0:
            for news in stack.news():
                say_run(news, stack.url)
        looks += 1
        time.sleep(_CHECK_SECONDS)


def say(line: str) -> None:
    """A line with the time, for what happens while Dagster runs; in a file with the date as well."""
    note(f"{datetime.now(UTC):{'%H:%M:%S' if sys.stderr.isatty() else '%Y-%m-%dT%H:%M:%SZ'}} {line}")


def say_run(news: RunNews, url: str) -> None:
    """What happened to a run: one line, and two more for a failed one."""
    took = "" if news.seconds is None else f" in {news.seconds:.0f} s"
    verb = {"STARTED": "began", "SUCCESS": "done", "FAILURE": "FAILED", "CANCELED": "was cancelled"}[news.status]
    say(f"run {news.run_id[:8]} {verb}{took}: {news.what}{', is started again' if news.retried else ''}")
    if news.status == "FAILURE":
        note(f"  {news.reason}\n  {url}/runs/{news.run_id}")
