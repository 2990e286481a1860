"""What the Delta tables are called and how they are laid out.

Belongs here: names, partitions, order and encodings. Does not belong here: opening them (`tables`), their rows' meaning.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from gb_pipeline.errors import LakeError
from gb_pipeline.market import schema
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import Precision

if TYPE_CHECKING:
    from deltalake import WriterProperties

ROW_GROUP_ROWS = 65_536


@dataclass(frozen=True)
class TableSpec:
    """A table's name, columns and layout; `order` is how rows lie in a file, `keys` get statistics for pruning."""

    name: str
    schema: pa.Schema
    partition_by: tuple[str, ...]
    order: tuple[str, ...]
    keys: tuple[str, ...]


def bar_spec(resolution: Resolution, precision: Precision) -> TableSpec:
    """Intraday bars lie per symbol and period; daily and coarser ones per period, so a cross-section is a few files."""
    hive = ("source", "symbol", "period") if resolution.intraday else ("source", "period")
    order = ("symbol", "timestamp")
    return TableSpec(schema.bar_table(resolution, precision), schema.bar_schema(precision), hive, order, order)


_LEDGERS = {
    spec.name: spec
    for spec in (
        TableSpec("sessions", schema.SESSIONS, ("source", "resolution"), ("symbol", "session"), ("symbol", "session")),
        TableSpec(
            "quarantine",
            schema.QUARANTINE,
            ("source",),
            ("symbol", "timestamp"),
            ("symbol", "window_start", "window_end"),
        ),
        TableSpec(
            "restatements", schema.restatement_schema(), ("source",), ("symbol", "timestamp"), ("symbol", "timestamp")
        ),
        TableSpec("fetches", schema.FETCHES, ("source",), ("symbol", "window_start"), ("symbol", "fetched_at")),
        TableSpec(
            "corporate_actions", schema.CORPORATE_ACTIONS, ("source",), ("symbol", "ex_date"), ("symbol", "ex_date")
        ),
    )
}


def spec_of(name: str) -> TableSpec:
    """The spec of any table of a lake by its name."""
    if name in _LEDGERS:
        return _LEDGERS[name]
    match = re.fullmatch(r"bars_(.+?)(_wide)?", name)
    if match is None:
        raise LakeError(f"a lake has no table {name!r}", fix=f"use bars_<resolution> or one of {', '.join(_LEDGERS)}")
    return bar_spec(Resolution.parse(match[1]), Precision.WIDE if match[2] else Precision.STANDARD)


def table_names() -> tuple[str, ...]:
    """Every table that a lake can have."""
    bars = [
        schema.bar_table(resolution, precision)
        for resolution in Resolution
        if resolution is not Resolution.TICK
        for precision in Precision
    ]
    return (*bars, *_LEDGERS)


def writer_properties(spec: TableSpec) -> WriterProperties:
    """ZSTD level 3; numbers and timestamps delta-packed without a dictionary, which is smaller and faster to read."""
    from deltalake import ColumnProperties, WriterProperties

    packed = ColumnProperties(dictionary_enabled=False, encoding="DELTA_BINARY_PACKED")
    return WriterProperties(
        compression="ZSTD",
        compression_level=3,
        max_row_group_size=ROW_GROUP_ROWS,
        column_properties=dict.fromkeys(packed_columns(spec), packed),
    )


def packed_columns(spec: TableSpec) -> list[str]:
    """The columns that are delta-packed integers in a file: timestamps, counts and decimals of up to 18 digits."""
    return [field.name for field in spec.schema if field.name not in spec.partition_by and _packs(field.type)]


def _packs(kind: pa.DataType) -> bool:
    number = pa.types.is_decimal(kind) and kind.precision <= 18
    return bool(number or pa.types.is_timestamp(kind) or pa.types.is_int64(kind))
