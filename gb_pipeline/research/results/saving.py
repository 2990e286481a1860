"""This module has what saves a run, wherever the lake is: one run at a time, or recorded while it runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from gb_pipeline.errors import ConfigError, LakeError, RunRefused
from gb_pipeline.research.results import comparison
from gb_pipeline.research.results.prepared import PreparedRun, prepare
from gb_pipeline.research.results.recording import Recording, new_run_id, pins_of
from gb_pipeline.research.results.run import BacktestRun, RunName
from gb_pipeline.research.results.writing import SaveOutcome, SaveReport


class RunSaver(ABC):
    """Saves runs: what `Results` and `RemoteResults` have in common."""

    def save_backtest_data(self, run: BacktestRun | None = None, **fields: Any) -> SaveReport:
        """Save one run, durably: it is there as a whole or not at all, and never overwritten.

        Args:
            run: what was found; or its fields as keywords, see `BacktestRun`.
            fields: these.

        Returns:
            What became of it: `saved`, or `unchanged` where it is there with this content. Where, when and in which time it was
            computed, and its tags, are no part of the content: the first save tells them.

        Raises:
            RunRefused: a run of this name is there with other content; `differences` lists what differs.
            ConfigError, WindowRefused, NaiveTimestamp: something of it cannot be kept as it is; nothing was saved.
            LakeError: the lake cannot be written.
            ServerUnavailable: over HTTP, no answer; the run may be there, and the same again does not save it twice.
        """
        given = _run_of(run, fields)
        [report] = self.save_many([given])
        if report.outcome is SaveOutcome.REFUSED:
            raise self._refusal(given)
        return report

    @abstractmethod
    def save_many(self, runs: Iterable[BacktestRun]) -> list[SaveReport]:
        """Save runs together; a report for each, in their order."""

    @abstractmethod
    def load_backtest_data(self, run: RunName | str) -> BacktestRun:
        """A run as it was saved."""

    @abstractmethod
    def _artifact_digests(self, name: RunName) -> dict[str, tuple[str, int]]:
        """SHA-256 and size of the artifacts of a run, by name."""

    @abstractmethod
    def _now(self) -> datetime:
        """The present, for runs that do not say when they ran."""

    def prepare(self, run: BacktestRun) -> PreparedRun:
        """A run as it will be stored, checked; nothing is written."""
        return prepare(run, self._now())

    def record(
        self,
        strategy: str,
        version: str,
        *,
        run_id: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        data: object = None,
        markets: Sequence[str] | str = (),
        seeds: Mapping[str, int] | None = None,
        tags: Sequence[str] | str = (),
        environment: Mapping[str, Any] | None = None,
    ) -> Recording:
        """Record a backtest while it runs: `with results.record("momentum", "1.0", parameters=..., data=pin) as run:`.

        What it logs is saved when the block ends. An exception goes on, and the run is saved as `failed` with what was logged
        up to then; its `error` says which rows were kept.

        Args:
            strategy, version: of the run.
            run_id: by default the time and some random letters.
            parameters, markets, seeds, tags, environment: see `BacktestRun`.
            data: what `lake.pin` or `lake.replay` returned, or a list of these.

        Raises:
            ConfigError: a name, a parameter or data that cannot be kept; said before anything runs.
        """
        run = BacktestRun(
            strategy=strategy, version=version, run_id=new_run_id(self._now()) if run_id is None else run_id,
            parameters=parameters or {}, data=pins_of(data), seeds=seeds or {}, environment=environment,
            markets=[markets] if isinstance(markets, str) else list(markets), tags=[tags] if isinstance(tags, str) else list(tags),
        )  # fmt: skip
        self.prepare(run)
        return Recording(self.save_backtest_data, self._now, run)

    def _refusal(self, run: BacktestRun) -> RunRefused:
        saved = self.load_backtest_data(run.name)
        given = replace(run, data=[*run.data])
        differences = comparison.content_differences(saved, self._artifact_digests(run.name), given)
        parts = differences["part"].unique(maintain_order=True).to_list()
        return RunRefused(
            f"run {run.name} is saved already with other {', '.join(parts) or 'content'}",
            differences=differences,
            fix="save it under another run id, or version if the code changed; the error's `differences` lists what differs",
        )


def _run_of(run: BacktestRun | None, fields: dict[str, Any]) -> BacktestRun:
    if run is None:
        try:
            return BacktestRun(**fields)
        except TypeError as error:
            raise ConfigError(f"a run is not made like this: {error}", fix="see BacktestRun") from None
    if not isinstance(run, BacktestRun):
        raise LakeError(f"a run cannot be a {type(run).__name__}", fix="make a BacktestRun")
    return replace(run, **fields) if fields else run
