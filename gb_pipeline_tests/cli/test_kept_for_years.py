"""What a user relies on for years, through the real commands: pins that replay, lakes that are rebuilt; in folders and buckets."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from gb_pipeline.lake.store import LakeStore
from gb_pipeline.reading.lake import Lake
from gb_pipeline.simulation import Simulation
from gb_pipeline_tests.cli.console import PROJECT, Gb
from gb_pipeline_tests.cli.test_backup import reach
from gb_pipeline_tests.s3.store import Store, running_store


@pytest.fixture(scope="module")
def server() -> Iterator[Store]:
    with running_store() as store:
        yield store


@pytest.fixture
def vendor(gb: Gb, monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulation]:
    """An exchange of this test alone."""
    with Simulation(symbols=["BTC-USDT"]) as simulation:
        monkeypatch.setenv("GB_SIM_URL", simulation.url)
        yield simulation


@pytest.fixture(params=["folder", "bucket"])
def project(
    request: pytest.FixtureRequest, server: Store, vendor: Simulation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A project, the working directory; its lake lies in a folder or in a bucket."""
    reach(monkeypatch.setenv, server)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "machine"))
    lake = "data" if request.param == "folder" else str(server.bucket())
    text = PROJECT.replace("lake: data", f"lake: {lake}").replace(", ETH-USDT", "").replace("[1m, 1h]", "[1m]")
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "gb.yaml").write_text(text, encoding="utf-8")
    monkeypatch.chdir(folder)
    return folder


def lake_of(project: Path) -> str:
    return (project / "gb.yaml").read_text(encoding="utf-8").split("lake: ")[1].split("\n")[0]


def other(project: Path, server: Store) -> str:
    return str(project / "other") if lake_of(project) == "data" else str(server.bucket())


def backtest(bars: pl.DataFrame) -> tuple[int, float]:
    """Long while the fast average lies above the slow one: how often it trades, and what it earns."""
    close = pl.col("close").cast(pl.Float64)
    steps = bars.sort("timestamp").select(
        long=(close.rolling_mean(10) > close.rolling_mean(60)).shift(1).fill_null(False), growth=close / close.shift(1)
    )
    earned = steps.select(pl.when("long").then("growth").otherwise(1.0).fill_null(1.0).product()).item()
    return int(steps["long"].cast(pl.Int8).diff().abs().sum()), earned


def test_a_pinned_backtest_gives_the_same_numbers_whatever_happens_to_the_lake(
    gb: Gb, project: Path, server: Store, vendor: Simulation, tmp_path: Path
) -> None:
    dates = ("sim", "--start", "2024-01-02", "--end", "2024-01-04")
    assert gb("fetch", *dates).code == 0
    assert gb("pin", "paper", "sim", "-r", "1m").code == 0
    numbers = backtest(Lake.open(lake_of(project)).replay("paper").bars("BTC-USDT", "1m"))
    assert numbers[0] > 10

    prices = dict.fromkeys(("open", "high", "low", "close"), "30000.00")
    for minute in range(40):
        vendor.plant("restatement", "BTC-USDT", start=f"2024-01-02T10:{minute:02}Z", values=prices)
    told = gb("fetch", *dates, "--again")
    assert told.code == 0, told.err
    assert gb("fetch", "sim", "--start", "2024-01-04", "--end", "2024-01-06").code == 0
    assert len(gb("restatements", "--json").json) > 0
    now = Lake.open(lake_of(project)).bars("BTC-USDT", "1m", "2024-01-02", "2024-01-04")
    assert backtest(now) != numbers
    steps: list[tuple[str, ...]] = [("compact", "--all"), ("vacuum", "--retention", "1h", "--delete"), ("verify",)]
    for step in steps:
        assert gb(*step).code == 0
    # As if the retention had passed, which no command waits for.
    store = LakeStore.at(lake_of(project))
    assert sum(report.files for report in store.vacuum(dry_run=False, now=store.clock() + timedelta(days=30))) > 0
    copy, place = other(project, server), str(tmp_path / "restored")
    assert gb("backup", copy).code == 0
    assert gb("restore", copy, "--lake", place).code == 0
    for lake in (lake_of(project), copy, place):
        told = gb("pins", "--verify", "--json", "--lake", lake)
        assert (told.code, [row["holds"] for row in told.json]) == (0, [True])
        assert backtest(Lake.open(lake).replay("paper").bars("BTC-USDT", "1m")) == numbers


def test_a_catalog_and_a_state_that_are_destroyed_are_made_again_and_nothing_is_asked_twice(
    gb: Gb, project: Path, server: Store, vendor: Simulation, tmp_path: Path
) -> None:
    dates = ("sim", "--start", "2024-01-02", "--end", "2024-01-04")
    assert gb("fetch", *dates).code == 0
    whole = gb("fingerprint", "--json").json["fingerprint"]
    copy, place = other(project, server), str(tmp_path / "restored")
    assert gb("backup", copy).code == 0

    def destroy() -> None:
        files = LakeStore.at(lake_of(project)).storage.files
        files.delete("catalog.duckdb")
        shutil.rmtree(project / "data" / "state", ignore_errors=True)
        shutil.rmtree(tmp_path / "machine", ignore_errors=True)

    destroy()
    assert gb("status", "--json").json[0]["actual"] == 2880
    destroy()
    assert gb("sql", "select count(*) as bars from bars_1m", "--json").json == [{"bars": 2880}]
    destroy()
    vendor.requests.clear()
    assert gb("fetch", *dates).code == 0
    assert not vendor.requests
    assert gb("fingerprint", "--json").json["fingerprint"] == whole
    # The same after a restore, which brings neither along.
    assert gb("restore", copy, "--lake", place).code == 0
    text = (project / "gb.yaml").read_text(encoding="utf-8")
    (project / "gb.yaml").write_text(text.replace(f"lake: {lake_of(project)}", f"lake: {place}"), encoding="utf-8")
    assert gb("fetch", *dates).code == 0
    assert not vendor.requests
    assert gb("fetch", "sim", "--start", "2024-01-02", "--end", "2024-01-05").code == 0
    assert gb("status", "--json").json[0]["actual"] == 3 * 1440
    assert gb("verify").code == 0
