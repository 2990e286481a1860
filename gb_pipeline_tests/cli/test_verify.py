"""`gb verify`: every damage is named with what it concerns, and a repair brings back what can be had."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from gb_pipeline.lake import ledger
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.reading.lake import Lake
from gb_pipeline.simulation import Simulation
from gb_pipeline.storage import reading
from gb_pipeline.storage.commit import Draft, commit
from gb_pipeline_tests.cli.console import PROJECT, Gb
from gb_pipeline_tests.cli.lakes import data, entries, flip


@pytest.fixture(scope="module")
def fetched(tmp_path_factory: pytest.TempPathFactory, stored: Path) -> Path:
    """A copy of the stored project: three days of two symbols."""
    return Path(shutil.copytree(stored, tmp_path_factory.mktemp("verify") / "fetched"))


@pytest.fixture
def project(fetched: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(fetched, tmp_path / "project"))


def bars(project: Path) -> pl.DataFrame:
    columns = ["symbol", "timestamp", "open", "high", "low", "close", "volume", "trade_count", "vwap", "withdrawn"]
    return Lake.open(project / "data").bars(None, "1m", source="sim", columns=columns)


def damages(gb: Gb, project: Path, *more: str) -> list[dict[str, Any]]:
    told = gb("verify", *more, "--json", "-c", project)
    assert told.code == (0 if told.json["ok"] else 1)
    assert told.json["ok"] is (not told.json["damages"])
    found: list[dict[str, Any]] = told.json["damages"]
    return found


def test_a_whole_lake_is_as_it_was_written(gb: Gb, project: Path) -> None:
    told = gb("verify", "-c", project)
    assert (told.code, told.out) == (0, "")
    assert "6 sessions of bars compared with the ledger" in told.err
    assert "is as it was written" in told.err
    found = gb("verify", "--json", "-c", project).json
    stored = [
        path for table in ("bars_1m", "sessions", "fetches", "quarantine") for path in data(project / "data", table)
    ]
    assert found["files"] <= len(stored)
    assert found["bytes"] == sum(path.stat().st_size for path in stored)


@pytest.mark.parametrize("at", [0.05, 0.3, 0.6, 0.99])
def test_a_flipped_bit_is_named_with_file_series_and_sessions_and_repaired(gb: Gb, project: Path, at: float) -> None:
    before = bars(project)
    path = data(project / "data", "bars_1m", "ETH-USDT")[0]
    flip(path, at)

    [found] = damages(gb, project)

    assert found["table"] == "bars_1m"
    assert found["file"].endswith(path.name)
    assert (found["source"], found["symbols"], found["resolution"]) == ("sim", ["ETH-USDT"], "1m")
    assert found["sessions"] == ["2024-01-02", "2024-01-03", "2024-01-04"]
    assert found["rows"]
    person = gb("verify", "-c", project)
    for words in ("bars_1m", "sim:ETH-USDT 1m", "2024-01-02 to 2024-01-04 (3)", path.name):
        assert words in person.out
    assert "--repair" in person.err

    repaired = gb("verify", "--repair", "-c", project)

    assert repaired.code == 0
    assert "is as it was written" in repaired.err
    assert bars(project).equals(before)
    assert damages(gb, project) == []
    assert gb("status", "--json", "-c", project).json[1]["missing"] == 12


def test_a_repair_asks_for_the_lost_sessions_and_no_others(gb: Gb, project: Path, exchange: Any) -> None:
    path = data(project / "data", "bars_1m", "ETH-USDT")[0]
    path.unlink()
    asked = len(exchange.requests)

    told = gb("verify", "--repair", "--json", "-c", project)

    assert (told.code, told.json["repair"]["sessions"]) == (0, 3)
    klines = [str(request) for request in list(exchange.requests)[asked:] if "klines" in str(request)]
    assert klines
    assert all("ETHUSDT" in request for request in klines)


def test_one_series_is_verified_and_repaired_alone(gb: Gb, project: Path) -> None:
    for symbol in ("BTC-USDT", "ETH-USDT"):
        flip(data(project / "data", "bars_1m", symbol)[0])

    assert [item["symbols"] for item in damages(gb, project, "sim:BTC-USDT")] == [["BTC-USDT"]]
    assert gb("verify", "sim:BTC-USDT", "--repair", "-c", project).code == 0

    assert [item["symbols"] for item in damages(gb, project)] == [["ETH-USDT"]]
    unknown = gb("verify", "sim:NO-USDT", "-c", project)
    assert (unknown.code, "NO-USDT" in unknown.err) == (1, True)


@pytest.mark.parametrize("table", ["bars_1m", "sessions", "fetches"])
@pytest.mark.parametrize("harm", ["emptied", "deleted", "damaged"])
def test_a_log_that_lost_its_newest_entry_is_put_together_again(gb: Gb, project: Path, table: str, harm: str) -> None:
    before, entry = bars(project), entries(project / "data", table)[-1]
    if harm == "deleted":
        entry.unlink()
    elif harm == "emptied":
        entry.write_bytes(b"")
    else:
        flip(entry)

    assert [item["table"] for item in damages(gb, project)] == [table]
    told = gb("verify", "--repair", "-c", project)

    assert told.code == 0
    assert f"of {table} was restored from its mirror" in told.err
    assert bars(project).equals(before)
    assert damages(gb, project) == []


def test_lost_history_is_said_to_be_lost_and_ends_with_one(gb: Gb, project: Path, exchange: Any) -> None:
    store = LakeStore.at(project / "data")
    price = pl.DataFrame(
        {"timestamp": ["2024-01-02T10:00:00"], **dict.fromkeys(("open", "high", "low", "close", "volume"), "1")}
    ).with_columns(pl.col("timestamp").str.to_datetime(time_unit="us").dt.replace_time_zone("UTC"))
    minute = price["timestamp"][0], price["timestamp"][0].replace(minute=1)
    assert store.write_bars("sim", "BTC-USDT", "1m", minute, price).restated == 1
    data(project / "data", "bars_1m", "is_current=false")[0].unlink()

    told = gb("verify", "--repair", "-c", project)

    assert told.code == 1
    assert "lost for good: 1 superseded version of bars_1m" in told.err
    assert "is as it was written" in told.err
    assert damages(gb, project) == []


def test_a_damaged_quarantine_keeps_nobody_from_reading_and_is_taken_out(gb: Gb, project: Path) -> None:
    flip(data(project / "data", "quarantine")[0])
    assert [item["table"] for item in damages(gb, project)] == ["quarantine"]
    assert gb("show", "sim:BTC-USDT", "-c", project).code == 0

    told = gb("verify", "--repair", "-c", project)

    assert told.code == 1
    assert "lost for good: 1 row of quarantine" in told.err
    assert damages(gb, project) == []


def test_bars_that_are_not_those_that_were_recorded_are_fetched_again(gb: Gb, project: Path) -> None:
    before = bars(project)
    store = LakeStore.at(project / "data")
    ledger.take_over_all(store.tables)

    def decide(draft: Draft) -> None:
        """A bug, or another program: whole files, sound logs, other content."""
        files = draft.base.select({"symbol": "ETH-USDT"})
        rows = reading.read(store.storage, draft.table.dataset, files)
        draft.remove(files)
        draft.add(rows.with_columns(pl.col("volume") + 1))

    commit(store.tables["bars_1m"], decide)
    assert not bars(project).equals(before)

    [found] = damages(gb, project)
    assert found["problem"] == "what is stored is not what the ledger recorded"
    assert (found["symbols"], found["sessions"]) == (["ETH-USDT"], ["2024-01-02", "2024-01-03", "2024-01-04"])
    told = gb("verify", "--repair", "-c", project)

    assert told.code == 0
    assert bars(project).equals(before)
    assert damages(gb, project) == []


def test_corporate_actions_are_asked_for_again(gb: Gb, project: Path) -> None:
    with Simulation(stocks=["AAPL"]) as vendor:
        vendor.set_now("2024-06-14T22:00Z")
        vendor.plant("split", "AAPL", ex_date="2024-06-10", to="4", from_="1")
        (project / "gb.yaml").write_text(
            "lake: actions\nsources:\n  shares:\n    provider: massive\n    calendar: XNYS\n    start: 2024-06-03\n"
            f"    symbols: [AAPL]\n    resolutions: [1d]\n    options: {{key: a-simulated-key, base_url: '{vendor.url}'}}\n",
            encoding="utf-8",
        )
        assert gb("actions", "fetch", "shares", "-c", project).code == 0
        before = Lake.open(project / "actions").corporate_actions("AAPL").drop("known_at", "fetched_at")
        assert before.height == 1
        data(project / "actions", "corporate_actions")[0].unlink()

        told = gb("verify", "--repair", "-c", project)

        assert told.code == 0
        after = Lake.open(project / "actions").corporate_actions("AAPL").drop("known_at", "fetched_at")
        assert after.equals(before)


def test_a_damaged_ledger_is_written_again_from_what_the_vendor_and_the_bars_say(gb: Gb, project: Path) -> None:
    lake = project / "data"
    for day in range(5, 9):
        assert gb("fetch", "sim", "--start", f"2024-01-0{day}", "--end", f"2024-01-0{day + 1}", "-c", project).code == 0
    store = LakeStore.at(lake)
    ledger.take_over_all(store.tables)
    before = Lake.open(lake).coverage().drop("known_at")
    for path in data(lake, "sessions"):
        flip(path)
    assert {item["table"] for item in damages(gb, project)} >= {"sessions"}

    gb("verify", "--repair", "-c", project)

    assert damages(gb, project) == []
    after = Lake.open(lake).coverage().drop("known_at")
    assert after.select("symbol", "session", "actual", "fingerprint").equals(
        before.select("symbol", "session", "actual", "fingerprint")
    )


def test_without_a_vendor_the_repair_waits_and_the_sessions_are_open_gaps(
    gb: Gb, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data(project / "data", "bars_1m", "ETH-USDT")[0].unlink()
    monkeypatch.setenv("GB_SIM_URL", "http://127.0.0.1:9")

    told = gb("verify", "--repair", "-c", project)

    assert told.code == 3
    assert "cannot be reached" in told.err
    gaps = gb("gaps", "sim:ETH-USDT", "--reason", "fetch_failed", "--json", "-c", project).json
    assert sum(gap["missing"] for gap in gaps) == 3 * 1440


def test_a_lake_without_its_project_is_mended_and_what_is_to_be_fetched_is_said(
    gb: Gb, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data(project / "data", "bars_1m", "ETH-USDT")[0].unlink()

    told = gb("verify", "--repair", "--lake", project / "data")

    assert told.code == 1
    assert "gb.yaml" in told.err
    assert gb("show", "sim:BTC-USDT", "--lake", project / "data").code == 0


@pytest.mark.parametrize("command", [("compact",), ("compact", "sim:BTC-USDT"), ("vacuum", "--delete"), ("verify",)])
def test_looking_after_a_project_that_has_stored_nothing_yet_is_no_error(
    gb: Gb, tmp_path: Path, command: tuple[str, ...]
) -> None:
    (tmp_path / "gb.yaml").write_text(PROJECT, encoding="utf-8")
    told = gb(*command, "-c", tmp_path)
    assert (told.code, told.out) == (0, "")
    assert [path.name for path in tmp_path.iterdir()] == ["gb.yaml"]
    assert gb(*command, "--lake", tmp_path / "nowhere").code == 2
