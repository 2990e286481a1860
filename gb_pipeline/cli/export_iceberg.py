"""`gb export --iceberg` lets Iceberg tables follow the lake, and says how engines open them. `iceberg.refresh` does it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from gb_pipeline.cli.options import open_lake
from gb_pipeline.cli.output import ExitCode, note, print_json, print_table
from gb_pipeline.errors import ConfigError
from gb_pipeline.market.spelling import format_count

if TYPE_CHECKING:
    from gb_pipeline.iceberg.refresh import IcebergReport


def export_iceberg(config: Path | None, lake: Path | None, unusable: list[str], *, as_json: bool) -> int:
    """Refresh the tables.

    Args:
        unusable: names of options that were given besides, which say nothing of a table of all bars.

    Raises:
        ConfigError: there are such options, or pyiceberg is not installed.
    """
    from gb_pipeline.iceberg.exported import require_pyiceberg

    if unusable:
        raise ConfigError(
            f"--iceberg takes all bars as they are stored, and cannot go with {', '.join(unusable)}",
            fix="leave it out, and choose in the engine that reads",
        )
    require_pyiceberg()
    from gb_pipeline.iceberg.refresh import refresh_iceberg

    reports = refresh_iceberg(open_lake(config, lake).store)
    if as_json:
        print_json({"tables": [asdict(report) for report in reports]})
    else:
        _print(reports)
    return ExitCode.OK


def _print(reports: list[IcebergReport]) -> None:
    if not reports:
        note("no bar is stored yet")
        return
    rows = [(item.table, item.rows - item.hidden, item.files, item.added, item.removed) for item in reports]
    print_table(("table", "bars", "files", "added", "removed"), rows)
    for item in reports:
        print(item.metadata)
    example = reports[0]
    folder = example.location.removeprefix("file://").replace("'", "''")
    changed = sum(1 for item in reports if item.added or item.removed)
    note(f"{format_count(changed, 'table')} changed" if changed else "everything was the newest already")
    note(f"DuckDB     from iceberg_scan('{folder}')")
    note(f'Spark      spark.read.format("iceberg").load("{example.location}")')
    note(f"Trino      call iceberg.system.register_table('default', '{example.table}', '{example.location}')")
    note(f'pyiceberg  StaticTable.from_metadata("{example.location}").scan()')
