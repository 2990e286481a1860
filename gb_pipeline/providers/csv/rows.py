"""Lines of text, turned into a provider's frame. Every line that is no header, comment or blank comes out as one row.

Belongs here: fields, columns, ragged lines, exact scaling of text. Does not belong here: files, windows, and judging
whether a number is right: what is not a number here is refused by `quality`, with the line that it came from.
"""

from __future__ import annotations

import csv
from datetime import date
from itertools import islice

import polars as pl

from gb_pipeline.errors import PermanentVendorError
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import PRICES, RECEIVED, RECEIVED_OPTIONAL
from gb_pipeline.providers.csv.options import Column, CsvOptions
from gb_pipeline.providers.csv.stamps import bar_opens, local_day

_SCALED = (*PRICES, "vwap", "ask_close")
_SEPARATOR = "\x1f"


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
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    rows = [line for line in islice(lines, options.skip_rows, None) if line.strip()]
    if options.comment is not None:
        rows = [line for line in rows if not line.startswith(options.comment)]
    header: list[str] | None = None
    if options.header:
        if not rows:
            raise PermanentVendorError(f"{where} has no header line", fix="set `header: false`, or get the file again")
        header = [name.strip() for name in _split_line(rows.pop(0), options.delimiter)]
    received = pl.Series("received", rows, pl.String)
    fields = _split(received, options.delimiter)
    width = len(header) if header is not None else _usual_width(fields)
    wanted = {ours: theirs for ours, theirs in options.columns.items() if (ours, options.volume) != ("volume", "none")}
    positions = {ours: _position(ours, theirs, header, width, where) for ours, theirs in wanted.items()}
    frame = pl.DataFrame({"received": received, "fields": fields}).lazy()
    # A delimiter at the end of a line makes an empty field more; it says nothing.
    whole = (pl.col("fields").list.len() == width) | (
        (pl.col("fields").list.len() > width)
        & (pl.col("fields").list.slice(width).list.join("", ignore_nulls=True).str.strip_chars() == "")
    )
    frame = frame.with_columns(whole=whole.fill_null(False))
    stamps = [positions.pop(name, None) for name in ("timestamp", "date", "time")]
    frame = frame.with_columns(timestamp=_stamp(stamps, day, options, resolution))
    numbers = [_number(name, position, options).alias(name) for name, position in positions.items()]
    if options.volume == "none":
        numbers.append(pl.when("whole").then(pl.lit("0")).alias("volume"))
    return frame.with_columns(numbers).select(schema(options).names()).collect()


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
    # Joined again by what no text holds: lists of Python lists take ten times as long and twenty times the memory.
    return pl.Series("fields", [_SEPARATOR.join(row) for row in rows], pl.String).str.split(_SEPARATOR)


def _usual_width(fields: pl.Series) -> int:
    widths = pl.DataFrame({"width": fields.list.len()}).group_by("width", maintain_order=True).len()
    return int(widths.sort("len", descending=True, maintain_order=True)["width"][0]) if len(widths) else 0


def _position(ours: str, theirs: Column | list[Column], header: list[str] | None, width: int, where: str) -> int:
    for column in theirs if isinstance(theirs, list) else [theirs]:
        if isinstance(column, int):
            if 0 <= column < width or width == 0:
                return column
        elif header is not None:
            exact = [n for n, name in enumerate(header) if name == column]
            found = exact or [n for n, name in enumerate(header) if name.lower() == column.lower()]
            if len(found) > 1:
                raise PermanentVendorError(
                    f"{where} has {len(found)} columns {column!r}", fix="map the column by its 0-based position"
                )
            if found:
                return found[0]
    held = f"columns {', '.join(header)}"[:300] if header is not None else f"{width} fields a line and no header"
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
