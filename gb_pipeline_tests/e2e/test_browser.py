"""The pages that a user looks at, in a real browser."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

BAD = ("SOL-USDT", "2024-01-12")
README_IMAGE = Path(__file__).resolve().parents[2] / "docs" / "images" / "dagster.png"


@pytest.fixture(scope="session")
def screenshots(tmp_path_factory) -> Path:
    """Where pictures go: `GB_SCREENSHOTS`, else a temporary folder; never into the repository."""
    folder = Path(os.environ.get("GB_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


async def test_the_asset_graph_shows_every_series(settled, browser, screenshots):
    async with browser() as page:
        await page.open(f"{settled.stack.url}/asset-groups")
        text = await page.text_with("sim_bars_1m", "stocks_bars_1h", "lake", without="fetching statuses")
        await page.picture(screenshots / "asset-graph.png")

    assert "failed to load" not in text.lower()


async def test_a_series_page_shows_its_days(settled, browser, screenshots):
    async with browser() as page:
        await page.open(f"{settled.stack.url}/assets/sim/bars_1m/SOL-USDT?view=partitions&partition=2024-01-30")
        text = await page.text_with("fingerprint", "first_bar", "quarantined", "Materialized (29)", "Failed (1)")
        await page.picture(screenshots / "partitions.png")

    assert "1,440 of 1,440 bars" in text
    if os.environ.get("GB_UPDATE_README") == "1":
        README_IMAGE.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(screenshots / "partitions.png", README_IMAGE)


async def test_a_red_day_says_why_on_its_page_on_that_of_its_series_and_in_the_run(settled, browser, screenshots):
    series, why = (
        f"{settled.stack.url}/assets/sim/bars_1m/{BAD[0]}",
        f"{BAD[0]} {BAD[1]} is not stored: 20 of 1,440 rows are bad",
    )
    async with browser() as page:
        await page.open(f"{series}?view=partitions&partition={BAD[1]}")
        day = await page.text_with(
            "failed, and did not materialize this asset", why, "To do: `gb quarantine list", "worst_rows"
        )
        await page.picture(screenshots / "red-day.png")
        await page.open(f"{series}?view=overview")
        # The newest event is of a good day; that a day of the series failed is said beside it.
        await page.text_with("Latest materialization", "1 failed", why)
        await page.picture(screenshots / "red-series.png")
        await page.click("1 failed", until="input[placeholder^='Filter by name']")
        await page.text_with("1 Partitions Selected", BAD[1])
        await page.open(f"{settled.stack.url}/runs/{_failed_run(settled)}")
        await page.text_with("1 of 90 partitions are not stored", why)
        await page.picture(screenshots / "red-run.png")

    assert "No metadata entries" not in day


async def test_the_plots_of_a_source_that_ended_have_its_days(settled, browser, screenshots):
    async with browser() as page:
        await page.open(f"{settled.stack.url}/assets/sim/bars_1m/SOL-USDT?view=overview")
        await page.text_with("vendor_bytes", "Row count")
        await page.click("Plots", until="canvas")
        await page.text_with("quarantined", "vendor_bytes", "latency_ms")
        await page.picture(screenshots / "plots.png")


async def test_a_backtest_shows_its_equity(settled, browser, screenshots):
    async with browser() as page:
        await page.open(f"{settled.stack.url}/assets/sim/moving_average/BTC-USDT?view=partitions&partition=2024-01-30")
        await page.text_with("equity", "return_percent", "trades")
        await page.click("[Show Markdown]", until="img[src^='data:image/png']")
        assert await page.evaluate("document.querySelector(\"img[src^='data:image/png']\").naturalWidth") == 512
        await page.picture(screenshots / "equity.png")


async def test_the_check_of_a_dataset_has_words_and_a_table_of_the_worst(settled, browser, screenshots):
    async with browser() as page:
        await page.open(f"{settled.stack.url}/assets/sim/bars_1m?view=checks")
        await page.text_with("valid_and_complete", "unexplained", "every bar that the calendar expects")
        await page.picture(screenshots / "checks.png")


def _failed_run(project) -> str:
    return next(run["runId"] for run in project.runs() if run["status"] == "FAILURE" and "doomed" not in str(run))
