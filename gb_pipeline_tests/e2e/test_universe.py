"""New listings: a run asks the exchange, and the page shows their series without anybody starting anything again."""

from __future__ import annotations

ASSETS = "{ assetNodes { assetKey { path } } }"


def series(project, source: str) -> set[str]:
    nodes = project.stack.graphql(ASSETS)["assetNodes"]
    paths = [node["assetKey"]["path"] for node in nodes]
    return {path[2] for path in paths if len(path) == 3 and path[:2] == [source, "bars_1d"]}


def test_symbols_that_joined_are_series_of_the_page_once_the_run_has_ended(project, first):
    """The run itself asks the page to load the definitions anew, and goes on to its end."""
    client = project.stack.client
    before = series(project, "listed")

    run = client.launch_run([["listed", "universe"]])
    statuses = client.wait_runs([run], timeout=120)

    assert before == set()
    assert statuses[run] == "SUCCESS"
    client.wait(
        lambda: series(project, "listed"), lambda found: found == {"BTC-USDT", "ETH-USDT"}, "the new series", 60
    )
