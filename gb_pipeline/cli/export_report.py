"""What an export wrote, or would write, as a table or as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from gb_pipeline.cli.export_files import say_removed
from gb_pipeline.cli.output import format_size, note, print_json, print_table
from gb_pipeline.market.spelling import format_count

if TYPE_CHECKING:
    from gb_pipeline.formats.export_report import ExportedSeries, ExportReport


def print_report(report: ExportReport, *, as_json: bool) -> None:
    """The series of a report, what the files do not hold, and where they are."""
    if as_json:
        print_json(asdict(report) | {"rows": report.rows, "exact": report.is_exact})
        return
    say_removed(report.removed)
    print_series(report.series)
    for item in report.series:
        for text in _losses(item):
            note(f"{item.series}: {text}")
    _note_once(report)
    size = f"{format_count(report.files, 'file')}, {format_size(report.bytes)}"
    if report.dry_run:
        note(
            f"would write {format_count(report.rows, 'bar')} of {len(report.series):,} series into {report.target} ({size})"
        )
        if not report.is_exact:
            note("say --lossy to write it so")
    else:
        note(f"wrote {format_count(report.rows, 'bar')} of {len(report.series):,} series into {report.target} ({size})")


def print_series(series: Sequence[ExportedSeries]) -> None:
    """A line per series."""
    headings = ["series", "bars", "first", "last", "files", "size"]
    rows: list[list[Any]] = [
        [item.series, item.rows, _moment(item.start), _moment(item.end), item.files, format_size(item.bytes)]
        for item in series
    ]
    if any(item.changed for item in series):
        headings.append("changed")
        rows = [[*row, item.changed] for row, item in zip(rows, series, strict=True)]
    if any(item.left_out for item in series):
        headings.append("left out")
        rows = [[*row, sum(item.left_out.values())] for row, item in zip(rows, series, strict=True)]
    print_table(headings, rows, optional=("files", "size"))


def _losses(item: ExportedSeries) -> list[str]:
    said = [f"{format_count(count, 'bar')} left out: {reason}" for reason, count in item.left_out.items()]
    more = item.changed - len(item.examples)
    said += [str(value) for value in item.examples]
    return [*said, f"and {format_count(more, 'value')} more"] if more > 0 and item.examples else said


def _note_once(report: ExportReport) -> None:
    """What was said of several series, once."""
    about: dict[str, list[str]] = {}
    for item in report.series:
        for text in item.notes:
            about.setdefault(text, []).append(item.series)
    for text, series in about.items():
        note(f"{series[0] if len(series) == 1 else f'{len(series):,} series'}: {text}")


def _moment(value: datetime | None) -> str:
    if value is None:
        return "-"
    return f"{value:%Y-%m-%d}" if value.hour == value.minute == value.second == 0 else f"{value:%Y-%m-%d %H:%M}"
