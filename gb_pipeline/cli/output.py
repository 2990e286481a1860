"""What every command prints with, and how it ends: exit codes, the two lines of an error, tables and JSON.

Data goes to stdout; progress (`progress`), notes and errors go to stderr, so that a pipe carries data only.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum, IntEnum
from functools import singledispatch
from typing import Any

from gb_pipeline.errors import (
    ConfigError,
    GbError,
    InvalidResolution,
    InvalidSymbol,
    NaiveTimestamp,
    TransientVendorError,
)

# Width of tables in a pipe: wide enough that no cell is cut.
_PIPE_WIDTH = 240
_ENDLESS = 1_000_000
# Between columns; and the least that a column of text is folded to.
_GAP = 2
_LEAST_TEXT = 20
# What the line below the headings is made of.
_RULE = {" ", "─"}


class ExitCode(IntEnum):
    """How a command ended."""

    OK = 0
    """Done; everything that was asked for is stored or shown."""
    FAILED = 1
    """It ran, and something is not as it should be: refused data, a vendor's refusal, nothing stored under that name."""
    USAGE = 2
    """Arguments, an environment variable or gb.yaml are unusable; nothing was done."""
    TRANSIENT = 3
    """A temporary failure of the vendor or the network: the same command may succeed later."""
    INTERRUPTED = 130
    """Ctrl-C."""


_USAGE_ERRORS = (ConfigError, InvalidSymbol, InvalidResolution, NaiveTimestamp)


def exit_code(error: GbError) -> ExitCode:
    """The code that a command ends with when this error stops it."""
    if isinstance(error, TransientVendorError):
        return ExitCode.TRANSIENT
    return ExitCode.USAGE if isinstance(error, _USAGE_ERRORS) else ExitCode.FAILED


def print_error(what: str, fix: str = "") -> None:
    """Two lines on stderr: what was wrong, and what to do about it."""
    lines = [" ".join(what.split())] + ([f"  -> {' '.join(fix.split())}"] if fix else [])
    sys.stderr.write("\n".join(lines) + "\n")


def note(text: str) -> None:
    """A line for a person, on stderr, after whatever stdout holds so far."""
    sys.stdout.flush()
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    title: str | None = None,
    styles: Mapping[str, str] | None = None,
    optional: Sequence[str] = (),
    footer: Sequence[Any] | None = None,
) -> None:
    """A table on stdout; numbers are right-aligned, and nothing is folded or cut in a pipe, unless COLUMNS gives it a width.

    Args:
        columns: headings.
        rows: cells in the order of the headings; formatted by `text`.
        title: above it.
        styles: Rich style by cell text, such as `{"failed": "red"}`.
        optional: headings of columns that are left out where the table is too wide with them, the last one first; a pipe is as
            wide as a terminal usually is. Other columns that find no room on a terminal stand in a table of their own below.
        footer: cells of a last line, such as totals.
    """
    cells = [list(row) for row in rows]
    whole = [
        _make_column(heading, [row[place] for row in cells], styles or {}) for place, heading in enumerate(columns)
    ]
    if whole:
        whole[0].least = min(whole[0].natural, layout_width() - 2)
    for column, last in zip(whole, footer or [], strict=False):
        column.end(format_value(last))
    for heading in reversed(optional):
        if sum(column.natural + _GAP for column in whole) <= layout_width():
            break
        whole = [column for column in whole if column.heading != heading]
    for number, block in enumerate(_split_into_blocks(whole)):
        _print_block(block, len(cells), title=None if number else title, footer=footer is not None)


@dataclass
class _Column:
    """A column of a table as it is printed.

    Attributes:
        natural, least: characters that its longest cell takes, and that it needs to be readable when text is folded.
    """

    heading: str
    cells: list[str]
    styles: list[str | None]
    numeric: bool
    natural: int
    least: int
    last: str = ""

    def end(self, text: str) -> None:
        """Add the cell of the last line."""
        self.last = text
        self.natural = max(self.natural, len(text))
        self.least = max(self.least, len(text))


def _make_column(heading: str, values: Sequence[Any], styles: Mapping[str, str]) -> _Column:
    decimals = _count_decimals(values)
    texts = [f"{value:.{decimals}f}" if isinstance(value, Decimal) else format_value(value) for value in values]
    natural = max(map(len, [heading, *(line for text in texts for line in text.split("\n"))]))
    # Half a number, or half a date, is a wrong one: only text may be folded.
    whole = any(isinstance(value, int | float | Decimal | date) for value in values)
    return _Column(
        heading,
        texts,
        [styles.get(str(value)) for value in values],
        any(isinstance(value, int | float | Decimal) for value in values),
        natural,
        natural if whole else min(natural, _LEAST_TEXT),
    )


def _split_into_blocks(columns: list[_Column]) -> list[list[_Column]]:
    """Columns that stand beside each other on a terminal; further ones below, each time beside the first one."""
    if not _is_bounded() or len(columns) < 2:
        return [columns]
    first, *others = columns
    blocks, block = [], [first]
    for column in others:
        if len(block) > 1 and sum(item.least + _GAP for item in [*block, column]) > layout_width():
            blocks.append(block)
            block = [first]
        block.append(column)
    return [*blocks, block]


def _print_block(columns: Sequence[_Column], rows: int, *, title: str | None, footer: bool) -> None:
    from rich import box
    from rich.cells import cell_len
    from rich.console import Console
    from rich.markup import escape
    from rich.segment import Segment, Segments
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.header_style = "bold"
    table.show_footer = footer
    for column in columns:
        table.add_column(
            escape(column.heading),
            escape(column.last),
            justify="right" if column.numeric else "left",
            overflow="fold",
            min_width=column.least,
            no_wrap=column.least == column.natural,
        )
    for row in range(rows):
        styled = [(escape(column.cells[row]), column.styles[row]) for column in columns]
        table.add_row(*(f"[{style}]{cell}[/{style}]" if style else cell for cell, style in styled))
    bounded = _is_bounded()
    console = Console(width=layout_width() if bounded else _PIPE_WIDTH, highlight=False)
    endless = console.options.update(max_width=_ENDLESS)
    # A line that is too long for its place is better than a cell that is cut; a pipe has room for everything.
    needed = console.measure(table, options=endless)
    room, console.width = console.width, max(console.width, needed.minimum if bounded else needed.maximum)
    if not bounded or console.width == room:
        console.print(table)
        return
    segments: list[Segment] = []
    for line in console.render_lines(table, pad=False):
        text = "".join(segment.text for segment in line).rstrip()
        # Where one cell is wider than the terminal, only its own line is: the others get neither padding nor a longer rule.
        width = room if text and set(text) <= _RULE else cell_len(text)
        segments += [*Segment.adjust_line_length(line, width), Segment.line()]
    console.print(Segments(segments), soft_wrap=True, end="")


def layout_width() -> int:
    """How many columns tables are laid out for: those of the terminal, or of COLUMNS, or 80 in a pipe."""
    return shutil.get_terminal_size().columns if _is_bounded() else 80


def _is_bounded() -> bool:
    """Whether lines have an end: on a terminal, and in a pipe where COLUMNS says so."""
    return sys.stdout.isatty() or bool(os.environ.get("COLUMNS"))


def _count_decimals(values: Iterable[Any]) -> int:
    """Decimal places that show every decimal of a column in full, its points below each other."""
    return max(
        (len(_format_decimal(value).partition(".")[2]) for value in values if isinstance(value, Decimal)), default=0
    )


@singledispatch
def format_value(value: Any) -> str:
    """A cell as a person reads it: 1,234; 2024-01-02 09:30 (UTC); decimals without trailing zeros."""
    return str(value)


@format_value.register(type(None))
def _(_: None) -> str:
    return ""


@format_value.register(Enum)
def _(value: Enum) -> str:
    return str(value.value)


@format_value.register
def _(value: int) -> str:
    return str(value) if isinstance(value, bool) else f"{value:,}"


@format_value.register
def _(value: float) -> str:
    return f"{value:,.6g}" if math.isfinite(value) else str(value)


@format_value.register
def _(value: Decimal) -> str:
    return _format_decimal(value)


@format_value.register
def _(value: datetime) -> str:
    in_utc = value.astimezone(UTC) if value.tzinfo else value
    return in_utc.strftime("%Y-%m-%d %H:%M" + (":%S" if in_utc.second or in_utc.microsecond else ""))


@format_value.register(list)
@format_value.register(tuple)
def _(value: Sequence[Any]) -> str:
    return ", ".join(format_value(item) for item in value)


def format_size(count: int) -> str:
    """Bytes as a person reads them: `12.3 MB`."""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def print_json(data: Any) -> None:
    """Exact JSON on stdout: decimals as text (digit by digit), instants in UTC with `Z`, no NaN."""
    sys.stdout.write(json.dumps(_to_json(data), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _to_json(value: Any) -> Any:
    """Containers one by one; what JSON has not, as text."""
    if isinstance(value, Mapping):
        return {str(key): _to_json(item) for key, item in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return [_to_json(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or type(value) in {bool, int, str} else _to_text(value)


def _to_text(value: Any) -> str:
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z") if value.tzinfo else value.isoformat()
    return _format_decimal(value) if isinstance(value, Decimal) else str(value)


def _format_decimal(value: Decimal) -> str:
    digits = f"{value:f}"
    return digits.rstrip("0").rstrip(".") if "." in digits else digits
