"""Commands about bars know trades, quotes and books as well: `gb status`, `delete`, `removals`, `rename`, `quarantine`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from gb_pipeline.lake import quarantine
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.window import Window
from gb_pipeline_tests.bars import day, minutes
from gb_pipeline_tests.cli.console import Gb
from gb_pipeline_tests.streams import SECOND, commit_interval, commit_trades, commit_watermark, nanoseconds

NINE = nanoseconds("2024-01-02 09:00")
DAY = 86_400 * SECOND
BTC = "kraken:BTC-USD"
WHY = ("--purge", "--reason", "licence ended", "--yes")


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """Trades of two days, those of the last 60 seconds not settled, and a refused row; no bar."""
    store = LakeStore.at(tmp_path / "lake")
    commit_trades(store, range(NINE, NINE + 120 * SECOND, SECOND))
    commit_trades(store, range(NINE + DAY, NINE + DAY + 120 * SECOND, SECOND))
    commit_interval(store, NINE, NINE + DAY + 120 * SECOND, messages=240)
    commit_watermark(store, NINE + DAY + 60 * SECOND)
    stamp = datetime(2024, 1, 2, 9, tzinfo=UTC)
    bad = pl.DataFrame(
        [{"symbol": "ETH-USD", "session": None, "timestamp": stamp, "reasons": ["not_a_number"], "row": "{}"}],
        schema_overrides={"session": pl.Date()},
    )
    window = Window(stamp, datetime(2024, 1, 2, 10, tzinfo=UTC))
    quarantine.record(store.tables, "kraken", "trades", window, bad, quarantined_at=stamp, run_id=None)
    return tmp_path / "lake"


def test_status_shows_rows_and_what_is_not_settled(gb: Gb, lake: Path) -> None:
    [row] = gb("status", "--json", "--lake", lake).json
    assert (row["resolution"], row["rows"], row["unsettled"], row["files"]) == ("trades", 240, 60, 2)
    told = gb("status", BTC, "--lake", lake)
    assert told.code == 0
    for part in (BTC, "240", "60", "2024-01-03 09:01"):
        assert part in told.out
    assert "behind the watermark" in told.err
    assert all(len(line) <= 80 for line in told.out.splitlines())
    LakeStore.at(lake).write_bars("sim", "BTC-USD", "1m", day("2024-01-02"), minutes("2024-01-02"))
    assert {row["resolution"] for row in gb("status", "--json", "--lake", lake).json} == {"trades", "1m"}
    assert gb("status", "sim", "--json", "--lake", lake).json[0]["resolution"] == "1m"


def test_quarantine_lists_rows_by_name_where_no_bar_is(gb: Gb, lake: Path) -> None:
    for name in ("kraken", "kraken:ETH-USD", "ETH-USD"):
        [row] = gb("quarantine", "list", name, "--json", "--lake", lake).json
        assert (row["symbol"], row["resolution"]) == ("ETH-USD", "trades")
    assert gb("quarantine", "list", BTC, "--json", "--lake", lake).json == []
    assert "did you mean" in gb("quarantine", "list", "ETH-USDT", "--lake", lake).err
    identity = gb("quarantine", "list", "--json", "--lake", lake).json[0]["row_id"]
    assert gb("quarantine", "show", identity, "--lake", lake).code == 0


def test_streams_are_purged_by_name_and_range(gb: Gb, lake: Path) -> None:
    told = gb("delete", BTC, "trades", "--from", "2024-01-03", "--purge", "--dry-run", "--lake", lake)
    assert (told.code, "120" in told.out, "nothing was changed" in told.err) == (0, True, True)
    told = gb("delete", BTC, "trades", "--from", "2024-01-03", *WHY, "--lake", lake)
    assert (told.code, "120 rows" in told.err, "a hole now" in told.err) == (0, True, True)
    [row] = gb("removals", BTC, "--json", "--lake", lake).json
    assert (row["resolution"], row["action"], row["bars"], row["reason"]) == ("trades", "purged", 120, "licence ended")
    assert gb("status", "--json", "--lake", lake).json[0]["rows"] == 120
    assert gb("delete", "kraken:*", "streams", *WHY, "--lake", lake).code == 0
    assert gb("status", "--json", "--lake", lake).json == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((BTC, "trades", "--reason", "x", "--yes"), "--purge"),
        ((BTC, "book_snapshots", *WHY), "book_updates"),
        ((BTC, "trades", "--undo"), "cannot be undone"),
        ((BTC, "--reason", "x", "--yes"), f"gb delete {BTC} streams --purge"),
        ((BTC, "trades", "--purge", "--yes"), "--reason"),
        ((BTC, "trades", "--purge", "--reason", "x"), "--yes"),
        ((BTC, "quotes", *WHY), "no quotes"),
        (("kraken:BTC-USDT", "trades", *WHY), "did you mean kraken:BTC-USD"),
        (("kraken:B*", "trades", *WHY), "pattern"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(
    gb: Gb, lake: Path, arguments: tuple[str, ...], said: str
) -> None:
    told = gb("delete", *arguments, "--lake", lake)
    assert told.code != 0
    assert said in " ".join(told.err.split())
    assert gb("status", "--json", "--lake", lake).json[0]["rows"] == 240


def test_renaming_moves_streams(gb: Gb, lake: Path) -> None:
    told = gb("rename", BTC, "XBT-USD", "--reason", "as the venue has it", "--lake", lake)
    assert (told.code, "240 rows" in told.err) == (0, True)
    assert [row["symbol"] for row in gb("status", "--json", "--lake", lake).json] == ["XBT-USD"]
    [row] = gb("removals", "--json", "--lake", lake).json
    assert (row["action"], row["renamed_to"], row["bars"]) == ("renamed", "XBT-USD", 240)
