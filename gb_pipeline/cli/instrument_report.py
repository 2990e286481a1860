"""What the commands that tell a lake of instruments share: opening it, and saying what became of what was told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gb_pipeline.cli.options import load_settings, open_lake, open_store
from gb_pipeline.cli.output import ExitCode, note, print_error, print_json
from gb_pipeline.market.spelling import format_count

if TYPE_CHECKING:
    from gb_pipeline.lake.instruments import InstrumentsReport
    from gb_pipeline.lake.store import LakeStore

_MOST_REFUSED = 5


def report_written(report: InstrumentsReport, *, as_json: bool) -> ExitCode:
    """Print what became of what was told; 1 where something was refused."""
    if as_json:
        names = ("source", "received", "new", "changed", "ended", "unchanged", "refused")
        print_json({name: getattr(report, name) for name in names})
    else:
        parts = [f"{getattr(report, name):,} {name}" for name in ("new", "changed", "ended", "unchanged")]
        note(f"{format_count(report.received, 'row')} of {report.source}: {', '.join(parts)}")
    report_refused(report.refused)
    return ExitCode.FAILED if report.refused else ExitCode.OK


def report_refused(refused: Sequence[str]) -> None:
    """Say which rows were not taken."""
    for number, what in enumerate(refused[:_MOST_REFUSED], 1):
        last = number == min(len(refused), _MOST_REFUSED)
        print_error(what, "say by hand which of them holds: gb instruments set" if last else "")
    if len(refused) > _MOST_REFUSED:
        note(f"{len(refused) - _MOST_REFUSED:,} more were refused")


def open_to_write(config: Path | None, folder: Path | None) -> LakeStore:
    """The lake to write: the one that is named, or that of the project, which need not be there yet."""
    return open_lake(config, folder).store if folder is not None else open_store(load_settings(config))


def without_nulls(row: dict[str, Any]) -> dict[str, Any]:
    """What a row says."""
    return {name: value for name, value in row.items() if value is not None}
