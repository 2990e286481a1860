"""New listings: a run asks the exchange, and the page shows their series without anybody starting anything again."""

from __future__ import annotations

from gb_pipeline.dagster_runtime.home import find_page
from gb_pipeline.dagster_runtime.instance import find_free_port
from gb_pipeline.dagster_runtime.reload import BY_HAND, request_reload

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


def test_whoever_changes_the_symbols_finds_the_running_page_and_has_it_reloaded(project, tmp_path):
    assert find_page(project.folder) == project.stack.url
    assert request_reload(project.stack.url) == "the definitions are loaded anew"

    assert find_page(tmp_path) is None
    nobody = request_reload(f"http://127.0.0.1:{find_free_port()}")
    assert "does not answer" in nobody and nobody.endswith(BY_HAND)
