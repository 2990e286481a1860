"""Bars and other tables as pieces of bounded size, for answers that are larger than memory.

What is asked is answered by `Lake`; this module decides how it is cut, and refuses what can neither be cut nor held.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from importlib.metadata import version
from typing import Any

import polars as pl

from gb_pipeline.api.options import ServeOptions
from gb_pipeline.api.problems import Problem
from gb_pipeline.lake.datasets import REMOVALS
from gb_pipeline.market.moments import from_microseconds, microseconds
from gb_pipeline.reading.lake import Lake
from gb_pipeline.reading.pieces import BarsPiece
from gb_pipeline.reading.pins import newest_moment

# These are computed over all bars of a series.
_WHOLE = ("resample", "calendar")
# What a bar takes in memory, about.
_ROW_BYTES = 150
_TAG = re.compile(r'"[0-9a-f]{32}\.(\d{1,17})"')


@dataclass(frozen=True)
class Download:
    """Bars in pieces that can be sent again from any of them on.

    Attributes:
        frames: from a piece on, by its number, with one schema; a piece without a bar is a frame without a row.
        count: how many pieces there are.
        tag: names these pieces and the moment that they are of, so that the same question goes on where it broke off; empty where
            they are not the same later on.
    """

    frames: Callable[[int], Iterator[pl.DataFrame]]
    count: int
    tag: str = ""


def plan_bars(lake: Lake, question: Mapping[str, Any], options: ServeOptions) -> Download:
    """The rows of `lake.bars(**question)` in its order.

    Args:
        lake: that is asked.
        question: keywords of `Lake.bars`.
        options: how many rows a piece has, and how many are held where they cannot be cut.

    Raises:
        GbError: as `Lake.bars`; what it finds in bars, before the first frame.
        Problem: 413, bars that cannot be cut are too many.
    """
    given = {"symbols": None, **question}
    asked = {name: value for name, value in given.items() if name not in _WHOLE}
    pieces = lake.pieces(**asked, most_rows=options.piece_rows)
    rows = sum(piece.rows for piece in pieces)
    is_whole = any(name in given for name in _WHOLE)
    if is_whole:
        refuse_too_many(rows, options)
    if is_whole or rows <= options.piece_rows or len(pieces) <= 1:
        return Download(lambda _: iter([lake.bars(**given)]), 1)
    # A download that would push everything else out of the lake's answers is not kept among them.
    reader = lake if rows * _ROW_BYTES <= lake.cache.memory.bound // 2 else None

    def frames(first: int) -> Iterator[pl.DataFrame]:
        schema = lake.scan_bars(**asked).collect_schema()
        empty = 0
        for frame in _read_ahead(pieces[first:], reader):
            if first == 0 and empty >= 0 and not frame.height:
                empty += 1
                continue
            if empty > 0:
                yield from [pl.DataFrame(schema=schema)] * empty
            empty = -1
            # A symbol of one piece may have wide decimals, which then all have.
            yield frame if frame.schema == schema else frame.cast(dict(schema))  # type: ignore[arg-type]
        if empty > 0:
            yield lake.bars(**given)

    return Download(frames, len(pieces), _tag(lake, question, pieces))


def moment_of(tag: str) -> datetime | None:
    """The moment that the bars of a tag are of; None where it is no tag."""
    found = _TAG.fullmatch(tag)
    try:
        return from_microseconds(int(found[1])) if found else None
    except (OverflowError, ValueError):
        return None


def _tag(lake: Lake, question: Mapping[str, Any], pieces: list[BarsPiece]) -> str:
    """What was cut how, and when it was known: a later commit changes nothing of that, a removal may."""
    if question.get("settled_only") or not isinstance(question.get("adjustment", ""), str):
        # These depend on the present as well.
        return ""
    content = {
        "question": {name: value for name, value in question.items() if name not in {"start", "end", "as_of"}},
        "pieces": [[piece.symbols, piece.start, piece.end, piece.rows] for piece in pieces],
        "removed": newest_moment(lake.store.tables.view(), [REMOVALS.name]),
        "facts": repr(pieces[0].facts),
        "today": lake.store.clock().date(),
        "release": version("gb_pipeline"),
    }
    digest = sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
    return f'"{digest[:32]}.{microseconds(pieces[0].as_of)}"'


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
