"""This module makes durations of the intervals of a result of DuckDB, which have months, days and a time apart."""

from __future__ import annotations

import numpy as np
import polars as pl
import pyarrow as pa

_PARTS = np.dtype([("months", "<i4"), ("days", "<i4"), ("nanoseconds", "<i8")])
_DAY = 86_400_000_000


def with_durations(table: pa.Table) -> pa.Table:
    """The table with intervals as durations in microseconds; those with months, which have no length, as ISO 8601 text.

    Example:
        >>> with_durations(connection.sql("select interval 90 minute as gap").to_arrow_table()).schema.field("gap").type
        DurationType(duration[us])
    """
    for number, field in enumerate(table.schema):
        if field.type == pa.month_day_nano_interval():
            table = table.set_column(number, field.name, _convert(table.column(number)))
    return table


def _convert(column: pa.ChunkedArray) -> pa.Array:
    array = column.combine_chunks()
    array = array.chunk(0) if isinstance(array, pa.ChunkedArray) and array.num_chunks else array
    parts = np.frombuffer(array.buffers()[1], _PARTS)[array.offset : array.offset + len(array)]
    is_null = np.asarray(array.is_null())
    rest = parts["days"] * np.int64(_DAY) + parts["nanoseconds"] // 1000
    if not parts["months"][~is_null].any():
        return pa.array(rest, pa.int64(), mask=is_null).cast(pa.duration("us"))
    frame = pl.DataFrame({"months": parts["months"], "rest": pl.Series(rest).cast(pl.Duration("us")), "null": is_null})
    text = pl.format("P{}M{}", "months", pl.col("rest").dt.to_string("iso").str.strip_prefix("P"))
    return frame.select(pl.when(~pl.col("null")).then(text))[:, 0].to_arrow().cast(pa.string())
