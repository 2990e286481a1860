"""`gb collect` hears trades and order books. What it hears and keeps is `gb_pipeline.collectors`; here it is started and shown.

How a running collector is stands in `collect_status`, what one would hear in `collect_check`, and how its happenings are written
in `collect_log`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from gb_pipeline.cli.options import Config, Json, load_settings
from gb_pipeline.cli.output import ExitCode, note, print_error, print_json
from gb_pipeline.errors import ConfigError
from gb_pipeline.market.spelling import format_count

if TYPE_CHECKING:
    from pathlib import Path

    from gb_pipeline.collectors.state import CollectorState
    from gb_pipeline.config.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("collect")(collect)


def collect(
    status: Annotated[
        bool,
        typer.Option("--status", help="Print how the collector of this machine is; exits with 1 unless all is well."),
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Print what would be heard, and which credentials are missing.")
    ] = False,
    flush: Annotated[
        bool, typer.Option("--flush", help="Commit what a collector that does not run any more has left in the spool.")
    ] = False,
    heal: Annotated[
        bool,
        typer.Option("--heal", help="Ask venues for trades that nothing covers, and store those that are not there."),
    ] = False,
    live: Annotated[
        bool,
        typer.Option("--live", help="Show rates, lag, queue, flushes and gaps on the terminal, of a running one too."),
    ] = False,
    seconds: Annotated[
        float | None,
        typer.Option(
            "--for", help="End after so many seconds in which all streams are heard.", min=0, show_default=False
        ),
    ] = None,
    metrics_port: Annotated[
        int | None,
        typer.Option(
            help="Show numbers for Prometheus at /metrics of this port.", min=1, max=65535, show_default=False
        ),
    ] = None,
    metrics_host: Annotated[str, typer.Option(help="Address on which --metrics-port listens.")] = "127.0.0.1",
    config: Config = None,
    as_json: Json = False,
) -> int:
    """Hear trades and order books around the clock.

    Keeps what gb.yaml names under `collect`, with evidence of what was heard and what is missing, until Ctrl-C or SIGTERM; then
    commits what is left. Everything waits in a local spool until it is committed, and survives a kill. Prints a line on stderr for
    each happening, as JSON with `--json`. docs/collecting.md says more.
    """
    if sum((status, check, flush, heal, live)) > 1:
        raise ConfigError(
            "only one of --status, --check, --flush, --heal and --live can be asked for", fix="leave the others out"
        )
    if seconds is not None and (status or check or flush or heal):
        raise ConfigError(
            "--for is how long a collector hears, and none of --status, --check, --flush and --heal does",
            fix="leave --for out, or the other option",
        )
    settings = load_settings(config)
    if status:
        from gb_pipeline.cli.collect_status import show_status

        return show_status(settings.spool, as_json=as_json)
    if not settings.collect.streams:
        raise ConfigError(
            f"{settings.path} names nothing to hear",
            fix="add a stream below `collect: streams:`; docs/collecting.md shows how",
        )
    from gb_pipeline.collectors.planned import require_extra

    require_extra()
    if check:
        from gb_pipeline.cli.collect_check import check_streams

        return check_streams(settings, as_json=as_json)
    if flush:
        return _flush(settings, as_json=as_json)
    if heal:
        return _heal(settings, as_json=as_json)
    if running := _running(settings.spool):
        if not live:
            raise ConfigError(
                f"the collector {running.collector} runs already, as process {running.pid}",
                fix="look with `gb collect --status` or `--live`; another one needs a `collector` of its own in gb.yaml",
            )
        if seconds is not None:
            raise ConfigError(
                f"the collector {running.collector} runs already, as process {running.pid}, and --for does not end it",
                fix="leave --for out: Ctrl-C ends the view alone",
            )
        from gb_pipeline.cli.collect_status import follow

        follow(settings.spool, lambda: False)
        return ExitCode.OK
    metrics = None if metrics_port is None else (metrics_host, metrics_port)
    return _run(settings, live=live, as_json=as_json, metrics=metrics, seconds=seconds)


def _run(
    settings: Settings, *, live: bool, as_json: bool, metrics: tuple[str, int] | None, seconds: float | None
) -> ExitCode:
    from gb_pipeline.cli.collect_log import build_log, print_line
    from gb_pipeline.collectors.collector import run_collector
    from gb_pipeline.collectors.planned import plan_streams

    streams = plan_streams(settings.collect)
    heard = sum(len(stream.subscriptions) for stream in streams)
    connections = sum(len(stream.connections) for stream in streams)
    shown: list[str] = []
    log = build_log(shown.append if live else print_line, as_json=as_json)
    with ExitStack() as beside:
        if metrics is not None:
            port = beside.enter_context(_metrics(settings.spool, *metrics))
            note(f"metrics: http://{metrics[0]}:{port}/metrics")
        if not as_json:
            note(
                f"{settings.collect.collector} hears {format_count(heard, 'subscription')} over"
                f" {format_count(connections, 'connection')} for {settings.lake}; Ctrl-C ends it"
            )
        if live:
            beside.enter_context(_live(settings.spool, shown))
        state = run_collector(settings, log=log, seconds=seconds)
    if state.flush_error is not None or state.spool_error is not None:
        print_error(
            f"it ended, and not everything is committed: {state.flush_error or state.spool_error}",
            f"nothing is lost: {settings.spool} keeps it; commit it with `gb collect --flush` once the lake can be written",
        )
        return ExitCode.FAILED
    return ExitCode.OK


def _flush(settings: Settings, *, as_json: bool) -> ExitCode:
    from gb_pipeline.collectors.collector import flush_pending

    if running := _running(settings.spool):
        flushed, said = [], f"the collector {running.collector} runs, and commits by itself (process {running.pid})"
    else:
        flushed = flush_pending(settings)
        rows, refused = sum(item.rows for item in flushed), sum(item.refused for item in flushed)
        said = f"{format_count(rows, 'row')} of {format_count(len(flushed), 'segment')} committed"
        said += f", {refused:,} refused (gb quarantine list)" if refused else ""
    if as_json:
        print_json([{"segment": item.segment, "rows": item.rows, "refused": item.refused} for item in flushed])
    else:
        note(said)
    return ExitCode.OK


def _heal(settings: Settings, *, as_json: bool) -> ExitCode:
    from gb_pipeline.cli.collect_log import build_log, print_line
    from gb_pipeline.collectors.healing import heal_trades

    log = build_log(print_line, as_json=as_json)
    healed = heal_trades(settings, now=time.time_ns(), log=log, again=True)
    left = [hole for hole in healed if hole.error is not None]
    if as_json:
        print_json([asdict(hole) for hole in healed])
    else:
        stored = sum(hole.stored for hole in healed)
        note(
            f"{format_count(len(healed) - len(left), 'hole')} closed with {format_count(stored, 'trade')}, {len(left):,} left"
        )
    return ExitCode.FAILED if left else ExitCode.OK


def _running(spool: Path) -> CollectorState | None:
    """The state of a collector that writes this spool now; None where none does, as far as its state says."""
    from gb_pipeline.collectors.state import FRESH_SECONDS, CollectorState, StateError

    try:
        state = CollectorState.read(spool)
    except StateError:
        return None
    alive = state is not None and not state.stopped and state.age_seconds(time.time_ns()) < FRESH_SECONDS
    return state if state is not None and alive and _lives(state.pid) else None


def _lives(pid: int) -> bool:
    import os

    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextmanager
def _metrics(spool: Path, host: str, port: int) -> Iterator[int]:
    from gb_pipeline.collectors.state import CollectorState

    try:
        from gb_pipeline.collectors.metrics import serving_metrics
    except ImportError as error:
        raise ConfigError(
            f"--metrics-port needs {error.name}, which is not installed",
            fix="install it: uv pip install 'gb_pipeline[metrics]'",
        ) from None
    with serving_metrics(lambda: CollectorState.read(spool), port, host) as found:
        yield found


@contextmanager
def _live(spool: Path, lines: list[str]) -> Iterator[None]:
    """The view of this very process, from another thread."""
    from gb_pipeline.cli.collect_status import follow

    over = threading.Event()
    viewer = threading.Thread(target=follow, args=(spool, over.is_set, lines), daemon=True)
    viewer.start()
    try:
        yield
    finally:
        over.set()
        viewer.join()
