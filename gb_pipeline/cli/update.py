"""`gb update` brings every source up to date: what `gb fetch` does for one source and resolution, for all of them.

This module goes from source to source and prints a line for each. What is missing is found in `ingest.backlog`, and `fetching`
fetches it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import typer

from gb_pipeline.cli.fetch_summary import report_problems
from gb_pipeline.cli.fetching import Fetching
from gb_pipeline.cli.names import Names, select_configured
from gb_pipeline.cli.options import Config, Json, load_settings, open_store
from gb_pipeline.cli.output import ExitCode, exit_code, note, print_error, print_json
from gb_pipeline.cli.symbols import advise_adding_symbols
from gb_pipeline.errors import GbError
from gb_pipeline.market.spelling import format_count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gb_pipeline.config.settings import SourceSettings
    from gb_pipeline.ingest.job import Outcome
    from gb_pipeline.market.resolution import Resolution
    from gb_pipeline.market.symbol import Symbol

# Of several ends, the one that a person has to do most about.
_BY_GRAVITY = (ExitCode.OK, ExitCode.TRANSIENT, ExitCode.USAGE, ExitCode.FAILED)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("update")(update)


def update(names: Names = None, config: Config = None, as_json: Json = False) -> int:
    """Bring every source up to date.

    Fetches what is missing of all symbols and all resolutions, from the start of each source until now, and once more the newest
    `refetch_sessions` that have closed; with names, of these sources and symbols. Prints a line for each source and resolution. A
    source that fails does not stop the others, and the exit code is the worst of all: 1 when a session was rejected or a vendor
    refuses permanently, 2 when a source cannot be used, 3 after a temporary failure. Ctrl-C stops everything; the same command
    goes on where it stopped.
    """
    settings = load_settings(config)
    chosen = select_configured(settings, names or [])
    fetching = Fetching(settings, open_store(settings), quiet=as_json)
    done: list[Update] = []
    for name, symbols in chosen.items():
        source = settings.sources[name]
        if not symbols and not as_json:
            note(f"{name}: no symbols yet: {advise_adding_symbols(source)}")
        for resolution in source.resolutions if symbols else ():
            done.append(_update(fetching, source, resolution, symbols))
            _print(done[-1], as_json=as_json)
    if as_json:
        print_json([item.to_dict() for item in done])
    if not chosen:
        note(f"{settings.path} has no sources yet")
    return max((item.code for item in done), key=_BY_GRAVITY.index, default=ExitCode.OK)


@dataclass
class Update:
    """What became of one source and resolution.

    Attributes:
        missing: sessions that were asked for.
        states: how many sessions are in each state now.
        changed: sessions that the fetch changed.
    """

    source: str
    resolution: Resolution
    missing: int = 0
    states: Counter[str] = field(default_factory=Counter)
    changed: int = 0
    error: GbError | None = None
    code: ExitCode = ExitCode.OK

    @property
    def line(self) -> str:
        """`coinbase 1d: 12 of 14 sessions fetched: 10 complete, 2 partial; 2 failed`."""
        name = f"{self.source} {self.resolution}"
        if self.error is not None:
            return f"{name}: failed: {self.error.what}"
        if not self.missing:
            return f"{name}: up to date"
        states = ", ".join(f"{count:,} {state.replace('_', ' ')}" for state, count in self.states.most_common())
        return f"{name}: {format_count(self.missing, 'session')} asked for: {states}; {self.changed:,} changed"

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "source": self.source,
            "resolution": self.resolution,
            "asked": self.missing,
            "states": dict(self.states),
            "changed": self.changed,
            "error": None if self.error is None else self.error.what,
            "exit_code": int(self.code),
        }


def _update(fetching: Fetching, source: SourceSettings, resolution: Resolution, symbols: Sequence[Symbol]) -> Update:
    from gb_pipeline.ingest.backlog import find_backlog

    result = Update(source.name, resolution)
    try:
        backlog = find_backlog(
            fetching.store, source, resolution, symbols, source.start, source.end, recent=source.refetch_sessions
        )
        result.missing = backlog.wanted.height
        outcomes = fetching.run(backlog) if backlog.sessions.height else []
    except GbError as error:
        result.error, result.code = error, exit_code(error)
        return result
    _count(result, outcomes)
    result.code = report_problems(outcomes)
    return result


def _print(result: Update, *, as_json: bool) -> None:
    """Its line; what to do about an error stands on stderr below it, with the error itself where the line is not printed."""
    error = result.error
    if as_json:
        if error is not None:
            print_error(f"{result.source} {result.resolution}: {error.what}", error.fix)
        return
    typer.echo(result.line)
    if error is not None and error.fix:
        note(f"  -> {' '.join(error.fix.split())}")


def _count(result: Update, outcomes: Sequence[Outcome]) -> None:
    for outcome in outcomes:
        for session in outcome.sessions:
            result.states[session.status.value] += 1
            result.changed += session.changed
    for state in ("closed", "not_listed"):
        result.states.pop(state, None)
