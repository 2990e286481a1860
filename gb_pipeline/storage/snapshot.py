"""This module holds a table at one version: the index of its files by partition and statistics, and its transactions.

A snapshot chooses the files that may hold some rows. Nothing here opens a data file or lists a folder.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any
from urllib.parse import unquote

import polars as pl

from gb_pipeline.market.moments import instant_literal
from gb_pipeline.storage.dataset import Dataset
from gb_pipeline.storage.log import Entry

# The application transaction that stamps rows: its version is the newest `known_at` in microseconds since 1970.
CLOCK = "clock"
# Statistics of other writers may be cut to milliseconds.
SLACK = pl.duration(milliseconds=1)


@dataclass(frozen=True)
class Snapshot:
    """One version of a table.

    Attributes:
        dataset: its declaration.
        version: Delta version; -1 before the table exists.
        table_id: Delta's id; a table of the same name made anew has another.
        files: one row per live file: `path` (relative to the table, unescaped), `size`, `rows`, a column per hive partition, and
            `min.<column>`, `max.<column>` for each indexed column in the column's own type.
        transactions: application transactions by id.
    """

    dataset: Dataset
    version: int
    table_id: str
    files: pl.DataFrame
    transactions: Mapping[str, int]

    @property
    def clock(self) -> int:
        """The newest moment that a row of this version was stamped with, microseconds since 1970."""
        return int(self.transactions.get(CLOCK, 0))

    def after(self, entry: Entry) -> Snapshot:
        """The snapshot that a commit on top of this one makes."""
        files = self.files
        if entry.removes:
            removed_paths = [unquote(action["path"]) for action in entry.removes]
            files = files.filter(~pl.col("path").is_in(removed_paths))
        if entry.adds:
            files = pl.concat([files, index_files(self.dataset, entry.adds)])
        return replace(
            self,
            version=entry.version,
            table_id=str(entry.metadata["id"]) if entry.metadata else self.table_id,
            files=files,
            transactions={**self.transactions, **entry.transactions} if entry.transactions else self.transactions,
        )

    def select(
        self,
        partitions: Mapping[str, object] | None = None,
        *,
        between: Mapping[str, tuple[Any, Any]] | None = None,
        holding: Mapping[str, Sequence[str]] | None = None,
    ) -> pl.DataFrame:
        """The files that may hold such rows.

        Args:
            partitions: a value, or a list of values, by hive partition.
            between: half-open ranges by indexed column.
            holding: values of which a file must be able to hold one, by indexed or partition column.
        """
        return self.files.filter(*self._conditions(partitions or {}, between or {}, holding or {}))

    def _conditions(
        self,
        partitions: Mapping[str, object],
        between: Mapping[str, tuple[Any, Any]],
        holding: Mapping[str, Sequence[str]],
    ) -> Iterable[pl.Expr]:
        yield pl.lit(True)
        for name, value in partitions.items():
            column = pl.col(name)
            yield column.is_in(list(value)) if isinstance(value, list | tuple | set | frozenset) else column.eq(value)
        for name, (start, end) in between.items():
            slack = (
                SLACK if isinstance(start, datetime) else pl.duration(days=0) if isinstance(start, date) else pl.lit(0)
            )
            low, high = pl.col(f"min.{name}"), pl.col(f"max.{name}")
            yield (low < _literal(end)).fill_null(True) & (high + slack >= _literal(start)).fill_null(True)
        for name, values in holding.items():
            yield self._may_hold(name, sorted(set(values)))

    def _may_hold(self, name: str, values: list[str]) -> pl.Expr:
        if name in self.dataset.partitions:
            return pl.col(name).is_in(values)
        low, high = f"min.{name}", f"max.{name}"
        if len(values) == 1:
            return ((pl.col(low) <= values[0]) & (pl.col(high) >= values[0])).fill_null(True)
        # Of any number of values, the first one at or after a file's minimum decides.
        wanted_values = pl.Series(values, dtype=pl.String)
        position = wanted_values.search_sorted(self.files[low].fill_null(""), side="left")
        following = wanted_values.gather(position.clip(upper_bound=len(values) - 1))
        inside = (position < len(values)) & (following <= self.files[high])
        return pl.lit(inside.fill_null(True)) if len(self.files) else pl.lit(True)


def empty_snapshot(dataset: Dataset) -> Snapshot:
    """A table that does not exist yet."""
    return Snapshot(dataset, -1, "", pl.DataFrame(schema=index_schema(dataset)), {})


def index_schema(dataset: Dataset) -> pl.Schema:
    """Columns of `Snapshot.files`."""
    types = dataset.polars
    edges = {f"{edge}.{name}": types[name] for name in dataset.indexed for edge in ("min", "max")}
    partitions = {name: types[name] for name in dataset.partitions}
    return pl.Schema({"path": pl.String(), "size": pl.Int64(), "rows": pl.Int64(), **partitions, **edges})


def index_files(dataset: Dataset, adds: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """The files that entries add, as rows of `Snapshot.files`."""
    schema = index_schema(dataset)
    columns: dict[str, list[Any]] = {name: [] for name in schema}
    for add in adds:
        statistics = json.loads(add["stats"]) if isinstance(add.get("stats"), str) else {}
        columns["path"].append(unquote(add["path"]))
        columns["size"].append(int(add["size"]))
        columns["rows"].append(statistics.get("numRecords"))
        values = dict(add["partitionValues"])
        for name in dataset.partitions:
            columns[name].append(values.get(name))
        low, high = statistics.get("minValues", {}), statistics.get("maxValues", {})
        for name in dataset.indexed:
            columns[f"min.{name}"].append(low.get(name))
            columns[f"max.{name}"].append(high.get(name))
    text_columns = [name for name, kind in schema.items() if isinstance(kind, pl.Datetime | pl.Date | pl.Boolean)]
    frame = pl.DataFrame(columns, schema={**schema, **dict.fromkeys(text_columns, pl.String())})
    return frame.with_columns(_typed(name, schema[name]) for name in text_columns)


def _literal(value: object) -> pl.Expr:
    return instant_literal(value) if isinstance(value, datetime) else pl.lit(value)


def format_statistic(value: object) -> object:
    """A minimum or maximum as the log has it."""
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return value.isoformat() if isinstance(value, date) else value


def _typed(name: str, kind: pl.DataType) -> pl.Expr:
    """A column of text as its own type."""
    column = pl.col(name)
    if isinstance(kind, pl.Datetime):
        return column.str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", time_unit="us").dt.replace_time_zone("UTC")
    if isinstance(kind, pl.Date):
        return column.str.to_date("%Y-%m-%d")
    return column.str.to_lowercase().eq("true")
