"""Who may come in, and what is told to whom may not: hosts, tokens, scopes, allowances, sizes, and the access log."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from gb_pipeline import Lake
from gb_pipeline.api.limits import RateLimits
from gb_pipeline.api.options import ServeOptions
from gb_pipeline.api.problems import hide_places
from gb_pipeline.api.serving import refuse_open_door
from gb_pipeline.api.tokens import TokenStore
from gb_pipeline.errors import ConfigError
from gb_pipeline_tests.api.conftest import Ask

SQL = {"query": "select 1 as one"}


def problem(response: Any, status: int, kind: str) -> dict[str, Any]:
    """A refusal as it has to be: two sentences, a status, a kind, and the id of the request."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    told: dict[str, Any] = response.json()
    assert (told["status"], told["kind"]) == (status, kind)
    assert told["detail"] and told["fix"] and told["request_id"] == response.headers["x-request-id"]
    return told


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost@evil.example:80", "", "[::1", "0"]
)
def test_another_host_is_refused_so_that_no_page_of_another_site_can_ask(ask: Ask, host: str) -> None:
    problem(ask().get("/v1/symbols", headers={"host": host}), 421, "WrongHost")


def test_own_names_and_allowed_ones_are_hosts(ask: Ask) -> None:
    for host in ("127.0.0.1:8321", "localhost", "[::1]:8321", "LOCALHOST:1"):
        assert ask().get("/v1/symbols", headers={"host": host}).status_code == 200
    assert ask(allowed_hosts=("lake.example",)).get("/v1/symbols", headers={"host": "lake.example"}).status_code == 200


def test_a_page_of_another_site_gets_no_leave(ask: Ask) -> None:
    asked = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    response = ask().options("/v1/sql", headers=asked)
    assert response.status_code == 405
    assert not [name for name in response.headers if name.startswith("access-control")]
    assert ask().get("/v1/symbols").headers["cross-origin-resource-policy"] == "same-origin"


def test_without_any_token_this_machine_reads_and_nobody_writes(ask: Ask) -> None:
    assert ask().get("/v1/symbols").status_code == 200
    assert ask().post("/v1/sql", json=SQL).status_code == 200
    problem(ask().post("/v1/uploads", json={}), 422, "InvalidRequest")
    problem(ask().get(f"/v1/uploads/{'0' * 32}"), 401, "TokenNeeded")
    problem(ask(require_token=True).get("/v1/symbols"), 401, "TokenNeeded")


def test_once_there_was_a_token_everybody_needs_one(ask: Ask, lake: Lake) -> None:
    tokens = TokenStore(lake.store.storage.state)
    token, text = tokens.create("one", ["read"])
    refused = problem(ask().get("/v1/symbols"), 401, "TokenNeeded")
    assert refused["request_id"]
    client = ask()
    assert client.get("/v1/symbols", headers={"authorization": f"Bearer {text}"}).status_code == 200
    tokens.revoke(token.id)
    problem(client.get("/v1/symbols", headers={"authorization": f"Bearer {text}"}), 401, "TokenRefused")
    problem(client.get("/v1/symbols"), 401, "TokenNeeded")
    assert client.get("/v1/health/live").json() == {"status": "ok"}
    assert client.get("/v1/health/ready").json() == {"status": "ok"}


@pytest.mark.parametrize(
    "sent", ["Basic abc", "Bearer", "Bearer gb_", "Bearer gb_x_y", "Bearer é".encode(), "Bearer a" + "a" * 4000]
)
def test_what_is_no_token_is_refused(ask: Ask, sent: str) -> None:
    problem(ask("read").get("/v1/symbols", headers={"authorization": sent}), 401, "TokenRefused")


@pytest.mark.parametrize(
    ("scope", "allowed"),
    [("read", {"read"}), ("write", {"write"}), ("sql", {"sql"}), ("admin", {"read", "write", "sql", "admin"})],
)
def test_a_token_does_what_its_scopes_say_and_nothing_else(ask: Ask, scope: str, allowed: set[str]) -> None:
    client = ask(scope)
    answers = {
        "read": client.get("/v1/symbols"),
        "sql": client.post("/v1/sql", json=SQL),
        "write": client.get(f"/v1/uploads/{'0' * 32}"),
        "admin": client.get("/v1/server"),
    }
    for needed, response in answers.items():
        if needed in allowed:
            assert response.status_code == (404 if needed == "write" else 200)
        else:
            problem(response, 403, "ScopeMissing")


def test_who_asks_too_often_waits(ask: Ask) -> None:
    client = ask("read", burst=2, requests_per_second=0.01)
    assert [client.get("/v1/symbols").status_code for _ in range(3)] == [200, 200, 429]
    refused = client.get("/v1/symbols")
    problem(refused, 429, "TooManyRequests")
    assert 1 <= int(refused.headers["retry-after"]) <= 101
    # An address has its own allowance, whatever tokens it has.
    other = ask(burst=2, requests_per_second=0.01, address_factor=1)
    codes = [other.get("/v1/symbols", headers={"authorization": f"Bearer gb_{n}_x"}).status_code for n in range(3)]
    assert codes == [401, 401, 429]


def test_allowances_come_back_with_time_and_are_forgotten_by_no_more_than_so_many_names() -> None:
    now = [0.0]
    limits = RateLimits(2.0, 2, lambda: now[0])
    assert [limits.take("a") for _ in range(3)] == [0.0, 0.0, 0.5]
    now[0] = 0.5
    assert limits.take("a") == 0.0 and limits.take("a") == 0.5
    for number in range(20_000):
        assert limits.take(str(number)) == 0.0
    assert len(limits._buckets) == 10_000


def test_a_body_that_is_too_large_is_refused_before_it_is_read(ask: Ask) -> None:
    client = ask("read", most_body_bytes=100)
    problem(client.post("/v1/bars", content=b"x" * 101), 413, "TooLarge")
    problem(client.post("/v1/bars", content=(b"x" * 60 for _ in range(2))), 413, "TooLarge")
    for length in ("-1", "9" * 19, "1e3", "٣"):
        problem(client.post("/v1/bars", headers={"content-length": length.encode()}), 413, "TooLarge")


def test_the_log_has_a_line_per_request_and_nothing_secret(
    ask: Ask, lake: Lake, caplog: pytest.LogCaptureFixture
) -> None:
    token, text = TokenStore(lake.store.storage.state).create("one", ["read"])
    with caplog.at_level(logging.INFO, "gb_pipeline.api.access"):
        client = ask()
        client.get("/v1/symbols?secret=s3cret", headers={"authorization": f"Bearer {text}", "x-request-id": "mine-1"})
        client.get("/v1/nothing%0A", headers={"authorization": "Bearer gb_1_s3cret", "x-request-id": "two words"})
    lines = [record.getMessage() for record in caplog.records if record.name == "gb_pipeline.api.access"]
    assert len(lines) == 2 and "s3cret" not in "".join(lines) and text not in "".join(lines)
    first, second = map(json.loads, lines)
    assert (first["request_id"], first["token"], first["path"], first["status"]) == (
        "mine-1",
        token.id,
        "/v1/symbols",
        422,
    )
    assert second["status"] == 401 and second["request_id"] != "two words"


def test_nobody_else_is_let_in_without_a_token(lake: Lake) -> None:
    tokens = TokenStore(lake.store.storage.state)
    refuse_open_door(ServeOptions(), tokens)
    for options in (
        ServeOptions(host="0.0.0.0"),
        ServeOptions(host="::"),
        ServeOptions(allowed_hosts=("lake.example",)),
    ):
        with pytest.raises(ConfigError, match="gb token create"):
            refuse_open_door(options, tokens)
    tokens.create("one", ["read"])
    refuse_open_door(ServeOptions(host="0.0.0.0"), tokens)


@pytest.mark.parametrize("wrong", [{"port": 65536}, {"port": -1}, {"burst": 0}, {"sql_seconds": -1.0}])
def test_limits_that_cannot_work_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        ServeOptions(**wrong)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("/srv/lake/bars_1m/part-1.parquet is damaged", "bars_1m/part-1.parquet is damaged"),
        ("open /home/me/.ssh/id_rsa: no", "open id_rsa: no"),
        ("use EUR/USD or 1/2", "use EUR/USD or 1/2"),
        ("https://user:pass@host/a?apikey=k failed", "https://host/a failed"),
        ("token=abc", "token=***"),
    ],
)
def test_messages_name_no_folder_of_the_machine_and_no_credential(text: str, told: str) -> None:
    assert hide_places(text, [Path("/srv/lake")]) == told


def test_a_bug_is_told_by_its_id_alone(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("/secret/place")

    monkeypatch.setattr("gb_pipeline.api.overview.read_completeness", broken)
    told = problem(ask().get("/v1/status"), 500, "InternalError")
    assert "secret" not in json.dumps(told) and told["request_id"] in told["fix"]
    assert "/secret/place" in caplog.text and told["request_id"] in caplog.text
