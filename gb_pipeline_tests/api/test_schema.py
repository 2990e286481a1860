"""The API keeps what its OpenAPI document says, whatever is asked: Schemathesis makes requests from it, wrong ones among them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings, strategies
from schemathesis import GenerationMode
from schemathesis.specs.openapi import checks

from gb_pipeline import Lake
from gb_pipeline.api.app import build_app
from gb_pipeline.api.options import ServeOptions
from gb_pipeline_tests.serving import make_token

_CHECKS = [
    checks.status_code_conformance, checks.content_type_conformance, checks.response_schema_conformance,
    checks.response_headers_conformance,
]  # fmt: skip

# Runs that are saved.
schemathesis.serializer.alias("application/vnd.apache.arrow.stream", "application/octet-stream")


@pytest.fixture(scope="module")
def root(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(made, tmp_path_factory.mktemp("schema") / "data"))


@pytest.fixture(scope="module")
def headers(root: Path) -> dict[str, str]:
    return {"Authorization": f"Bearer {make_token(root, 'admin')}"}


@pytest.fixture(scope="module")
def api(root: Path) -> Iterator[Any]:
    app = build_app(Lake.open(root), ServeOptions(burst=100_000, allowed_hosts=("testserver",), sql_seconds=2))
    content = Lake.open(root).fingerprint().whole
    yield schemathesis.openapi.from_asgi("/v1/openapi.json", app)
    assert Lake.open(root).fingerprint().whole == content, "nothing that was asked changed the lake"


def test_every_answer_is_one_that_the_document_names(api: Any, headers: dict[str, str]) -> None:
    operations = [found.ok() for found in api.get_all_operations()]
    assert len(operations) > 60
    by_path: dict[str, list[Any]] = {}
    for operation in operations:
        by_path.setdefault(operation.path, []).append(operation)
    for number, (path, verbs) in enumerate(by_path.items()):
        if {operation.method.upper() for operation in verbs} != {"GET", "POST"} or "uploads" in path:
            for operation in verbs:
                judge(operation, headers, GenerationMode.POSITIVE)
            continue
        # One model checks both verbs of a table: two tables of four are asked by each, one as the document allows, one as not.
        judge(verbs[number % 2], headers, list(GenerationMode)[number // 2 % 2])


def judge(operation: Any, headers: dict[str, str], mode: GenerationMode) -> None:
    """Some requests that the document allows, or some that it does not."""

    requests = operation.as_strategy(generation_mode=mode)

    @given(data=strategies.data())
    @settings(
        max_examples=2,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def ask(data: Any) -> None:
        case = data.draw(requests)
        response = case.call(headers=headers)
        case.validate_response(response, checks=_CHECKS)
        if response.status_code >= 400 and case.method != "HEAD":
            told = response.json()
            assert told["detail"] and told["request_id"] and told["status"] == response.status_code

    ask()


def test_the_document_says_how_to_come_in_and_has_examples(api: Any) -> None:
    document = api.raw_schema
    assert document["openapi"].startswith("3.1")
    assert [scheme["scheme"] for scheme in document["components"]["securitySchemes"].values()] == ["bearer"]
    asked = document["paths"]["/v1/bars"]["get"]
    assert asked["responses"]["200"]["content"]["application/json"]["example"]["rows"]
    assert asked["responses"]["404"]["content"]["application/problem+json"]["example"]["fix"]
    names = {item["name"]: item for item in asked["parameters"]}
    assert {"symbols", "resolution", "start", "end", "as_of", "adjustment", "resample", "format"} <= set(names)
