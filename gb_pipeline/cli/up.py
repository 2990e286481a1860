"""`gb up` runs Dagster for a project. `dagster_runtime.instance` starts and stops it."""

from __future__ import annotations

from typing import Annotated

import typer

from gb_pipeline.cli.options import Config, load_settings, open_store
from gb_pipeline.cli.output import note


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("up")(up)


def up(
    port: Annotated[
        int, typer.Option(help="Port of the web page on 127.0.0.1; 0 picks a free one.", min=0, max=65535)
    ] = 3000,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="A page that shows and starts nothing; schedules and sensors go on.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Print all that Dagster's processes print, as the log has it.")
    ] = False,
    config: Config = None,
) -> int:
    """Run Dagster: web page, schedules, sensors.

    Runs for the sources of gb.yaml until Ctrl-C; a process of Dagster that dies is started again. The history is kept in the folder
    .dagster beside gb.yaml. A dagster.yaml beside gb.yaml is used if there is one; DAGSTER_HOME is ignored.
    """
    from gb_pipeline.cli.running import running, say, stoppable, until_stopped
    from gb_pipeline.dagster_runtime.home import has_home
    from gb_pipeline.dagster_runtime.instance import Stack
    from gb_pipeline.market.spelling import format_count

    settings = load_settings(config)
    if not has_home(settings.path.parent) and open_store(settings).storage.exists:
        note("this is a new instance of Dagster: `gb adopt` shows it what the lake holds already")
    stack = Stack(
        settings.path,
        port=port or None,
        read_only=read_only,
        on_event=say,
        on_output=note if verbose else None,
    )
    note(f"log: {stack.log}")
    with stoppable(), running(stack):
        series = sum(len(source.symbols) * len(source.resolutions) for source in settings.sources.values())
        streams = len(settings.collect.streams)
        heard = f", {format_count(streams, 'stream')} of `gb collect`" if streams else ""
        note(f"{series:,} series of {settings.path}{heard}")
        note(f"Dagster{', read-only' if read_only else ''}: {stack.url}")
        until_stopped(stack)
