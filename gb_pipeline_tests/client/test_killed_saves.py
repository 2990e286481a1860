"""A server that is killed while runs are sent to it: what it has confirmed is there, once, and the same again is `unchanged`."""

from __future__ import annotations

from http.client import HTTPException
from pathlib import Path

import pytest

from gb_pipeline import Lake
from gb_pipeline.client import RemoteLake, RemoteResults
from gb_pipeline.research.results import Results, SaveOutcome
from gb_pipeline.research.results.prepared import prepare
from gb_pipeline.research.results.sending import MEDIA_TYPE, encode_runs
from gb_pipeline_tests.research.results.killed import DAY, make
from gb_pipeline_tests.research.results.test_spooled import check
from gb_pipeline_tests.serving import Server, make_token, start_server

# Between the commits of the tables, and, after the next server has done that again, before the journal of what it committed goes.
POINTS = ("part_committed:1", "rows_committed:2")


def send_until_killed(server: Server, token: str, first: int, again: set[int]) -> set[int]:
    """The numbers of the runs that the server confirmed; after each second one somebody asks, so that both are committed."""
    confirmed = set()
    with RemoteLake(server.url, token, timeout=60) as lake:
        reports = RemoteResults(lake).save_many(make(number) for number in sorted(again))
        assert {report.outcome for report in reports} <= {SaveOutcome.UNCHANGED}
        for number in range(first, first + 20):
            [body] = encode_runs([(make(number), prepare(make(number), DAY))])
            try:
                answer = lake.transport.once("POST", "/runs/save", body, {"content-type": MEDIA_TYPE})
                confirmed |= {number for told in answer.json()["runs"] if told["outcome"] == "saved"}
                if number % 2:
                    lake.transport.once("POST", "/strategies", b"{}", {"content-type": "application/json"})
            except (OSError, HTTPException):
                break
    assert server.process.wait(60) == -9, server.log.read_text(encoding="utf-8")
    assert confirmed, "it was killed while runs were sent"
    return confirmed


def test_a_kill_of_the_server_loses_and_doubles_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "data"
    Lake.open(root, create=True)
    token = make_token(root)
    confirmed: set[int] = set()
    for turn, point in enumerate(POINTS):
        monkeypatch.setenv("GB_FAULT_POINT", point)
        confirmed |= send_until_killed(start_server(root, tmp_path), token, 100 * turn, confirmed)
    monkeypatch.delenv("GB_FAULT_POINT")
    results = Results.open(root)
    # What the last one has left is committed by whoever writes next.
    with results.spooled():
        check(results, confirmed)
    reports = results.save_many(make(number) for number in sorted(confirmed))
    assert {report.outcome for report in reports} == {SaveOutcome.UNCHANGED}
    assert not results.has_spools()
