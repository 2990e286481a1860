"""What Dagster's page takes to show many series with a long history: answers to its own queries, and memory of the processes.

python -m benchmarks dagster_pages --series 50 --sessions 500    a smaller one
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.dagster_stack import cpu_of, memory
from benchmarks.measurement import Measurement
from benchmarks.page_history import forget_statuses, make_history
from benchmarks.page_queries import read_document
from gb_pipeline.dagster_runtime.client import LOCATION, DagsterClient
from gb_pipeline.dagster_runtime.instance import Stack
from gb_pipeline.orchestration.series_group import SeriesGroup

Query = tuple[str, dict[str, Any]]
# The page asks for the status of so many assets in a request, and for two requests of a kind at a time.
_TOGETHER, _AT_ONCE = 10, 2
_IN_SIGHT = 20
_LIVE = ("AssetGraphLiveQuery", "AssetStaleStatusDataQuery", "AssetsFreshnessInfoQuery")
_REPOSITORY = {"repositoryName": "__repository__", "repositoryLocationName": LOCATION}
_JOB = {**_REPOSITORY, "pipelineName": "__ASSET_JOB"}
_RUNS_AT_ONCE, _DAYS_OF_RUN = 4, 10
_ENDED = {"SUCCESS", "FAILURE", "CANCELED"}
_MOST_MB = {"webserver": 600, "daemon": 400}


def measure(series: int = 500, sessions: int = 2520) -> Iterator[Measurement]:
    """Each page as it is looked at first, and again: after an upgrade, with a failed run in the history, and beside four runs."""
    with TemporaryDirectory(prefix="gb-benchmark-") as place:
        yield from look_at(Path(place), make_history(Path(place), series, sessions))


def look_at(folder: Path, group: SeriesGroup) -> Iterator[Measurement]:
    """The same of a history that there is."""
    keys = [list(key.path) for key in group.symbols]
    days = group.partitions.get_partition_keys()
    with Stack(folder) as stack:
        yield from Look(stack, keys, "").pages()
        forget_statuses(folder)
        yield from Look(stack, keys, ", after an upgrade").statuses()
        failed = _fail(stack, folder, keys, days[-1])
        after = Look(stack, keys, ", after a failed run")
        yield from after.statuses()
        yield from after.run(failed)
        runs = [
            _launch(stack.client, keys, days[-_DAYS_OF_RUN * (number + 2)], days[-_DAYS_OF_RUN * (number + 1) - 1])
            for number in range(_RUNS_AT_ONCE)
        ]
        _wait_for(stack, runs, {"STARTED"})
        beside = Look(stack, keys, f", beside {_RUNS_AT_ONCE} runs")
        yield from beside.statuses()
        yield from beside.run(runs[0])
        _wait_for(stack, runs, _ENDED)
        yield from Look(stack, keys, ", after the runs").statuses()


class Look:
    """Looks at the pages.

    Args:
        stack: that serves them.
        keys: paths of all series.
        when: what is said of each measurement.
    """

    def __init__(self, stack: Stack, keys: Sequence[Sequence[str]], when: str) -> None:
        """Nobody has looked."""
        self._stack, self._when = stack, when
        self._assets = [{"path": list(key)} for key in keys]

    def pages(self) -> Iterator[Measurement]:
        """Every page once, and again."""
        one = {"assetKey": self._assets[0]}
        yield from self._twice(
            "open the page",
            [("LocationWorkspaceQuery", {"name": LOCATION}), ("LocationWorkspaceAssetsQuery", {"name": LOCATION}),
             ("AssetRecordsQuery", {"limit": 1000})],
            10, 10,
        )  # fmt: skip
        yield from self.statuses()
        yield from self._twice(
            "a series: overview",
            [("AssetViewDefinitionQuery", one), ("AssetOverviewMetadataEventsQuery", one), *_live(self._assets[:1]),
             ("AssetDefinitionCollisionQuery", {"assetKeys": self._assets[:1]})],
            1, 1,
        )  # fmt: skip
        for number in (1, 10):
            yield from self._twice(f"backfill dialog of {number} series", _dialog(self._assets[:number]), 2, 2)
        # It is there after the first requests; how many partitions of each are missing comes in while it is read.
        yield from self._twice(f"backfill dialog of {len(self._assets)} series", _dialog(self._assets), None, None)

    def statuses(self) -> Iterator[Measurement]:
        """The rows of the list that are in sight, and every series as by scrolling through it; and memory after it."""
        yield from self._twice(f"asset list, {_IN_SIGHT} rows in sight", _live(self._assets[-_IN_SIGHT:]), 10, 1)
        yield from self._twice(f"status of {len(self._assets)} series", _live(self._assets), 10, None)
        yield from self._twice("a series: partitions", [("PartitionHealthQuery", {"assetKey": self._assets[-1]})], 1, 1)
        for name, most in _MOST_MB.items():
            used = memory(name)
            yield Measurement(f"memory of the {name}{self._when}", used, "MB", f"<= {most}", used <= most)

    def run(self, run_id: str) -> Iterator[Measurement]:
        """A run's page with the first of its log."""
        names = ("RunRootQuery", "RunAssetChecksQuery", "RunGroupPanelQuery", "RunStepStatsQuery")
        queries: list[Query] = [(name, {"runId": run_id}) for name in names]
        yield from self._twice("a run", [*queries, ("RunLogsQuery", {"runId": run_id, "limit": 1000})], None, None)

    def _twice(self, name: str, queries: Sequence[Query], *most: float | None) -> Iterator[Measurement]:
        for which, seconds in zip(("first", "again"), most, strict=True):
            began, before = time.perf_counter(), cpu_of("webserver")
            with ThreadPoolExecutor(_AT_ONCE) as threads:
                size = sum(threads.map(self._ask, queries))
            wall, cpu = time.perf_counter() - began, cpu_of("webserver") - before
            yield Measurement(
                f"{name}, {which}{self._when}", wall, "s", "" if seconds is None else f"<= {seconds:g}",
                None if seconds is None else wall <= seconds,
                f"{cpu:.2f} s of CPU, {len(queries)} requests, {size / 1000:,.0f} kB",
            )  # fmt: skip

    def _ask(self, query: Query) -> int:
        name, variables = query
        return len(str(self._stack.client.graphql(read_document(name), **variables)))


def _live(assets: Sequence[dict[str, Any]]) -> list[Query]:
    parts = [assets[start : start + _TOGETHER] for start in range(0, len(assets), _TOGETHER)]
    return [(name, {"assetKeys": part}) for part in parts for name in _LIVE]


def _dialog(assets: Sequence[dict[str, Any]]) -> list[Query]:
    return [
        ("LaunchAssetLoaderQuery", {"assetKeys": assets}),
        ("LaunchAssetLoaderResourceQuery", _JOB),
        ("LaunchAssetWarningsQuery", {"upstreamAssetKeys": []}),
        ("LaunchpadRootQuery", {**_JOB, "assetSelection": assets}),
        ("RunningBackfillsNoticeQuery", {}),
        ("AssetsPermissionsQuery", {"assetKeys": assets}),
        *(("PartitionHealthQuery", {"assetKey": asset}) for asset in assets),
    ]


def _fail(stack: Stack, folder: Path, keys: Sequence[Sequence[str]], day: str) -> str:
    """A run of one day of all series that ends as failed, as one of them has no file."""
    file = folder / "files" / f"{keys[-1][-1]}.csv"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace(f"{day},10,11", f"{day},10,1"), encoding="utf-8")
    run = _launch(stack.client, keys, day, day)
    if _wait_for(stack, [run], _ENDED) != ["FAILURE"]:
        raise RuntimeError("a run with a day that was refused did not fail")
    file.write_text(text, encoding="utf-8")
    return run


def _launch(client: DagsterClient, keys: Sequence[Sequence[str]], first: str, last: str) -> str:
    """One run over a range of days, as the page launches it where there is no other choice."""
    tags = [("dagster/asset_partition_range_start", first), ("dagster/asset_partition_range_end", last)]
    assets = [{"path": list(key)} for key in keys]
    answer = client.graphql(
        "mutation($p: ExecutionParams!) { launchRun(executionParams: $p) { __typename"
        " ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }",
        p={
            "selector": {**_JOB, "assetSelection": assets, "assetCheckSelection": []}, "runConfigData": {}, "mode": "default",
            "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in tags]},
        },
    )["launchRun"]  # fmt: skip
    if answer["__typename"] != "LaunchRunSuccess":
        raise RuntimeError(f"Dagster launched no run: {answer}")
    return str(answer["run"]["runId"])


def _wait_for(stack: Stack, runs: Sequence[str], states: set[str]) -> list[str]:
    document = "query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"

    def look() -> list[str]:
        return [stack.graphql(document, id=run)["runOrError"]["status"] for run in runs]

    def done(seen: list[str]) -> bool:
        return all(status in states | _ENDED for status in seen)

    return stack.client.wait(look, done, "runs", timeout=1800, alive=stack.check)
