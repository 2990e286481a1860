"""`gb export` of trades, quotes and books: which streams a person means, and what became of them. `formats.streams` writes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from gb_pipeline.cli.output import ExitCode, format_size, note, print_json, print_table
from gb_pipeline.cli.progress import progress
from gb_pipeline.errors import ConfigError, ExportRefused, UnknownSeries
from gb_pipeline.market.spelling import format_count

if TYPE_CHECKING:
    from gb_pipeline.formats.streams.exporting import StreamExportReport
    from gb_pipeline.lake.store import LakeStore


def is_stream_format(name: str | None) -> bool:
    """Whether it is a format of trades, quotes and books."""
    from gb_pipeline.formats.registry import FORMATS

    found = None if name is None else FORMATS.get(name.strip().lower())
    return found is not None and found.stream_writer is not None


def export_stream_format(
    store: LakeStore,
    name: str,
    names: Sequence[str],
    target: Path,
    *,
    start: datetime | None,
    end: datetime | None,
    collector: str | None,
    market: str | None,
    lossy: bool,
    force: bool,
    dry_run: bool,
    as_json: bool,
) -> ExitCode:
    """Write the files.

    Raises:
        ExportRefused: the files would not hold all of it; what they would hold is printed before.
    """
    from gb_pipeline.formats.streams.exporting import export_streams

    streams = _choose(store, names)
    refusal: ExportRefused | None = None
    with progress("days", quiet=as_json) as bar:
        task = bar.add_task("exporting", total=None)
        try:
            report = export_streams(
                store, name, streams, target, start=start, end=end, collector=collector, market=market, lossy=lossy,
                force=force, dry_run=dry_run, on_day=lambda: bar.advance(task),
            )  # fmt: skip
        except ExportRefused as error:
            if error.report is None:
                raise
            report, refusal = error.report, error
    if as_json:
        print_json(asdict(report) | {"exact": report.is_exact})
    else:
        _print(report)
    if refusal is not None:
        raise refusal
    return ExitCode.OK


def refuse_bar_options(**given: object) -> None:
    """Raise ConfigError for options that mean something for bars only."""
    if unusable := [f"--{name.replace('_', '-')}" for name, value in given.items() if value]:
        raise ConfigError(f"{', '.join(unusable)} cannot go with trades, quotes and books", fix="leave it out")


def _choose(store: LakeStore, names: Sequence[str]) -> list[tuple[str, str]]:
    """Streams by SOURCE:SYMBOL, by source, or by symbol; * and ? stand for any letters."""
    from gb_pipeline.lake.datasets import STREAM_TABLES, stream_dataset
    from gb_pipeline.market.schema import Precision

    stored = sorted(
        {
            row
            for table in STREAM_TABLES
            for precision in Precision
            for row in store.tables.newest(stream_dataset(table, precision).name)
            .files.select("source", "symbol")
            .rows()
        }
    )
    chosen: dict[tuple[str, str], None] = {}
    for name in names:
        source, colon, symbol = name.partition(":")
        found = [
            stream
            for stream in stored
            if (fnmatchcase(stream[0], source) and fnmatchcase(stream[1], symbol.upper()))
            or (not colon and (fnmatchcase(stream[0], name) or fnmatchcase(stream[1], name.upper())))
        ]
        if not found:
            there = ", ".join(f"{one}:{other}" for one, other in stored[:8])
            raise UnknownSeries(f"{name} has no trades, quotes or books", fix=f"there is {there or 'nothing'}")
        chosen |= dict.fromkeys(found)
    return list(chosen)


def _print(report: StreamExportReport) -> None:
    print_table(
        ("stream", "collector", "rows", "events", "first (UTC)", "last (UTC)", "files", "size"),
        [
            (
                item.stream, item.collector, sum(item.rows.values()), item.events, item.start, item.end, item.files,
                format_size(item.bytes),
            )
            for item in report.streams
        ],
        optional=("files",),
    )  # fmt: skip
    for item in report.streams:
        for text in item.examples:
            note(f"{item.stream}: {text}")
        if (more := item.changed - len(item.examples)) > 0:
            note(f"{item.stream}: and {format_count(more, 'number')} more that change")
        for reason, count in item.left_out.items():
            note(f"{item.stream}: {format_count(count, 'row')} left out: {reason}")
        for text in item.notes:
            note(f"{item.stream}: {text}")
    size = f"{format_count(report.files, 'file')}, {format_size(report.bytes)}"
    note(f"{'would write' if report.dry_run else 'wrote'} {size} into {report.target}")
    if report.dry_run and not report.is_exact:
        note("say --lossy to write it so")
