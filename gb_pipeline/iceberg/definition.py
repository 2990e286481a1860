"""This module says what an Iceberg table over a table of bars looks like: its schema, its partitions, and how files are read.

The columns are those of the present. Data files carry no numbers of fields, so columns are found by their names; `source`, and
`symbol` where a file has one, are not in the files at all, and come from the partition.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

import pyarrow as pa
from pyiceberg.partitioning import PARTITION_FIELD_ID_START, PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table.metadata import TableMetadata, new_table_metadata
from pyiceberg.table.name_mapping import create_mapping_from_schema
from pyiceberg.table.sorting import UNSORTED_SORT_ORDER
from pyiceberg.transforms import (
    DayTransform,
    IdentityTransform,
    MonthTransform,
    Transform,
    YearTransform,
)
from pyiceberg.types import (
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    IcebergType,
    LongType,
    NestedField,
    StringType,
    TimestamptzType,
)

from gb_pipeline.iceberg.place import Place
from gb_pipeline.storage.dataset import IS_CURRENT, PERIOD, Dataset, Period

# All files are of the present, and the period is said by a transform of the timestamp.
_LEFT_OUT = (IS_CURRENT, PERIOD)
_TRANSFORMS: Mapping[Period, tuple[str, Transform[Any, Any]]] = {
    Period.DAY: ("day", DayTransform()),
    Period.MONTH: ("month", MonthTransform()),
    Period.YEAR: ("year", YearTransform()),
}
_EPOCH = date(1970, 1, 1)
_TYPES: Mapping[pa.DataType, IcebergType] = {
    pa.string(): StringType(),
    pa.int64(): LongType(),
    pa.float64(): DoubleType(),
    pa.bool_(): BooleanType(),
    pa.date32(): DateType(),
}
# Old versions of the metadata are removed by what expires snapshots.
_PROPERTIES = {
    "gc.enabled": "false",
    "write.metadata.previous-versions-max": "100",
    "comment": "A mirror of a gb_pipeline table, made by `gb export --iceberg`. Read only: what is written here is lost.",
}


def iceberg_schema(dataset: Dataset) -> Schema:
    """Columns of the present, in the order of the table; numbers of fields are their positions."""
    fields = [field for field in dataset.schema if field.name not in _LEFT_OUT]
    return Schema(
        *(
            NestedField(
                number,
                field.name,
                _type(field.type),
                # pyiceberg refuses a required column that is in no file, though it is in the partition.
                required=not field.nullable and field.name not in dataset.partition_by,
                doc=(field.metadata or {}).get(b"comment", b"").decode() or None,
            )
            for number, field in enumerate(fields, 1)
        )
    )


def partition_spec(dataset: Dataset) -> PartitionSpec:
    """The partitions of the table, the period as a transform of its time."""
    schema = iceberg_schema(dataset)
    fields: list[tuple[str, str, Transform[Any, Any]]]
    fields = [(name, name, IdentityTransform()) for name in dataset.partition_by]
    if dataset.period is not None and dataset.time is not None:
        unit, transform = _TRANSFORMS[dataset.period]
        fields.append((dataset.time, f"{dataset.time}_{unit}", transform))
    return PartitionSpec(
        *(
            PartitionField(
                source_id=schema.find_field(source).field_id,
                field_id=PARTITION_FIELD_ID_START + number,
                transform=transform,
                name=name,
            )
            for number, (source, name, transform) in enumerate(fields)
        )
    )


def new_metadata(dataset: Dataset, place: Place) -> TableMetadata:
    """A table without a snapshot."""
    schema = iceberg_schema(dataset)
    mapping = create_mapping_from_schema(schema).model_dump_json()
    properties = {"format-version": "2", "schema.name-mapping.default": mapping, **_PROPERTIES}
    return new_table_metadata(schema, partition_spec(dataset), UNSORTED_SORT_ORDER, place.location, properties)


def is_defined_as(metadata: TableMetadata, dataset: Dataset, place: Place) -> bool:
    """Whether a table is the one that would be made now: at this place, with these columns and partitions."""
    wanted = new_metadata(dataset, place)
    return (
        metadata.location == wanted.location
        and metadata.schema() == wanted.schema()
        and metadata.spec() == wanted.spec()
        and all(metadata.properties.get(name) == value for name, value in wanted.properties.items())
    )


def period_number(period: Period, moment: datetime) -> int:
    """What Iceberg's transform makes of a moment: years, months or days since 1970."""
    if period is Period.YEAR:
        return moment.year - _EPOCH.year
    if period is Period.MONTH:
        return (moment.year - _EPOCH.year) * 12 + moment.month - 1
    return (moment.date() - _EPOCH).days


def _type(kind: pa.DataType) -> IcebergType:
    if pa.types.is_decimal(kind):
        return DecimalType(kind.precision, kind.scale)
    if pa.types.is_timestamp(kind):
        return TimestamptzType()
    return _TYPES[kind]
