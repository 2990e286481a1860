"""This module holds some runs as arrays that questions are answered from: one segment of the index of all runs.

Of each strategy, market, tag, parameter and metric a segment knows which of its rows have it, and with which value; so a condition
costs as much as rows have the name, and not as much as there are runs. Segments never change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import polars as pl

Rows = npt.NDArray[np.uint32]
# What `runs` has of a run for the index.
COLUMNS = (
    "strategy", "version", "run_id", "run_key", "save_id", "started_at", "finished_at", "state", "error", "markets", "tags",
    "parameters", "parameter_values", "metric_values", "data_fingerprint", "digest", "known_at",
)  # fmt: skip
KINDS = ("strategy", "market", "tag", "parameter", "metric")
_EXPLODED = {"market": "markets", "tag": "tags", "parameter": "parameter_values", "metric": "metric_values"}
_RUNS = tuple(name for name in COLUMNS if not name.endswith("_values"))


@dataclass(frozen=True)
class Postings:
    """Rows by name, and their values.

    Attributes:
        names: `name, start, count`, sorted by name: where the rows of a name lie in `entries`.
        entries: `row` (UInt32, ascending within a name), and for parameters `number, text`, for metrics `value`.
    """

    names: pl.DataFrame
    entries: pl.DataFrame

    @cached_property
    def _places(self) -> dict[str, tuple[int, int]]:
        return {name: (start, count) for name, start, count in self.names.iter_rows()}

    def of(self, name: str) -> pl.DataFrame:
        """The entries of a name; none where no row has it."""
        start, count = self._places.get(name, (0, 0))
        return self.entries.slice(start, count)

    def rows(self, name: str) -> Rows:
        """The rows that have a name."""
        return self.of(name)["row"].to_numpy()

    @classmethod
    def make(cls, entries: pl.DataFrame) -> Postings:
        """From `name, row` and values."""
        ordered = entries.sort("name", "row", maintain_order=True)
        counted = ordered.group_by("name", maintain_order=True).agg(pl.len().cast(pl.Int64).alias("count"))
        names = counted.select("name", (pl.col("count").cum_sum() - pl.col("count")).alias("start"), "count")
        return cls(names, ordered.drop("name").rechunk())


@dataclass(frozen=True, eq=False)
class Segment:
    """Some runs, each in a row.

    Attributes:
        runs: a row per run; the columns of `COLUMNS` without the exploded values.
        postings: by kind, see `KINDS`.
        keys: `key` (sorted) and `row`: where the run of a key is.
    """

    runs: pl.DataFrame
    postings: Mapping[str, Postings]
    keys: pl.DataFrame

    @classmethod
    def make(cls, rows: pl.DataFrame) -> Segment:
        """From rows of `runs` with the columns of `COLUMNS`."""
        numbered = rows.select(COLUMNS).with_row_index("row")
        postings = {"strategy": Postings.make(numbered.select(pl.col("strategy").alias("name"), "row"))}
        for kind, column in _EXPLODED.items():
            exploded = numbered.select("row", column).filter(pl.col(column).list.len() > 0).explode(column)
            if exploded.schema[column] == pl.String:
                entries = exploded.select(pl.col(column).alias("name"), "row")
            else:
                entries = exploded.unnest(column)
            postings[kind] = Postings.make(entries)
        keys = numbered.select(pl.col("run_key").alias("key"), "row").sort("key")
        return cls(rows.select(_RUNS).rechunk(), postings, keys.rechunk())

    @cached_property
    def _sorted_keys(self) -> npt.NDArray[np.int64]:
        return self.keys["key"].to_numpy()

    def find(self, keys: npt.NDArray[np.int64]) -> pl.DataFrame:
        """The runs of some keys that are here."""
        low, high = (np.searchsorted(self._sorted_keys, keys, side=side) for side in ("left", "right"))
        places = [place for first, end in zip(low.tolist(), high.tolist(), strict=True) for place in range(first, end)]
        return self.runs[self.keys["row"].gather(places)] if places else self.runs.clear()

    @cached_property
    def started(self) -> npt.NDArray[np.int64]:
        """When each run began, microseconds since 1970."""
        return self.runs["started_at"].cast(pl.Int64).to_numpy()

    def exploded(self) -> pl.DataFrame:
        """The rows that the segment was made of, for making a larger one."""
        columns = {kind: self._gathered(kind) for kind in ("parameter", "metric")}
        return self.runs.hstack(
            [columns["parameter"].alias("parameter_values"), columns["metric"].alias("metric_values")]
        ).select(COLUMNS)

    def keep(self, rows: npt.NDArray[np.bool_]) -> Segment:
        """A segment of some of its rows."""
        return Segment.make(self.exploded().filter(pl.Series(rows)))

    def _gathered(self, kind: str) -> pl.Series:
        postings = self.postings[kind]
        names = pl.Series("name", postings.names["name"]).gather(
            np.repeat(np.arange(postings.names.height), postings.names["count"].to_numpy())
        )
        entries = postings.entries.with_columns(names)
        values = [name for name in ("name", "value", "number", "text") if name in entries.columns]
        lists = entries.group_by("row").agg(pl.struct(values).alias("values"))
        rows = pl.DataFrame({"row": pl.int_range(self.runs.height, eager=True, dtype=pl.UInt32)})
        empty = pl.lit([], dtype=lists.schema["values"])
        return (
            rows.join(lists, on="row", how="left", maintain_order="left")
            .select(pl.col("values").fill_null(empty))
            .to_series()
        )


def merge(segments: list[Segment]) -> Segment:
    """One segment with the runs of several."""
    return segments[0] if len(segments) == 1 else Segment.make(pl.concat([segment.exploded() for segment in segments]))
