"""`gb live-check` checks whether the real vendor still keeps its provider's promises.

This module parses arguments and prints what was seen. The promises are in `ingest.conformance`.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from gb_pipeline.cli.options import Config, Json, load_settings, parse_day
from gb_pipeline.cli.output import ExitCode, exit_code, note, print_error, print_json, print_table
from gb_pipeline.errors import ConfigError, GbError, VendorError

if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path

    from gb_pipeline.config.settings import SourceSettings
    from gb_pipeline.ingest.conformance import Check
    from gb_pipeline.market.resolution import Resolution
    from gb_pipeline.market.symbol import Symbol


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("live-check")(live_check)


def live_check(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="Name of a source in gb.yaml.", show_default=False)],
    symbol: Annotated[
        str | None,
        typer.Argument(
            metavar="SYMBOL", help="Canonical code; the source's first symbol by default.", show_default=False
        ),
    ] = None,
    resolution: Annotated[
        str | None, typer.Option("--resolution", "-r", help="Resolution, such as 1m; the source's first by default.")
    ] = None,
    day: Annotated[
        str | None, typer.Option(help="A session, such as 2024-01-02; the newest closed one by default.")
    ] = None,
    bars_only: Annotated[
        bool, typer.Option("--bars-only", help="Leave out corporate actions and the vendor's list.")
    ] = False,
    config: Config = None,
    as_json: Json = False,
) -> int:
    """Compare a real vendor with its provider's promises.

    Fetches one recent session and compares the answer with what the provider promises. Stores nothing; the calls count towards rate
    limit and quota. Exits with 1 when a promise is broken or the vendor refuses, and with 3 after a temporary failure. Where
    GB_LOOPBACK_ONLY is set, only sources with a base_url on this machine are asked.
    """
    import asyncio

    settings = load_settings(config)
    source_settings = settings.source(source)
    _require_loopback(source_settings)
    instrument = _choose_symbol(source_settings, symbol)
    bar_resolution = _choose_resolution(source_settings, resolution)
    session = _choose_session(source_settings, day)
    note(f"{source}:{instrument.code}, {bar_resolution} bars of {session}")
    checks, error = asyncio.run(
        _run_checks(source_settings, settings.state, instrument, bar_resolution, session, bars_only)
    )
    if as_json:
        print_json([{"check": item.name, "verdict": item.verdict, "seen": item.seen} for item in checks])
    else:
        styles = {"ok": "green", "look": "yellow", "broken": "red"}
        print_table(("", "promise", "seen"), [(c.verdict.value, c.name, c.seen) for c in checks], styles=styles)
    broken = [item for item in checks if item.verdict.value == "broken"]
    if error is not None:
        print_error(error.what, error.fix)
        return ExitCode.FAILED if broken else exit_code(error)
    note(f"{len(broken)} of {len(checks)} promises are broken" if broken else "every promise is kept")
    return ExitCode.FAILED if broken else ExitCode.OK


def _require_loopback(source: SourceSettings) -> None:
    """Where GB_LOOPBACK_ONLY is set, as in the project's own tests, refuse sources that are not on this machine."""
    from gb_pipeline.providers.http.client import loopback

    if os.environ.get("GB_LOOPBACK_ONLY"):
        base_url = source.option("base_url")
        if base_url is None:
            raise ConfigError(
                f"source {source.name} is a real vendor, and GB_LOOPBACK_ONLY is set",
                fix="give it the base_url of a simulated one, or unset GB_LOOPBACK_ONLY",
            )
        loopback(base_url)


def _choose_symbol(source: SourceSettings, text: str | None) -> Symbol:
    from gb_pipeline.cli.names import select_symbols

    if not source.instruments:
        raise ConfigError(
            f"source {source.name} has no symbols yet", fix=f"add one: gb symbols add {source.name} SYMBOL"
        )
    return select_symbols(source, [] if text is None else [text])[0]


def _choose_resolution(source: SourceSettings, text: str | None) -> Resolution:
    from gb_pipeline.market.resolution import Resolution

    return source.resolutions[0] if text is None else Resolution.parse(text)


def _choose_session(source: SourceSettings, text: str | None) -> date:
    from datetime import timedelta

    from gb_pipeline.ingest.conformance import recent_session
    from gb_pipeline.market.resolution import Resolution

    if text is None:
        return recent_session(source, datetime.now(UTC))
    requested = parse_day(text, "--day")
    if not source.rules(Resolution.DAY).calendar.sessions(requested, requested + timedelta(days=1)):
        raise ConfigError(f"{requested} is not a session of {source.calendar}", fix="choose a trading day")
    return requested


async def _run_checks(
    source: SourceSettings, state: Path, symbol: Symbol, resolution: Resolution, session: date, bars_only: bool
) -> tuple[list[Check], GbError | None]:
    """What was seen, and the error that ended it."""
    from gb_pipeline.ingest import conformance
    from gb_pipeline.providers.http.redaction import redact_errors
    from gb_pipeline.providers.registry import build_provider, missing_credentials

    if missing := missing_credentials(source):
        raise missing[0]
    # So that bodies are handed over, and reading them again can be compared; they are not kept.
    recording_source = source.model_copy(update={"keep_raw": True})
    provider = build_provider(recording_source, state_dir=state)
    checks: list[Check] = []
    try:
        with redact_errors(source.secrets):
            if not provider.supports(symbol, resolution):
                raise ConfigError(
                    f"{provider.name} has no {resolution} bars of {symbol}", fix="choose another resolution"
                )
            checks += await conformance.check_bars(provider, recording_source, symbol, resolution, session)
            if not bars_only:
                async for check in conformance.check_more(provider, symbol, session):
                    checks.append(check)
    except VendorError as error:
        return checks, error
    finally:
        await provider.aclose()
    return checks, None
