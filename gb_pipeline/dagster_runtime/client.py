"""This module asks and commands a running Dagster as its own web page does: GraphQL documents, and the plain values that come back.

Starting Dagster is up to `instance`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from gb_pipeline.errors import GbError

T = TypeVar("T")

# The name of the one code location.
LOCATION = "gb_pipeline"
# How often a wait looks again.
POLL_SECONDS = 0.5
_UNFINISHED = {"REQUESTED", "CANCELING", "FAILING"}
_LAUNCH = """mutation($p: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $p) {
  __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message }
  ... on UnauthorizedError { message } ... on InvalidSubsetError { message } ... on PartitionKeysNotFoundError { message }
  ... on PartitionSetNotFoundError { message } ... on RunConflict { message } ... on PresetNotFoundError { message } } }"""
_LAUNCH_RUN = """mutation($p: ExecutionParams!) { launchRun(executionParams: $p) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } ... on UnauthorizedError { message }
  ... on InvalidSubsetError { message } ... on PipelineNotFoundError { message }
  ... on RunConfigValidationInvalid { errors { message } } } }"""
_RUN = "query($id: ID!) { runOrError(runId: $id) { __typename ... on Run { status } } }"
_UNFINISHED_RUN = {"QUEUED", "NOT_STARTED", "STARTING", "STARTED", "CANCELING"}
_BACKFILL = """query($id: String!) { partitionBackfillOrError(backfillId: $id) { __typename
  ... on BackfillNotFoundError { message } ... on PythonError { message }
  ... on PartitionBackfill { status error { message }
    runs(limit: 1000) { id runId status startTime endTime tags { key value } }
    assetBackfillData { assetBackfillStatuses { ... on AssetPartitionsStatusCounts {
      assetKey { path } numPartitionsTargeted numPartitionsInProgress numPartitionsMaterialized numPartitionsFailed } } }
  } } }"""
_STATS = """query($keys: [AssetKeyInput!]!) { assetNodes(assetKeys: $keys) { assetKey { path }
  partitionStats { numPartitions numMaterialized numFailed numMaterializing } } }"""
_STATUSES = """query($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { __typename ... on AssetNode {
  partitionKeys assetPartitionStatuses { ... on TimePartitionStatuses { ranges { startKey endKey status } } } } } }"""
_CHECKS = """query($key: AssetKeyInput!, $name: String!, $limit: Int!) {
  assetCheckExecutions(assetKey: $key, checkName: $name, limit: $limit) { partition status runId
  evaluation { success severity partition metadataEntries { label ... on IntMetadataEntry { intValue }
    ... on TextMetadataEntry { text } } } } }"""


class DagsterError(GbError):
    """Dagster refused what it was asked for, or did not get ready in time."""


class DagsterUnreachable(DagsterError):
    """Nobody answers at the address of the page; it may be about to be started again."""


@dataclass(frozen=True, slots=True)
class Backfill:
    """A backfill now.

    Attributes:
        id: Dagster's own.
        status: `COMPLETED_SUCCESS`, `COMPLETED_FAILED`, `REQUESTED`, ...
        targeted, materialized, failed, running: numbers of partitions over all assets.
        runs: its runs: `id`, `status`, `tags` as a dict.
        error: what the daemon stumbled over, if it did.
    """

    id: str
    status: str
    targeted: int
    materialized: int
    failed: int
    running: int
    runs: tuple[dict[str, Any], ...]
    error: str

    @property
    def finished(self) -> bool:
        """Whether nothing more will happen."""
        return self.status not in _UNFINISHED


class DagsterClient:
    """GraphQL of one webserver.

    Example:
        >>> DagsterClient("http://127.0.0.1:3000").graphql("{ version }")["version"]
        '1.13.27'
    """

    def __init__(self, url: str) -> None:
        """Nothing is sent yet."""
        import httpx

        self.url = url
        # Loopback: never through a proxy of the environment.
        self._http = httpx.Client(base_url=url, timeout=120, trust_env=False)

    def __enter__(self) -> DagsterClient:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def graphql(self, document: str, **variables: Any) -> dict[str, Any]:
        """The `data` of an answer.

        Raises:
            DagsterError: there was no answer, or it holds errors.
        """
        import httpx

        try:
            response = self._http.post("/graphql", json={"query": document, "variables": variables})
            answer = response.json()
        except (httpx.HTTPError, ValueError) as error:
            raise DagsterUnreachable(f"Dagster at {self.url} does not answer: {error}", fix="see its log") from error
        if answer.get("errors"):
            raise DagsterError(f"Dagster refused a query: {answer['errors'][0].get('message')}")
        return dict(answer["data"])

    def launch_backfill(self, assets: Iterable[Sequence[str]], partitions: Sequence[str]) -> str:
        """Launch a backfill of some assets over some partitions, like the button on the page.

        Args:
            assets: paths of asset keys.
            partitions: keys.

        Returns:
            The backfill's id.

        Raises:
            DagsterError: Dagster refused it.
        """
        selection = [{"path": list(path)} for path in assets]
        data = self.graphql(_LAUNCH, p={"assetSelection": selection, "partitionNames": list(partitions)})
        answer = data["launchPartitionBackfill"]
        if answer["__typename"] != "LaunchBackfillSuccess":
            raise _refusal("backfill", answer)
        return str(answer["backfillId"])

    def launch_run(self, assets: Iterable[Sequence[str]], partition: str | None = None) -> str:
        """Launch one run of some assets, like the button on the page.

        Args:
            assets: paths of asset keys.
            partition: key, for assets that have partitions.

        Returns:
            The run's id.

        Raises:
            DagsterError: Dagster refused it.
        """
        selector = {
            "repositoryName": "__repository__",
            "repositoryLocationName": LOCATION,
            "pipelineName": "__ASSET_JOB",
            "assetSelection": [{"path": list(path)} for path in assets],
            "assetCheckSelection": [],
        }
        tags = [] if partition is None else [{"key": "dagster/partition", "value": partition}]
        parameters = {"selector": selector, "runConfigData": {}, "mode": "default", "executionMetadata": {"tags": tags}}
        answer = self.graphql(_LAUNCH_RUN, p=parameters)["launchRun"]
        if answer["__typename"] != "LaunchRunSuccess":
            raise _refusal("run", answer)
        return str(answer["run"]["runId"])

    def wait_runs(
        self,
        run_ids: Iterable[str],
        on_progress: Callable[[int], None] | None = None,
        *,
        timeout: float = 600.0,
        alive: Callable[[], None] | None = None,
    ) -> dict[str, str]:
        """Wait until some runs are finished, well or not; the status of each, such as `SUCCESS`.

        Args:
            run_ids: from `launch_run`.
            on_progress: called with the number of finished ones, with every look.
            timeout: seconds.
            alive: raises where waiting on is pointless.

        Raises:
            DagsterError: it took longer, or Dagster does not know one of them.
        """
        ids = list(run_ids)

        def look() -> dict[str, str]:
            nodes = {run_id: self.graphql(_RUN, id=run_id)["runOrError"] for run_id in ids}
            if unknown := [run_id for run_id, node in nodes.items() if node["__typename"] != "Run"]:
                raise DagsterError(f"Dagster has no run {unknown[0]}")
            return {run_id: str(node["status"]) for run_id, node in nodes.items()}

        def count(statuses: dict[str, str]) -> int:
            return sum(status not in _UNFINISHED_RUN for status in statuses.values())

        return self.wait(
            look,
            lambda statuses: count(statuses) == len(ids),
            f"{len(ids)} runs",
            timeout,
            None if on_progress is None else lambda statuses: on_progress(count(statuses)),
            alive,
        )

    def backfill(self, backfill_id: str) -> Backfill:
        """What a backfill has done so far."""
        node = self.graphql(_BACKFILL, id=backfill_id)["partitionBackfillOrError"]
        if node["__typename"] != "PartitionBackfill":
            raise DagsterError(f"Dagster has no backfill {backfill_id}: {node.get('message')}")
        counts = (node["assetBackfillData"] or {}).get("assetBackfillStatuses", [])

        def total(name: str) -> int:
            return sum(item.get(name, 0) for item in counts)

        return Backfill(
            id=backfill_id,
            status=node["status"],
            targeted=total("numPartitionsTargeted"),
            materialized=total("numPartitionsMaterialized"),
            failed=total("numPartitionsFailed"),
            running=total("numPartitionsInProgress"),
            runs=tuple(run | {"tags": {tag["key"]: tag["value"] for tag in run["tags"]}} for run in node["runs"]),
            error=(node["error"] or {}).get("message", ""),
        )

    def wait_backfill(
        self,
        backfill_id: str,
        on_progress: Callable[[Backfill], None] | None = None,
        *,
        timeout: float = 3600.0,
        alive: Callable[[], None] | None = None,
    ) -> Backfill:
        """Wait until a backfill is finished, well or not.

        Args:
            backfill_id: from `launch_backfill`.
            on_progress: called with every look, twice a second.
            timeout: seconds.
            alive: raises where waiting on is pointless.

        Raises:
            DagsterError: it took longer.
        """
        return self.wait(
            lambda: self.backfill(backfill_id),
            lambda now: now.finished,
            f"backfill {backfill_id}",
            timeout,
            on_progress,
            alive,
        )

    def wait(
        self,
        look: Callable[[], T],
        done: Callable[[T], bool],
        what: str,
        timeout: float = 120.0,
        on_progress: Callable[[T], None] | None = None,
        alive: Callable[[], None] | None = None,
    ) -> T:
        """Look until it is done, and return the last look; with `alive`, a page that does not answer is waited for.

        Raises:
            DagsterError: it took longer than `timeout` seconds.
        """
        until = time.monotonic() + timeout
        while True:
            if alive is not None:
                alive()
            seen: T | None = None
            try:
                seen = look()
                if on_progress is not None:
                    on_progress(seen)
                if done(seen):
                    return seen
            except DagsterUnreachable:
                # Who says that it is alive starts it again.
                if alive is None:
                    raise
            if time.monotonic() > until:
                raise DagsterError(f"{what} was not finished after {timeout:.0f} s: {seen}", fix="see Dagster's log")
            time.sleep(POLL_SECONDS)

    def partition_stats(self, assets: Iterable[Sequence[str]]) -> dict[str, dict[str, int]]:
        """Numbers of partitions per asset (`a/b/c`): `total`, `materialized`, `failed`, `running`."""
        nodes = self.graphql(_STATS, keys=[{"path": list(path)} for path in assets])["assetNodes"]
        names = {
            "total": "numPartitions", "materialized": "numMaterialized", "failed": "numFailed", "running": "numMaterializing",
        }  # fmt: skip
        return {
            "/".join(node["assetKey"]["path"]): {
                ours: (node["partitionStats"] or {}).get(theirs, 0) for ours, theirs in names.items()
            }
            for node in nodes
        }

    def partition_keys(self, asset: Sequence[str]) -> list[str]:
        """The partitions that an asset has, oldest first."""
        return list(self.graphql(_STATUSES, key={"path": list(asset)})["assetNodeOrError"]["partitionKeys"])

    def partition_statuses(self, asset: Sequence[str]) -> dict[str, str]:
        """Status of every partition that has one: `MATERIALIZED`, `FAILED` or `MATERIALIZING`."""
        node = self.graphql(_STATUSES, key={"path": list(asset)})["assetNodeOrError"]
        keys: list[str] = node["partitionKeys"]
        at = {key: i for i, key in enumerate(keys)}
        return {
            key: item["status"]
            for item in node["assetPartitionStatuses"]["ranges"]
            for key in keys[at[item["startKey"]] : at[item["endKey"]] + 1]
        }

    def check_results(self, asset: Sequence[str], check: str, limit: int = 1000) -> dict[str, dict[str, Any]]:
        """The result of a check of each run that evaluated it, newest first: `passed`, `severity`, `metadata`."""
        executions = self.graphql(_CHECKS, key={"path": list(asset)}, name=check, limit=limit)["assetCheckExecutions"]
        results: dict[str, dict[str, Any]] = {}
        for execution in executions:
            if (result := execution["evaluation"]) is not None:
                shown = {item["label"]: item.get("intValue", item.get("text")) for item in result["metadataEntries"]}
                found = {"passed": result["success"], "severity": result["severity"], "metadata": shown}
                results.setdefault(execution["runId"], found)
        return results


def _refusal(what: str, answer: dict[str, Any]) -> DagsterError:
    """Why Dagster launches none."""
    if answer["__typename"] == "UnauthorizedError":
        return DagsterError(f"Dagster refused the {what}: its page is read-only", fix="start it without --read-only")
    return DagsterError(f"Dagster refused the {what}: {answer.get('message') or answer['__typename']}")
