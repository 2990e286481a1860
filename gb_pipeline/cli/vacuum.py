"""`gb vacuum`: files that nobody needs any more.

Belongs here: arguments, and a table of what is or would be removed. Does not belong here: telling what is needed
(`storage.vacuum`).
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from gb_pipeline.cli.options import Config, Json, LakeFolder, open_lake_if_any
from gb_pipeline.cli.output import ExitCode, count, note, print_json, print_table, size
from gb_pipeline.errors import ConfigError

if TYPE_CHECKING:
    from gb_pipeline.storage.vacuum import VacuumReport

_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_RETENTION = "7d"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("vacuum")(vacuum)


def vacuum(
    retention: Annotated[
        str, typer.Option(help="How long a replaced file is kept: 36h, 7d, 4w; an hour at least.")
    ] = _RETENTION,
    delete: Annotated[bool, typer.Option("--delete", help="Delete them; without it they are only counted.")] = False,
    config: Config = None,
    lake: LakeFolder = None,
    as_json: Json = False,
) -> int:
    """Count files that are of no use any more, or delete them.

    They were replaced by compaction or by new versions, left behind by killed writers, or are log entries from before a
    checkpoint. Every version of every bar stays: history is in files that are in use. Whoever began to read before such a file
    was replaced keeps it for the retention.
    """
    kept = _duration(retention)
    opened = open_lake_if_any(config, lake)
    store = None if opened is None else opened.store
    if delete and store is not None:
        from gb_pipeline.catalog.projection import catalog_is_stale, refresh_catalog

        # The catalog's views name files: it must not name any that go now.
        if catalog_is_stale(store):
            refresh_catalog(store)
    reports = [] if store is None else store.vacuum(retention=kept, dry_run=not delete)
    if as_json:
        rows = [
            {
                "table": item.table,
                "files": item.files,
                "bytes": item.bytes,
                "deleted": item.deleted,
                "names": item.names,
            }
            for item in reports
        ]
        print_json({"retention": retention, "deleted": delete, "tables": rows})
    else:
        _print(reports, delete=delete)
    return ExitCode.OK


def _print(reports: list[VacuumReport], *, delete: bool) -> None:
    found = [(item.table, item.files, size(item.bytes)) for item in reports if item.files]
    if not found:
        note("there is no file that is of no use any more")
        return
    print_table(("table", "files", "size"), found)
    told = f"{count(sum(item.files for item in reports), 'file')}, {size(sum(item.bytes for item in reports))}"
    note(f"{told} deleted" if delete else f"{told} would be deleted; nothing was: --delete does it")


def _duration(text: str) -> timedelta:
    """`7d` and the like.

    Raises:
        ConfigError: it is none.
    """
    found = re.fullmatch(r"(\d{1,5})([hdw])", text.strip().lower())
    if found is None:
        raise ConfigError(f"--retention: {text[:40]!r} is no duration", fix="write it as 36h, 7d or 4w")
    return int(found[1]) * _UNITS[found[2]]
