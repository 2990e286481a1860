"""`gb vacuum` counts or deletes files that nobody needs any more. `storage.vacuum` tells which those are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gb_pipeline.cli.options import Config, Json, LakeFolder, open_lake_if_any
from gb_pipeline.cli.output import ExitCode, format_size, note, print_json, print_table
from gb_pipeline.config.durations import parse_duration
from gb_pipeline.errors import ConfigError
from gb_pipeline.market.spelling import format_count

if TYPE_CHECKING:
    from gb_pipeline.storage.vacuum import VacuumReport

_RETENTION = "7d"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("vacuum")(vacuum)


def vacuum(
    retention: Annotated[
        str, typer.Option(help="How long a replaced file is kept, such as 36h, 7d or 4w; at least an hour.")
    ] = _RETENTION,
    delete: Annotated[bool, typer.Option("--delete", help="Delete them; without it they are only counted.")] = False,
    config: Config = None,
    lake: LakeFolder = None,
    as_json: Json = False,
) -> int:
    """Count or delete files that are no longer needed.

    They were replaced by compaction or newer versions, left behind by killed writers, or are log entries from before a checkpoint.
    Every version of every bar stays: history is in files that are in use. A reader that started before a file was replaced can use
    it until the retention has passed.
    """
    try:
        retention_period = parse_duration(retention)
    except ValueError as error:
        raise ConfigError(f"--retention: {error}", fix="write it as 36h, 7d or 4w") from None
    from gb_pipeline.iceberg.before_vacuum import prepare_vacuum

    opened_lake = open_lake_if_any(config, lake)
    store = None if opened_lake is None else opened_lake.store
    if delete and store is not None:
        from gb_pipeline.catalog.projection import catalog_is_stale, refresh_catalog

        # The catalog's views name files: it must not name any that go now.
        if catalog_is_stale(store):
            refresh_catalog(store)
    own = prepare_vacuum(store, retention_period) if delete and store is not None else []
    reports = [] if store is None else [*store.vacuum(retention=retention_period, dry_run=not delete), *own]
    if as_json:
        rows = [
            {
                "table": item.table,
                "files": item.files,
                "bytes": item.bytes,
                "deleted": item.deleted,
                "names": item.names,
                "waiting": item.waiting,
                "waiting_bytes": item.waiting_bytes,
            }
            for item in reports
        ]
        print_json({"retention": retention, "deleted": delete, "tables": rows})
    else:
        _print_reports(reports, retention, delete=delete)
    return ExitCode.OK


def _print_reports(reports: list[VacuumReport], retention: str, *, delete: bool) -> None:
    rows = [(item.table, item.files, format_size(item.bytes)) for item in reports if item.files]
    waiting = sum(item.waiting for item in reports)
    if rows:
        print_table(("table", "files", "size"), rows)
        summary = _summarise(sum(item.files for item in reports), sum(item.bytes for item in reports))
        note(f"{summary} deleted" if delete else f"{summary} would be deleted; use --delete to delete them")
    elif not waiting:
        note("every file is still needed")
    if waiting:
        summary = _summarise(waiting, sum(item.waiting_bytes for item in reports))
        note(f"{summary} stay: they were replaced less than {retention} ago (--retention)")


def _summarise(files: int, size: int) -> str:
    return f"{format_count(files, 'file')}, {format_size(size)}"
