"""This module reads and edits the file of `symbols: {file: symbols.csv}`, a list that is kept apart from gb.yaml."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection
from pathlib import Path

from gb_pipeline.config.symbols.spec import SymbolSettings, canonical
from gb_pipeline.config.symbols.table import Line, Problems, csv_text, file_text, read_lines, write_whole
from gb_pipeline.errors import ConfigError
from gb_pipeline.market.symbol import AssetClass

# `name` is for people.
COLUMNS = ("code", "vendor", "exchange", "asset_class", "listed_from", "listed_until", "name")


def read(path: Path, asset_class: AssetClass) -> tuple[SymbolSettings, ...]:
    """The symbols in the order of the file.

    Args:
        path: CSV with a header; any of `COLUMNS`, `code` at least.
        asset_class: of lines that name none.

    Raises:
        ConfigError: unusable; with the lines that are wrong: codes without a canonical form, codes that occur twice (in
            whatever spelling), bad dates, an end before its beginning.
    """
    problems = Problems(path)
    line_numbers: dict[str, int] = {}
    symbols = []
    for line in read_lines(path, problems, needed=("code",), known=COLUMNS):
        settings = problems.attempt(line.number, lambda line=line: _parse_line(line, asset_class))  # type: ignore[misc]
        if settings is None:
            continue
        if settings.code in line_numbers:
            problems.add(line.number, f"{settings.code} stands in line {line_numbers[settings.code]} already")
        line_numbers.setdefault(settings.code, line.number)
        symbols.append(settings)
    problems.check()
    return tuple(symbols)


def add(path: Path, codes: Collection[str]) -> None:
    """Append a line per code; the lines that are there stay as they are, byte by byte.

    Raises:
        ConfigError: there is no file, it has no header, or it cannot be written.
    """
    text, newline = _read_text(path)
    header = [name.strip() for name in next(csv.reader(io.StringIO(text.removeprefix("\ufeff"))), [])]
    if "code" not in header:
        raise ConfigError(f"{path} has no column code", fix=f"its first line names columns: {', '.join(COLUMNS)}")
    rows = [[code if name == "code" else "" for name in header] for code in codes]
    separator = "" if text.endswith(("\n", "\r")) else newline
    write_whole(path, text + separator + csv_text((), rows, newline=newline))


def remove(path: Path, codes: Collection[str], asset_class: AssetClass) -> None:
    """Take out the lines of these codes, in whatever spelling they stand there.

    Raises:
        ConfigError: the file is unusable, or cannot be written.
    """
    problems = Problems(path)
    unwanted = {
        line.number
        for line in read_lines(path, problems, needed=("code",), known=COLUMNS)
        if (settings := problems.attempt(line.number, lambda line=line: _parse_line(line, asset_class)))  # type: ignore[misc]
        and settings.code in codes
    }
    problems.check()
    text, _ = _read_text(path)
    remaining = [line for number, line in enumerate(text.splitlines(keepends=True), 1) if number not in unwanted]
    write_whole(path, "".join(remaining))


def _parse_line(line: Line, asset_class: AssetClass) -> SymbolSettings:
    kind = line.get("asset_class")
    if kind and kind not in list(AssetClass):
        raise ValueError(f"asset_class {kind[:40]!r} is none of {', '.join(AssetClass)}")
    first, last = line.day("listed_from"), line.day("listed_until")
    if first is not None and last is not None and last <= first:
        raise ValueError(f"listed_until {last} is not after listed_from {first}")
    symbol = canonical(line.get("code"), AssetClass(kind) if kind else asset_class)
    return SymbolSettings(
        code=symbol.code,
        vendor=line.get("vendor") or None,
        exchange=line.get("exchange"),
        asset_class=AssetClass(kind) if kind else None,
        listed_from=first,
        listed_until=last,
    )


def _read_text(path: Path) -> tuple[str, str]:
    """The text as it is, mark and line ends included, and its line end."""
    text = file_text(path)
    return text, "\r\n" if "\r\n" in text else "\n"
