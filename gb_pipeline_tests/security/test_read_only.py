"""A page for those who only look: it shows everything, and whatever starts, stops or changes something is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import yaml

from gb_pipeline.dagster_runtime.client import DagsterError
from gb_pipeline.dagster_runtime.instance import Stack

pytestmark = pytest.mark.e2e

SERIES = ["mine", "bars_1m", "AAPL"]
# They note that a page was seen, and nothing else.
HARMLESS = {"logTelemetry", "setNuxSeen"}
# Of what exists, so that nothing is refused for want of its subject; everything else is called `nobody`.
KNOWN: dict[str, Any] = {
    "repositoryName": "__repository__",
    "repositoryLocationName": "gb_pipeline",
    "locationName": "gb_pipeline",
    "pipelineName": "__ASSET_JOB",
    "scheduleName": "vacuum_nightly",
    "sensorName": "compaction",
    "path": SERIES,
    "eventType": "ASSET_MATERIALIZATION",
    "partitionNames": ["2024-01-02"],
    "assetSelection": [{"path": SERIES}],
}
# What is done to several things answers for each of them.
SEVERAL = {
    "terminateRuns": "... on TerminateRunsResult { terminateRunResults { __typename } }",
    "launchMultipleRuns": "... on LaunchMultipleRunsResult { launchMultipleRunsResult { __typename } }",
}
# Dagster looks for the run, backfill, schedule or sensor first, and there is none.
UNKNOWN = {
    "cancelPartitionBackfill", "launchPipelineReexecution", "launchRunReexecution", "reexecutePartitionBackfill",
    "resumePartitionBackfill", "scheduleDryRun", "sensorDryRun", "stopRunningSchedule", "stopSensor",
}  # fmt: skip
_SCHEMA = """{ __schema { mutationType { fields { name type { ...type ofType { ...type } } args { ...input } } }
  types { name kind enumValues { name } inputFields { ...input } } } }
fragment input on __InputValue { name type { ...type ofType { ...type ofType { ...type ofType { ...type } } } } }
fragment type on __Type { name kind }"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("looked-at")
    source = {"provider": "csv", "options": {"files": "*.csv"}, "start": "2024-01-01", "symbols": ["AAPL"]}
    (folder / "gb.yaml").write_text(yaml.safe_dump({"sources": {"mine": source}}), encoding="utf-8")
    stack = Stack(folder, read_only=True)
    try:
        stack.start(daemon=False)
        yield stack
    finally:
        stack.stop()


class Mutations:
    """Everything that Dagster's API can be told to do, each with arguments that it takes."""

    def __init__(self, stack: Stack) -> None:
        schema = stack.graphql(_SCHEMA)["__schema"]
        self.types = {item["name"]: item for item in schema["types"]}
        self.fields = {item["name"]: item for item in schema["mutationType"]["fields"]}

    def document(self, name: str) -> tuple[str, dict[str, Any]]:
        """The text that tells it, and its variables."""
        wanted = {item["name"]: item["type"] for item in self.fields[name]["args"]}
        values = {key: self._value(key, kind) for key, kind in wanted.items() if self._is_needed(name, kind)}
        heads = ", ".join(f"${key}: {_spell(wanted[key])}" for key in values)
        passed = ", ".join(f"{key}: ${key}" for key in values)
        head, arguments = (f"({heads})", f"({passed})") if values else ("", "")
        plain = self.fields[name]["type"]["ofType"]["name"] == "Boolean"
        results = "" if plain else f"{{ __typename {SEVERAL.get(name, '')} }}"
        return f"mutation{head} {{ {name}{arguments} {results} }}", values

    def _is_needed(self, name: str, kind: dict[str, Any]) -> bool:
        # What is stopped is named by one of three ids, none of which is required.
        return kind["kind"] == "NON_NULL" or name in {"stopSensor", "stopRunningSchedule"}

    def _value(self, name: str, kind: dict[str, Any]) -> Any:
        if name in KNOWN:
            return KNOWN[name]
        while kind["kind"] == "NON_NULL":
            kind = kind["ofType"]
        if kind["kind"] == "LIST":
            return [self._value("", kind["ofType"])]
        declared = self.types[kind["name"]]
        if declared["kind"] == "INPUT_OBJECT":
            fields = {item["name"]: item["type"] for item in declared["inputFields"]}
            return {key: self._value(key, of) for key, of in fields.items() if of["kind"] == "NON_NULL" or key in KNOWN}
        if declared["kind"] == "ENUM":
            return declared["enumValues"][0]["name"]
        return {"Int": 9, "Float": 9.5, "Boolean": True, "RunConfigData": {}}.get(kind["name"], "nobody")


def _spell(kind: dict[str, Any]) -> str:
    if kind["kind"] == "NON_NULL":
        return f"{_spell(kind['ofType'])}!"
    return f"[{_spell(kind['ofType'])}]" if kind["kind"] == "LIST" else str(kind["name"])


def test_everything_is_shown(page: Stack) -> None:
    assert page.client.partition_keys(SERIES)[:2] == ["2024-01-01", "2024-01-02"]
    assert httpx.get(page.url, trust_env=False).status_code == 200


def test_nothing_can_be_started_stopped_or_changed(page: Stack) -> None:
    mutations = Mutations(page)
    answers = {}
    with httpx.Client(base_url=page.url, trust_env=False) as http:
        for name in sorted(set(mutations.fields) - HARMLESS):
            document, variables = mutations.document(name)
            answers[name] = http.post("/graphql", json={"query": document, "variables": variables}).text
    allowed = {name: text for name, text in answers.items() if "UnauthorizedError" not in text}
    assert len(answers) > 35
    assert set(allowed) <= UNKNOWN
    for name, text in allowed.items():
        assert '"PythonError"' in text or "NotFoundError" in text, f"{name}: {text}"


def test_a_backfill_is_refused_with_a_reason(page: Stack) -> None:
    with pytest.raises(DagsterError, match="refused the backfill: its page is read-only"):
        page.client.launch_backfill([SERIES], ["2024-01-02"])


@pytest.mark.parametrize("what", ["materialization", "observation", "check"])
def test_nothing_can_be_reported_past_the_api(page: Stack, what: str) -> None:
    body = {"partition": "2024-01-02", "check_name": "valid_and_complete", "passed": True}
    answer = httpx.post(f"{page.url}/report_asset_{what}/mine/bars_1m/AAPL", json=body, trust_env=False)
    assert answer.status_code == 401
