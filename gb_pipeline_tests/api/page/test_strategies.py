"""What the page is told of backtests: the same as `Results` says."""

from __future__ import annotations

import pytest

from gb_pipeline.research.results import Results

DATA = "/v1/page"


def ask(client, path: str, **query) -> dict:
    answer = client.get(f"{DATA}/{path}", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_strategies_and_versions_are_counted(client):
    assert [row[:3] for row in ask(client, "strategies", search="CROSS")["rows"]] == [["crossing", 3, 2]]
    assert ask(client, "strategies", search="other")["rows"] == []
    assert [row[:2] for row in ask(client, "versions", strategy="crossing")["rows"]] == [["2", 1], ["1", 2]]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, ["b", "b", "a"]), ({"metrics": "sharpe > 1"}, ["b", "b"]), ({"market": "XNYS"}, []),
        ({"metrics": "sharpe > 1; trades = 7", "parameters": "window = 11"}, ["b"]), ({"limit": "1", "offset": "2"}, ["a"]),
        ({"sort": "metrics.sharpe"}, ["a", "b", "b"]), ({"start": "2024-02-01T02:00:00Z"}, ["b"]),
    ],
)  # fmt: skip
def test_runs_are_found_by_conditions(client, query, found):
    answer = ask(client, "runs", **query)

    assert [row[2] for row in answer["rows"]] == found
    assert answer["total"] == (3 if "limit" in query else len(found))


def test_every_window_of_runs_has_the_columns_that_are_asked_for(client):
    first = ask(client, "runs", limit=1)
    beyond = ask(client, "runs", offset=100, show=first["show"])

    assert first["show"] == "sharpe,trades"
    assert beyond["columns"] == first["columns"] and beyond["rows"] == []


def test_a_run_is_told_whole(client, lake):
    found = ask(client, "run", run="crossing/2/b")
    equity = Results(lake).load_backtest_data("crossing/2/b").equity

    assert found["equity"][0]["value"] == equity["equity"].to_list()
    assert ["window", "12"] in found["parameters"] and ["sharpe", "2.5"] in found["metrics"]
    assert found["pins"]["rows"][0][:3] == ["crossing", "coinbase:BTC-USD", "1m"]
    assert [row[0] for row in found["artifacts"]["rows"]] == ["report.html"]
    assert found["dagster_run"] == "0123-4567"


def test_what_differs_between_two_runs_is_told_and_all_of_it_on_demand(client):
    found = ask(client, "comparison", left="crossing/1", right="crossing/2")

    assert [row[0] for row in found["parameters"]["rows"]] == ["window"]
    assert [row[0] for row in found["metrics"]["rows"]] == ["sharpe"]
    assert [row[3] for row in found["data"]["rows"]] == ["added"]
    assert (found["same"], [curve["name"] for curve in found["equity"]]) == (False, ["equity.left", "equity.right"])
    assert len(ask(client, "comparison", left="crossing/1", right="crossing/2", all=1)["metrics"]["rows"]) == 2
    assert ask(client, "comparison", left="crossing/1/a", right="crossing/1/a")["same"]


def test_metrics_of_runs_are_curves_against_a_time_of_them(client):
    found = ask(client, "curves", values="metrics.sharpe, metrics.trades,metrics.nope", metrics="sharpe > 1")

    assert [curve["name"] for curve in found["curves"]] == ["metrics.sharpe", "metrics.trades"]
    assert [curve["value"] for curve in found["curves"]] == [[1.5, 2.5], [7.0, 7.0]]
    assert [second - found["curves"][0]["time"][0] for second in found["curves"][0]["time"]] == [0, 3600]
    assert (found["runs"], found["read"], found["points"]) == (2, 2, 2)
    # All of them ended in the same second.
    ended = ask(client, "curves", values="metrics.sharpe", time="finished_at")
    assert (ended["read"], ended["points"]) == (3, 1)
    assert ask(client, "curves", values="metrics.nope")["points"] == 0


def test_how_a_query_is_answered_is_told(client):
    assert "metric sharpe > 1: 2 left" in ask(client, "plan", metrics="sharpe > 1")["plan"]


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("run", {"run": "crossing"}), ("run", {"run": "crossing/2/nope"}), ("run", {}), ("versions", {"strategy": "<b>"}),
        ("runs", {"metrics": "sharpe"}), ("runs", {"sort": "drop table"}),
        ("curves", {}), ("curves", {"values": "metrics.sharpe", "time": "soon"}),
        ("comparison", {"left": "crossing/1", "right": "x"}),
        ("runs", {"start": "soon"}), ("runs", {"state": "green"}),
    ],
)  # fmt: skip
def test_what_cannot_be_answered_says_what_to_do(client, path, query):
    answer = client.get(f"{DATA}/{path}", params=query)

    assert 400 <= answer.status_code < 504 and answer.status_code != 500, answer.text
    assert answer.json()["fix"]
