"""This module holds a table at one version: the index of its files by partition and statistics, and its transactions.

A snapshot chooses the files that may hold some rows. Nothing here opens a data file or lists a folder.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any
from urllib.parse import unquote

import numpy as np
import numpy.typing as npt
import polars as pl

from gb_pipeline.market.moments import day_number, microseconds
from gb_pipeline.storage.arrays import to_places
from gb_pipeline.storage.dataset import IS_CURRENT, Dataset
from gb_pipeline.storage.log import Entry

# The application transaction that stamps rows: its version is the newest `known_at` in microseconds since 1970.
CLOCK = "clock"
# Statistics of other writers may be cut to milliseconds; in microseconds.
SLACK = 1_000
# Comparing with each of a few values takes less than looking them up in a set.
_FEW = 8
# Up to so many files are looked at one by one, or put in order here.
_SOME = 200


@dataclass(frozen=True)
class Snapshot:
    """One version of a table.

    Attributes:
        dataset: its declaration.
        version: Delta version; -1 before the table exists.
        metadata: the newest `metaData` action: Delta's id, the schema as text, partitions and configuration.
        files: one row per live file: `path` (relative to the table, unescaped), `size`, `rows`, a column per hive partition, and
            `min.<column>`, `max.<column>` for each indexed column in the column's own type.
        transactions: application transactions by id.
    """

    dataset: Dataset
    version: int
    metadata: Mapping[str, Any]
    files: pl.DataFrame
    transactions: Mapping[str, int]

    @property
    def table_id(self) -> str:
        """Delta's id; a table of the same name made anew has another."""
        return str(self.metadata.get("id", ""))

    @property
    def clock(self) -> int:
        """The newest moment that a row of this version was stamped with, microseconds since 1970."""
        return int(self.transactions.get(CLOCK, 0))

    def after(self, *entries: Entry) -> Snapshot:
        """The snapshot that some commits on top of this one make, one after the other."""
        removed, added = set[str](), dict[str, Mapping[str, Any]]()
        metadata, transactions = self.metadata, dict(self.transactions)
        for entry in entries:
            for action in entry.removes:
                path = unquote(action["path"])
                removed.add(path)
                added.pop(path, None)
            added |= {unquote(action["path"]): action for action in entry.adds}
            metadata = entry.metadata or metadata
            transactions |= entry.transactions
        files = self.files
        if removed:
            files = files.filter(~pl.col("path").is_in(list(removed)))
        if added:
            files = pl.concat([files, index_files(self.dataset, list(added.values()))])
        version = entries[-1].version if entries else self.version
        return replace(self, version=version, metadata=metadata, files=files, transactions=transactions)

    def select(
        self,
        partitions: Mapping[str, object] | None = None,
        *,
        between: Mapping[str, tuple[Any, Any]] | None = None,
        holding: Mapping[str, Sequence[str]] | None = None,
        current: bool = False,
    ) -> pl.DataFrame:
        """The files that may hold such rows.

        Args:
            partitions: a value, or a list of values, by hive partition.
            between: half-open ranges by indexed column.
            holding: values of which a file must be able to hold one, by indexed or partition column.
            current: of a table with history, only those of newest versions.
        """
        files = self.files
        masks = [_overlaps(files[f"min.{name}"], files[f"max.{name}"], *ends) for name, ends in (between or {}).items()]
        if any(not mask.any() and not mask.null_count() for mask in masks):
            # After the last bar, where writers append, there is nothing, and nothing more to look at.
            return files.clear()
        masks += [_is_one_of(files[name], value) for name, value in (partitions or {}).items()]
        if current and self.dataset.history:
            masks.append(files[IS_CURRENT])
        ranges = dict[str, list[str]]()
        for name, values in (holding or {}).items():
            if name in self.dataset.partitions:
                masks.append(_is_one_of(files[name], values))
            else:
                ranges[name] = sorted(set(values))
        files = choose(files, masks)
        for name, wanted in ranges.items():
            if files.is_empty():
                return files
            files = choose(files, [_holds_one_of(files[f"min.{name}"], files[f"max.{name}"], wanted)])
        return files


def empty_snapshot(dataset: Dataset) -> Snapshot:
    """A table that does not exist yet."""
    return Snapshot(dataset, -1, {}, dataset.no_files, {})


def index_files(dataset: Dataset, adds: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """The files that entries add, as rows of `Snapshot.files`."""
    schema = dataset.no_files.schema
    columns: dict[str, list[Any]] = {name: [] for name in schema}
    partitions = [(columns[name], name, _parser(schema[name])) for name in dataset.partitions]
    edges = [
        (columns[f"min.{name}"], columns[f"max.{name}"], name, _parser(schema[f"min.{name}"]))
        for name in dataset.indexed
    ]
    for add in adds:
        statistics = json.loads(add["stats"]) if isinstance(add.get("stats"), str) else {}
        columns["path"].append(unquote(add["path"]))
        columns["size"].append(int(add["size"]))
        columns["rows"].append(statistics.get("numRecords"))
        values = dict(add["partitionValues"])
        for column, name, parse in partitions:
            value = values.get(name)
            column.append(None if value is None else parse(value))
        low, high = statistics.get("minValues", {}), statistics.get("maxValues", {})
        for low_column, high_column, name, parse in edges:
            low_value, high_value = low.get(name), high.get(name)
            low_column.append(None if low_value is None else parse(low_value))
            high_column.append(None if high_value is None else parse(high_value))
    # Far quicker than a frame from a dictionary: a small commit makes one of these, too.
    return pl.DataFrame([_column(name, columns[name], kind) for name, kind in schema.items()])


def _column(name: str, values: list[Any], kind: pl.DataType) -> pl.Series:
    is_number = isinstance(kind, pl.Datetime | pl.Date)
    return pl.Series(name, values, dtype=pl.Int64() if is_number else kind).cast(kind)


def choose(files: pl.DataFrame, masks: Sequence[pl.Series]) -> pl.DataFrame:
    """The files of which every mask, a value for each of them, is true or says nothing.

    Taken by their places: a query that filters costs ten times as much where a table has a few files.
    """
    if not masks or files.is_empty():
        return files
    chosen = np.ones(files.height, dtype=bool)
    for mask in masks:
        chosen &= (mask.fill_null(True) if mask.null_count() else mask).to_numpy()
    return take(files, np.flatnonzero(chosen))


def files_of_series(files: pl.DataFrame, source: str, symbol: str) -> pl.DataFrame:
    """Of files that hold a series each, those of one."""
    if files.height > _SOME:
        return choose(files, [files["source"] == source, files["symbol"] == symbol])
    pairs = zip(files["source"].to_list(), files["symbol"].to_list(), strict=True)
    return take(files, [place for place, pair in enumerate(pairs) if pair == (source, symbol)])


def take(files: pl.DataFrame, places: Sequence[int] | npt.NDArray[np.int64]) -> pl.DataFrame:
    """The files at some places, in their order.

    Neighbours are taken without Polars' threads, which take longer to wake than that.
    """
    if not len(places):
        return files.clear()
    first, last = int(places[0]), int(places[-1])
    if last - first == len(places) - 1:
        return files if len(places) == files.height else files[first : last + 1]
    return files[to_places(np.asarray(places))]


def in_order(files: pl.DataFrame) -> pl.DataFrame:
    """The files in the order of their first timestamps, and of their paths where these are the same."""
    if files.height < 2:
        return files
    stamps = files["min.timestamp"]
    if files.height <= _SOME and not stamps.null_count():
        keys = list(zip(_numbers(stamps).to_list(), files["path"].to_list(), strict=True))
        places = sorted(range(len(keys)), key=keys.__getitem__)
        return files if places == list(range(len(keys))) else files[to_places(np.array(places))]
    if not stamps.null_count():
        numbers = _numbers(stamps).to_numpy()
        order = numbers.argsort()
        steps = numbers[order[1:]] > numbers[order[:-1]]
        if steps.all():
            return files if (order[1:] > order[:-1]).all() else files[to_places(order)]
    return files.sort("min.timestamp", "path")


def _overlaps(low: pl.Series, high: pl.Series, start: Any, end: Any) -> pl.Series:
    """Whether a range from low to high has something in common with a half-open one."""
    if isinstance(start, datetime):
        return (_numbers(low) < microseconds(end)) & (_numbers(high) >= microseconds(start) - SLACK)
    if isinstance(start, date):
        return (_numbers(low) < day_number(end)) & (_numbers(high) >= day_number(start))
    mask: pl.Series = (low < end) & (high >= start)
    return mask


def _is_one_of(column: pl.Series, wanted: object) -> pl.Series:
    values = list(wanted) if isinstance(wanted, list | tuple | set | frozenset) else [wanted]
    if not 0 < len(values) <= _FEW:
        return column.is_in(values)
    mask = column == values[0]
    for value in values[1:]:
        mask |= column == value
    return mask


def _holds_one_of(low: pl.Series, high: pl.Series, values: list[str]) -> pl.Series:
    if len(values) == 1:
        return (low <= values[0]) & (high >= values[0])
    if len(low) <= _SOME:
        # Of so few files, queries take longer than looking at each.
        places = [bisect_left(values, edge or "") for edge in low.to_list()]
        ends = high.to_list()
        return pl.Series(
            [
                place < len(values) and (end is None or values[place] <= end)
                for place, end in zip(places, ends, strict=True)
            ],
            dtype=pl.Boolean,
        )
    # Of any number of values, the first one at or after a file's minimum decides.
    wanted_values = pl.Series([*values, None], dtype=pl.String)
    following = wanted_values.gather(wanted_values.head(-1).search_sorted(low.fill_null(""), side="left"))
    return following.is_not_null() & (following <= high)


def _numbers(series: pl.Series) -> pl.Series:
    """Microseconds or days since 1970; `to_physical` takes ten times as long."""
    return series.cast(pl.Int64)


def format_statistic(value: object) -> object:
    """A minimum or maximum as the log has it."""
    if isinstance(value, datetime):
        return value.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
    return value.isoformat() if isinstance(value, date) else value


def _parser(kind: pl.DataType) -> Callable[[Any], Any]:
    """Of what the log says of a file, what Polars holds: moments and days are integers."""
    if isinstance(kind, pl.Datetime):
        return _parse_moment
    if isinstance(kind, pl.Date):
        return lambda text: day_number(date.fromisoformat(text))
    return (lambda text: text.lower() == "true") if isinstance(kind, pl.Boolean) else (lambda value: value)


def _parse_moment(text: str) -> int:
    """Microseconds since 1970. Years before 1000 were once written without their zeros."""
    year, dash, rest = text.partition("-")
    return microseconds(datetime.fromisoformat(year.zfill(4) + dash + rest))
