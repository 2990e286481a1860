"""`gb doctor` on a lake: what is missing, cut or replaced is named with its repair, and nothing is changed by looking."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from gb_pipeline.lake import fetches, ledger
from gb_pipeline.lake.datasets import SESSIONS
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import Precision
from gb_pipeline.quality.rules import BarRules
from gb_pipeline_tests.cli.console import Gb
from gb_pipeline_tests.cli.lakes import data, entries


@pytest.fixture(scope="module")
def written(stored: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the stored project that tests copy again, so that nobody harms the one of all others."""
    return Path(shutil.copytree(stored, tmp_path_factory.mktemp("doctor") / "written"))


@pytest.fixture
def lake(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "project")) / "data"


def findings(gb: Gb, lake: Path, check: str | None = None) -> list[dict[str, Any]]:
    """What is wrong."""
    before = {path: path.stat().st_mtime_ns for path in lake.rglob("*") if "locks" not in path.parts}
    told = gb("doctor", "--json", "-c", lake.parent)
    assert {path: path.stat().st_mtime_ns for path in lake.rglob("*") if "locks" not in path.parts} == before
    wrong = [item for item in told.json if item["verdict"] == "fail"]
    assert told.code == (1 if wrong else 0)
    return [item for item in wrong if check in {None, item["check"]}]


def test_a_whole_lake_has_no_fault(gb: Gb, lake: Path) -> None:
    assert findings(gb, lake) == []


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda path: path.unlink(), "it is missing"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "bytes where"),
        (lambda path: path.write_bytes(b""), "it has 0 bytes"),
    ],
    ids=["deleted", "cut", "emptied"],
)
def test_a_file_that_is_not_there_as_it_was_written_is_named_with_what_it_held_and_the_repair(
    gb: Gb, lake: Path, harm: Callable[[Path], None], says: str
) -> None:
    path = next(path for path in data(lake, "bars_1m") if "ETH-USDT" in str(path))
    harm(path)

    [found] = findings(gb, lake)

    assert found["check"] == "files"
    for word in (path.name, "bars_1m", "sim", "ETH-USDT", "2024-01", says):
        assert word in found["detail"]
    assert "gb verify sim:ETH-USDT --repair" in found["fix"]


def test_of_many_lost_files_a_few_are_named_and_the_rest_is_counted(gb: Gb, lake: Path) -> None:
    store = LakeStore.at(lake)
    at = datetime(2024, 1, 5, tzinfo=UTC)
    for number in range(8):
        question = fetches.FetchRecord("sim", f"S{number}", "1m", at, at, at, fetches.FetchOutcome.EMPTY)
        store.record_fetches([question])
    for path in data(lake, "fetches"):
        path.unlink()

    found = findings(gb, lake, "files")

    assert len(found) == 6
    assert all(item["detail"].startswith("fetches: the file ") for item in found[:5])
    assert found[5]["detail"] == f"... and {store.tables.newest('fetches').files.height - 5} more of this table"


@pytest.mark.parametrize("table", ["bars_1m", "sessions", "fetches", "quarantine"])
@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda path: path.write_text("{"), "is damaged"),
        (lambda path: path.write_text(""), "is empty"),
        (lambda path: path.unlink(), "lost"),
    ],
    ids=["damaged", "emptied", "deleted"],
)
def test_a_log_without_its_newest_entry_is_named_with_the_repair(
    gb: Gb, lake: Path, table: str, harm: Callable[[Path], None], says: str
) -> None:
    log = entries(lake, table)
    harm(log[-1])

    found = findings(gb, lake, "tables")

    assert [item["detail"].split(":", 1)[0] for item in found] == [f"table {table}"]
    assert says in found[0]["detail"]
    assert "gb verify --repair" in found[0]["fix"]


def test_a_table_that_vanished_is_an_error_and_no_empty_lake(gb: Gb, lake: Path) -> None:
    shutil.rmtree(lake / "lake" / "bars_1m")

    [found] = findings(gb, lake, "tables")

    assert found["detail"].startswith("table bars_1m: ")
    assert "lost" in found["detail"]
    told = {item["detail"]: item["verdict"] for item in gb("doctor", "--json", "-c", lake.parent).json}
    assert told["bars of 1m cannot be compared with it"] == "warn"
    assert "it counts the bars that are stored" not in told


def test_a_mirror_that_differs_from_its_log_is_named(gb: Gb, lake: Path) -> None:
    mirror = sorted((lake / "log" / "bars_1m").glob("0*.json"))[0]
    mirror.write_bytes(mirror.read_bytes().replace(b"sim", b"sym", 1))

    [found] = findings(gb, lake)

    assert found["detail"] == "table bars_1m: the mirror of entry 0 is damaged"


def test_a_table_that_went_backwards_with_its_mirror_is_found_by_the_ledger(gb: Gb, lake: Path) -> None:
    gb("fetch", "sim", "BTC-USDT", "--start", "2024-01-08", "--end", "2024-01-09", "-c", lake.parent)
    for path in (entries(lake, "bars_1m")[-1], sorted((lake / "log" / "bars_1m").glob("0*.json"))[-1]):
        path.unlink()

    found = findings(gb, lake, "ledger")

    assert len(found) == 1
    assert found[0]["detail"].startswith(
        "table bars_1m is at version 0, and the ledger knows version 1: it went backwards"
    )


def test_a_ledger_that_counts_other_bars_than_the_log_is_named_by_series(gb: Gb, lake: Path) -> None:
    store = LakeStore.at(lake)
    known = ledger.current(store.tables, "sim", Resolution.MINUTE, ["ETH-USDT"]).head(1)
    said = known.with_columns(pl.col("actual") + 2).select(SESSIONS.columns.names)
    ledger.append_changed(store.tables, said)

    [found] = findings(gb, lake)

    assert found["check"] == "ledger"
    assert found["detail"] == "sim:ETH-USDT 1m: the ledger counts 4,310 bars, the log 4,308"
    assert "gb verify sim:ETH-USDT" in found["fix"]


def test_withdrawn_and_restated_bars_are_counted_as_the_log_counts_them(gb: Gb, lake: Path) -> None:
    hour = datetime(2024, 1, 2, 10, tzinfo=UTC), datetime(2024, 1, 2, 11, tzinfo=UTC)
    text = pl.DataFrame(
        {"timestamp": [hour[0]], "open": ["1"], "high": ["1"], "low": ["1"], "close": ["1"], "volume": ["1"]},
        schema_overrides={"timestamp": pl.Datetime("us", "UTC")},
    )
    report = LakeStore.at(lake).write_bars("sim", "BTC-USDT", "1m", hour, text)
    assert (report.restated, report.withdrawn) == (1, 59)

    assert findings(gb, lake) == []


def test_wide_bars_over_standard_ones_are_no_disagreement(gb: Gb, lake: Path) -> None:
    hour = datetime(2024, 1, 2, 10, tzinfo=UTC), datetime(2024, 1, 2, 11, tzinfo=UTC)
    text = pl.DataFrame(
        {"timestamp": [hour[0]], **dict.fromkeys(("open", "high", "low", "close", "volume"), "0.123456789012")},
        schema_overrides={"timestamp": pl.Datetime("us", "UTC")},
    )
    rules = BarRules(resolution=Resolution.MINUTE, precision=Precision.WIDE)
    report = LakeStore.at(lake).write_bars("sim", "BTC-USDT", "1m", hour, text, rules=rules)
    assert report.stored == 1

    assert findings(gb, lake) == []
