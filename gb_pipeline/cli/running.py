"""Commands that run until they are told to stop.

Belongs here: signals, and waiting beside a running Dagster. Does not belong here: starting it (`dagster_runtime.instance`).
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

_LOOK_SECONDS = 1.0


@contextmanager
def stoppable() -> Iterator[None]:
    """Ctrl-C, SIGTERM and a closed terminal all unwind the block, so that everything in it is stopped in order.

    A shell starts `gb up &` with SIGINT ignored, and Python then leaves it so: it is set back.
    """

    def stop(number: int, _: object) -> NoReturn:
        raise SystemExit(128 + number)

    wanted: dict[signal.Signals, Callable[..., object]] = {signal.SIGINT: signal.default_int_handler}
    wanted |= {number: stop for number in (signal.SIGTERM, getattr(signal, "SIGHUP", None)) if number is not None}
    before = {number: signal.signal(number, handler) for number, handler in wanted.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def running(stack: Stack, *, daemon: bool = True) -> Iterator[Stack]:
    """Dagster for the length of a block, saying what is being waited for; without its daemon, the block starts that."""
    from rich.console import Console

    errors = Console(stderr=True, highlight=False)
    try:
        with errors.status("starting Dagster") as shown:
            stack.start(on_wait=lambda what: shown.update(f"starting Dagster: waiting for its {what}"), daemon=daemon)
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
        time.sleep(_LOOK_SECONDS)
