"""A backtest in a project of its own: its code location beside that of the lake, in one Dagster, downstream of its bars."""

from __future__ import annotations

import sys

import polars as pl
import pytest

from gb_pipeline.reading.lake import Lake
from gb_pipeline_tests.e2e.breakout import EXAMPLE

SYMBOLS = ["BTC-USDT", "ETH-USDT"]
KEYS = [["breakout", symbol] for symbol in SYMBOLS]
DAYS = [f"2024-01-{day:02d}" for day in range(1, 12)]
NEWEST = "2024-01-30"
NODES = """query($keys: [AssetKeyInput!]) { assetNodes(assetKeys: $keys) { assetKey { path }
  repository { location { name } } dependencyKeys { path } jobNames isExecutable } }"""
EVENTS = """query($key: AssetKeyInput!, $partitions: [String!]) { assetOrError(assetKey: $key) { ... on Asset {
  assetMaterializations(partitions: $partitions) { partition runId metadataEntries { label
    ... on FloatMetadataEntry { floatValue } ... on BoolMetadataEntry { boolValue }
    ... on IntMetadataEntry { intValue } ... on TextMetadataEntry { text } } } } } }"""


@pytest.fixture(scope="module")
def backfilled(settled):
    """A backfill of eleven days of both, as the page launches it."""
    client = settled.stack.client
    return settled.stack.wait_backfill(client.launch_backfill(KEYS, DAYS), timeout=180)


def test_the_graph_goes_from_one_location_into_the_other(settled):
    nodes = settled.stack.graphql(NODES, keys=[{"path": key} for key in [*KEYS, *settled.keys(SYMBOLS)]])["assetNodes"]
    made_by = {"/".join(node["assetKey"]["path"]): node["repository"]["location"]["name"] for node in nodes}
    upstream = {"/".join(node["assetKey"]["path"]): node["dependencyKeys"] for node in nodes}

    for symbol in SYMBOLS:
        assert made_by[f"breakout/{symbol}"] == "breakout"
        # What the other project names as an external asset is the one that is made here.
        assert made_by[f"sim/bars_1m/{symbol}"] != "breakout"
        assert upstream[f"breakout/{symbol}"] == [{"path": ["sim", "bars_1m", symbol]}]


def test_the_newest_session_follows_its_bars_without_being_asked(settled):
    client = settled.stack.client
    look = lambda: client.partition_statuses(KEYS[0]).get(NEWEST)  # noqa: E731
    client.wait(look, lambda status: status == "MATERIALIZED", "the newest backtest", 120, alive=settled.stack.check)

    for symbol in SYMBOLS:
        assert read(settled, symbol, [NEWEST]) == expected(settled, symbol, [NEWEST])


def test_a_backfill_is_one_run_of_both_and_its_numbers_are_those_of_the_lake(settled, backfilled):
    assert (backfilled.status, backfilled.materialized, backfilled.failed) == ("COMPLETED_SUCCESS", 22, 0)
    assert len(backfilled.runs) == 1

    for symbol in SYMBOLS:
        shown = read(settled, symbol, DAYS)
        assert shown.pop(DAYS[0])["status"].startswith("no session before it")
        assert shown == expected(settled, symbol, DAYS[1:])
        assert any(numbers["traded"] for numbers in shown.values())


def read(project, symbol: str, partitions: list[str]) -> dict[str, dict]:
    """What Dagster's page shows of some sessions."""
    key = {"path": ["breakout", symbol]}
    found = project.stack.graphql(EVENTS, key=key, partitions=partitions)["assetOrError"]["assetMaterializations"]
    return {
        event["partition"]: {
            entry["label"]: next(value for name, value in entry.items() if name != "label")
            for entry in event["metadataEntries"]
        }
        for event in reversed(found)
    }


def expected(project, symbol: str, partitions: list[str]) -> dict[str, dict]:
    """The same by the strategy alone, over all that is stored."""
    sys.path.insert(0, str(EXAMPLE))
    try:
        from breakout.strategy import backtest
    finally:
        sys.path.remove(str(EXAMPLE))
    bars = Lake.open(project.folder / "data").bars(symbol, "1m", source="sim", as_float=True)
    rows = backtest(bars).filter(pl.col("session").cast(pl.String).is_in(partitions)).to_dicts()
    return {
        str(row["session"]): {
            "traded": row["entry"] is not None,
            "level": row["level"],
            "earned_percent": pytest.approx(100 * row["earned"], abs=1e-4),
            "dagster/partition_row_count": row["bars"],
        }
        for row in rows
    }
