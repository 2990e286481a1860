"""This module cuts a text into lines and lines into fields, a few megabytes at a time.

Which field is what is known to `columns`.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator

import polars as pl

from gb_pipeline.providers.csv.options import CsvOptions

_SEPARATOR = "\x1f"
# Characters of a text whose fields are held at the same time.
_PIECE = 4 * 2**20


def pieces(text: str, options: CsvOptions) -> Iterator[pl.Series]:
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


def split_line(line: str, delimiter: str) -> list[str]:
    """The fields of one line."""
    if delimiter == "whitespace":
        return line.split()
    if '"' not in line:
        return line.split(delimiter)
    # One line at a time: a stray quote must not swallow the rest of the file.
    try:
        return next(csv.reader([line], delimiter=delimiter, skipinitialspace=True))
    except (csv.Error, StopIteration):
        return [line]


def split(lines: pl.Series, delimiter: str) -> pl.Series:
    """The fields of each line, `fields` (List of String)."""
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
        rows = [split_line(text, delimiter) for text in texts]
    if any(_SEPARATOR in text for text in texts):
        return pl.Series("fields", rows, pl.List(pl.String))
    # Joined again by what no text holds: lists of Python lists take ten times as long and twenty times the memory.
    return pl.Series("fields", [_SEPARATOR.join(row) for row in rows], pl.String).str.split(_SEPARATOR)


def usual_width(lines: list[pl.Series], delimiter: str) -> int:
    """How many fields most lines have; 0 without lines."""
    if not lines:
        return 0
    widths = pl.concat([split(piece, delimiter).list.len() for piece in lines]).to_frame("width")
    counted = widths.group_by("width", maintain_order=True).len()
    return int(counted.sort("len", descending=True, maintain_order=True)["width"][0])


def whole(width: int) -> pl.Expr:
    """Whether a line has as many fields as it should, by its column `fields`."""
    # A delimiter at the end of a line makes an empty field more; it says nothing.
    complete = (pl.col("fields").list.len() == width) | (
        (pl.col("fields").list.len() > width)
        & (pl.col("fields").list.slice(width).list.join("", ignore_nulls=True).str.strip_chars() == "")
    )
    return complete.fill_null(False)


def field(position: int) -> pl.Expr:
    """One field of each line, without the blanks around it; null where the line is too short."""
    return pl.col("fields").list.get(position, null_on_oob=True).str.strip_chars()
