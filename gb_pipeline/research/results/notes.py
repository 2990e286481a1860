"""This module keeps what is said of runs and versions after they were saved: metadata, tags, and whether they are retired.

Notes are only ever added; of one key the newest counts, and the older ones stay. Retiring hides runs from queries and removes
nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import numpy as np
import polars as pl

from gb_pipeline.errors import ConfigError
from gb_pipeline.lake.datasets import RESULT_NOTES
from gb_pipeline.market.schema import polars_schema
from gb_pipeline.research.results.canonical import from_json, to_json
from gb_pipeline.research.results.querying import Mask
from gb_pipeline.research.results.run import check_text, shard_of
from gb_pipeline.research.results.segments import Segment
from gb_pipeline.storage import reading
from gb_pipeline.storage.append import append
from gb_pipeline.storage.commit import Clock
from gb_pipeline.storage.table import Tables

Target = tuple[str, str, str | None]
_STATE = {
    "retire": "retired",
    "restore": "retired",
    "tag": "tag",
    "untag": "tag",
    "metadata": "metadata",
    "purge": "purge",
}


@dataclass(frozen=True, slots=True)
class Note:
    """One thing that is said of a version (`run_id` None) or a run.

    Attributes:
        kind: metadata, tag, untag, retire, restore or purge.
        name: the key of metadata, or the tag.
        value: of metadata, or the reason.
    """

    strategy: str
    version: str
    run_id: str | None
    kind: str
    name: str | None = None
    value: Any = None


class Notes:
    """The notes of one lake, read again when the table changed. Safe to share between threads."""

    def __init__(self, tables: Tables) -> None:
        """Nothing is read before it is needed."""
        self._tables = tables
        self._guard = threading.Lock()
        self._seen: tuple[str, int] = ("", -1)
        self._rows = RESULT_NOTES.no_rows

    def add(self, notes: Sequence[Note], clock: Clock) -> None:
        """Append, in one commit."""
        now = clock()
        rows = [
            {
                "shard": shard_of(note.strategy), "strategy": note.strategy, "version": note.version, "run_id": note.run_id,
                "note_id": uuid4().hex, "kind": note.kind, "name": note.name,
                "text": None if note.value is None and note.kind != "metadata" else to_json(note.value, note.name or note.kind),
                "noted_at": now,
            }
            for note in notes
        ]  # fmt: skip
        append(
            self._tables[RESULT_NOTES.name], pl.DataFrame(rows, schema=polars_schema(RESULT_NOTES.columns)), clock=clock
        )

    def all(self) -> pl.DataFrame:
        """Every note, the oldest first; columns of `result_notes`."""
        newest = self._tables.newest(RESULT_NOTES.name)
        with self._guard:
            if (newest.table_id, newest.version) != self._seen:
                rows = reading.read(self._tables.storage, RESULT_NOTES, newest.files)
                self._rows = rows.sort("known_at", maintain_order=True)
                self._seen = newest.table_id, newest.version
            return self._rows

    def current(self) -> pl.DataFrame:
        """The newest note of each kind and name about each version and run."""
        rows = self.all().with_columns(pl.col("kind").replace_strict(_STATE, return_dtype=pl.String).alias("about"))
        return rows.unique(["strategy", "version", "run_id", "about", "name"], keep="last", maintain_order=True).drop(
            "about"
        )

    def metadata(self, target: Target) -> dict[str, Any]:
        """The newest value of each key about a version or a run."""
        return {row["name"]: from_json(row["text"]) for row in self._about(target) if row["kind"] == "metadata"}

    def tags(self, target: Target) -> list[str]:
        """Tags that were added since it was saved, sorted."""
        return sorted(row["name"] for row in self._about(target) if row["kind"] == "tag")

    def reason_retired(self, target: Target) -> str | None:
        """Why a version or a run is retired; None where it is not."""
        found = [row for row in self._about(target) if row["kind"] == "retire"]
        return str(from_json(found[0]["text"])) if found else None

    def _about(self, target: Target) -> list[dict[str, Any]]:
        strategy, version, run_id = target
        same_run = pl.col("run_id").is_null() if run_id is None else pl.col("run_id") == run_id
        rows = self.current().filter((pl.col("strategy") == strategy) & (pl.col("version") == version) & same_run)
        return rows.rows(named=True)

    def retired(self, segment: Segment) -> Mask | None:
        """Which runs of a segment are retired, by themselves or with their version; None where none is."""
        notes = self.current().filter(pl.col("kind") == "retire") if self.all().height else RESULT_NOTES.no_rows
        if notes.is_empty():
            return None
        mask = np.zeros(segment.runs.height, bool)
        for strategy, of_strategy in notes.partition_by("strategy", as_dict=True).items():
            rows = segment.postings["strategy"].rows(str(strategy[0]))
            runs = segment.runs.select("version", "run_id")[rows].with_columns(pl.Series("row", rows))
            whole = runs.join(
                of_strategy.filter(pl.col("run_id").is_null()).select("version"), on="version", how="semi"
            )
            single = runs.join(of_strategy.select("version", "run_id"), on=["version", "run_id"], how="semi")
            mask[whole["row"].to_numpy()] = True
            mask[single["row"].to_numpy()] = True
        return mask if mask.any() else None


def metadata_notes(target: Target, metadata: Mapping[str, Any]) -> list[Note]:
    """A note for each key.

    Raises:
        ConfigError: they are no mapping, or a key is no name.
    """
    if not isinstance(metadata, Mapping):
        raise ConfigError(f"metadata are a {type(metadata).__name__}", fix="pass a mapping of names to values")
    for key in metadata:
        check_text(key, "a key of metadata")
    return [Note(*target, "metadata", name, value) for name, value in metadata.items()]
