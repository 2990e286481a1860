"""`gb import` of trades, quotes and books: what a person and a script read of it. `formats.streams.importing` does it."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gb_pipeline.cli.output import ExitCode, note, print_json, print_table
from gb_pipeline.cli.progress import progress
from gb_pipeline.errors import ConfigError
from gb_pipeline.market.spelling import format_count

if TYPE_CHECKING:
    from gb_pipeline.formats.streams.report import ImportedStream, StreamImportReport
    from gb_pipeline.lake.store import LakeStore

# Streams that a person wants to see at once; --json has all of them.
_MOST_STREAMS, _MOST_TROUBLES = 40, 10


def import_into(
    store: LakeStore,
    format_name: str,
    path: Path,
    source: str,
    *,
    symbols: str | None,
    names: list[str] | None,
    start: datetime | None,
    end: datetime | None,
    asset_class: str | None,
    timezone: str | None,
    dry_run: bool,
    as_json: bool,
) -> ExitCode:
    """Import, and print what became of the rows.

    Args:
        symbols: canonical codes with commas between.
        names: `FILE=CANONICAL`, what the files call an instrument and what the lake calls it.
    """
    from gb_pipeline.formats.streams.importing import import_streams

    with progress("rows", quiet=as_json) as bar:
        task = bar.add_task("reading" if dry_run else "importing", total=None)
        report = import_streams(
            store,
            format_name,
            path,
            source=source,
            symbols=None if symbols is None else symbols.split(","),
            names=_parse_names(names or []),
            start=start,
            end=end,
            asset_class=asset_class,
            timezone=timezone,
            dry_run=dry_run,
            on_rows=lambda rows: bar.advance(task, rows),
        )
    if as_json:
        print_json(_as_data(report))
    else:
        _print(report)
    is_good = report.whole and not any(map(_refused_whole, report.streams))
    return ExitCode.OK if is_good else ExitCode.FAILED


def refuse_options(**given: object) -> None:
    """Raise ConfigError for options that mean something for bars only."""
    if unusable := [f"--{name.replace('_', '-')}" for name, value in given.items() if value is not None]:
        raise ConfigError(
            f"{', '.join(unusable)} cannot go with trades, quotes and books, which have none", fix="leave it out"
        )


def _parse_names(texts: list[str]) -> dict[str, str]:
    names = {}
    for text in texts:
        theirs, equals, ours = text.partition("=")
        if not equals or not theirs or not ours:
            raise ConfigError(f"--name {text} is no pair of names", fix="such as --name XBTUSD=BTC-USD")
        names[theirs.strip()] = ours.strip()
    return names


def _refused_whole(stream: ImportedStream) -> bool:
    counts = stream.counts
    return counts.received > 0 and counts.stored + counts.unchanged + counts.duplicates == 0 and stream.symbol != "*"


def _print(report: StreamImportReport) -> None:
    shown = report.streams[:_MOST_STREAMS]
    total = report.total
    print_table(
        (
            "stream", "rows", "would store" if report.dry_run else "stored", "unchanged", "quarantined", "repeated",
            "first (UTC)", "last (UTC)",
        ),
        [(f"{item.symbol} {item.table}", *_numbers(item), _moment(item.first_time), _moment(item.last_time)) for item in shown],
        optional=("repeated", "unchanged") if report.dry_run or not total.unchanged else ("repeated",),
        footer=("total", total.received, total.stored, total.unchanged, total.quarantined, total.duplicates, "", ""),
    )  # fmt: skip
    if len(report.streams) > len(shown):
        note(f"{len(report.streams) - len(shown):,} more streams are in the total; --json lists all")
    for item in [item for item in report.streams if item.counts.quarantined][:_MOST_TROUBLES]:
        reasons = ", ".join(f"{count:,} x {code}" for code, count in item.reasons.most_common())
        first = f"; the first one: {item.worst[0]['row']}" if item.worst else ""
        note(f"{item.symbol} {item.table}: {item.counts.quarantined:,} quarantined: {reasons}{first}")
    if wide := sum(item.wide for item in report.streams):
        note(f"in the sibling tables of 18 decimals: {format_count(wide, 'row')}")
    for name, why in list(report.errors.items())[:_MOST_TROUBLES]:
        note(f"{name}: not read to its end: {why}")
    for name, why in list(report.skipped.items())[:_MOST_TROUBLES]:
        note(f"not read: {name}: {why}")
    if (more := len(report.skipped) - _MOST_TROUBLES) > 0:
        note(f"and {more:,} more that were not read; --json lists all")
    if report.intervals:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in report.intervals.items())
        missing = f"; {format_count(report.missing, 'number')} missing" if report.missing else ""
        note(f"numbers of the files prove these intervals: {kinds}{missing}")
    for line in report.notes:
        note(f"note: {line}")
    if report.dry_run:
        note("nothing was stored")


def _numbers(item: ImportedStream) -> tuple[int, ...]:
    counts = item.counts
    return counts.received, counts.stored, counts.unchanged, counts.quarantined, counts.duplicates


def _moment(nanoseconds: int | None) -> datetime | None:
    from gb_pipeline.market.moments import from_microseconds

    return None if nanoseconds is None else from_microseconds(nanoseconds // 1000)


def _as_data(report: StreamImportReport) -> dict[str, Any]:
    """The report as JSON has it."""
    return {
        "format": report.format,
        "path": report.path,
        "source": report.source,
        "dry_run": report.dry_run,
        "import_id": report.import_id,
        "asset_class": report.asset_class,
        "total": report.total.as_dict(),
        "streams": [
            {
                "symbol": item.symbol,
                "table": item.table,
                **item.counts.as_dict(),
                "wide": item.wide,
                "first_time": item.first_time,
                "last_time": item.last_time,
                "reasons": dict(item.reasons),
                "worst": item.worst,
            }
            for item in report.streams
        ],
        "intervals": dict(report.intervals),
        "missing": report.missing,
        "errors": dict(report.errors),
        "notes": report.notes,
        "skipped": dict(report.skipped),
    }
