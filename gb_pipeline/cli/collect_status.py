"""How a running collector is, out of the state that it writes each second: a table, JSON, or a view that follows it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gb_pipeline.cli.output import ExitCode, format_size, format_value, note, print_json, print_table
from gb_pipeline.market.spelling import format_count

if TYPE_CHECKING:
    from rich.console import RenderableType

    from gb_pipeline.collectors.state import CollectorState, StreamState

HEADINGS = (
    "source", "dataset", "symbol", "", "messages/s", "messages", "lag ms", "last message", "gaps", "gaps/million",
)  # fmt: skip
OPTIONAL = ("messages", "gaps/million", "lag ms")
_STYLES = {
    "ok": "green",
    "stalled": "yellow",
    "not connected": "red",
    "not begun": "yellow",
    "gone": "red",
    "stopped": "yellow",
}
_SECOND = 1_000_000_000
_REFRESH_SECONDS = 0.5
# Of a view; the worst are shown first.
_MOST_ROWS = 40
_MOST_LINES = 8
# Between columns of a view.
_GAP = 2


def show_status(spool: Path, *, as_json: bool) -> ExitCode:
    """Print how the collector of a spool is; `FAILED` unless all is well.

    Raises:
        StateError: its state cannot be read.
    """
    from gb_pipeline.collectors.spool import is_open
    from gb_pipeline.collectors.state import CollectorState
    from gb_pipeline.health.streams import describe_problems

    state, now = CollectorState.read(spool), time.time_ns()
    problems = ["no collector ever ran here"] if state is None else list(describe_problems(state, now))
    is_gone = state is not None and not state.stopped and not is_open(spool)
    if is_gone and state is not None:
        # What it wrote last says nothing of now.
        problems.insert(0, f"collector {state.collector} (process {state.pid}) is gone")
    if as_json:
        print_json({"problems": problems, "state": None if state is None else _to_dict(state)})
    elif state is not None:
        print_table(HEADINGS, _rows(state, now, is_gone=is_gone), styles=_STYLES, optional=OPTIONAL)
        note("\n".join(describe(state, now)))
    for problem in () if as_json else problems:
        note(problem)
    if state is None and not as_json:
        note("  -> gb collect")
    return ExitCode.FAILED if problems else ExitCode.OK


def follow(spool: Path, is_over: Callable[[], bool], lines: Sequence[str] = ()) -> None:
    """Show the collector of a spool on a terminal, twice a second.

    Args:
        spool: its folder.
        is_over: asked each time whether to end.
        lines: what happened, of which the newest are shown below.
    """
    from rich.console import Console
    from rich.live import Live

    from gb_pipeline.collectors.spool import is_open
    from gb_pipeline.collectors.state import CollectorState

    console = Console(highlight=False)
    with Live(console=console, auto_refresh=False, screen=console.is_terminal) as live:
        while not is_over():
            state = CollectorState.read(spool)
            is_gone = state is not None and not state.stopped and not is_open(spool)
            view = _view(state, time.time_ns(), lines[-_MOST_LINES:], console.width, is_gone=is_gone)
            live.update(view, refresh=True)
            time.sleep(_REFRESH_SECONDS)


def describe(state: CollectorState, now: int) -> list[str]:
    """What is the same for all streams of a collector, in a few lines."""
    from gb_pipeline.health.stream_facts import format_seconds

    def ago(moment: int | None) -> str:
        return "never" if moment is None else f"{format_seconds(max(0, now - moment) / _SECOND)} ago"

    flushed = (
        f"{state.last_flush_rows:,} rows in {format_seconds(state.last_flush_seconds)}, {ago(state.last_flush_time)}"
    )
    rate = "" if state.gaps_per_million is None else f", {state.gaps_per_million:,.1f} gaps per million"
    return [
        f"{state.collector}: process {state.pid}, gb_pipeline {state.version}, started {ago(state.started_time)},"
        f" {format_size(state.rss_bytes)} of memory",
        f"heard {format_count(state.messages, 'message')}{rate}; {state.unreadable:,} unreadable;"
        f" {format_count(state.reconnects, 'reconnect')}",
        f"queue {format_seconds(state.queue_seconds)}; spool {format_size(state.spool_bytes)},"
        f" {format_count(state.spool_rows, 'row')}; last flush {'never' if state.last_flush_time is None else flushed}",
    ]


def _rows(state: CollectorState, now: int, *, is_gone: bool) -> list[tuple[object, ...]]:
    from gb_pipeline.health.stream_facts import format_seconds

    dead = "gone" if is_gone else "stopped" if state.stopped else None

    def row(stream: StreamState) -> tuple[object, ...]:
        last, rate = stream.last_message_time, stream.gaps_per_million
        return (
            stream.source,
            stream.dataset,
            stream.symbol,
            dead or _state_of(stream),
            0.0 if dead else round(stream.messages_per_second, 1),
            stream.messages,
            None if stream.lag_ms is None else round(stream.lag_ms, 1),
            "never" if last is None else f"{format_seconds(max(0, now - last) / _SECOND)} ago",
            stream.gaps,
            None if rate is None else round(rate, 3),
        )

    return [row(stream) for stream in sorted(state.streams, key=lambda item: (item.source, item.dataset, item.symbol))]


def _state_of(stream: StreamState) -> str:
    if not stream.connected:
        return "not connected"
    if not stream.begun:
        return "not begun"
    return "stalled" if stream.stalled else stream.open_gap or "ok"


def _view(state: CollectorState | None, now: int, lines: Sequence[str], width: int, *, is_gone: bool) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    from gb_pipeline.health.streams import describe_problems

    if state is None:
        return Group(Text("nothing was heard yet"), *map(Text, lines))
    rows = sorted(_rows(state, now, is_gone=is_gone), key=lambda row: row[3] == "ok")
    table = _one_line_each(rows[:_MOST_ROWS], width)
    more = [Text(f"and {len(rows) - _MOST_ROWS:,} more streams", style="dim")] if len(rows) > _MOST_ROWS else []
    problems = [Text(problem, style="red") for problem in list(describe_problems(state, now))[:5]]
    return Group(
        *map(Text, describe(state, now)),
        Text(""),
        table,
        *more,
        *problems,
        Text(""),
        *(Text(line, style="dim") for line in lines),
    )


def _one_line_each(rows: Sequence[tuple[object, ...]], width: int) -> RenderableType:
    """A table in which nothing is folded: what has no room is left out, and at the very last the source's name is cut."""
    from rich.table import Table
    from rich.text import Text

    cells = [[format_value(cell) for cell in row] for row in rows]
    naturals = [
        max(len(heading), *(len(row[place]) for row in cells), 1) if cells else len(heading)
        for place, heading in enumerate(HEADINGS)
    ]
    kept = list(range(len(HEADINGS)))

    def excess() -> int:
        return sum(naturals[place] + _GAP for place in kept) - _GAP - width

    for heading in reversed(("messages/s", *OPTIONAL)):
        if excess() > 0:
            kept.remove(HEADINGS.index(heading))
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    naturals[0] = max(naturals[0] - max(excess(), 0), len(HEADINGS[0]))
    for place in kept:
        table.add_column(HEADINGS[place], no_wrap=True, width=naturals[place])
    for row in cells:
        table.add_row(*(Text(row[place], style=_STYLES.get(row[place], "")) for place in kept))
    return table


def _to_dict(state: CollectorState) -> dict[str, Any]:
    document = asdict(state) | {"gaps_per_million": state.gaps_per_million}
    streams = [asdict(stream) | {"gaps_per_million": stream.gaps_per_million} for stream in state.streams]
    return document | {"streams": streams}
