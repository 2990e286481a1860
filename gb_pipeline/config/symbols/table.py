"""This module reads small CSV files that people and programs write, strictly, with the line of every mistake.

It knows header, lines, cells and dates, and writes a file whole or not at all. What columns mean is left to whoever reads them.
"""

from __future__ import annotations

import csv
import io
import os
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TypeVar

from gb_pipeline.errors import ConfigError, GbError

T = TypeVar("T")
# What a spreadsheet would run when somebody opens the file.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_ISO = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_SHOWN = 5
# A list of all that ever traded anywhere takes a tenth of it.
MOST_BYTES = 32 * 2**20
MOST_LINE = 64 * 2**10


@dataclass
class Problems:
    """Mistakes of one file, by line; all are collected before the first is reported."""

    path: Path
    mistakes: list[tuple[int, str]] = field(default_factory=list)

    def add(self, line: int, what: str) -> None:
        """Remember a mistake."""
        self.mistakes.append((line, what))

    def attempt(self, line: int, make: Callable[[], T]) -> T | None:
        """What `make` returns; None where it raised, which is remembered."""
        try:
            return make()
        except GbError as error:
            self.add(line, error.what)
        except ValueError as error:
            self.add(line, str(error))
        return None

    def check(self) -> None:
        """Raise when there are any.

        Raises:
            ConfigError: the first five, each with its line.
        """
        if self.mistakes:
            lines = [f"line {line}: {what}" for line, what in sorted(self.mistakes)[:_SHOWN]]
            more = f"; and {len(self.mistakes) - _SHOWN} more" if len(self.mistakes) > _SHOWN else ""
            raise ConfigError(f"{self.path}: {'; '.join(lines)}{more}", fix="correct these lines")


@dataclass(frozen=True, slots=True)
class Line:
    """One line: its number, from 1 for the header, and its cells by column, stripped."""

    number: int
    cells: dict[str, str]

    def get(self, column: str) -> str:
        """A cell; empty where the file has no such column."""
        return self.cells.get(column, "")

    def day(self, column: str) -> date | None:
        """A cell as a date; None where it is empty.

        Raises:
            ValueError: it is no date as 2024-01-02.
        """
        text = self.get(column)
        if not text:
            return None
        if not _ISO.fullmatch(text):
            raise ValueError(f"{column} {text[:40]!r} is no date; write 2024-01-02")
        try:
            return date.fromisoformat(text)
        except ValueError:
            raise ValueError(f"{column} {text!r} is no day of the calendar") from None


def read_lines(path: Path, problems: Problems, *, needed: Sequence[str], known: Sequence[str] | None) -> Iterator[Line]:
    """The lines of a file below its header, empty ones left out.

    Args:
        path: UTF-8, with or without a byte-order mark; commas.
        problems: takes in lines that have another number of cells than the header, and formulas.
        needed: columns that must be there.
        known: columns that may be there; None allows any.

    Raises:
        ConfigError: no such file, no text, or a header that lacks or repeats a column.
    """
    rows = csv.reader(io.StringIO(file_text(path).removeprefix("\ufeff"), newline=""), strict=True)
    try:
        header = [name.strip() for name in next(rows, [])]
        _check_header(path, header, needed, known)
        for row in rows:
            if not any(cell.strip() for cell in row):
                continue
            if len(row) != len(header):
                problems.add(rows.line_num, f"{len(row)} cells below {len(header)} columns")
                continue
            cells = {name: cell.strip() for name, cell in zip(header, row, strict=True)}
            read = [name for name in header if known is not None or name in needed]
            wrong = next((name for name in read if unsafe(cells[name])), None)
            if wrong is not None:
                problems.add(rows.line_num, f"{wrong} {cells[wrong][:40]!r} would be run as a formula")
                continue
            yield Line(rows.line_num, cells)
    except csv.Error as error:
        raise ConfigError(f"{path} line {rows.line_num}: {error}", fix="correct this line") from None


def unsafe(cell: str) -> bool:
    """Whether a spreadsheet would run the cell, or a terminal would: formulas and control characters."""
    return cell.startswith(_FORMULA) or not cell.isprintable()


def write_whole(path: Path, text: str) -> None:
    """Replace a file by another text at once: a reader sees the old one or the new one, whatever happens meanwhile.

    Links are followed; the file's permissions stay.

    Raises:
        ConfigError: it cannot be written.
    """
    target = path.resolve()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        beside = Path(name)
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            beside.chmod(target.stat().st_mode & 0o777 if target.exists() else 0o644)
            beside.replace(target)
        finally:
            with suppress(FileNotFoundError):
                beside.unlink()
    except OSError as error:
        raise ConfigError(f"{target} cannot be written: {error.strerror}", fix="make its folder writable") from None


def csv_text(header: Sequence[str], rows: Sequence[Sequence[str]], *, newline: str = "\n") -> str:
    """Rows as CSV, quoted where needed; the header first where it is not empty."""
    text = io.StringIO()
    csv.writer(text, lineterminator=newline).writerows([*([header] if header else []), *rows])
    return text.getvalue()


def file_text(path: Path) -> str:
    """The text of a small file as it is, mark and line ends included.

    Raises:
        ConfigError: it is not there, no UTF-8, or no small file: more bytes or longer lines than any list of symbols has.
    """
    if path.exists() and not path.is_file():
        raise ConfigError(f"{path} is no file", fix="name a CSV file; a path is relative to gb.yaml")
    try:
        with path.open("rb") as file:
            raw = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError(f"there is no {path}", fix="check the path; it is relative to gb.yaml") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", fix="check its permissions") from None
    if len(raw) > MOST_BYTES:
        raise ConfigError(f"{path} has more than {MOST_BYTES // 2**20} MB", fix="name a list of symbols")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path} line {line} is not UTF-8", fix="save it as UTF-8") from None
    long = next((number for number, line in enumerate(text.split("\n"), 1) if len(line) > MOST_LINE), None)
    if long is not None:
        raise ConfigError(f"{path} line {long} has more than {MOST_LINE:,} characters", fix="name a list of symbols")
    return text


def _check_header(path: Path, header: list[str], needed: Sequence[str], known: Sequence[str] | None) -> None:
    absent = [name for name in needed if name not in header]
    foreign = [name for name in header if known is not None and name not in known]
    twice = sorted(name for name, times in Counter(header).items() if times > 1)
    if absent or foreign or twice:
        # What lacks them is somebody else's file, and nothing of it is shown.
        wrong = f"lacks {', '.join(absent)}" if absent else f"has twice {', '.join(twice)[:80]}"
        wrong = f"has {foreign[0][:40]!r}, which means nothing here" if foreign and not absent else wrong
        columns = f"columns are {', '.join(known)}" if known is not None else f"it needs {', '.join(needed)}"
        size = f"; it has {len(header)} {'column' if len(header) == 1 else 'columns'}" if header else "; it is empty"
        raise ConfigError(f"{path}: the first line {wrong}{size}", fix=columns)
