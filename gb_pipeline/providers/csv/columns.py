"""This module finds out which field of a line is what: one header line, stacked ones, or positions without any.

A file of several instruments side by side has one block of fields for each of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import polars as pl

from gb_pipeline.errors import PermanentVendorError
from gb_pipeline.providers.csv.lines import split_line, usual_width
from gb_pipeline.providers.csv.options import Column, CsvOptions

STAMPS = ("timestamp", "date", "time")
# What a column may be called for its name to be shown; a line of anything else is nobody's header.
_NAME = re.compile(r"[\w .()%/:=^&-]{1,40}")
_NAMES_SHOWN = 30


@dataclass(frozen=True, slots=True)
class Block:
    """The fields of one instrument: our name -> position; `owner` is what the file calls it, None where it does not say."""

    positions: dict[str, int]
    owner: str | None = None


@dataclass(frozen=True, slots=True)
class Columns:
    """What the fields of a text are.

    Attributes:
        header: names of the fields; None where no line names them.
        width: how many fields a whole line has.
        stamps: positions of `timestamp`, `date` and `time`, those that there are.
        blocks: fields of the instruments; one, unless they stand side by side.
        symbol: position of the mapped column that names each line's instrument.
        filters: position -> values of which a line must have one.
    """

    header: tuple[str, ...] | None
    width: int
    stamps: dict[str, int]
    blocks: tuple[Block, ...]
    symbol: int | None = None
    filters: dict[int, tuple[str, ...]] = field(default_factory=dict)

    @property
    def side_by_side(self) -> bool:
        """Whether the header names instruments."""
        return any(block.owner is not None for block in self.blocks) or not self.blocks

    @property
    def unused(self) -> dict[int, str]:
        """Fields that mean nothing to us: positions and names, empty ones without a header."""
        used = {*self.stamps.values(), *self.filters}
        used.update(position for block in self.blocks for position in block.positions.values())
        return {at: self.name(at) for at in range(self.width) if at not in used}

    def name(self, position: int) -> str:
        """What the header calls a field; empty without one."""
        return self.header[position] if self.header is not None else ""

    def label(self, position: int) -> str | int:
        """What a user calls a field: its name, or its position where there is none."""
        return self.name(position) or position


def find_columns(lines: list[pl.Series], options: CsvOptions, where: str, of: str | None = None) -> Columns:
    """What the fields of a text are; lines of its header are taken away from `lines`.

    Args:
        lines: pieces of `lines.pieces`.
        options: with the preset filled in.
        where: the text's name, for messages.
        of: the one number that a file of a wide layout holds, `close`; None where it holds whole bars.

    Raises:
        PermanentVendorError: no header, or a column that the file does not have.
    """
    header: list[str] | None = None
    owners: list[str] | None = None
    if options.header:
        if not lines:
            raise PermanentVendorError(f"{where} has no header line", fix="set `header: false`, or get the file again")
        header, owners, count = _read_header(lines[0].head(3).to_list(), options)
        lines[0] = lines[0].slice(count)
    width = len(header) if header is not None else usual_width(lines, options.delimiter)
    find = _Finder(header, width, where)
    mapped = options.mapped
    stamps = {ours: find.position(ours, mapped[ours]) for ours in STAMPS if ours in mapped}
    filters = {
        find.position("filter", column): (values,) if isinstance(values, str) else tuple(values)
        for column, values in options.filter.items()
    }
    if options.layout == "wide":
        return Columns(_tuple(header), width, stamps, _wide_blocks(header, stamps, filters, of, where), None, filters)
    wanted = {ours: theirs for ours, theirs in mapped.items() if ours not in (*STAMPS, "symbol")}
    if options.volume == "none":
        wanted.pop("volume", None)
    if owners is None:
        blocks: tuple[Block, ...] = (Block({ours: find.position(ours, theirs) for ours, theirs in wanted.items()}),)
    else:
        names = list(dict.fromkeys(owner for owner in owners if owner))
        blocks = tuple(Block(find.positions_of(name, owners, wanted), name) for name in names)
    symbol = find.position("symbol", mapped["symbol"]) if "symbol" in mapped else None
    return Columns(_tuple(header), width, stamps, blocks, symbol, filters)


def _tuple(header: list[str] | None) -> tuple[str, ...] | None:
    return None if header is None else tuple(header)


def _read_header(lines: list[str], options: CsvOptions) -> tuple[list[str], list[str] | None, int]:
    """Names of the fields, the instrument of each where they stand side by side, and how many lines it took.

    yfinance and pandas-datareader write columns of two levels: what the number is, whose it is, and a line that has only the
    name of the dates (`Price,Close,High` over `Ticker,ABC,ABC` over `Date,,`), the upper two in either order.
    """
    rows = [[name.strip() for name in split_line(line, options.delimiter)] for line in lines]
    first = rows[0]
    if len(rows) < 3 or len({len(row) for row in rows}) != 1 or any(rows[2][1:]) or len(first) < 2:
        return first, None, 1
    stamp = options.columns.get("timestamp")
    if rows[2][0].lower() not in {name.lower() for name in _names(stamp)}:
        return first, None, 1
    closes = {name.lower() for name in _names(options.columns.get("close"))}
    upper = any(name.lower() in closes for name in first)
    fields, owners = (first, rows[1]) if upper else (rows[1], first)
    return [rows[2][0], *fields[1:]], ["", *owners[1:]], 3


def _names(column: Column | list[Column] | None) -> list[str]:
    return [name for name in (column if isinstance(column, list) else [column]) if isinstance(name, str)]


def _wide_blocks(
    header: list[str] | None, stamps: dict[str, int], filters: dict[int, tuple[str, ...]], of: str | None, where: str
) -> tuple[Block, ...]:
    if header is None:
        raise PermanentVendorError(
            f"{where} is of a wide layout and has no header that names its instruments", fix="set `header: true`"
        )
    positions = {n: name for n, name in enumerate(header) if n not in {*stamps.values(), *filters} and name}
    if twice := sorted({name for name in positions.values() if list(positions.values()).count(name) > 1}):
        raise PermanentVendorError(f"{where} has {twice[0]!r} twice in its header", fix="name each instrument once")
    # A panel of one number a cell: all four prices are that number.
    numbers = ("open", "high", "low", "close") if of is None else (of,)
    return tuple(Block(dict.fromkeys(numbers, n), name) for n, name in positions.items())


@dataclass(frozen=True, slots=True)
class _Finder:
    header: list[str] | None
    width: int
    where: str

    def position(self, ours: str, theirs: Column | list[Column], among: list[int] | None = None) -> int:
        """The position of the first of the names that is there; `among` are the positions to look at."""
        for column in theirs if isinstance(theirs, list) else [theirs]:
            if isinstance(column, int):
                if 0 <= column < self.width or self.width == 0:
                    return column
            elif self.header is not None:
                named = [(n, name) for n, name in enumerate(self.header) if among is None or n in among]
                exact = [n for n, name in named if name == column]
                matches = exact or [n for n, name in named if name.lower() == column.lower()]
                if len(matches) > 1:
                    raise PermanentVendorError(
                        f"{self.where} has {len(matches)} columns {column!r}",
                        fix="map the column by its 0-based position",
                    )
                if matches:
                    return matches[0]
        raise PermanentVendorError(
            f"{self.where} has no column {theirs!r} for {ours}: it has {self._held()}",
            fix="map it with `columns` (or say `volume: none`); check `delimiter`, `header` and `skip_rows`",
        )

    def positions_of(self, owner: str, owners: list[str], wanted: dict[str, Column | list[Column]]) -> dict[str, int]:
        """The fields of one of several instruments that stand side by side."""
        own = [n for n, name in enumerate(owners) if name == owner]
        return {ours: self.position(f"{ours} of {owner}", theirs, own) for ours, theirs in wanted.items()}

    def _held(self) -> str:
        if self.header is None:
            return f"{self.width} {'field' if self.width == 1 else 'fields'} a line and no header"
        one = len(self.header) == 1
        if len(self.header) <= _NAMES_SHOWN and all(_NAME.fullmatch(name) for name in self.header):
            return f"{'column' if one else 'columns'} {', '.join(self.header)}"
        return "one column of another name" if one else f"{len(self.header)} columns of other names"
