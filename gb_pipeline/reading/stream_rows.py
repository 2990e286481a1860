"""This module reads rows of trades, quotes and books: from the tables of both precisions, up to the watermark, each event once.

Which rows are one event is known to `market.stream_stitching`; what is settled, to `settled_streams`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from gb_pipeline.errors import ConfigError, NoDataInRange, ReadError, UnknownSeries
from gb_pipeline.lake.datasets import stream_dataset
from gb_pipeline.lake.settled_streams import settled_series
from gb_pipeline.lake.stream_evidence import STREAM_OF_TABLE, find_first_evidence, read_intervals
from gb_pipeline.market.event_time import NANOSECOND_INSTANT, event_times
from gb_pipeline.market.moments import from_microseconds
from gb_pipeline.market.schema import Precision
from gb_pipeline.market.spelling import did_you_mean, near_names
from gb_pipeline.market.stream_coverage import covered_stretches, find_holes
from gb_pipeline.market.stream_stitching import TURNS, all_differ, one_at_a_time, take_turns, unite_trades
from gb_pipeline.reading.floats import as_floats
from gb_pipeline.reading.stream_request import FIRST, LAST, StreamRequest
from gb_pipeline.reading.told_once import is_told_once, remember_told_once
from gb_pipeline.storage import reading
from gb_pipeline.storage.numbers import Numbers
from gb_pipeline.storage.table import Tables

_MOMENTS = ("exchange_time", "receive_time")
# What tells trades apart, and who heard what.
_STITCHING = {
    "trades": ("trade_id", "price", "size", "side", "origin", "collector", "ordinal"),
    "book_updates": ("collector", "ordinal"),
    "book_snapshots": ("collector", "ordinal"),
    "quotes": ("collector", "ordinal"),
}


def read_all(tables: Tables, request: StreamRequest, columns: Sequence[str]) -> pl.DataFrame:
    """Rows of one series as all collectors heard them, settled or not, maybe none; `timestamp` as Datetime(ns, UTC)."""
    if request.start >= request.end:
        request = replace(request, start=request.end)
    own = replace(request, stitched=False)
    assert request.source is not None and request.symbols, "one series"
    return _read_series(tables, own, request.source, request.symbols[0], request.end, list(columns), as_float=False)


def shown_columns(table: str, columns: Sequence[str] | None) -> list[str]:
    """The columns of an answer.

    Raises:
        ConfigError: there is no such column.
    """
    names = [name for name in stream_dataset(table).columns.names if name != "period"]
    if columns is None:
        return names
    chosen = [columns] if isinstance(columns, str) else list(columns)
    unknown = [name for name in chosen if name not in names]
    if unknown or not chosen:
        what = f"{table} have no column {unknown[0]!r:.60}" if unknown else "no column was named"
        raise ConfigError(what, fix=f"choose from {', '.join(names)}")
    return chosen


def read_stream(
    tables: Tables,
    request: StreamRequest,
    columns: Sequence[str] | None = None,
    *,
    as_float: bool = False,
    as_datetime: bool = False,
) -> pl.DataFrame:
    """Rows of a table in a window, series by series, in the order of their moments; updates of books as they came.

    Args:
        columns: of the table; all by default.
        as_float: decimals as the floats that are nearest to them.
        as_datetime: `exchange_time` and `receive_time` as Datetime(ns, UTC) too.

    Raises:
        UnknownSeries: nothing of it was ever heard.
        NoDataInRange: nothing in the window, and no evidence that there was nothing.
        ReadError: several sources have the symbol, and none was named.
        LakeError: a file is damaged.
    """
    shown = shown_columns(request.table, columns)
    series = find_series(tables, request)
    settled = settled_series(tables, request.table, series, request.collectors)
    parts = [
        _read_series(tables, request, source, symbol, _end_of(request, until), shown, as_float=as_float)
        for source, symbol, until in settled.iter_rows()
    ]
    if not any(part.height for part in parts):
        _refuse_silence(tables, request, settled)
    if len(parts) > 1 and len({tuple(part.schema.items()) for part in parts}) > 1:
        parts = [_widened(part) for part in parts]
    frame = parts[0] if len(parts) == 1 else pl.concat(parts)
    if as_datetime:
        frame = frame.with_columns(pl.col(name).cast(NANOSECOND_INSTANT) for name in _MOMENTS if name in shown)
    return frame


def find_series(tables: Tables, request: StreamRequest) -> pl.DataFrame:
    """`source, symbol` of what is asked for, sorted.

    Raises:
        UnknownSeries, ReadError: as `read_stream`.
    """
    pairs = ["source", "symbol"]
    snapshots = [tables.newest(stream_dataset(request.table, precision).name) for precision in Precision]
    known = pl.concat([snapshot.files.select(pairs) for snapshot in snapshots]).unique().sort(pairs)
    found = _matching(known, request)
    missing = set(request.symbols or ()) - set(found["symbol"])
    if missing or found.is_empty():
        # A stream of which nothing came yet is known by its evidence.
        dataset = STREAM_OF_TABLE[request.table].value
        heard = find_first_evidence(tables).filter(pl.col("dataset") == dataset).select(pairs)
        known = pl.concat([known, heard]).unique().sort(pairs)
        found = _matching(known, request)
        missing = set(request.symbols or ()) - set(found["symbol"])
        if missing or found.is_empty():
            raise _unknown(known, request, sorted(missing))
    sources = found["source"].unique().sort().to_list()
    if request.source is None and len(sources) > 1:
        raise ReadError(
            f"{request.table} come from several sources: {', '.join(sources[:20])}",
            fix=f"name one, such as source={sources[0]!r}: what two venues trade is not one stream",
        )
    return found


def _matching(known: pl.DataFrame, request: StreamRequest) -> pl.DataFrame:
    found = known if request.source is None else known.filter(pl.col("source") == request.source)
    return found if request.symbols is None else found.filter(pl.col("symbol").is_in(request.symbols))


def _unknown(known: pl.DataFrame, request: StreamRequest, missing: list[str]) -> UnknownSeries:
    name = missing[0] if missing else ""
    what = f"no {request.table} of {' '.join(filter(None, [request.source, name])) or 'anything'} are in the lake"
    near = near_names(name, known["symbol"].unique().to_list(), 3) if name else []
    elsewhere = known.filter(pl.col("symbol") == name)["source"].to_list()
    fix = f"{name} is heard from {', '.join(elsewhere)}" if elsewhere else did_you_mean(near)
    return UnknownSeries(what, near=near, fix=fix or "`gb collect` hears them, `gb import` reads files of them")


def _end_of(request: StreamRequest, until: int | None) -> int:
    return request.end if until is None or request.include_unsettled else min(request.end, until)


def _read_series(
    tables: Tables, request: StreamRequest, source: str, symbol: str, end: int, shown: list[str], *, as_float: bool
) -> pl.DataFrame:
    own = replace(request, source=source, symbols=[symbol], end=end)
    # All rows are of one series, which is written beside each row only where somebody sees it or compares it.
    series = {"source": source, "symbol": symbol}
    wanted = [*(name for name in shown if name not in {"timestamp", *series}), *_MOMENTS, "ordinal"]
    stitching = [*series, *_STITCHING[request.table]]
    stored = _select(tables, own)
    paths = [path for _, files in stored for path in files["path"]]
    several = request.table != "trades" or request.collectors is not None
    # Where no trade is told twice, its id alone shows that, and once it has shown it, not even that is needed.
    known = not several and is_told_once(paths)
    needed = [*wanted, *(stitching if several else () if known else ("trade_id",))]
    rows = _stored(tables, stored, own, list(dict.fromkeys(needed)), as_float=as_float)
    if not several and not known and request.stitched:
        if all_differ(rows):
            if rows.height == sum(files["rows"].sum() for _, files in stored):
                remember_told_once(paths)
        else:
            rows = _stored(tables, stored, own, list(dict.fromkeys([*wanted, *stitching])), as_float=as_float)
    if request.collectors is not None:
        rows = rows.filter(pl.col("collector").is_in(request.collectors))
    rows = in_order(rows, request.table, len(paths))
    if request.stitched and rows.height and "collector" in rows.columns:
        turns = _turns(tables, own) if _needs_turns(rows, request.table) else pl.DataFrame(schema=TURNS)
        rows = unite_trades(rows, turns) if request.table == "trades" else one_at_a_time(rows, turns)
    moments = rows.get_column("event_time").cast(NANOSECOND_INSTANT).alias("timestamp")
    told = {
        name: pl.Series(name, [value]).new_from_index(0, rows.height) for name, value in series.items() if name in shown
    }
    told["timestamp"] = moments
    return pl.DataFrame([told[name] if name in told else rows.get_column(name) for name in shown])


def _select(tables: Tables, request: StreamRequest) -> list[tuple[Precision, pl.DataFrame]]:
    """The files of both precisions that may hold rows of a request; of the wide one only where it has some."""
    found = []
    for precision in Precision:
        snapshot = tables.newest(stream_dataset(request.table, precision).name)
        files = (
            snapshot.select(
                {"source": request.source, "symbol": request.symbols}, between={"timestamp": request.between}
            )
            if request.start < request.end
            else snapshot.files.clear()
        )
        if precision is Precision.STANDARD or not files.is_empty():
            found.append((precision, files))
    return found


def _stored(
    tables: Tables,
    stored: Sequence[tuple[Precision, pl.DataFrame]],
    request: StreamRequest,
    needed: list[str],
    *,
    as_float: bool,
) -> pl.DataFrame:
    """Rows of files of both precisions."""
    parts = []
    for precision, files in stored:
        dataset = stream_dataset(request.table, precision)
        numbers = Numbers.FLOATS if as_float and precision is Precision.STANDARD else Numbers.DECIMALS
        part = reading.read(
            tables.storage,
            dataset,
            files,
            needed,
            between=("timestamp", *request.between),
            contiguous=False,
            numbers=numbers,
        )
        part = part.hstack([event_times(part)])
        if request.is_finer:
            part = part.filter((pl.col("event_time") >= request.start) & (pl.col("event_time") < request.end))
        if part.height or precision is Precision.STANDARD:
            parts.append(as_floats(part) if as_float else part)
    if len(parts) > 1:
        parts = [
            part.with_columns(pl.col(_decimals(part)).cast(pl.Float64)) if as_float else _widened(part)
            for part in parts
        ]
        return pl.concat(parts)
    return parts[0]


def _widened(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(pl.col(_decimals(frame)).cast(Precision.WIDE.decimal))


def _decimals(frame: pl.DataFrame) -> list[str]:
    return [name for name, kind in frame.schema.items() if kind.is_decimal()]


def in_order(rows: pl.DataFrame, table: str, files: int) -> pl.DataFrame:
    """Rows of one series: by their moments; those of books by when they came, as they have to be applied."""
    if table.startswith("book_"):
        came = pl.coalesce("receive_time", "event_time")
        return rows.sort(came, "ordinal", maintain_order=True) if rows.height > 1 else rows
    moments = rows.get_column("event_time").to_numpy()
    steps = np.diff(moments)
    # Each file is in order already; only between files, and within a microsecond, rows may lie otherwise.
    if (steps >= 0).all() and (files == 1 or (steps > 0).all()):
        return rows
    return rows.sort("event_time", "receive_time", "ordinal", nulls_last=True, maintain_order=True)


def _needs_turns(rows: pl.DataFrame, table: str) -> bool:
    if table != "trades":
        return rows.get_column("collector").n_unique() > 1
    return bool(rows.get_column("trade_id").null_count() and rows.get_column("exchange_time").null_count())


def _turns(tables: Tables, request: StreamRequest) -> pl.DataFrame:
    dataset = STREAM_OF_TABLE[request.table].value
    intervals = read_intervals(
        tables, request.start, request.end, source=request.source, dataset=dataset, symbols=request.symbols
    )
    return take_turns(covered_stretches(intervals, by_collector=True))


def _refuse_silence(tables: Tables, request: StreamRequest, settled: pl.DataFrame) -> None:
    """Raise unless there is evidence that nothing happened in the window."""
    ends = [_end_of(request, until) for until in settled["until"]]
    windows = settled.select(
        "source",
        "symbol",
        pl.lit(STREAM_OF_TABLE[request.table].value).alias("dataset"),
        pl.lit(request.start).cast(pl.Int64).alias("start_time"),
        pl.Series("end_time", [request.end] * len(ends), dtype=pl.Int64),
    )
    quiet = request.start > FIRST and request.end < LAST and ends == [request.end] * len(ends)
    if quiet and request.start < request.end:
        intervals = read_intervals(tables, request.start, request.end, dataset=str(windows["dataset"][0]))
        if find_holes(intervals, windows).is_empty():
            return
    name = " ".join(filter(None, [*(settled["source"].unique().to_list()), ", ".join(settled["symbol"].to_list()[:5])]))
    files = pl.concat(
        [
            tables.newest(stream_dataset(request.table, precision).name)
            .select({"source": settled["source"].unique().to_list(), "symbol": settled["symbol"].unique().to_list()})
            .select("min.timestamp", "max.timestamp")
            for precision in Precision
        ]
    )
    first, last = files["min.timestamp"].min(), files["max.timestamp"].max()
    there = f"there is {first!s} to {last!s}" if files.height else "nothing is stored yet"
    until = settled["until"].max()
    fix = "ask for another range"
    if isinstance(until, int) and until < request.end and not request.include_unsettled:
        there += f"; settled up to {from_microseconds(until // 1000)}"
        fix = "include_unsettled=True reads what is not settled yet; `lake.watermarks()` says up to when each feed is"
    raise NoDataInRange(
        f"no {request.table} of {name} in this range: {there}",
        available=(first, last) if files.height else None,  # type: ignore[arg-type]
        fix=fix,
    )
