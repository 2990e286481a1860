"""This module runs a plan: it collects the parts into one sorted frame or table, and repeats no work that the files already did.

Files are written in the order of time, so their rows are only checked, and sorted where they are not in order.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import polars as pl
import pyarrow as pa

from gb_pipeline.errors import ReadError
from gb_pipeline.market.schema import Precision, bar_schema
from gb_pipeline.quality.runs import expand, mark_changes
from gb_pipeline.reading.floats import to_floats
from gb_pipeline.reading.plan import Part, Plan
from gb_pipeline.reading.stored_rows import StoredRows, read_together
from gb_pipeline.storage.arrays import to_places
from gb_pipeline.storage.numbers import Numbers, converted

_ORDER = ["symbol", "timestamp"]


def collect_plan(plan: Plan, columns: list[str], *, as_float: bool, in_units: bool = False) -> pl.DataFrame:
    """The rows of a plan, sorted by symbol and timestamp, with these columns in this order; decimals as they are, or as asked."""
    numbers = Numbers.FLOATS if as_float else Numbers.UNITS if in_units else Numbers.DECIMALS
    together = _collect_together(plan, columns, numbers)
    if together is not None:
        return together
    symbols = [part.symbol for part in plan.parts]
    # Several sources, each with many symbols or with days of the same one.
    mixed = len(symbols) > 1 and (None in symbols or len(set(symbols)) < len(symbols))
    names = {*columns, "symbol"} if mixed else set(columns)
    frames = [
        _sort(part, frame, names)
        for part, frame in zip(plan.parts, _collect(plan, columns, numbers), strict=True)
        if frame.height
    ]
    if not frames:
        return converted(scan_plan(Plan((), plan.precision), columns, as_float=as_float).collect(), numbers)
    frame = frames[0] if len(frames) == 1 else pl.concat([_pick(frame, sorted(names)) for frame in frames])
    return _pick(frame.sort(_ORDER) if len(frames) > 1 and mixed else frame, columns)


def to_arrow(frame: pl.DataFrame, precision: Precision, *, as_float: bool) -> pa.Table:
    """Bars as an Arrow table, timestamps in nanoseconds.

    Raises:
        ReadError: a bar lies outside the years that nanoseconds of 64 bits reach.
    """
    fields = {field.name: field for field in bar_schema(precision)}
    types = [_arrow_field(fields[name], as_float=as_float) for name in frame.columns]
    try:
        return frame.to_arrow().cast(pa.schema(types))
    except pa.ArrowInvalid as error:
        raise ReadError(
            f"some bars cannot have nanoseconds: {error}", fix="use `bars`, whose timestamps are microseconds"
        ) from None


def _arrow_field(field: pa.Field, *, as_float: bool) -> pa.Field:
    if pa.types.is_timestamp(field.type):
        return field.with_type(pa.timestamp("ns", tz="UTC"))
    return field.with_type(pa.float64()) if as_float and pa.types.is_decimal(field.type) else field


def _collect(plan: Plan, columns: list[str], numbers: Numbers) -> list[pl.DataFrame]:
    """Every part's rows: the columns that were asked for, and those that the order needs."""
    queries = [
        part.rows.select(_needed_columns(part, columns))
        for part in plan.parts
        if not isinstance(part.content, StoredRows)
    ]
    collected = iter(pl.collect_all(queries) if queries else [])
    return [
        part.content.read(_needed_columns(part, columns), numbers)
        if isinstance(part.content, StoredRows)
        else converted(next(collected), numbers)
        for part in plan.parts
    ]


def _collect_together(plan: Plan, columns: list[str], numbers: Numbers) -> pl.DataFrame | None:
    """The rows of several series of files of their own, read at once; None where some of them have to be put in order."""
    codes = [part.symbol for part in plan.parts]
    if len(codes) < 2 or len({*codes, None}) <= len(codes) or codes != sorted(codes, key=str):
        return None
    read = read_together([part.content for part in plan.parts], _needed_columns(plan.parts[0], columns), numbers)
    if read is None or read[0].is_empty():
        return None
    frame, heights = read
    stamps = frame["timestamp"].cast(pl.Int64).to_numpy()
    falls = stamps[1:] < stamps[:-1]
    ends = np.cumsum(heights)
    falls[[end - 1 for end in ends.tolist() if 0 < end < len(stamps)]] = False
    if falls.any():
        return None
    of_part = to_places(np.repeat(np.arange(len(heights)), heights))
    named: dict[str, list[str | None]] = {"source": [part.source for part in plan.parts], "symbol": codes}
    return pl.DataFrame(
        [
            pl.Series(name, named[name], dtype=pl.String()).gather(of_part) if name in named else frame[name]
            for name in columns
        ]
    )


def _needed_columns(part: Part, columns: list[str]) -> list[str]:
    keys = ["timestamp"] if part.symbol is not None else _ORDER
    constant = {"source"} | ({"symbol"} if part.symbol is not None else set())
    return list(dict.fromkeys([*keys, *(name for name in columns if name not in constant)]))


def scan_plan(plan: Plan, columns: list[str], *, as_float: bool) -> pl.LazyFrame:
    """The same as a query that has not run."""
    rows = pl.LazyFrame(schema=plan.schema)
    if plan.parts:
        rows = pl.concat([_with_names(part, plan.schema) for part in plan.parts]).sort(_ORDER)
    rows = rows.select(columns)
    return to_floats(rows, pl.Schema({name: plan.schema[name] for name in columns})) if as_float else rows


def _with_names(part: Part, schema: pl.Schema) -> pl.LazyFrame:
    names = [pl.lit(part.source).alias("source")]
    if part.symbol is not None:
        names.append(pl.lit(part.symbol).alias("symbol"))
    return part.rows.with_columns(names).select(schema.names())


def _sort(part: Part, frame: pl.DataFrame, names: Collection[str]) -> pl.DataFrame:
    """Sorted rows of one part, with the columns of these names that the part's own fields say."""
    if part.symbol is None:
        frame = frame if _is_sorted(frame) else _bring_together(frame)
    elif not _rises(frame["timestamp"]):
        frame = frame.sort("timestamp")
    constants = {"source": part.source, "symbol": part.symbol}
    return frame.hstack(
        [
            pl.Series(name, [value], dtype=pl.String()).new_from_index(0, frame.height)
            for name, value in constants.items()
            if name in names and value is not None
        ]
    )


def _pick(frame: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """Some columns; a query that selects them takes longer than a small read."""
    return frame if frame.columns == columns else pl.DataFrame([frame[name] for name in columns])


def _bring_together(frame: pl.DataFrame) -> pl.DataFrame:
    """Rows of many symbols, sorted: runs of a symbol are put behind each other, as each file has one of each, in order."""
    changes = np.zeros(frame.height, dtype=bool)
    mark_changes(changes, frame["symbol"])
    starts = np.concatenate([[0], np.flatnonzero(changes)])
    lengths = np.diff(starts, append=frame.height)
    # Stable: of one symbol the run of an earlier file stays before that of a later one.
    order = frame["symbol"].gather(starts).rank("ordinal").to_numpy().argsort(kind="stable")
    together = frame[expand(starts[order], lengths[order])]
    return together if _is_sorted(together) else frame.sort(_ORDER)


def _rises(stamps: pl.Series) -> bool:
    """Whether no timestamp lies before the one in front of it."""
    numbers = stamps.cast(pl.Int64).to_numpy()
    return bool((numbers[1:] >= numbers[:-1]).all())


def _is_sorted(frame: pl.DataFrame) -> bool:
    symbol, timestamp = pl.col("symbol"), pl.col("timestamp")
    later = (symbol > symbol.shift()) | ((symbol == symbol.shift()) & (timestamp >= timestamp.shift()))
    return bool(frame.select(later.all()).item())
