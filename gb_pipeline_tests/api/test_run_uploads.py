"""Runs that are saved over HTTP: who may, what is answered, what is refused, and how many commits it takes."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from starlette.testclient import TestClient

from gb_pipeline import Lake
from gb_pipeline.research.results import BacktestRun, Results
from gb_pipeline.research.results.prepared import prepare
from gb_pipeline.research.results.sending import MEDIA_TYPE, encode_runs
from gb_pipeline_tests.api.conftest import Ask
from gb_pipeline_tests.api.test_guard import problem
from gb_pipeline_tests.research.results.killed import make
from gb_pipeline_tests.research.results.runs import DAY, little, make_run

PATH = "/v1/runs/save"


def body(*runs: BacktestRun) -> bytes:
    [data] = encode_runs((run, prepare(run, DAY)) for run in runs)
    return data


def send(client: TestClient, data: bytes, media: str = MEDIA_TYPE) -> Any:
    return client.post(PATH, content=data, headers={"content-type": media})


def outcomes(response: Any) -> list[str]:
    assert response.status_code == 200, response.text
    return [told["outcome"] for told in response.json()["runs"]]


@pytest.fixture
def client(ask: Ask) -> Iterator[TestClient]:
    client = ask("write", "read", requests_per_second=1000.0, burst=1000)
    yield client
    client.app.state.runs.close()  # type: ignore[attr-defined]


def test_runs_are_saved_once_and_never_overwritten(client: TestClient, lake: Lake) -> None:
    run, other = make_run(), make_run("b")
    assert outcomes(send(client, body(run, other, run))) == ["saved", "saved", "unchanged"]
    changed = make_run(metrics={"sharpe": 2.0})
    response = send(client, body(changed, other, make_run("c")))
    assert outcomes(response) == ["refused", "unchanged", "saved"]
    told = response.json()["runs"][0]
    assert told == {"run": "momentum/1.0/a", "outcome": "refused", "digest": prepare(run, DAY).digest}
    client.app.state.runs.close()  # type: ignore[attr-defined]
    results = Results(lake)
    assert results.save_many([run, other, make_run("c")])[0].outcome == "unchanged"
    assert results.load_artifact("momentum/1.0/a", "report.html") == b"<p>fine</p>"
    problem(send(client, body(make_run("d"))), 503, "LakeError")


def test_whoever_asks_finds_what_was_confirmed(client: TestClient) -> None:
    for number in range(2):
        assert outcomes(send(client, body(make(number)))) == ["saved"]
        assert client.get("/v1/runs").json()["count"] == number + 1


def test_many_uploads_are_a_commit_per_table(client: TestClient, lake: Lake) -> None:
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda number: outcomes(send(client, body(make(number % 20)))), range(40)))
    assert sorted(answers) == [["saved"]] * 20 + [["unchanged"]] * 20
    assert client.get("/v1/runs").json()["count"] == 20
    versions = [lake.store.tables.newest(name).version for name in ("runs", "metrics", "equity")]
    # One, and one more for each five seconds that went by.
    assert max(versions) < 10


def test_who_may_not_write_saves_nothing(ask: Ask, lake: Lake) -> None:
    data = body(make(1))
    problem(send(ask("read", "sql"), data), 403, "ScopeMissing")
    problem(send(ask(), data), 401, "TokenNeeded")
    assert Results(lake).count() == 0 and not Results(lake).has_spools()


def test_what_is_too_large_or_no_stream_is_refused(ask: Ask, lake: Lake) -> None:
    client = ask("write", most_run_bytes=5_000, most_run_values=7, most_body_bytes=2_000)
    problem(send(client, body(make(1)), "application/json"), 415, "UnknownFormat")
    problem(send(client, b"PAR1"), 422, "FormatRefused")
    told = problem(send(client, body(little("s", "1", "a", artifacts={"a": bytes(5_000)}))), 413, "TooLarge")
    assert "fewer runs" in told["fix"]
    chunks = client.post(PATH, content=iter([bytes(3_000)] * 2), headers={"content-type": MEDIA_TYPE})
    problem(chunks, 413, "TooLarge")
    told = problem(send(client, body(make(1), make(2), make(3), make(4))), 422, "FormatRefused")
    assert "run 4 of the stream" in told["detail"] and "more than 1 values" in told["detail"]
    problem(send(client, body(little("s", "1", "a", parameters={"a": "x" * 2_100}))), 422, "FormatRefused")
    assert not Results(lake).has_spools()
    # One that is larger than other bodies may be is read alone.
    assert outcomes(send(client, body(little("s", "1", "a", artifacts={"a": bytes(2_500)})))) == ["saved"]
    client.app.state.runs.close()  # type: ignore[attr-defined]


def test_the_document_has_an_example(ask: Ask) -> None:
    told = ask("read").get("/v1/openapi.json").json()["paths"][PATH]["post"]
    assert MEDIA_TYPE in told["requestBody"]["content"]
    assert told["responses"]["200"]["content"]["application/json"]["example"]["runs"]
    assert {"413", "415", "422"} <= set(told["responses"])
