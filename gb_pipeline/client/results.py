"""`RemoteResults`, what backtests found, on another machine. Its methods answer as those of `Results`, which they are named after.

It reads and saves: runs are retired and purged where the lake is. A run is repeated here, on bars that the server has compared.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any

import polars as pl

from gb_pipeline.client.arguments import to_document
from gb_pipeline.client.remote import RemoteLake
from gb_pipeline.errors import ConfigError, GbError
from gb_pipeline.research.results.canonical import as_number, from_json
from gb_pipeline.research.results.comparison import RunComparison, compare
from gb_pipeline.research.results.conditions import Condition, RunQuery, conditions
from gb_pipeline.research.results.lineage import Lineage
from gb_pipeline.research.results.loading import FRAMES
from gb_pipeline.research.results.replaying import Backtest, RunReplay, repeat
from gb_pipeline.research.results.run import BacktestRun, PinnedData, RunName, RunState
from gb_pipeline.research.results.saving import RunSaver
from gb_pipeline.research.results.sending import MEDIA_TYPE, encode_runs
from gb_pipeline.research.results.writing import SaveOutcome, SaveReport
from gb_pipeline.storage.commit import wall_clock


class RemoteResults(RunSaver):
    """What backtests found, in a lake that `gb serve` serves.

    Example:
        >>> results = RemoteResults(RemoteLake("https://lake.example.com", token=os.environ["GB_TOKEN"]))
        >>> results.query_metadata(strategy="momentum", metrics="sharpe > 1")["run_id"].to_list()
        ['a']
    """

    def __init__(self, lake: RemoteLake) -> None:
        """Nothing is asked."""
        self.lake = lake

    def save_many(self, runs: Iterable[BacktestRun]) -> list[SaveReport]:
        """Save runs, many in a request; see `Results.save_many`. All are checked here before any is sent.

        They are durable on the server's disk once this returns, every question to that server finds them, and they are in the lake
        a few seconds later. Where a connection breaks they are sent again, and may then be `unchanged`.

        Raises:
            ConfigError, WindowRefused, NaiveTimestamp: something of a run cannot be kept as it is; nothing was saved.
            ConfigError: the token may not write.
            LakeError: the lake cannot be written.
            ServerUnavailable: no answer; the same again saves what is missing.
        """
        prepared = [(run, self.prepare(run)) for run in runs]
        reports: list[SaveReport] = []
        for body in encode_runs(prepared):
            answer = self.lake.transport.ask("POST", "/runs/save", body, {"content-type": MEDIA_TYPE}).json()
            reports += [
                SaveReport(RunName.parse(told["run"]), SaveOutcome(told["outcome"]), told["digest"])
                for told in answer["runs"]
            ]
        return reports

    def query_metadata(self, query: RunQuery | None = None, **filters: Any) -> pl.DataFrame:
        """The runs that fulfil some conditions; see `Results.query_metadata`.

        Raises:
            ReadError: a condition or an order that cannot be answered.
            ConfigError: a condition that cannot be sent as text.
            ServerUnavailable: no answer.
        """
        if query is not None:
            filters = {
                item.name: getattr(query, item.name) for item in fields(query) if item.name != "columns"
            } | filters
        asked = dict(filters)
        for name in ("parameters", "metrics"):
            asked[name] = [_as_text(condition) for condition in conditions(asked.get(name))] or None
        for name in ("strategy", "version", "run_id", "market", "tag"):
            if isinstance(asked.get(name), str):
                asked[name] = [asked[name]]
        return self.lake.transport.table("/runs", to_document(asked))

    def list_strategies(self) -> pl.DataFrame:
        """Strategies with their numbers of runs; see `Results.list_strategies`."""
        return self.lake.transport.table("/strategies", {})

    def manage_versions(self, strategy: str) -> pl.DataFrame:
        """The versions of a strategy; see `Results.manage_versions`. They are tagged and retired where the lake is.

        Raises:
            LakeError: there is no such strategy.
        """
        return self.lake.transport.table("/versions", {"strategy": strategy})

    def load_backtest_data(self, run: RunName | str, *, parts: Sequence[str] = FRAMES) -> BacktestRun:
        """A run as it was saved; see `Results.load_backtest_data`.

        Raises:
            LakeError: there is no such run.
        """
        if unknown := [part for part in parts if part not in FRAMES]:
            raise ConfigError(f"a run has no part {unknown[0]!r:.40}", fix=f"use {', '.join(FRAMES)}")
        name = RunName.parse(run)
        told, there = self._document(name)
        frames: dict[str, Any] = {
            part: self.lake.transport.table("/run", {"run": str(name), "part": part}) for part in parts if part in there
        }
        told.pop("metadata")
        told["data"] = [PinnedData(**pin) for pin in told["data"]]
        return BacktestRun(
            strategy=name.strategy, version=name.version, run_id=name.run_id, **{**told, "state": RunState(told["state"])}, **frames
        )  # fmt: skip

    def load_metadata(self, strategy: str, version: str, *, run_id: str) -> Mapping[str, Any]:
        """What was said of a run, the newest value of each key; see `Results.load_metadata`.

        Raises:
            LakeError: there is no such run.
        """
        metadata: Mapping[str, Any] = self._document(RunName(strategy, version, run_id).checked())[0]["metadata"]
        return metadata

    def list_artifacts(self, run: RunName | str) -> pl.DataFrame:
        """`name, sha256, bytes` of the artifacts of a run; see `Results.list_artifacts`.

        Raises:
            LakeError: there is no such run.
        """
        return self.lake.transport.table("/artifacts", {"run": str(RunName.parse(run))})

    def load_artifact(self, run: RunName | str, name: str) -> bytes:
        """The bytes of an artifact; see `Results.load_artifact`.

        Raises:
            LakeError: the run has none of that name, or it is missing or damaged.
        """
        [text] = self.lake.transport.table("/artifact", {"run": str(RunName.parse(run)), "name": name})["base64"]
        return base64.b64decode(text)

    def compare(self, left: RunName | str, right: RunName | str) -> RunComparison:
        """Two runs side by side; see `Results.compare`. Both are named in full.

        Raises:
            LakeError: there is no such run.
        """
        one, two = (self.load_backtest_data(name, parts=("equity",)) for name in (left, right))
        return compare(one, two)

    def lineage(self, run: RunName | str) -> Lineage:
        """What is behind a result; see `Results.lineage`.

        Raises:
            LakeError: there is no such run.
        """
        name = str(RunName.parse(run))
        parts = ("pins", "files", "fetches", "responses")
        return Lineage(**{part: self.lake.transport.table("/lineage", {"run": name, "part": part}) for part in parts})

    def replay(self, run: RunName | str, function: Backtest) -> RunReplay:
        """Run a backtest again on the data that its run has pinned; see `Results.replay`.

        The server compares the data, and the function runs here, with readers that ask the server for bars.

        Raises:
            PinRefused: data are not as they were; `differences` has a row for each bar. The function was not called.
            ConfigError: the run names no data, or a pin of it was forgotten.
            LakeError: there is no such run.
        """
        name = RunName.parse(run)
        return repeat(self.lake, self.load_backtest_data(name), self._artifact_digests(name), function)

    def _artifact_digests(self, name: RunName) -> dict[str, tuple[str, int]]:
        return {key: (digest, size) for key, digest, size in self.list_artifacts(name).iter_rows()}

    def _now(self) -> datetime:
        return wall_clock()

    def _document(self, name: RunName) -> tuple[dict[str, Any], list[str]]:
        [(text, parts)] = self.lake.transport.table("/run-document", {"run": str(name)}).rows()
        return from_json(text), parts


def _as_text(condition: Condition) -> str:
    value, number = condition.value, as_number(condition.value)
    literal = (
        {True: "true", False: "false", None: "null"}.get(value) if value is None or isinstance(value, bool) else None
    )
    if literal is None:
        literal = repr(number) if number is not None else f"'{value}'"
    text = f"{condition.name} {condition.operator} {literal}"
    try:
        same = Condition.parse(text) == Condition(
            condition.name, condition.operator, value if number is None else number
        )
    except GbError:
        same = False
    if not same:
        raise ConfigError(f"the condition {str(condition)[:80]!r} cannot be sent", fix="filter the answer by it")
    return text
