"""This module lays an order book as it stood at a moment: the last whole book of one collector, and the updates that follow it.

A hole between the two is an error, since nobody knows what it hid. Venues that send checksums also cut their books: there, updates
are applied message by message, as the collector did, and the checksums can be recomputed.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import polars as pl

from gb_pipeline.errors import ConfigError, GapInWindow, LakeError, NoDataInRange, ReadError
from gb_pipeline.lake.settled_streams import settled_series
from gb_pipeline.lake.stream_evidence import read_intervals
from gb_pipeline.market.checked_books import CheckedBook
from gb_pipeline.market.moments import from_microseconds
from gb_pipeline.market.stream_coverage import covered_stretches, find_holes
from gb_pipeline.market.tick_schema import StreamDataset
from gb_pipeline.reading.stream_request import FIRST, StreamRequest
from gb_pipeline.reading.stream_rows import find_series, read_all
from gb_pipeline.storage.table import Tables

_DATASET = StreamDataset.BOOK_UPDATES.value
# Updates that came after a whole book may have happened before it was made: a whole book without a time of the exchange has ours.
_EARLIER = 60 * 10**9
# Whole books are looked for so far back at first, then ten times as far, and so on.
_LOOK_BACK = int(timedelta(hours=2).total_seconds()) * 10**9
_LEVELS = ["side", "price", "size", "receive_time", "ordinal", "timestamp", "collector", "checksum"]
_BOOK = ["side", "price", "size", "receive_time", "ordinal", "timestamp", "collector"]


def lay_book(
    tables: Tables,
    request: StreamRequest,
    at: int | None,
    *,
    depth: int | None,
    across_holes: bool,
    verify: bool,
    as_float: bool,
) -> pl.DataFrame:
    """See `Lake.book`."""
    if at is None:
        raise ConfigError("a book stands at a moment", fix="pass at=, such as '2024-01-02T09:30Z'")
    if depth is not None and depth < 1:
        raise ConfigError(f"depth={depth!r:.20} is no number of levels", fix="pass 1 or more, or leave it out")
    series = find_series(tables, request)
    if series.height != 1:
        raise ReadError(f"a book is of one symbol, not of {series.height:,}", fix="name one symbol and its source")
    source, symbol = series.row(0)
    until = settled_series(tables, "book_updates", series, request.collectors)["until"][0]
    if until is not None and at >= until and not request.include_unsettled:
        raise NoDataInRange(
            f"the book of {source} {symbol} is settled up to {_text(until)}, not at {_text(at)}",
            fix="ask for an earlier moment; include_unsettled=True takes what is stored",
        )
    own = replace(request, source=source, symbols=[symbol], include_unsettled=True)
    whole = _find_whole_book(tables, own, at, until, across_holes=across_holes)
    updates = _updates_since(tables, own, whole, at)
    if verify or updates["checksum"].null_count() < updates.height:
        book = CheckedBook(whole, name=f"{source} {symbol}", verify=verify)
        try:
            book.apply(updates)
        except ValueError as error:
            raise LakeError(
                f"the book of {source} {symbol} at {_text(at)}: {error}",
                fix="read it at a moment after the next whole book (`lake.book_snapshots`), or with verify=False",
            ) from None
        levels = book.levels()
    else:
        names = ["side", "price", "size"]
        told = pl.concat([whole.select(names), updates.select(names)])
        levels = told.unique(["side", "price"], keep="last").filter(pl.col("size") != 0)
    return _shown(levels, depth, as_float=as_float)


def _find_whole_book(
    tables: Tables, request: StreamRequest, at: int, until: int | None, *, across_holes: bool
) -> pl.DataFrame:
    """Rows of the newest whole book from which everything up to a moment was heard."""
    source, symbols = request.source, request.symbols
    intervals = read_intervals(tables, FIRST, at + 1, source=source, dataset=_DATASET, symbols=symbols)
    if request.collectors is not None:
        intervals = intervals.filter(pl.col("collector").is_in(request.collectors))
    # Beyond what was told as covered nobody knows of a hole yet; who asks for that has said so.
    reached = at if until is None or at < until else min(at, until - 1)
    covering = covered_stretches(intervals, by_collector=True).filter(
        (pl.col("start_time") <= reached) & (pl.col("end_time") > reached)
    )
    if covering.is_empty() and not across_holes:
        raise _hole_error(intervals, request, reached)
    starts = dict(covering.select("collector", "start_time").iter_rows())
    floor = FIRST if across_holes else min(starts.values())
    back = _LOOK_BACK
    while True:
        start = max(floor, at - back) if at - back > FIRST else floor
        found = read_all(tables, replace(request, table="book_snapshots", start=start, end=at + 1), _BOOK)
        if not across_holes and found.height:
            begins = pl.col("collector").replace_strict(starts, default=None, return_dtype=pl.Int64)
            found = found.filter(pl.col("timestamp").cast(pl.Int64) >= begins)
        if found.height:
            newest = found.sort("timestamp", "receive_time", nulls_last=False).tail(1)
            # Levels of one whole book came at once; those of files were at least made at once.
            told = ["collector", "receive_time" if newest["receive_time"][0] is not None else "timestamp"]
            return found.filter(*(pl.col(name).eq_missing(newest[name][0]) for name in told))
        if start <= floor:
            break
        back *= 10
    if across_holes:
        raise NoDataInRange(f"there is no whole book of {source} {(symbols or [''])[0]} before {_text(at)}")
    raise _hole_error(intervals, request, reached)


def _updates_since(tables: Tables, request: StreamRequest, whole: pl.DataFrame, at: int) -> pl.DataFrame:
    """What the same collector heard after a whole book, up to and with a moment, in the order in which it came."""
    laid = _newest(whole)
    updates = read_all(tables, replace(request, start=laid - _EARLIER, end=at + 1), _LEVELS)
    came = whole["receive_time"].max()
    # Of a file, changes may have come in the very nanosecond of the whole book: their place is behind its own.
    behind = (pl.col("receive_time") == came) & (pl.col("ordinal") > whole["ordinal"].max())
    after = pl.col("timestamp").cast(pl.Int64) > laid if came is None else (pl.col("receive_time") > came) | behind
    return updates.filter(pl.col("collector").eq_missing(whole["collector"][0]) & after)


def _newest(rows: pl.DataFrame) -> int:
    last = rows["timestamp"].cast(pl.Int64).max()
    assert isinstance(last, int), "a book has levels"
    return last


def _hole_error(intervals: pl.DataFrame, request: StreamRequest, at: int) -> GapInWindow:
    """Where the last hole before a moment lies, and why."""
    source, symbol = request.source or "", (request.symbols or [""])[0]
    first = intervals["start_time"].min()
    start = first if isinstance(first, int) and first <= at else at
    window = {"source": source, "symbol": symbol, "dataset": _DATASET, "start_time": start, "end_time": at + 1}
    holes = find_holes(intervals, pl.DataFrame([window]))
    lies = "there is none that is followed by all of it"
    if holes.height:
        begin, end, reason = holes.select("start_time", "end_time", "reason").row(-1)
        lies = f"a hole lies at {_text(begin)} to {_text(end)}{f' ({reason})' if reason else ''}"
    return GapInWindow(
        f"the book of {source} {symbol} is not known at {_text(at)}: between a whole book and that moment {lies}",
        fix="`lake.stream_gaps` lists holes; across_holes=True lays a book all the same",
    )


def _shown(levels: pl.DataFrame, depth: int | None, *, as_float: bool) -> pl.DataFrame:
    parts = []
    for side, descending in (("bid", True), ("ask", False)):
        own = levels.filter(pl.col("side") == side).sort("price", descending=descending)
        own = own if depth is None else own.head(depth)
        parts.append(own.select("side", pl.int_range(1, pl.len() + 1, dtype=pl.Int32).alias("level"), "price", "size"))
    book = pl.concat(parts)
    return book.with_columns(pl.col("price", "size").cast(pl.Float64)) if as_float else book


def _text(moment: int) -> str:
    return f"{from_microseconds(moment // 1000):%Y-%m-%d %H:%M:%S.%f} UTC"
