"""This module turns lines of text into a provider's frame; every line that is no header, comment or blank becomes one row.

Which field is what is known to `columns`, what a stamp or a number means to `stamps` and `numbers`, whose line it is to `several`.
Numbers are validated by `quality`, which refuses it with the line that it came from.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date

import polars as pl

from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import PRICES, RECEIVED, RECEIVED_OPTIONAL
from gb_pipeline.providers.csv.columns import Block, Columns, find_columns
from gb_pipeline.providers.csv.lines import field, pieces, split, whole
from gb_pipeline.providers.csv.numbers import number
from gb_pipeline.providers.csv.options import CsvOptions
from gb_pipeline.providers.csv.several import (
    marks,
    owners,
    place_unnamed,
    refuse_several,
    refuse_unfiltered,
)
from gb_pipeline.providers.csv.stamp_format import EPOCHS
from gb_pipeline.providers.csv.stamps import (
    AMBIGUOUS,
    IMPLAUSIBLE,
    Span,
    bar_opens,
    by_order,
    fault,
    in_first_weeks,
    is_absurd_open,
    local_day,
    since_1980,
)
from gb_pipeline.quality.reasons import UNNAMED_LINE

# What stands beside the received columns: whose row it is in the file's own words, null where the file does not say.
_OWNER = {"owner": pl.String()}
# Why the numbers of a line are absent: it has another number of fields than it should.
RAGGED = "ragged_line"


@dataclass(frozen=True, slots=True)
class Reading:
    """How texts are read.

    Attributes:
        options: with the preset filled in.
        resolution: of the bars.
        known: what a file may call the instruments of the source; lines of others are not ours.
        span: when bars of the source may open; an epoch outside of it is in another unit.
    """

    options: CsvOptions
    resolution: Resolution
    known: frozenset[str] = frozenset()
    span: Span | None = None


@dataclass(frozen=True, slots=True)
class Rows:
    """What a text says.

    Attributes:
        frame: columns of `schema`, and `owner`.
        lines: how many data lines are ours.
        unreadable: `stamp`, `received` and `fault` of those whose stamp cannot be read. An hour that the clock shows twice is not
            among them: when it was is known, only not which of the two.
        stamps: texts of all stamps, for telling which format reads them.
        others: what the file calls instruments that are not ours, some of them.
        named: the one instrument that it names although nobody mapped the column, None where it names none.
        owners: what it calls our instruments, where it holds several.
    """

    frame: pl.DataFrame
    lines: int
    unreadable: pl.DataFrame
    stamps: pl.Series
    others: tuple[str, ...] = ()
    named: str | None = None
    owners: tuple[str, ...] = ()


def schema(options: CsvOptions) -> pl.Schema:
    """The received columns of every frame under these options."""
    optional = {
        name: kind for name, kind in RECEIVED_OPTIONAL.items() if name in {*options.columns, "received", "fault"}
    }
    return pl.Schema({**RECEIVED, **optional})


def row_schema(options: CsvOptions) -> pl.Schema:
    """The columns of `Rows.frame`."""
    return pl.Schema({**schema(options), **_OWNER})


def parse(text: str, where: str, day: date | None, reading: Reading, of: str | None = None) -> Rows:
    """All rows of one text, in its order.

    Args:
        text: the whole file.
        where: its name, for messages.
        day: the local date that its name carries, for stamps that are milliseconds of the day.
        reading: options, resolution, and what instruments are called.
        of: the one number that a file of a wide layout holds, `close`; None where it holds whole bars.

    Returns:
        A line with another number of fields than its header (without one: than most lines) keeps only its stamp: which field is
        missing cannot be known. Prices with a scale are shifted as text. Where instruments stand side by side every line is a
        row of each of them, unless all its fields there are absent.

    Raises:
        PermanentVendorError: no header, a column that the file does not have, or several instruments in a file of one.
    """
    options = reading.options
    held = list(pieces(text, options))
    columns = find_columns(held, options, where, of)
    marked = marks(columns, held[0] if held else pl.Series("received", [], pl.String()), reading.known, options)
    # Made once: expressions take longer to make than a small piece takes to read.
    stamp, opens = _stamp_text(columns.stamps).alias("stamp"), _opens(columns.stamps, day, reading)
    ours, others = _our_blocks(columns, reading.known)
    blocks = [_Row.of(block, options) for block in ours]
    complete, names = whole(columns.width), [field(at).alias(name) for name, at in marked.items()]
    line_parts, row_parts = [], []
    first, sample = 0, None
    # The fields of one piece at a time: all of them together take many times what the text takes.
    while held:
        received = held.pop(0)
        frame = pl.DataFrame({"received": received, "fields": split(received, options.delimiter)})
        if columns.filters and sample is None:
            sample = frame
        lines, foreign = owners(frame.with_columns(whole=complete), columns, reading.known)
        others |= foreign if len(others) < 20 else set()
        lines = lines.with_columns(stamp).with_columns(opens).with_row_index("line", first)
        first += lines.height
        kept = [
            "line",
            "received",
            "whole",
            "stamp",
            "owner",
            "timestamp",
            *(["latest"] if "latest" in lines.columns else []),
        ]
        line_parts.append(lines.select(*kept, *names))
        row_parts += [row.read(lines) for row in blocks]
    if not line_parts:
        return Rows(pl.DataFrame(schema=row_schema(options)), 0, pl.DataFrame(), pl.Series(dtype=pl.String()))
    lines = pl.concat(line_parts)
    if (
        options.timestamp_format in EPOCHS
        and reading.span is not None
        and in_first_weeks(lines["timestamp"], reading.span)
    ):
        return parse(text, where, day, replace(reading, span=since_1980(reading.span)), of)
    rows = pl.concat(
        [*row_parts, *([] if row_parts else [_Row.of(Block({}, ""), options).read(line_parts[0].clear())])]
    )
    if columns.filters and lines.is_empty() and sample is not None:
        raise refuse_unfiltered(sample, columns, where)
    if columns.symbol is not None:
        lines = place_unnamed(lines)
    if "latest" in lines.columns:
        lines = lines.with_columns(timestamp=by_order(lines, options.timezone or "UTC"))
    absurd = lines.select(is_absurd_open()).to_series()
    if absurd.any():
        lines = lines.with_columns(pl.when(~absurd).then("timestamp").alias("timestamp"))
    lines = lines.with_columns(fault=_faults(lines, columns.stamps, day, reading))
    if absurd.any():
        lines = lines.with_columns(fault=pl.when(absurd).then(pl.lit(IMPLAUSIBLE)).otherwise("fault"))
    if "unnamed" in lines.columns:
        lines = lines.with_columns(fault=pl.when("unnamed").then(pl.lit(UNNAMED_LINE)).otherwise("fault"))
    named = refuse_several(lines, columns, marked, where, options)
    return Rows(
        frame=_with_lines(rows, lines).select(row_schema(options).names()),
        lines=lines.height,
        unreadable=lines.filter(pl.col("timestamp").is_null() & pl.col("fault").ne_missing(AMBIGUOUS)).select(
            "stamp", "received", "fault"
        ),
        stamps=lines["stamp"],
        others=tuple(sorted(others)),
        named=named,
        owners=tuple(block.owner for block in ours if block.owner)
        or tuple(lines["owner"].drop_nulls().unique().sort()),
    )


def _our_blocks(columns: Columns, known: frozenset[str]) -> tuple[list[Block], set[str]]:
    """The instruments of those side by side that are the source's, and some of what the others are called.

    One alone is ours, whatever it is called.
    """
    ours = [block for block in columns.blocks if len(columns.blocks) == 1 or block.owner in known]
    return ours, {block.owner for block in columns.blocks if block not in ours and block.owner is not None}


@dataclass(frozen=True, slots=True)
class _Row:
    """How the rows of one instrument are made of lines.

    Attributes:
        columns: of each row; with `keep` (Boolean) where some lines are no rows of it.
        copies: columns that say the same as another one, by that one's name.
    """

    columns: list[pl.Expr]
    copies: list[pl.Expr]

    @staticmethod
    def of(block: Block, options: CsvOptions) -> _Row:
        """Its numbers, the text that they were read from, the line, and whose it is."""
        # A cell that is all four prices is read once.
        first = {at: name for name, at in reversed(block.positions.items()) if name in PRICES}
        read = {name: at for name, at in block.positions.items() if first.get(at, name) == name or name not in PRICES}
        copies = [pl.col(first[at]).alias(name) for name, at in block.positions.items() if name not in read]
        numbers = [number(name, at, options).alias(name) for name, at in read.items()]
        if options.volume == "none":
            numbers.append(pl.when("whole").then(pl.lit("0")).alias("volume"))
        given = {*block.positions, *(expression.meta.output_name() for expression in numbers)}
        absent = [name for name in schema(options) if name not in {*given, "timestamp", "received", "fault"}]
        numbers += [pl.lit(None, pl.String()).alias(name) for name in absent]
        owner = pl.lit(block.owner, pl.String()).alias("block")
        if block.owner is None:
            return _Row([pl.col("line"), pl.col("received"), *numbers, owner], copies)
        cells = [field(at) for at in dict.fromkeys(block.positions.values())]
        # The line has everybody's numbers: of it what is this instrument's.
        own = pl.concat_str(pl.lit(f"{block.owner}:"), "stamp", *cells, separator=" ", ignore_nulls=True)
        received = pl.when("whole").then(own).otherwise("received").alias("received")
        empty = pl.all_horizontal(cell.is_in(options.null_values).fill_null(True) for cell in cells)
        keep = (~(pl.col("whole") & empty)).alias("keep")
        return _Row([pl.col("line"), received, *numbers, owner, keep], copies)

    def read(self, lines: pl.DataFrame) -> pl.DataFrame:
        """The rows that lines have of it."""
        rows = lines.select(self.columns).with_columns(self.copies)
        # Afterwards: a copy of all fields of the lines for each of many instruments would take longest of all.
        return rows.filter("keep").drop("keep") if "keep" in rows.columns else rows


def _with_lines(rows: pl.DataFrame, lines: pl.DataFrame) -> pl.DataFrame:
    """The rows with what is known of their lines."""
    known = lines.select("timestamp", "fault", "owner")
    if rows.height != lines.height or not (rows["line"] == lines["line"]).all():
        known = known[rows["line"]]
    return rows.hstack(known).with_columns(owner=pl.coalesce("owner", "block"))


def _stamp_text(stamps: dict[str, int]) -> pl.Expr:
    parts = [field(stamps[name]) for name in ("timestamp", "date", "time") if name in stamps]
    return parts[0] if len(parts) == 1 else pl.concat_str(parts[0], pl.lit(" "), parts[1])


def _opens(stamps: dict[str, int], day: date | None, reading: Reading) -> list[pl.Expr]:
    """`timestamp`; where hours that the clock shows twice are told by their order, the earlier one, and `latest`."""
    if reading.options.ambiguous != "order" or not reading.resolution.intraday:
        return [_open(stamps, day, reading).alias("timestamp")]
    readings = {"timestamp": _ambiguous(reading, "earliest"), "latest": _ambiguous(reading, "latest")}
    return [_open(stamps, day, own).alias(name) for name, own in readings.items()]


def _ambiguous(reading: Reading, which: str) -> Reading:
    options = reading.options.model_copy(update={"ambiguous": which})
    return Reading(options, reading.resolution, reading.known, reading.span)


def _open(stamps: dict[str, int], day: date | None, reading: Reading) -> pl.Expr:
    text, on = _split_stamp(stamps, day, reading.options)
    return bar_opens(text, on, reading.options, reading.resolution, span=reading.span)


def _split_stamp(stamps: dict[str, int], day: date | None, options: CsvOptions) -> tuple[pl.Expr, pl.Expr]:
    """The text of a stamp, and the day that milliseconds of a day count from."""
    if options.timestamp_format == "ms_of_day" and {"date", "time"} <= set(stamps):
        return field(stamps["time"]), local_day(field(stamps["date"]), options.date_format)
    return pl.col("stamp"), pl.lit(day, pl.Date)


def _faults(lines: pl.DataFrame, stamps: dict[str, int], day: date | None, reading: Reading) -> pl.Series:
    """Why stamps or numbers of lines cannot be read, where more is known than that; null for all others."""
    faults = pl.repeat(None, lines.height, dtype=pl.String(), eager=True)
    # The rest of a bar, and no line of another kind such as `2024-01-02,0.24 Dividend`.
    torn = lines.filter(~pl.col("whole")).filter(~pl.col("received").str.contains(r"(?i)[a-z]{3,}"))
    if torn.height:
        faults = faults.scatter(lines["line"].is_in(torn["line"].implode()).arg_true(), RAGGED)
    unread = lines["timestamp"].is_null()
    if not unread.any():
        return faults
    # Few lines as a rule: their fields are cut once more.
    some = lines.filter(unread)
    some = some.with_columns(split(some["received"], reading.options.delimiter))
    text, on = _split_stamp(stamps, day, reading.options)
    found = some.select(fault(text, on, reading.options, reading.resolution, reading.span)).to_series()
    return faults.scatter(unread.arg_true(), found)
