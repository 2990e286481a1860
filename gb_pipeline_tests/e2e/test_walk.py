"""What an operator does on Dagster's page, by clicks: backfill, watch, find out why a day is red, repair it.

With `GB_UPDATE_GUIDES=1` the pictures of the guides are taken anew, on the way.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from gb_pipeline.dagster_runtime.instance import Stack
from gb_pipeline.simulation import Simulation
from gb_pipeline_tests.browser import Page

IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
LARGEST = 100_000
DIALOG = "[role=dialog]"
TABS = "[role=tablist]"
RED = "2024-01-05"
RESTATED = "2024-01-04"
RUNS = "{ runsOrError { ... on Runs { results { status assetSelection { path } } } } }"


@pytest.fixture(scope="module")
def exchange() -> Iterator[Simulation]:
    with Simulation(symbols=["BTC-USDT", "ETH-USDT", "BTC-USD"]) as simulation:
        for minute in range(20):
            start = f"{RED}T10:{minute:02d}:00Z"
            simulation.plant("bad", "ETH-USDT", start=start, values={"high": "1.00"})
        yield simulation


@pytest.fixture(scope="module")
def dagster(exchange: Simulation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("walk")
    source = f"""
      provider: ccxt
      asset_class: crypto
      rate_limit: {{calls: 1000}}
      options: {{base_url: "{exchange.url}", exchange: """
    text = f"""
    lake: data
    sources:
     binance: {source}binance}}
      start: 2024-01-01
      end: 2024-01-11
      symbols: [BTC-USDT, ETH-USDT]
     coinbase: {source}coinbase}}
      start: 2014-01-01
      end: 2024-01-01
      resolutions: [1d]
      symbols: [BTC-USD]
    """
    (folder / "gb.yaml").write_text(yaml.safe_dump(yaml.safe_load(text)), encoding="utf-8")
    with Stack(folder) as stack:
        # Stored already when somebody looks at it.
        stack.client.launch_backfill([["binance", "bars_1m", "BTC-USDT"]], [f"2024-01-0{day}" for day in range(1, 7)])
        yield stack


async def take(page: Page, name: str, folder: Path, size: tuple[int, int] = (1280, 800)) -> None:
    """A picture for a guide, cut to what is of interest: into the repository where that is asked for, with few colours."""
    from PIL import Image

    file = folder / f"{name}.png"
    await page.picture(file)
    if os.environ.get("GB_UPDATE_GUIDES") == "1":
        with Image.open(file) as picture:
            picture.convert("RGB").crop((0, 0, *size)).quantize(96).save(IMAGES / file.name, optimize=True)
        assert (IMAGES / file.name).stat().st_size < LARGEST


async def test_a_backfill_its_red_day_the_reason_and_the_repair(dagster, exchange, browser, tmp_path):
    async with browser() as page:
        await page.open(dagster.url, 1280, 800)
        await page.press("Catalog", "binance / bars_1m / ETH-USDT", "10 partitions")
        await take(page, "catalog", tmp_path)
        await page.press("binance / bars_1m / ETH-USDT", "Materialize…", "Description")
        await page.press("Partitions", "Missing (10)", within=TABS)

        await page.press("Materialize…", "Partition selection", "Launch backfill")
        await page.press("All", "10 partitions", within=DIALOG)
        await page.press("Launch backfill", "Created backfill")
        await page.press("View", "Partitions targeted", "ETH-USDT")
        await page.text_with("100% completed", seconds=120)
        await take(page, "backfill", tmp_path, (1280, 320))

        await page.press("binance / bars_1m / ETH-USDT", "Latest materialization")
        await page.press("Partitions", "Failed (1)", "Materialized (9)", within=TABS)
        why = await page.press(
            RED, "did not materialize this asset", f"ETH-USDT {RED} is not stored", "20 of 1,440 rows are bad"
        )
        await take(page, "red-day", tmp_path)
        # All of it can be read, although a table below it is wider than the window.
        edges = "[...document.querySelectorAll('td span')].filter(one => one.innerText.includes('is not stored'))"
        edge = await page.evaluate(f"Math.max(...{edges}.map(one => one.getBoundingClientRect().right))")
        assert 600 < edge <= 1280
        sentence = next(line.strip() for line in why.splitlines() if f"ETH-USDT {RED} is not stored" in line)
        await page.press("View logs", "1 of 10 partitions are not stored", sentence)
        await page.press("Done", within=DIALOG)
        await page.press("Overview", "1 failed", sentence, within=TABS)
        await take(page, "red-series", tmp_path, (960, 400))

        # The vendor corrects its data; the red day is asked for again.
        exchange.reset()
        await page.open(f"{dagster.url}/assets/binance/bars_1m/ETH-USDT?view=partitions", 1280, 800)
        await page.press("Materialize…", "Launch backfill")
        await page.press("Failed", "1 partition", within=DIALOG)
        await page.press("Launch 1 run", within=DIALOG)
        await page.text_with("Failed (0)", "Materialized (10)", seconds=120)
        green = await page.press(RED, "1,440 of 1,440 bars")
        await take(page, "repaired-day", tmp_path)

    assert "did not materialize" not in green


async def test_ten_years_of_days_in_few_runs(dagster, browser, tmp_path):
    async with browser() as page:
        await page.open(f"{dagster.url}/assets/coinbase/bars_1d/BTC-USD?view=partitions", 1280, 800)
        await page.press("Materialize…", "Launch backfill")
        await page.press("All", "120 partitions", "maximum of 100 partitions per run", within=DIALOG)
        await take(page, "ten-years-dialog", tmp_path)
        await page.press("Launch backfill", "Created backfill")
        await page.text_with("Failed (0)", "Materialized (120)", seconds=120)
        await take(page, "ten-years", tmp_path)

    runs = [run for run in dagster.client.graphql(RUNS)["runsOrError"]["results"] if "coinbase" in str(run)]
    assert [run["status"] for run in runs] == ["SUCCESS", "SUCCESS"]


async def test_a_day_says_how_many_bars_the_vendor_restated(dagster, exchange, browser, tmp_path):
    async with browser() as page:
        await page.open(f"{dagster.url}/assets/binance/bars_1m/BTC-USDT?view=partitions", 1280, 800)
        await page.text_with("Materialized (6)", seconds=120)
        exchange.plant("restatement", "BTC-USDT", start=f"{RESTATED}T12:00:00Z", values={"volume": "12.34500"})
        await page.press("Materialize…", "Launch backfill")
        await page.press("All", "10 partitions", within=DIALOG)
        await page.press("Launch backfill", "Created backfill")
        await page.text_with("Failed (0)", "Materialized (10)", seconds=120)
        day = await page.press(RESTATED, "1,440 of 1,440 bars", "restated")
        await take(page, "restated-day", tmp_path)

    assert re.search(r"\brestated\s+1\b", day), day
