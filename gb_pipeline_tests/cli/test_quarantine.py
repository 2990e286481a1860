"""`gb quarantine`: refused rows are listed, shown, released, dropped and reopened."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from gb_pipeline.lake.store import LakeStore
from gb_pipeline.quality.rules import BarRules
from gb_pipeline_tests.bars import SetClock, changed, day, minutes
from gb_pipeline_tests.cli.console import Gb

LOOSE = BarRules(max_bad_fraction=0.5)


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """One row of BTC-USD whose high is too low, and 30 of ETH-USD whose volume is negative."""
    store = LakeStore.at(tmp_path, clock=SetClock(datetime(2024, 2, 1, tzinfo=UTC)))
    store.write_bars("sim", "BTC-USD", "1m", day("2024-01-02"), changed(minutes("2024-01-02"), 5, high="105.5"))
    negative = pl.when(pl.int_range(pl.len()) < 30).then(pl.lit("-1")).otherwise("volume").alias("volume")
    eth = minutes("2024-01-02", symbol="ETH-USD").with_columns(negative)
    store.write_bars("sim", "ETH-USD", "1m", day("2024-01-02"), eth, rules=LOOSE)
    return tmp_path


def test_open_rows_are_counted_by_reason_and_listed_to_a_limit(gb: Gb, lake: Path) -> None:
    told = gb("quarantine", "list", "--lake", lake)
    assert told.code == 0
    assert "31 rows of 2 symbols" in told.out
    assert "and 11 more" in told.err
    assert "negative_volume" in told.out
    assert all(len(line.rstrip()) <= 80 for line in told.out.splitlines())
    assert len(gb("quarantine", "list", "--json", "--lake", lake).json) == 31
    assert len(gb("quarantine", "list", "BTC-USD", "--json", "--lake", lake).json) == 1
    assert len(gb("quarantine", "list", "--reason", "negative_volume", "--json", "--lake", lake).json) == 30
    assert gb("quarantine", "list", "--since", "2024-02-02", "--json", "--lake", lake).json == []
    wrong = gb("quarantine", "list", "--reason", "negative_volum", "--lake", lake)
    assert (wrong.code, "negative_volume" in wrong.err) == (2, True)
    assert "31 refused rows are open" in gb("status", "--lake", lake).err


def test_a_row_is_shown_whole_released_explained_and_reopened(gb: Gb, lake: Path) -> None:
    [row] = gb("quarantine", "list", "sim:BTC-USD", "--json", "--lake", lake).json
    name = row["row_id"][:8]
    told = gb("quarantine", "show", name, "--lake", lake).out
    for part in ("its high is below another", "no bar", f"gb quarantine release {name}", "105.5"):
        assert part in told
    refused = gb("quarantine", "release", name, "--reason", "seen elsewhere", "--lake", lake)
    assert (refused.code, "--high" in refused.err) == (2, True)
    done = gb("quarantine", "release", name, "--high", "106.5", "--reason", "seen elsewhere", "--lake", lake)
    assert (done.code, "1 bar stored" in done.err) == (0, True)
    assert "seen elsewhere" in gb("overrides", "--lake", lake).out
    assert "released" in gb("explain", "sim:BTC-USD", "2024-01-02T00:05Z", "--lake", lake).out
    [row] = gb("quarantine", "list", "BTC-USD", "--all", "--json", "--lake", lake).json
    assert (row["decision"], row["decision_reason"]) == ("released", "seen elsewhere")
    assert "no refused row is open" in gb("quarantine", "list", "BTC-USD", "--lake", lake).err
    again = gb("quarantine", "drop", name, "--reason", "x", "--lake", lake)
    assert (again.code, "was released already" in again.err) == (2, True)
    assert gb("quarantine", "reopen", name, "--reason", "no", "--lake", lake).code == 0
    assert len(gb("quarantine", "list", "BTC-USD", "--json", "--lake", lake).json) == 1
    assert "removed" in gb("changes", "--since=-1d", "--lake", lake).out


def test_many_are_dropped_at_once_after_a_look(gb: Gb, lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = ("--all-of", "sim", "--reason-code", "negative_volume", "--reason", "test trades", "--lake", lake)
    assert "30 rows would be dropped" in gb("quarantine", "drop", *chosen, "--dry-run").err
    assert len(gb("quarantine", "list", "--json", "--lake", lake).json) == 31
    assert "30 rows dropped" in gb("quarantine", "drop", *chosen).err
    assert gb("quarantine", "drop", *chosen).code == 2
    told = gb("quarantine", "list", "--all", "--lake", lake)
    assert "dropped" in told.out
    as_json = gb("quarantine", "list", "ETH-USD", "--all", "--json", "--lake", lake).out
    monkeypatch.setattr("sys.stdin", io.StringIO(as_json))
    assert "30 rows open again" in gb("quarantine", "reopen", "-", "--reason", "no", "--lake", lake).err


@pytest.mark.parametrize(
    "arguments",
    [
        ("drop", "zz", "--reason", "x"),
        ("drop", "--reason", "x"),
        ("drop", "aa", "--all-of", "sim", "--reason", "x"),
        ("drop", "aa", "--reason-code", "no_bar", "--reason", "x"),
        ("release", "--all-of", "sim", "--reason", " "),
        ("release", "--all-of", "ETH-USD", "--volume", "1", "--reason", "x"),
        ("show",),
    ],
)
def test_what_cannot_be_done_is_said(gb: Gb, lake: Path, arguments: tuple[str, ...]) -> None:
    told = gb("quarantine", *arguments, "--lake", lake)
    assert (told.code, told.out) == (2, "")
    assert "->" in told.err
    assert len(gb("quarantine", "list", "--json", "--lake", lake).json) == 31
