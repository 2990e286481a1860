"""Bars and other tables as pieces of bounded size, for answers that are larger than memory.

What is asked is answered by `Lake`; this module decides how it is cut, and refuses what can neither be cut nor held.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import polars as pl

from gb_pipeline.api.options import ServeOptions
from gb_pipeline.api.problems import Problem
from gb_pipeline.reading.lake import Lake
from gb_pipeline.reading.pieces import BarsPiece

# These are computed over all bars of a series.
_WHOLE = ("resample", "calendar")
# What a bar takes in memory, about.
_ROW_BYTES = 150


def bars_in_pieces(lake: Lake, question: Mapping[str, Any], options: ServeOptions) -> Iterator[pl.DataFrame]:
    """The rows of `lake.bars(**question)` in its order, as frames with its schema; one at least.

    Args:
        lake: that is asked.
        question: keywords of `Lake.bars`.
        options: how many rows a piece has, and how many are held where they cannot be cut.

    Raises:
        GbError: as `Lake.bars`, before the first frame.
        Problem: 413, bars that cannot be cut are too many.
    """
    given = {"symbols": None, **question}
    asked = {name: value for name, value in given.items() if name not in _WHOLE}
    pieces = lake.pieces(**asked, most_rows=options.piece_rows)
    rows = sum(piece.rows for piece in pieces)
    if any(name in given for name in _WHOLE):
        refuse_too_many(rows, options)
        yield lake.bars(**given)
        return
    if rows <= options.piece_rows or len(pieces) <= 1:
        yield lake.bars(**given)
        return
    schema = lake.scan_bars(**asked).collect_schema()
    found = False
    # A download that would push everything else out of the lake's answers is not kept among them.
    reader = lake if rows * _ROW_BYTES <= lake.cache.memory.bound // 2 else None
    for frame in _read_ahead(pieces, reader):
        if frame.height:
            found = True
            # A symbol of one piece may have wide decimals, which then all have.
            yield frame if frame.schema == schema else frame.cast(dict(schema))  # type: ignore[arg-type]
    if not found:
        yield lake.bars(**given)


def _read_ahead(pieces: list[BarsPiece], reader: Lake | None) -> Iterator[pl.DataFrame]:
    """Each piece; the next one is read while one is sent."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="gb-download")
    try:
        waiting = pool.submit(pieces[0].read, reader)
        for piece in [*pieces[1:], None]:
            frame = waiting.result()
            if piece is not None:
                waiting = pool.submit(piece.read, reader)
            yield frame
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def in_slices(frame: pl.DataFrame, rows: int) -> Iterator[pl.DataFrame]:
    """A frame as frames of so many rows; itself where it has fewer."""
    if frame.height <= rows:
        yield frame
        return
    yield from frame.iter_slices(rows)


def refuse_too_many(rows: int, options: ServeOptions) -> None:
    """Refuse what would be held at once and is too much.

    Raises:
        Problem: 413.
    """
    if rows > options.most_held_rows:
        raise Problem(
            413,
            f"the answer is made of about {rows:,} rows, more than {options.most_held_rows:,}",
            "ask for a shorter range, or for fewer symbols",
            "TooManyRows",
        )


def count_stream_rows(lake: Lake, table: str, question: Mapping[str, Any]) -> int:
    """At most how many rows of trades, quotes or books a question reads, by the tables' logs."""
    names = {"source": "source", "symbols": "symbol", "start": "start", "end": "end"}
    given = {name: question[key] for name, key in names.items() if key in question}
    return int(lake.stream_files(table=table, **given)["rows"].sum())
