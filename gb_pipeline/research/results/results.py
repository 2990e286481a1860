"""`Results`: what backtests found, in the tables of a lake. This module is the public face; the work is done beside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import polars as pl

from gb_pipeline.errors import ConfigError
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.reading.lake import Lake
from gb_pipeline.research.results import comparison, loading, purging, querying, versions
from gb_pipeline.research.results.artifacts import Artifacts
from gb_pipeline.research.results.comparison import RunComparison
from gb_pipeline.research.results.conditions import Condition, RunQuery, query_of
from gb_pipeline.research.results.index import RunIndex
from gb_pipeline.research.results.lineage import Lineage, trace
from gb_pipeline.research.results.loading import FRAMES
from gb_pipeline.research.results.notes import Notes, metadata_notes
from gb_pipeline.research.results.prepared import PreparedRun
from gb_pipeline.research.results.purging import PurgeReport
from gb_pipeline.research.results.querying import Mask, QueryPlan
from gb_pipeline.research.results.replaying import Backtest, RunReplay, repeat
from gb_pipeline.research.results.run import BacktestRun, RunName, check_text
from gb_pipeline.research.results.saving import RunSaver
from gb_pipeline.research.results.segments import Segment
from gb_pipeline.research.results.spooled import SpooledWriter, recover
from gb_pipeline.research.results.writing import SaveReport, save

Conditions = Mapping[str, object] | Sequence[str | Condition] | str | None


class Results(RunSaver):
    """What backtests found, in a lake. Any number of processes may save at once, and nothing that was saved is ever changed.

    Example:
        >>> results = Results.open("data")
        >>> results.save_backtest_data(BacktestRun(strategy="momentum", version="1", run_id="a", metrics={"sharpe": 1.2})).outcome
        <SaveOutcome.SAVED: 'saved'>
        >>> results.query_metadata(strategy="momentum", metrics="sharpe > 1")["run_id"].to_list()
        ['a']
    """

    def __init__(self, lake: Lake) -> None:
        """Use `Results.open`."""
        self.lake = lake
        self._store: LakeStore = lake.store
        self.index = RunIndex(self._store.tables)
        self.artifacts = Artifacts(self._store.storage)
        self.notes = Notes(self._store.tables)

    @classmethod
    def open(cls, place: Lake | Path | str | None = None, *, create: bool = False) -> Results:
        """The results of a lake.

        Args:
            place: a lake, its folder, `s3://bucket/prefix` or a gb.yaml; as `Lake.open` finds it by default.
            create: make the folder if it is not there.

        Raises:
            ConfigError: there is no such folder, or it is not a lake.
        """
        return cls(place if isinstance(place, Lake) else Lake.open(place, create=create))

    def save_many(self, runs: Iterable[BacktestRun]) -> list[SaveReport]:
        """Save runs in one commit per table.

        Returns:
            A report for each, in their order. One whose name is taken by other content is `refused`, and keeps no other from
            being saved.

        Raises:
            ConfigError, WindowRefused, NaiveTimestamp: something of a run cannot be kept as it is; nothing was saved.
            LakeError: the lake cannot be written.
        """
        return self._save(self.prepare(run) for run in runs)

    def _save(self, runs: Iterable[PreparedRun]) -> list[SaveReport]:
        return save(self._store.tables, self.index, self.artifacts, list(runs), self._store.clock)

    def load_backtest_data(self, run: RunName | str, *, parts: Sequence[str] = FRAMES) -> BacktestRun:
        """A run as it was saved: the same numbers with the same types, and moments in UTC.

        Args:
            run: its name, or `strategy/version/run_id`.
            parts: which of equity, fills and positions to read.

        Returns:
            The run without its artifacts, see `load_artifact`.

        Raises:
            LakeError: there is no such run.
            DamagedFile: a file of it is missing or not what was written.
        """
        unknown = [part for part in parts if part not in FRAMES]
        if unknown:
            raise ConfigError(f"a run has no part {unknown[0]!r:.40}", fix=f"use {', '.join(FRAMES)}")
        return loading.load(self._store.tables, self.index, RunName.parse(run), parts)

    def load_artifact(self, run: RunName | str, name: str) -> bytes:
        """The bytes of an artifact, compared with their SHA-256.

        Raises:
            LakeError: the run has none of that name, or it is missing or damaged.
        """
        parsed = RunName.parse(run)
        return loading.artifact(self.artifacts, self._row(parsed), parsed, name)

    def list_artifacts(self, run: RunName | str) -> pl.DataFrame:
        """`name, sha256` (String) and `bytes` (Int64) of the artifacts of a run, sorted."""
        found = self._artifact_digests(RunName.parse(run))
        rows = [(name, *about) for name, about in sorted(found.items())]
        return pl.DataFrame(
            rows, schema={"name": pl.String(), "sha256": pl.String(), "bytes": pl.Int64()}, orient="row"
        )

    def save_metadata(
        self, strategy: str, version: str, metadata: Mapping[str, Any], *, run_id: str | None = None
    ) -> None:
        """Say something of a version or a run; of a key the newest value counts, and older ones stay in `result_notes`.

        Args:
            strategy, version: which version.
            metadata: values by key, of the types of parameters.
            run_id: of one run; the whole version by default.

        Raises:
            LakeError: there is no such version or run.
            ConfigError: a key or value that cannot be kept.
        """
        target = versions.existing_target(self.index, strategy, version, run_id)
        self.notes.add(metadata_notes(target, metadata), self._store.clock)

    def load_metadata(self, strategy: str, version: str, *, run_id: str | None = None) -> dict[str, Any]:
        """What was said of a version or a run, the newest value of each key."""
        return self.notes.metadata(versions.existing_target(self.index, strategy, version, run_id))

    def query_metadata(self, query: RunQuery | None = None, **filters: Any) -> pl.DataFrame:
        """The runs that fulfil some conditions; answered by the index, without opening a data file.

        Args:
            query: which runs; or as keywords:
            filters: `strategy, version, run_id, start, end, market, tag, state, retired, order_by, descending, limit, offset` as in
                `RunQuery`, and `parameters` and `metrics` as a mapping (`{"window": 20, "stop": (">", 0.1), "fast": [5, 10]}`) or
                texts (`["sharpe >= 1.5"]`).

        Returns:
            `strategy, version, run_id, state` (String), `started_at, finished_at` (Datetime us UTC), `markets, tags` (List of
            String), `parameters` (JSON, see `from_json`), `error, data_fingerprint, digest` (String), `known_at` (Datetime us UTC),
            and `metrics.NAME` (Float64, the nearest float) for each metric that a run of the answer has. Retired runs are left out.

        Raises:
            ReadError: a condition or an order that cannot be answered.
        """
        wanted = self._query(query, filters)
        segments, retired = self._segments(wanted)
        if not segments:
            return querying.answer([], wanted, []).drop("segment", "row")
        found = querying.answer(segments, wanted, retired)
        return versions.with_metrics(found, segments)

    def count(self, query: RunQuery | None = None, **filters: Any) -> int:
        """How many runs fulfil some conditions, whatever the limit is; as `query_metadata`."""
        wanted = self._query(query, filters)
        segments, retired = self._segments(wanted)
        return sum(
            len(querying.chosen_rows(segment, wanted, mask)) for segment, mask in zip(segments, retired, strict=True)
        )

    def optimize_query(self, query: RunQuery | None = None, **filters: Any) -> QueryPlan:
        """How a query is answered: what each condition leaves, which files may hold it, and what would make it cheaper."""
        wanted = self._query(query, filters)
        snapshot = self._store.tables.newest("runs")
        segments, retired = self._segments(wanted)
        return querying.explain(segments, wanted, retired, snapshot)

    def manage_versions(
        self,
        strategy: str,
        version: str | None = None,
        *,
        run_id: str | None = None,
        tag: str | None = None,
        untag: str | None = None,
        retire: str | None = None,
        restore: str | None = None,
    ) -> pl.DataFrame:
        """The versions of a strategy; first tags, retires or restores one of them, or a run of it.

        Args:
            strategy: which.
            version: what to change.
            run_id: of one run; the whole version by default.
            tag, untag: a tag to add or to take away.
            retire: why it is no longer to be used: its runs are left out of queries, and can be loaded all the same.
            restore: why it is to be used again.

        Returns:
            `version` (String), `runs, succeeded, failed` (Int64), `first, last` (Datetime us UTC: when the first and the last run
            began), `tags` (List of String), `retired` (String: why; null where it is not); in the order of the first run.

        Raises:
            LakeError: there is no such strategy, version or run.
            ConfigError: something is to be changed and no version is named.
        """
        changes = {"tag": tag, "untag": untag, "retire": retire, "restore": restore}
        notes = versions.notes_of(self.index, strategy, version, run_id, changes)
        if notes:
            self.notes.add(notes, self._store.clock)
        return versions.list_versions(self.index, self.notes, strategy)

    def list_strategies(self) -> pl.DataFrame:
        """`strategy` (String), `runs, versions` (Int64), `last` (Datetime us UTC: when its last run began); sorted."""
        return versions.list_strategies(self.index.segments())

    def purge(self, strategy: str, version: str | None = None, *, reason: str, **filters: Any) -> PurgeReport:
        """Remove runs for good, retired or not, with what was said of them; killed in between, the same again does what is left.

        Files that held them, and artifacts that no run names any more, stay until `gb vacuum` frees them. A note with the reason
        stays for each run, or for each version where these are more than 100.

        Args:
            strategy, version: whose runs.
            reason: why, for whoever reads it in a year.
            filters: which of them, as `query_metadata`: `run_id, start, end, market, tag, state, parameters, metrics`.

        Raises:
            ConfigError: there is no reason, or a question that purges cannot be asked.
            LakeError: no run is meant, or the lake cannot be written.
        """
        if unknown := sorted({"order_by", "descending", "limit", "offset", "retired"} & set(filters)):
            raise ConfigError(f"a purge has no {unknown[0]}", fix="name all that is to go, such as state='failed'")
        query = self._query(None, {"strategy": check_text(strategy, "a strategy"), "version": version, **filters})
        return purging.purge(self._store.tables, self.index, self.notes, query, reason, self._store.clock)

    def sweep(self) -> PurgeReport:
        """Remove rows that no run names, of saves and purges that were cut off; `gb verify` counts them.

        Saves that are under way start anew, and lose nothing.

        Raises:
            LakeError: the lake cannot be written.
        """
        return purging.sweep(self._store.tables, self.index, self._store.clock)

    def compare(self, left: RunName | str, right: RunName | str) -> RunComparison:
        """Two runs side by side: parameters, metrics, equity, the data that changed, and environments.

        Args:
            left, right: names of runs; `strategy/version` stands for the last run of it that succeeded.

        Raises:
            LakeError: there is no such run.
        """
        names = [versions.run_of(self.index, self.notes, item) for item in (left, right)]
        one, two = (self.load_backtest_data(name, parts=("equity",)) for name in names)
        return comparison.compare(one, two)

    def replay(self, run: RunName | str, function: Backtest) -> RunReplay:
        """Run a backtest again on the data that its run has pinned, and compare what comes out.

        Args:
            run: its name.
            function: called with the saved run (its parameters, its seeds) and a reader of each pin by name; returns a
                `BacktestRun`, or a mapping with any of `metrics, equity, fills, positions`. What it leaves out is not compared.

        Raises:
            PinRefused: data are not as they were; `differences` has a row for each bar. The function was not called.
            ConfigError: the run names no data, or a pin of it was forgotten.
            LakeError: there is no such run.
        """
        name = RunName.parse(run)
        return repeat(self.lake, self.load_backtest_data(name), self._artifact_digests(name), function)

    def lineage(self, run: RunName | str) -> Lineage:
        """What is behind a result: its pins, the files of bars, the fetches that brought them, and the vendors' kept responses.

        Raises:
            LakeError: there is no such run, or a table is damaged.
        """
        return trace(self._store.tables, self.load_backtest_data(run, parts=()))

    def spooled(self, name: str | None = None, *, runs: int = 500, seconds: float = 5.0) -> SpooledWriter:
        """A writer for many small runs: each is durable once `save` returns, and committed with many others.

        What a writer that was killed has left is committed first.

        Args:
            name: of the spool, for a writer that takes up its own again; by default one that nobody else has.
            runs: so many that wait are committed.
            seconds: and however few do, after so long.

        Raises:
            LakeError: the disk or the lake cannot be written, or another process has the spool of that name open.
        """
        folder = self._spools
        own = check_text(name, "the name of a spool") if name is not None else uuid4().hex[:12]

        def open_writer(place: Path) -> SpooledWriter:
            return SpooledWriter(place, self.prepare, self._save, self.index.find, runs=runs, seconds=seconds)

        recover(folder, open_writer)
        return open_writer(folder / own)

    def has_spools(self) -> bool:
        """Whether a writer of this machine is open, or was killed and has left runs: `spooled` commits these."""
        return any(self._spools.glob("*/lock"))

    @property
    def _spools(self) -> Path:
        folder: Path = self._store.storage.state / "results" / "spools"
        return folder

    def _row(self, name: RunName) -> dict[str, Any]:
        known = loading.find_run(self.index, name)
        return loading.read_row(self._store.tables, name, int(known["save_id"]))

    def _artifact_digests(self, name: RunName) -> dict[str, tuple[str, int]]:
        return comparison.artifact_digests(self._row(name)["artifacts"])

    def _now(self) -> datetime:
        return self._store.clock()

    def _query(self, query: RunQuery | None, filters: dict[str, Any]) -> RunQuery:
        return query_of(query, filters, self._store.clock)

    def _segments(self, query: RunQuery) -> tuple[Sequence[Segment], list[Mask | None]]:
        segments = self.index.segments()
        return segments, [None if query.retired else self.notes.retired(segment) for segment in segments]
