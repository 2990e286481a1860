"""This module turns lines of text into a provider's frame; every line that is no header, comment or blank becomes one row.

It knows fields, columns, ragged lines and the exact scaling of text. Whether a number is right is judged by `quality`, which
refuses it with the line that it came from.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from datetime import date

import polars as pl

from gb_pipeline.errors import PermanentVendorError
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import PRICES, RECEIVED, RECEIVED_OPTIONAL
from gb_pipeline.providers.csv.options import Column, CsvOptions
from gb_pipeline.providers.csv.stamps import bar_opens, local_day

_SCALED = (*PRICES, "vwap", "ask_close")
_SEPARATOR = "\x1f"
# Characters of a text whose fields are held at the same time.
_PIECE = 4 * 2**20
# What a column may be called for its name to be shown; a line of anything else is nobody's header.
_NAME = re.compile(r"[\w .()%/-]{1,40}")
_NAMES_SHOWN = 30


def parse(text: str, where: str, day: date | None, options: CsvOptions, resolution: Resolution) -> pl.DataFrame:
    """All rows of one text, in its order.

    Args:
        text: the whole file.
        where: its name, for messages.
        day: the local date that its name carries, for stamps that are milliseconds of the day.
        options: with the preset filled in.
        resolution: of the bars.

    Returns:
        Columns of `RECEIVED`, the mapped ones of `RECEIVED_OPTIONAL` and always `received` (the line as it stands). A
        line with another number of fields than its header (without one: than most lines) keeps only its stamp: which
        field is missing cannot be known. Prices with a scale are shifted as text; what is no plain decimal is null.

    Raises:
        PermanentVendorError: no header, or a column that the file does not have.
    """
    pieces = list(_pieces(text, options))
    header: list[str] | None = None
    if options.header:
        if not pieces:
            raise PermanentVendorError(f"{where} has no header line", fix="set `header: false`, or get the file again")
        header = [name.strip() for name in _split_line(pieces[0].head(1).item(), options.delimiter)]
        pieces[0] = pieces[0].slice(1)
    width = len(header) if header is not None else _usual_width(pieces, options.delimiter)
    wanted = {ours: theirs for ours, theirs in options.columns.items() if (ours, options.volume) != ("volume", "none")}
    positions = {ours: _position(ours, theirs, header, width, where) for ours, theirs in wanted.items()}
    stamps = [positions.pop(name, None) for name in ("timestamp", "date", "time")]
    columns = [_stamp(stamps, day, options, resolution).alias("timestamp")]
    columns += [_number(name, position, options).alias(name) for name, position in positions.items()]
    if options.volume == "none":
        columns.append(pl.when("whole").then(pl.lit("0")).alias("volume"))
    frames = [pl.DataFrame(schema=schema(options))]
    # The fields of one piece at a time: all of them together take many times what the text takes.
    while pieces:
        received = pieces.pop(0)
        fields = _split(received, options.delimiter)
        frame = pl.DataFrame({"received": received, "fields": fields}).lazy().with_columns(whole=_whole(width))
        frames.append(frame.with_columns(columns).select(schema(options).names()).collect())
    return pl.concat(frames)


def _pieces(text: str, options: CsvOptions) -> Iterator[pl.Series]:
    """The lines that are no comment and not blank, below those to skip, a few megabytes at a time."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    at, skip = 0, options.skip_rows
    while at <= len(text):
        end = text.find("\n", at + _PIECE)
        end = len(text) if end < 0 else end
        lines = pl.Series("received", [text[at:end]], pl.String).str.split("\n").explode()
        at = end + 1
        skipped = min(skip, len(lines))
        skip -= skipped
        lines = lines.slice(skipped)
        kept = lines.str.strip_chars() != ""
        if options.comment is not None:
            kept &= ~lines.str.starts_with(options.comment)
        if kept.any():
            yield lines.filter(kept)


def _whole(width: int) -> pl.Expr:
    # A delimiter at the end of a line makes an empty field more; it says nothing.
    whole = (pl.col("fields").list.len() == width) | (
        (pl.col("fields").list.len() > width)
        & (pl.col("fields").list.slice(width).list.join("", ignore_nulls=True).str.strip_chars() == "")
    )
    return whole.fill_null(False)


def schema(options: CsvOptions) -> pl.Schema:
    """The columns of every frame under these options."""
    optional = {name: kind for name, kind in RECEIVED_OPTIONAL.items() if name in {*options.columns, "received"}}
    return pl.Schema({**RECEIVED, **optional})


def _split_line(line: str, delimiter: str) -> list[str]:
    if delimiter == "whitespace":
        return line.split()
    if '"' not in line:
        return line.split(delimiter)
    # One line at a time: a stray quote must not swallow the rest of the file.
    try:
        return next(csv.reader([line], delimiter=delimiter, skipinitialspace=True))
    except (csv.Error, StopIteration):
        return [line]


def _split(lines: pl.Series, delimiter: str) -> pl.Series:
    if delimiter == "whitespace":
        return lines.str.strip_chars().str.replace_all(r"\s+", " ").str.split(" ").alias("fields")
    if not lines.str.contains('"', literal=True).any():
        return lines.str.split(delimiter).alias("fields")
    texts = lines.to_list()
    try:
        rows = list(csv.reader(texts, delimiter=delimiter, skipinitialspace=True))
    except csv.Error:
        rows = []
    if len(rows) != len(texts):
        # Some quote is never closed on its line, and what follows was taken for its text.
        rows = [_split_line(text, delimiter) for text in texts]
    if any(_SEPARATOR in text for text in texts):
        return pl.Series("fields", rows, pl.List(pl.String))
    # Joined again by what no text holds: lists of Python lists take ten times as long and twenty times the memory.
    return pl.Series("fields", [_SEPARATOR.join(row) for row in rows], pl.String).str.split(_SEPARATOR)


def _usual_width(pieces: list[pl.Series], delimiter: str) -> int:
    if not pieces:
        return 0
    widths = pl.concat([_split(lines, delimiter).list.len() for lines in pieces]).to_frame("width")
    counted = widths.group_by("width", maintain_order=True).len()
    return int(counted.sort("len", descending=True, maintain_order=True)["width"][0])


def _position(ours: str, theirs: Column | list[Column], header: list[str] | None, width: int, where: str) -> int:
    for column in theirs if isinstance(theirs, list) else [theirs]:
        if isinstance(column, int):
            if 0 <= column < width or width == 0:
                return column
        elif header is not None:
            exact = [n for n, name in enumerate(header) if name == column]
            matches = exact or [n for n, name in enumerate(header) if name.lower() == column.lower()]
            if len(matches) > 1:
                raise PermanentVendorError(
                    f"{where} has {len(matches)} columns {column!r}", fix="map the column by its 0-based position"
                )
            if matches:
                return matches[0]
    held = f"{width} fields a line and no header"
    if header is not None:
        telling = len(header) <= _NAMES_SHOWN and all(_NAME.fullmatch(name) for name in header)
        held = f"columns {', '.join(header)}" if telling else f"{len(header)} columns of other names"
    raise PermanentVendorError(
        f"{where} has no column {theirs!r} for {ours}: it has {held}",
        fix="map it with `columns` (or say `volume: none`); check `delimiter`, `header` and `skip_rows`",
    )


def _field(position: int) -> pl.Expr:
    return pl.col("fields").list.get(position, null_on_oob=True).str.strip_chars()


def _stamp(positions: list[int | None], day: date | None, options: CsvOptions, resolution: Resolution) -> pl.Expr:
    together, date_at, time_at = positions
    days = pl.lit(day, pl.Date)
    only = together if together is not None else date_at if time_at is None else time_at if date_at is None else None
    if only is not None:
        return bar_opens(_field(only), days, options, resolution)
    assert date_at is not None
    assert time_at is not None
    if options.timestamp_format == "ms_of_day":
        return bar_opens(_field(time_at), local_day(_field(date_at), options.date_format), options, resolution)
    both = pl.concat_str(_field(date_at), pl.lit(" "), _field(time_at))
    return bar_opens(both, days, options, resolution)


def _number(name: str, position: int, options: CsvOptions) -> pl.Expr:
    text = _field(position)
    text = pl.when(pl.col("whole") & ~text.is_in(options.null_values)).then(text)
    if options.decimal_comma:
        # A point could only be a thousands separator here: read as a decimal point it would be a thousand times less.
        text = pl.when(~text.str.contains(".", literal=True)).then(text.str.replace(",", ".", literal=True))
    if options.price_scale == 1 or name not in _SCALED:
        return text
    places = len(str(options.price_scale)) - 1
    parts = text.str.extract_groups(r"^([+-]?)([0-9]+)(?:\.([0-9]*))?$")
    digits = parts.struct.field("2").str.zfill(places + 1)
    fraction = pl.concat_str(digits.str.tail(places), parts.struct.field("3").fill_null("")).str.strip_chars_end("0")
    whole = digits.str.head(-places)
    shifted = pl.when(fraction == "").then(whole).otherwise(pl.concat_str(whole, pl.lit("."), fraction))
    return pl.concat_str(parts.struct.field("1"), shifted)
