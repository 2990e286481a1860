"""Commands that run until they are stopped: signals, and waiting beside a running Dagster.

`dagster_runtime.instance` starts and stops Dagster itself.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

from gb_pipeline.cli.output import note

if TYPE_CHECKING:
    from gb_pipeline.dagster_runtime.instance import Stack

_CHECK_SECONDS = 1.0


@contextmanager
def stoppable() -> Iterator[None]:
    """Ctrl-C, SIGTERM and a closed terminal all unwind the block, so that everything in it is stopped in order.

    A shell starts `gb up &` with SIGINT ignored, and Python then leaves it so: it is set back.
    """

    def stop(number: int, _: object) -> NoReturn:
        raise SystemExit(128 + number)

    handlers: dict[signal.Signals, Callable[..., object]] = {signal.SIGINT: signal.default_int_handler}
    handlers |= {number: stop for number in (signal.SIGTERM, getattr(signal, "SIGHUP", None)) if number is not None}
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
    finally:
        with errors.status("stopping Dagster"):
            stack.stop()


def until_stopped(stack: Stack) -> NoReturn:
    """Wait for Ctrl-C.

    Raises:
        DagsterError: one of Dagster's processes ended by itself.
    """
    note("Ctrl-C stops everything")
    while True:
        stack.check()
        time.sleep(_CHECK_SECONDS)
