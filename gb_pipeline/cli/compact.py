"""`gb compact` merges many small files into few large ones.

This module chooses the partitions and prints what came of them. `storage.compaction` rewrites files and proves the result.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gb_pipeline.cli.names import Names, select_stored
from gb_pipeline.cli.options import Config, Json, LakeFolder, open_lake_if_any, project_of
from gb_pipeline.cli.output import ExitCode, format_size, note, print_error, print_json, print_table
from gb_pipeline.cli.progress import progress
from gb_pipeline.market.spelling import format_count

if TYPE_CHECKING:
    from gb_pipeline.errors import LakeError
    from gb_pipeline.lake.maintenance import TableCompaction
    from gb_pipeline.lake.store import LakeStore
    from gb_pipeline.reading.lake import Lake
    from gb_pipeline.storage.compaction import Partition

_HEADINGS = ("table", "of", "files", "size", "files after", "size after")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("compact")(compact)


def compact(
    names: Names = None,
    everything: Annotated[bool, typer.Option("--all", help="Merge every partition of two or more files.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would be merged.")] = False,
    limit: Annotated[int, typer.Option(help="Rows to print; --json prints all.", min=1)] = 50,
    config: Config = None,
    lake: LakeFolder = None,
    as_json: Json = False,
) -> int:
    """Merge many small files into few.

    Merges periods that are over, and those in progress once they have many files; ledgers are merged as well. A new file is
    committed only if it provably holds the recorded rows; reading and fetching continue meanwhile. The old files stay until
    `gb vacuum` removes them. Exits with 1 when something could not be merged. Dagster does the same by itself (`gb up`).
    """
    opened_lake = open_lake_if_any(config, lake)
    damaged: list[LakeError] = []
    partitions = (
        []
        if opened_lake is None
        else _select_partitions(opened_lake, names or [], damaged, config, everything=everything)
    )
    for error in damaged:
        print_error(error.what, error.fix)
    if dry_run:
        _report_dry_run(partitions, limit, as_json=as_json)
        return ExitCode.FAILED if damaged else ExitCode.OK
    batches = (
        list(_merge(opened_lake.store, partitions, quiet=as_json)) if opened_lake is not None and partitions else []
    )
    if opened_lake is not None and any(batch.reports for batch in batches):
        from gb_pipeline.catalog.projection import refresh_catalog

        refresh_catalog(opened_lake.store)
    return max(_report(batches, limit, as_json=as_json), ExitCode.FAILED if damaged else ExitCode.OK)


def _select_partitions(
    lake: Lake, names: list[str], damaged: list[LakeError], config: Path | None, *, everything: bool
) -> list[Partition]:
    from gb_pipeline.storage.compaction import MIN_FILES, find_candidates

    store = lake.store
    min_files = 2 if everything else MIN_FILES
    partitions = find_candidates(store.tables, now=store.clock(), min_files=min_files, damaged=damaged)
    if not names:
        return partitions
    # A name that the lake does not know is an error, and not a series without small files.
    chosen = select_stored(lake, names, project_of(lake, config))
    return [partition for partition in partitions if _holds(store, partition, chosen)]


def _holds(store: LakeStore, partition: Partition, chosen: dict[str, list[str]]) -> bool:
    """Whether a partition holds bars of some series; files of days and longer hold many symbols."""
    from gb_pipeline.lake.datasets import parse_bar_table

    symbols = chosen.get(partition.values.get("source", ""), [])
    if parse_bar_table(partition.table) is None or not symbols:
        return False
    if "symbol" in partition.values:
        return partition.values["symbol"] in symbols
    return store.tables.newest(partition.table).select(partition.values, holding={"symbol": symbols}).height > 0


def _merge(store: LakeStore, partitions: Sequence[Partition], *, quiet: bool) -> Iterator[TableCompaction]:
    from gb_pipeline.lake.maintenance import compact_tables

    with progress("partitions", quiet=quiet) as bar:
        task = bar.add_task("merging files", total=len(partitions))
        for batch in compact_tables(store, partitions):
            bar.advance(task, len(batch.reports) + len(batch.skipped))
            yield batch


def _report_dry_run(partitions: Sequence[Partition], limit: int, *, as_json: bool) -> None:
    rows = [_row(partition, None, None) for partition in partitions]
    if as_json:
        print_json({"dry_run": True, "partitions": rows})
        return
    _print(rows, limit)
    files = sum(partition.files for partition in partitions)
    if partitions:
        note(f"{format_count(files, 'file')} would become {len(partitions):,}; nothing was changed (--dry-run)")


def _report(batches: Sequence[TableCompaction], limit: int, *, as_json: bool) -> ExitCode:
    reports = [report for batch in batches for report in batch.reports]
    failures = [pair for batch in batches for pair in batch.skipped]
    rows = [_row(report.partition, report.files_after, report.bytes_after) for report in reports]
    rows += [_row(partition, None, None) | {"error": error.what} for partition, error in failures]
    if as_json:
        print_json({"dry_run": False, "partitions": rows})
    else:
        _print(rows, limit)
        if reports:
            before = sum(report.partition.files for report in reports)
            after = sum(report.files_after for report in reports)
            bytes_before = sum(report.partition.bytes for report in reports)
            bytes_after = sum(report.bytes_after for report in reports)
            sizes = f"{format_size(bytes_before)}, now {format_size(bytes_after)}"
            note(f"{format_count(before, 'file')} became {after:,}: {sizes}")
            note("the old files stay for 7 days; then `gb vacuum --delete` removes them")
    for what, error in {error.what: error for _, error in failures}.items():
        print_error(what, error.fix)
    return ExitCode.FAILED if failures else ExitCode.OK


def _row(partition: Partition, files: int | None, stored: int | None) -> dict[str, Any]:
    return {
        "table": partition.table,
        "values": dict(partition.values),
        "rows": partition.rows,
        "files_before": partition.files,
        "files_after": files,
        "bytes_before": partition.bytes,
        "bytes_after": stored,
        "of": str(partition).removeprefix(partition.table).strip(),
    }


def _print(rows: Sequence[dict[str, Any]], limit: int) -> None:
    if not rows:
        note("no partition has many small files")
        return
    body = [_cells(row) for row in rows[:limit]]
    width = len(_HEADINGS) if any(row["files_after"] for row in rows) else len(_HEADINGS) - 2
    print_table(_HEADINGS[:width], [cells[:width] for cells in body])
    if len(rows) > limit:
        note(f"{len(rows) - limit:,} more are not shown (--limit, --json)")


def _cells(row: dict[str, Any]) -> tuple[Any, ...]:
    before = row["table"], row["of"], row["files_before"], format_size(row["bytes_before"])
    after = "left" if "error" in row else row["files_after"]
    return (*before, after, format_size(row["bytes_after"] or row["bytes_before"]))
