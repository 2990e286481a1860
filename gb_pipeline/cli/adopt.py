"""`gb adopt` shows Dagster what the lake holds already: a new instance, a restored lake, a series under another name.

This module opens the instance and prints what was marked. The events are written by `orchestration.events.project_events`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import typer

from gb_pipeline.cli.names import Names, select_configured
from gb_pipeline.cli.options import Config, Json, load_settings, open_store
from gb_pipeline.cli.output import ExitCode, note, print_json
from gb_pipeline.cli.progress import progress
from gb_pipeline.market.spelling import format_count

if TYPE_CHECKING:
    from gb_pipeline.config.settings import Settings
    from gb_pipeline.market.symbol import Symbol


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("adopt")(adopt)


def adopt(names: Names = None, config: Config = None, as_json: Json = False) -> int:
    """Mark what is stored as materialised in Dagster.

    For an instance that does not know the lake: a new one, a restored lake, a series under another name. Sends no request, needs no
    running Dagster, and may be repeated: what is marked is left alone. `gb fetch` and `gb update` tell Dagster themselves.
    """
    settings = load_settings(config)
    marked = _adopt(settings, select_configured(settings, names or []), quiet=as_json)
    if as_json:
        print_json(marked)
        return ExitCode.OK
    for name, count in marked.items():
        if count:
            note(f"{name}: {format_count(count, 'partition')} marked as materialised")
    if not any(marked.values()):
        note("nothing to do: Dagster knows of everything that is stored")
    return ExitCode.OK


def _adopt(settings: Settings, chosen: dict[str, list[Symbol]], *, quiet: bool) -> dict[str, int]:
    """How many partitions were marked, by source and resolution."""
    from gb_pipeline.orchestration.events import project_events
    from gb_pipeline.orchestration.series_group import SeriesGroup

    store = open_store(settings)
    marked = {}
    with project_events.open_instance(settings) as instance, progress("partitions", quiet=quiet) as bar:
        for source, symbols in chosen.items():
            for resolution in settings.sources[source].resolutions if symbols else ():
                group = SeriesGroup(settings.sources[source], resolution)
                name = f"{source} {resolution}"
                task = bar.add_task(name, total=None)
                marked[name] = project_events.adopt(instance, group, store, symbols, partial(bar.advance, task))
                bar.remove_task(task)
    return marked
