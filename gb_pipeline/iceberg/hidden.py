"""This module finds the bars of a standard table that are hidden by its wide sibling, which nobody reads any more.

A series that went wide goes on in the wide table, and its older rows stay in files of the standard one. In Iceberg their
positions are written down as deletes, so that the two tables together have each bar once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from uuid import uuid4

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from gb_pipeline.iceberg.entries import DELETED_PATH, DELETED_POSITION
from gb_pipeline.iceberg.place import Place
from gb_pipeline.lake.datasets import BAR_KEY, bars_dataset, parse_bar_table
from gb_pipeline.market.moments import MICROSECOND
from gb_pipeline.market.schema import Precision
from gb_pipeline.storage import reading
from gb_pipeline.storage.snapshot import Snapshot
from gb_pipeline.storage.table import Tables


@dataclass(frozen=True)
class HiddenRows:
    """Positions of rows in one data file, ascending, and the file's path in its table."""

    path: str
    positions: npt.NDArray[np.int64]

    @property
    def key(self) -> str:
        """Tells them apart from other rows; names of files of deletes begin with it, so that none is written twice."""
        return hashlib.sha256(f"{self.path} ".encode() + self.positions.tobytes()).hexdigest()[:24]

    def new_uri(self, place: Place) -> str:
        """Where they are going to be written down."""
        return place.uri(f"{place.folder}/data/{self.key}-{uuid4().hex[:8]}-deletes.parquet")

    def encode(self, place: Place) -> bytes:
        """The file of deletes."""

        def field(name: str, kind: pa.DataType, number: int) -> pa.Field:
            return pa.field(name, kind, nullable=False, metadata={"PARQUET:field_id": str(number)})

        schema = pa.schema([field("file_path", pa.string(), DELETED_PATH), field("pos", pa.int64(), DELETED_POSITION)])
        paths = pa.repeat(place.data_uri(self.path), len(self.positions))
        table = pa.Table.from_arrays([paths, pa.array(self.positions)], schema=schema)
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        return bytes(sink.getvalue())


def key_of(uri: str) -> str:
    """The key of the rows that a file of deletes holds."""
    return uri.rsplit("/", 1)[-1].split("-", 1)[0]


def find_sibling(view: Tables, snapshot: Snapshot) -> Snapshot | None:
    """The wide table beside a standard one; None where there is none."""
    kind = parse_bar_table(snapshot.dataset.name)
    if kind is None or kind[1] is Precision.WIDE:
        return None
    wide = view.newest(bars_dataset(kind[0], Precision.WIDE).name)
    return wide if wide.version >= 0 else None


def find_hidden(view: Tables, standard: Snapshot, wide: Snapshot) -> Iterator[HiddenRows]:
    """Rows of current files of the standard table that a row of the wide table takes the place of."""
    together = list(standard.dataset.partitions)
    wide_files = reading.current_files(wide)
    files = reading.current_files(standard).join(wide_files.select(together).unique(), on=together, how="semi")
    if files.is_empty():
        return
    wide_files = wide_files.join(files.select(together).unique(), on=together, how="semi")
    between = _hull(files)
    keys = reading.read(view.storage, wide.dataset, wide_files, BAR_KEY, between=between)
    rows = reading.read(view.storage, standard.dataset, files, BAR_KEY, with_file=True)
    begins = files["rows"].cum_sum() - files["rows"]
    hidden = rows.join(keys, on=list(BAR_KEY), how="semi")
    for (number,), group in hidden.partition_by(reading.FILE, as_dict=True, maintain_order=True).items():
        positions = (group[reading.ROW].cast(pl.Int64) - begins[int(number)]).sort().to_numpy()
        yield HiddenRows(files["path"][int(number)], positions)


def _hull(files: pl.DataFrame) -> tuple[str, datetime, datetime]:
    """The half-open range that the bars of some files lie in."""
    first, last = files.select(pl.col("min.timestamp").min(), pl.col("max.timestamp").max()).row(0)
    return "timestamp", first, last + MICROSECOND
