"""This module counts the rows of files that a window does not hold, and refuses files none of whose rows can be where they say.

Rows outside of a window are no error: a file holds years. Where all of them lie in a time of which no source has bars, an answer
without rows would be taken for the truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import polars as pl

from gb_pipeline.errors import PermanentVendorError
from gb_pipeline.market.moments import instant_literal
from gb_pipeline.market.window import Window
from gb_pipeline.providers.csv.files import CsvFile
from gb_pipeline.providers.csv.stamps import Span, begins_in_first_weeks, lie_in_first_weeks
from gb_pipeline.quality.read_rows import FileRows

# Days that rows may lie away from the date in their file's name: zones, and bars that are stamped at their close.
_NEAR = timedelta(days=2)


@dataclass(frozen=True, slots=True)
class FilePart:
    """The rows that one file has of one instrument.

    Attributes:
        file: which.
        rows: with `timestamp` and `anchor`.
    """

    file: CsvFile
    rows: pl.DataFrame


def is_inside(window: Window) -> pl.Expr:
    """Rows that belong to a window, by their `anchor`."""
    return (pl.col("anchor") >= instant_literal(window.start)) & (pl.col("anchor") < instant_literal(window.end))


def count_rows(parts: Sequence[FilePart], window: Window, root: Path, *, joined: pl.DataFrame) -> tuple[FileRows, ...]:
    """How many rows each file has, and how many of them lie outside of the window.

    A file of one day that only lies beside the window is left out, with all of its rows, where it has none inside.

    Args:
        parts: what was read.
        window: the requested one.
        root: below which files are named.
        joined: the bars; of files that hold one number of each bar, these are counted, under the name of the first.
    """
    if sum(part.rows.height for part in parts) != joined.height:
        inside = int(joined.select(is_inside(window).sum()).item())
        others = f" and {len(parts) - 1} more files"
        return (FileRows(_name(parts[0].file.path, root) + others, joined.height, joined.height - inside),)
    counted = []
    for part in parts:
        read = part.rows.height
        inside = int(part.rows.select(is_inside(window).sum()).item()) if read else 0
        if inside or part.file.day is None:
            counted.append(FileRows(_name(part.file.path, root), read, read - inside))
    return tuple(counted)


def refuse_implausible(parts: Sequence[FilePart], window: Window, span: Span) -> None:
    """Refuse files whose rows all lie where none can: in the first weeks of 1970, or on other days than the file is named by.

    Raises:
        PermanentVendorError: what is wrong with them.
    """
    stamps = [part.rows["timestamp"].drop_nulls() for part in parts]
    everything = pl.concat(stamps) if stamps else pl.Series(dtype=pl.Datetime("us", "UTC"))
    # A source that begins in 1970 has bars of then, whatever window is asked for; so has a day's own file.
    undated = all(part.file.day is None for part in parts)
    if undated and not begins_in_first_weeks(span) and lie_in_first_weeks(everything):
        raise PermanentVendorError(
            f"all {len(everything):,} rows of {_some(parts)} are of {_dates(everything)}, which is no plausible time of a bar: "
            "probably seconds that were read as milliseconds or smaller, when the file was written",
            fix="write the file again with its stamps in the right unit (pandas: `to_datetime(..., unit='s')`)",
        )
    for part, own in zip(parts, stamps, strict=True):
        day = part.file.day
        if day is None or own.is_empty() or not _concerns(part.file, window):
            continue
        if not ((own.dt.date() >= day - _NEAR) & (own.dt.date() <= day + _NEAR)).any():
            raise PermanentVendorError(
                f"{part.file.path} is named by {day}, and all of its {len(own):,} rows are of {_dates(own)}",
                fix="check the stamps and the name of the file, and the option `timestamp_format`",
            )


def _concerns(file: CsvFile, window: Window) -> bool:
    return file.day is not None and window.start.date() - _NEAR <= file.day <= window.end.date() + _NEAR


def _dates(stamps: pl.Series) -> str:
    first, last = stamps.dt.date().min(), stamps.dt.date().max()
    return str(first) if first == last else f"{first!s} to {last!s}"


def _some(parts: Sequence[FilePart]) -> str:
    return f"{parts[0].file.path}" + (f" and {len(parts) - 1} more files" if len(parts) > 1 else "")


def _name(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else path.name
