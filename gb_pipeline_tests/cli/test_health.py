"""`gb health`: each fault of a lake is found, and the command that is printed for it repairs it."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from gb_pipeline.config.settings import Settings
from gb_pipeline.dagster_runtime.home import ensure_home
from gb_pipeline.health.checkup import CHECKS
from gb_pipeline.ingest.bars import ingest
from gb_pipeline.ingest.job import Job
from gb_pipeline.lake.restore_test import record_restore, try_restore
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.orchestration.health.checks import DAGSTER_CHECKS
from gb_pipeline.simulation import Simulation
from gb_pipeline_tests.bars import changed, day, minutes
from gb_pipeline_tests.cli.console import Gb
from gb_pipeline_tests.cli.lakes import data, entries, flip

PROJECT = """
lake: data
health: {limits}
sources:
  sim:
    provider: ccxt
    options: {{exchange: binance, base_url: "{url}"}}
    asset_class: crypto
    start: 2024-01-01
    end: 2024-01-04
    symbols: [BTC-USDT, ETH-USDT]
    resolutions: [{resolution}]
    retries: 0
    {more}
"""
FETCHED = ("fetch", "sim")


@pytest.fixture(scope="module")
def vendor() -> Iterator[Simulation]:
    with Simulation(symbols=["BTC-USDT", "ETH-USDT"]) as simulation:
        yield simulation


Configure = Callable[..., Path]


@pytest.fixture
def configure(tmp_path: Path, vendor: Simulation, monkeypatch: pytest.MonkeyPatch) -> Configure:
    """Write gb.yaml into the working directory; printed commands are run as they are."""
    vendor.reset()
    monkeypatch.chdir(tmp_path)

    def write(limits: str = "{}", more: str = "", resolution: str = "1h") -> Path:
        text = PROJECT.format(url=vendor.url, limits=limits, more=more, resolution=resolution)
        (tmp_path / "gb.yaml").write_text(text, encoding="utf-8")
        return tmp_path

    write()
    return write


@pytest.fixture
def look(gb: Gb, configure: Configure) -> Callable[[str], dict[str, Any]]:
    """One check, as JSON."""

    def call(name: str) -> dict[str, Any]:
        [found] = gb("health", name, "--json").json
        return dict(found)

    return call


Look = Callable[[str], dict[str, Any]]


def repair(gb: Gb, found: dict[str, Any]) -> None:
    """Run the command that a check printed."""
    program, *arguments = shlex.split(found["repair"])
    assert program == "gb"
    assert gb(*arguments).code == 0, found["repair"]


def test_missing_sessions_are_fetched(gb: Gb, look: Look) -> None:
    found = look("missing_sessions")
    assert (found["state"], found["count"], found["counts"]) == ("fail", 6, {"series": 2, "series_behind": 2})
    assert found["sample"][0] == {
        "source": "sim", "resolution": "1h", "symbol": "BTC-USDT", "sessions": 3, "first": "2024-01-01", "last": "2024-01-03",
        "behind": True,
    }  # fmt: skip
    gb("fetch", "sim", "--start", "2024-01-03")
    found = look("missing_sessions")
    assert (found["state"], found["count"]) == ("warn", 4), "holes in the history are no series that is behind"
    repair(gb, found)
    assert look("missing_sessions")["state"] == "ok"


def test_failed_sessions_are_fetched_again(gb: Gb, look: Look, vendor: Simulation) -> None:
    fault = vendor.faults.add(match="symbol=ETHUSDT", status=404, times=-1)
    gb(*FETCHED)
    assert fault.hits
    found = look("failed_sessions")
    assert (found["state"], found["counts"]) == ("fail", {"failed": 3, "refused": 0})
    assert {row["symbol"] for row in found["sample"]} == {"ETH-USDT"}
    assert all("HTTP 404" in row["message"] for row in found["sample"])
    vendor.reset()
    repair(gb, found)
    assert look("failed_sessions")["state"] == "ok"


def test_refused_sessions_are_fetched_again(gb: Gb, look: Look, configure: Configure, vendor: Simulation) -> None:
    configure(more="max_bad_fraction: 0", resolution="1m")
    vendor.plant("bad", "BTC-USDT", start="2024-01-02T12:00Z", values={"high": "0.01"})
    gb(*FETCHED, "BTC-USDT", "--start", "2024-01-02", "--end", "2024-01-03")
    found = look("failed_sessions")
    assert (found["counts"], found["repair"]) == ({"failed": 0, "refused": 1}, "gb update sim")
    vendor.reset()
    repair(gb, found)
    assert look("failed_sessions")["state"] == "ok"


def test_open_gaps_are_fetched_again_or_explained(gb: Gb, look: Look, configure: Configure, vendor: Simulation) -> None:
    for symbol in ("BTC-USDT", "ETH-USDT"):
        vendor.plant("gap", symbol, start="2024-01-02T10:00Z", end="2024-01-02T13:00Z")
    gb(*FETCHED)
    found = look("open_gaps")
    assert (found["state"], found["count"], found["counts"]) == ("warn", 6, {"gaps": 2, "series": 2, "sessions": 2})
    folder = configure("{open_gap_days: 3650}")
    assert look("open_gaps")["state"] == "ok", "it is not that old"
    configure()
    (folder / "incidents.yaml").write_text(
        "- from: 2024-01-02T10:00Z\n  to: 2024-01-02T13:00Z\n  source: sim\n  symbols: [BTC-USDT]\n"
        "  kind: vendor_outage\n  reason: maintenance\n  evidence: its status page\n",
        encoding="utf-8",
    )
    found = look("open_gaps")
    assert (found["count"], found["counts"]["series"]) == (3, 1), "what an incident explains is no open gap"
    vendor.reset()
    repair(gb, found)
    assert look("open_gaps")["state"] == "ok"


def test_refused_rows_above_the_budget_wait_for_a_decision(
    gb: Gb, look: Look, configure: Configure, vendor: Simulation
) -> None:
    configure("{quarantine_budget: 0}", resolution="1m")
    vendor.plant("bad", "BTC-USDT", start="2024-01-02T12:00Z", values={"high": "0.01"})
    gb(*FETCHED, "BTC-USDT", "--start", "2024-01-02", "--end", "2024-01-03")
    found = look("quarantine")
    assert (found["state"], found["count"], found["sample"][0]["stored"]) == ("warn", 1, 1439)
    configure("{quarantine_budget: 0.001}", resolution="1m")
    assert look("quarantine")["state"] == "ok"
    configure("{quarantine_budget: 0}", resolution="1m")
    repair(gb, found)
    assert look("quarantine")["state"] == "ok"


def test_restatements_above_the_budget_are_listed_by_the_command(gb: Gb, look: Look, configure: Configure) -> None:
    assert look("restatements")["state"] == "skipped"
    folder = configure(more="restatement_budget: 0.005")
    store = LakeStore.at(folder / "data")
    frame = minutes("2024-01-02", 24, symbol="BTC-USDT", step=3600)
    for content in (frame, changed(frame, 7, close="107.5")):
        store.write_bars("sim", "BTC-USDT", "1h", day("2024-01-02"), content)
    found = look("restatements")
    assert (found["state"], found["count"], found["sample"][0]["restated"]) == ("fail", 1, 1)
    listed = gb(*shlex.split(found["repair"])[1:])
    assert (listed.code, "sim 1h: 4.167% of the bars of 2024-01 were restated" in listed.err) == (1, True)
    configure(more="restatement_budget: 0.05")
    assert look("restatements")["state"] == "ok"


def test_many_small_files_are_merged(gb: Gb, look: Look, configure: Configure) -> None:
    gb("fetch", "sim", "--start", "2024-01-03")
    gb(*FETCHED)
    assert look("small_files")["state"] == "ok"
    configure("{crowded_partitions: 0}")
    found = look("small_files")
    assert (found["state"], found["count"], found["counts"]["files"]) == ("warn", 3, 6)
    repair(gb, found)
    assert look("small_files")["state"] == "ok"


def test_a_lake_is_verified_as_a_whole_and_what_was_found_is_remembered(
    gb: Gb, look: Look, configure: Configure
) -> None:
    gb(*FETCHED)
    folder = configure()
    found = look("verification")
    assert (found["state"], found["repair"]) == ("warn", "gb verify")
    assert gb("verify", "sim:BTC-USDT").code == 0
    assert look("verification")["state"] == "warn", "a part of it is not the whole"
    repair(gb, found)
    assert look("verification")["state"] == "ok"

    flip(data(folder / "data", "bars_1h", "BTC-USDT")[0])
    assert gb("verify").code == 1
    found = look("verification")
    assert (found["state"], found["count"]) == ("fail", 1)
    assert found["sample"][0]["damage"].startswith("bars_1h: ")
    repair(gb, found)
    assert look("verification")["state"] == "ok"

    assert gb("backup", folder / "copy").code == 0
    assert gb("verify", "--lake", folder / "copy").code == 0
    shutil.rmtree(folder / "data")
    assert gb("restore", folder / "copy").code == 0
    assert look("verification")["finding"] == "the lake was never verified as a whole", (
        "a copy is not what was verified"
    )


def test_what_was_asked_for_too_often_is_asked_for_once_more(
    gb: Gb, look: Look, configure: Configure, vendor: Simulation
) -> None:
    configure()
    with Path("gb.yaml").open("a", encoding="utf-8") as file:
        file.write("\nhealing: {after: [1s]}\n")
    vendor.faults.add(match="symbol=ETHUSDT", status=404, times=-1)
    gb(*FETCHED)
    assert (look("given_up")["state"], look("given_up")["counts"]) == ("ok", {"open": 3, "given_up": 0})
    for number in range(2):
        # Under ids of their own, as runs of Dagster have them.
        settings = Settings.load()
        jobs = [Job(settings.source("sim").instruments[1], date(2024, 1, 1), date(2024, 1, 4))]
        ingest(LakeStore.at("data"), settings.source("sim"), Resolution.HOUR, jobs, run_id=str(number))
    found = look("given_up")
    assert (found["state"], found["count"], found["counts"]) == ("warn", 3, {"open": 3, "given_up": 3})
    vendor.reset()
    repair(gb, found)
    assert look("given_up")["state"] == "ok"


def test_a_backup_that_was_never_restored_is_told(gb: Gb, look: Look, configure: Configure) -> None:
    gb(*FETCHED)
    assert look("restore_test")["state"] == "skipped"
    with Path("gb.yaml").open("a", encoding="utf-8") as file:
        file.write("\nbackup: copy\n")
    assert look("restore_test")["state"] == "warn"
    assert gb("backup").code == 0
    store = LakeStore.at("data")
    record_restore(store.storage, try_restore(store, LakeStore.at("copy"), most_bytes=10**9, seed="1"))
    assert look("restore_test")["finding"].startswith("all series were restored from the backup, byte by byte")


def test_a_catalog_that_is_missing_or_old_is_made_again(gb: Gb, look: Look, configure: Configure) -> None:
    gb(*FETCHED)
    folder = configure()
    assert look("catalog")["state"] == "ok"
    (folder / "data" / "catalog.duckdb").unlink()
    found = look("catalog")
    assert found["state"] == "warn"
    repair(gb, found)
    assert look("catalog")["state"] == "ok"

    frame = minutes("2024-01-05", 24, symbol="BTC-USDT", step=3600)
    LakeStore.at(folder / "data").write_bars("mine", "BTC-USDT", "1h", day("2024-01-05"), frame)
    assert look("catalog")["finding"] == "the catalog is about to be refreshed"
    configure("{catalog_minutes: 0}")
    found = look("catalog")
    assert found["state"] == "warn"
    repair(gb, found)
    assert look("catalog")["state"] == "ok"


def test_a_table_whose_log_is_damaged_is_named_by_every_check_that_needs_it(
    gb: Gb, look: Look, configure: Configure
) -> None:
    gb(*FETCHED)
    folder = configure()
    entries(folder / "data", "sessions")[-1].write_bytes(b"{}")
    found = look("catalog")
    assert (found["state"], "table sessions" in found["finding"]) == ("fail", True)
    assert look("missing_sessions")["finding"].count("table sessions") == 1
    assert look("open_gaps")["state"] == "fail"
    repair(gb, found)
    assert {look(name)["state"] for name in ("catalog", "missing_sessions", "open_gaps")} == {"ok"}


def test_what_was_fetched_before_dagster_was_there_is_adopted(gb: Gb, look: Look, configure: Configure) -> None:
    gb(*FETCHED)
    assert look("dagster_equals_lake")["state"] == "skipped"
    ensure_home(configure())
    found = look("dagster_equals_lake")
    assert (found["state"], found["counts"]) == ("warn", {"shown_as_missing": 6, "green_and_not_stored": 0})
    repair(gb, found)
    assert look("dagster_equals_lake")["state"] == "ok"
    shutil.rmtree(configure() / "data")
    found = look("dagster_equals_lake")
    assert (found["state"], found["counts"]["green_and_not_stored"]) == ("fail", 6)
    repair(gb, found)
    assert look("dagster_equals_lake")["state"] == "ok"


def test_red_partitions_are_fetched_again_also_where_an_older_fetch_is_stored(
    gb: Gb, look: Look, configure: Configure, vendor: Simulation
) -> None:
    ensure_home(configure())
    vendor.faults.add(match="symbol=ETHUSDT", status=404, times=-1)
    gb(*FETCHED)
    found = look("failed_partitions")
    assert (found["state"], found["count"], found["counts"]["stored"]) == ("fail", 3, 0)
    vendor.reset()
    repair(gb, found)
    assert look("failed_partitions")["state"] == "ok"

    vendor.faults.add(match="symbol=ETHUSDT", status=404, times=-1)
    gb(*FETCHED, "ETH-USDT", "--again")
    found = look("failed_partitions")
    assert found["counts"]["stored"] == 3
    assert found["repair"] == "gb fetch sim ETH-USDT -r 1h --start 2024-01-01 --end 2024-01-04 --again"
    vendor.reset()
    repair(gb, found)
    assert look("failed_partitions")["state"] == "ok"


def test_a_history_of_dagster_that_cannot_be_read_is_a_failure_and_no_end(gb: Gb, configure: Configure) -> None:
    home = ensure_home(configure())
    (home / "history" / "runs" / "index.db").write_bytes(b"this is no database" * 1000)
    found = {item["check"]: item for item in gb("health", "--json").json}
    assert found["disk"]["state"] == "ok"
    for name in DAGSTER_CHECKS:
        assert (found[name]["state"], "gb adopt" in found[name]["advice"]) == ("fail", True)


def test_limits_of_the_machine_are_told(gb: Gb, look: Look, configure: Configure) -> None:
    assert look("disk")["state"] == "ok"
    configure("{disk_gb: 1e9}")
    found = look("disk")
    assert (found["state"], found["repair"]) == ("fail", "gb vacuum --delete")
    repair(gb, found)
    configure("{quota_left: 1}", "daily_quota: {calls: 10}")
    gb(*FETCHED)
    found = look("vendor_quota")
    assert (found["state"], found["count"]) == ("warn", 1)
    assert "of 10 calls left, until" in found["finding"] and "daily_quota" in found["advice"]
    configure("{quota_left: 0.1}", "daily_quota: {calls: 1000}")
    assert look("vendor_quota")["state"] == "ok"


def test_every_check_is_a_line_that_fits_a_terminal_and_ends_as_the_doctor_does(
    gb: Gb, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    told = gb("health")
    assert told.code == 1
    assert all(name in told.out for name in (*CHECKS, *DAGSTER_CHECKS))
    assert "1 failure in" in told.err
    gb(*FETCHED)
    told = gb("health")
    assert (told.code, "1 warning in" in told.err) == (0, True)
    gb("verify")
    assert "all is well" in gb("health").err
    assert "did you mean disk" in gb("health", "disc").err
    assert gb("health", "disc").code == 2


def test_a_project_without_sources_is_not_ill(gb: Gb, configure: Configure) -> None:
    (configure() / "gb.yaml").write_text("lake: data\nsources: {}\n", encoding="utf-8")
    told = gb("health", "--json")
    assert told.code == 0
    assert {item["state"] for item in told.json} <= {"ok", "skipped"}
