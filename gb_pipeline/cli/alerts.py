"""`gb alerts` says who is told of what fails, and sends a test message."""

from __future__ import annotations

from typing import Annotated

import typer

from gb_pipeline.cli.options import Config, load_settings
from gb_pipeline.cli.output import ExitCode, note
from gb_pipeline.market.spelling import format_count


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("alerts")(alerts)


def alerts(
    test: Annotated[
        bool, typer.Option("--test", help="send a test message to every address, and call the heartbeat")
    ] = False,
    config: Config = None,
) -> int:
    """Show who is told of failures; --test sends a message.

    Addresses are named under `alerts` in gb.yaml. Dagster tells them while it runs (`gb up`).
    """
    from gb_pipeline.orchestration.alerts.send import beat, send

    settings = load_settings(config)
    told = settings.alerts
    if not told.to and told.heartbeat is None:
        note("nobody is told: name addresses under `alerts: {to: [...]}` in gb.yaml (https://appriseit.com/services)")
        return ExitCode.OK
    # Of an address no more than what kind it is: the rest of most is a secret.
    kinds = [address.get_secret_value().partition("://")[0] for address in told.to]
    heartbeat = ", and a heartbeat" if told.heartbeat is not None else ""
    note(f"{format_count(len(kinds), 'receiver')}: {', '.join(kinds) or 'none'}{heartbeat}")
    if test:
        send(settings, [])
        beat(settings)
        note("delivered")
    return ExitCode.OK
