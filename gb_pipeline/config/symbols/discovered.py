"""This module keeps what `symbols: {discover: ...}` found the last times that the vendor was asked.

It is the file `<lake>/universe/<source>.csv`, or `universe/<source>.csv` beside gb.yaml where the lake is in an object store.
`gb symbols refresh` writes it and everything else reads it: a source never asks its vendor for symbols while it is loaded.
Asking and choosing are in `universe.discovery`.

A line is one stay of an instrument. Nothing is ever taken out of the file: who leaves keeps its line, its data, its assets
and its days, and who comes back gets another line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import date
from pathlib import Path

from gb_pipeline.config.bucket import Address
from gb_pipeline.config.symbols.membership_intervals import MembershipInterval, by_code
from gb_pipeline.config.symbols.spec import SymbolSettings, canonical
from gb_pipeline.config.symbols.table import Line, Problems, csv_text, read_lines, unsafe, write_whole
from gb_pipeline.market.symbol import AssetClass


@dataclass(frozen=True, slots=True)
class Entry:
    """One stay, and what the vendor said about the instrument during it.

    Attributes:
        code: canonical.
        vendor: the vendor's own spelling.
        exchange: where it is listed, empty where the vendor does not say.
        asset_class: the kind of instrument.
        listed_from: first session, where the vendor said so.
        listed_until: first session without it: the vendor's own word, else the day on which it was missing for the first
            time; None while it is listed.
        joined: day of the refresh that chose it for the first time.
        left: day of the first refresh that did not choose it any more; None while it is chosen.
    """

    code: str
    vendor: str
    exchange: str
    asset_class: AssetClass
    listed_from: date | None
    listed_until: date | None
    joined: date
    left: date | None = None

    @property
    def open(self) -> bool:
        """Whether it is chosen now."""
        return self.left is None

    @property
    def interval(self) -> MembershipInterval:
        """From the day it joined to the day it left."""
        return MembershipInterval(self.joined, self.left)


COLUMNS = tuple(field.name for field in fields(Entry))


def universe_home(lake: Address, project: Path) -> Path:
    """The folder below which universes are kept: the lake's, or the project's where the lake is in an object store."""
    return lake if isinstance(lake, Path) else project


def universe_file(home: Path, source: str) -> Path:
    """Where the universe of a source is kept."""
    return home / "universe" / f"{source}.csv"


def read(path: Path) -> tuple[Entry, ...]:
    """All stays, by code and time; none where the file is not there yet.

    Raises:
        ConfigError: the file is damaged, with its lines.
    """
    if not path.exists():
        return ()
    problems = Problems(path)
    entries: dict[str, list[Entry]] = {}
    for line in read_lines(path, problems, needed=COLUMNS, known=COLUMNS):
        entry = problems.attempt(line.number, lambda line=line: _entry(line))  # type: ignore[misc]
        if entry is None:
            continue
        before = entries.setdefault(entry.code, [])
        if any(entry.interval.overlaps(other.interval) for other in before):
            problems.add(line.number, f"{entry.code} is in already by another line")
        before.append(entry)
    problems.check()
    return tuple(entry for code in sorted(entries) for entry in sorted(entries[code], key=lambda entry: entry.joined))


def write(path: Path, entries: Sequence[Entry]) -> None:
    """Replace the file at once; the same entries always make the same bytes.

    Raises:
        ConfigError: it cannot be written, or a cell would be run by a spreadsheet.
    """
    rows = [
        ["" if (value := getattr(entry, name)) is None else str(value) for name in COLUMNS]
        for entry in sorted(entries, key=lambda entry: (entry.code, entry.joined))
    ]
    problems = Problems(path)
    for number, row in enumerate(rows, 2):
        for cell in row:
            if unsafe(cell):
                problems.add(number, f"{cell[:40]!r} would be run as a formula")
    problems.check()
    write_whole(path, csv_text(COLUMNS, rows))


def symbol_settings(entries: Sequence[Entry]) -> tuple[SymbolSettings, ...]:
    """One per code, sorted: what its newest stay says, and the earliest known first session."""
    newest: dict[str, Entry] = {}
    first: dict[str, date] = {}
    for entry in sorted(entries, key=lambda entry: (entry.code, entry.joined)):
        newest[entry.code] = entry
        if entry.listed_from is not None:
            first[entry.code] = min(entry.listed_from, first.get(entry.code, entry.listed_from))
    return tuple(
        SymbolSettings(
            code=code,
            vendor=entry.vendor or None,
            exchange=entry.exchange,
            asset_class=entry.asset_class,
            listed_from=first.get(code),
            listed_until=entry.listed_until,
        )
        for code, entry in newest.items()
    )


def intervals_by_code(entries: Sequence[Entry]) -> dict[str, tuple[MembershipInterval, ...]]:
    """All membership intervals by code."""
    return by_code((entry.code, entry.interval) for entry in entries)


def _entry(line: Line) -> Entry:
    kind = AssetClass(line.get("asset_class"))
    joined, left = line.day("joined"), line.day("left")
    listed_from, listed_until = line.day("listed_from"), line.day("listed_until")
    if joined is None:
        raise ValueError("joined is empty")
    if left is not None and left < joined:
        raise ValueError(f"left {left} is before joined {joined}")
    if listed_from is not None and listed_until is not None and listed_until < listed_from:
        raise ValueError(f"listed_until {listed_until} is before listed_from {listed_from}")
    symbol = canonical(line.get("code"), kind)
    return Entry(symbol.code, line.get("vendor"), line.get("exchange"), kind, listed_from, listed_until, joined, left)
