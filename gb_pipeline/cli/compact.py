"""`gb compact`: many small files become few large ones.

Belongs here: choosing partitions, and a table of what came of it. Does not belong here: the rewriting and its proof
(`storage.compaction`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gb_pipeline.cli.options import Config, Json, LakeFolder, open_lake_if_any, split_series
from gb_pipeline.cli.output import ExitCode, count, note, print_error, print_json, print_table, progress, size

if TYPE_CHECKING:
    from gb_pipeline.errors import LakeError
    from gb_pipeline.lake.maintenance import Merged
    from gb_pipeline.lake.store import LakeStore
    from gb_pipeline.reading.lake import Lake
    from gb_pipeline.storage.compaction import Partition

_HEADINGS = ("table", "of", "files", "size", "files after", "size after")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("compact")(compact)


def compact(
    series: Annotated[
        str | None, typer.Argument(help="Only bars of SOURCE:SYMBOL; everything by default.", show_default=False)
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Whatever has two files or more.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be merged.")] = False,
    limit: Annotated[int, typer.Option(help="Rows to print; --json prints all.", min=1)] = 50,
    config: Config = None,
    lake: LakeFolder = None,
    as_json: Json = False,
) -> int:
    """Merge many small files into few.

    Of periods that are over for good, of those in progress when they have many; ledgers are merged as well. Nothing is
    committed before the new file is proved to hold the rows that were recorded; reading and fetching go on meanwhile. The old
    files stay until `gb vacuum` removes them. Ends with 1 when something had to be left as it is. Dagster does the same by
    itself (`gb up`).
    """
    opened = open_lake_if_any(config, lake)
    damaged: list[LakeError] = []
    chosen = [] if opened is None else _chosen(opened, series, damaged, everything=everything)
    for error in damaged:
        print_error(error.what, error.fix)
    if dry_run:
        _tell_plan(chosen, limit, as_json=as_json)
        return ExitCode.FAILED if damaged else ExitCode.OK
    done = list(_merged(opened.store, chosen, quiet=as_json)) if opened is not None and chosen else []
    if opened is not None and any(item.done for item in done):
        from gb_pipeline.catalog.projection import refresh_catalog

        refresh_catalog(opened.store)
    return max(_tell(done, limit, as_json=as_json), ExitCode.FAILED if damaged else ExitCode.OK)


def _chosen(opened: Lake, series: str | None, damaged: list[LakeError], *, everything: bool) -> list[Partition]:
    from gb_pipeline.storage.compaction import MIN_FILES, candidates

    store = opened.store
    least = 2 if everything else MIN_FILES
    found = candidates(store.tables, now=store.clock(), min_files=least, damaged=damaged)
    if series is None:
        return found
    source, symbol = split_series(series)
    # A name that the lake does not know is an error, and not a series without small files.
    opened.coverage(source, symbol)
    return [item for item in found if _holds(store, item, source, symbol)]


def _holds(store: LakeStore, item: Partition, source: str, symbol: str) -> bool:
    """Whether a partition holds bars of a series; files of days and longer hold many symbols."""
    from gb_pipeline.lake.datasets import bars_of

    if bars_of(item.table) is None or item.values["source"] != source:
        return False
    if "symbol" in item.values:
        return bool(item.values["symbol"] == symbol)
    return store.tables.newest(item.table).select(item.values, holding={"symbol": [symbol]}).height > 0


def _merged(store: LakeStore, chosen: Sequence[Partition], *, quiet: bool) -> Iterator[Merged]:
    from gb_pipeline.lake.maintenance import merge

    with progress(quiet=quiet) as bar:
        task = bar.add_task("merging files", total=len(chosen))
        for item in merge(store, chosen):
            bar.advance(task, len(item.done) + len(item.left))
            yield item


def _tell_plan(chosen: Sequence[Partition], limit: int, *, as_json: bool) -> None:
    rows = [_row(item, None, None) for item in chosen]
    if as_json:
        print_json({"dry_run": True, "partitions": rows})
        return
    _print(rows, limit)
    files = sum(item.files for item in chosen)
    if chosen:
        note(f"{count(files, 'file')} would become {len(chosen):,}; nothing was changed (--dry-run)")


def _tell(done: Sequence[Merged], limit: int, *, as_json: bool) -> ExitCode:
    reports = [report for item in done for report in item.done]
    left = [pair for item in done for pair in item.left]
    rows = [_row(report.partition, report.files_after, report.bytes_after) for report in reports]
    rows += [_row(partition, None, None) | {"error": error.what} for partition, error in left]
    if as_json:
        print_json({"dry_run": False, "partitions": rows})
    else:
        _print(rows, limit)
        if reports:
            before, after = sum(item.partition.files for item in reports), sum(item.files_after for item in reports)
            bytes_before = sum(item.partition.bytes for item in reports)
            bytes_after = sum(item.bytes_after for item in reports)
            note(f"{count(before, 'file')} became {after:,}: {size(bytes_before)}, now {size(bytes_after)}")
            note("the old files stay until `gb vacuum --delete` removes them")
    for what, error in {error.what: error for _, error in left}.items():
        print_error(what, error.fix)
    return ExitCode.FAILED if left else ExitCode.OK


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
        note("nothing consists of many small files")
        return
    body = [_cells(row) for row in rows[:limit]]
    width = len(_HEADINGS) if any(row["files_after"] for row in rows) else len(_HEADINGS) - 2
    print_table(_HEADINGS[:width], [cells[:width] for cells in body])
    if len(rows) > limit:
        note(f"{len(rows) - limit:,} more are not shown (--limit, --json)")


def _cells(row: dict[str, Any]) -> tuple[Any, ...]:
    before = row["table"], row["of"], row["files_before"], size(row["bytes_before"])
    after = "left" if "error" in row else row["files_after"]
    return (*before, after, size(row["bytes_after"] or row["bytes_before"]))
