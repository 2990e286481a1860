"""Streams are purged and renamed with their evidence: nothing that is gone is called covered, and nothing else changes."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from gb_pipeline import Lake
from gb_pipeline.collectors.healing import find_open_holes
from gb_pipeline.errors import ConfigError, GapInWindow, LakeError, NoDataInRange, UnknownSeries
from gb_pipeline.lake import quarantine
from gb_pipeline.lake.datasets import CONNECTION_EVENTS, stream_dataset
from gb_pipeline.lake.verification import verify
from gb_pipeline.market.moments import from_microseconds
from gb_pipeline.market.schema import Precision
from gb_pipeline.market.window import Window
from gb_pipeline_tests.lake.test_removing_killed import run_killed
from gb_pipeline_tests.streams import (
    SECOND,
    commit_interval,
    commit_levels,
    commit_rows,
    commit_trades,
    commit_watermark,
    nanoseconds,
)

DAY = 86_400 * SECOND
FIRST = nanoseconds("2024-01-02 00:00")
HOUR = 3_600 * SECOND
DAYS = [date(2024, 1, 2 + number) for number in range(4)]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Three days of trades of two symbols, heard without a hole, and a book of one of them."""
    lake = Lake.open(tmp_path / "lake", create=True)
    for symbol in ("BTC-USD", "ETH-USD"):
        commit_trades(lake.store, range(FIRST, FIRST + 3 * DAY, HOUR), symbol=symbol)
        commit_interval(lake.store, FIRST, FIRST + 3 * DAY, symbol=symbol, messages=72)
    commit_levels(lake.store, "book_snapshots", [FIRST])
    commit_levels(lake.store, "book_updates", range(FIRST + 1, FIRST + 3 * DAY, 6 * HOUR))
    commit_interval(lake.store, FIRST, FIRST + 3 * DAY, dataset="book_updates", messages=13)
    for dataset in ("trades", "book_updates"):
        commit_watermark(lake.store, FIRST + 3 * DAY, dataset=dataset)
    return lake


def everything(lake: Lake, symbol: str = "BTC-USD") -> pl.DataFrame:
    return lake.trades(symbol)


def test_a_range_is_removed_and_becomes_a_hole_with_its_reason(lake: Lake) -> None:
    before, other = everything(lake), everything(lake, "ETH-USD")
    found = lake.store.purge_streams("kraken", "BTC-USD", "trades", DAYS[1], DAYS[2], reason="not ours")
    assert found.select("table", "rows", "days").rows() == [("trades", 24, 1)]
    start, end = FIRST + DAY, FIRST + 2 * DAY
    assert everything(lake).equals(before.filter(~pl.col("exchange_time").is_between(start, end, closed="left")))
    assert everything(lake, "ETH-USD").equals(other)
    assert lake.stream_gaps("kraken", "BTC-USD", "trades").select("start", "end", "reason").rows() == [
        (*lake.stream_coverage("kraken", "BTC-USD", "trades")["end"][:1], before["timestamp"][48], "removed")
    ]
    with pytest.raises(NoDataInRange):
        lake.trades("BTC-USD", DAYS[1], DAYS[2])
    (row,) = lake.removals("kraken").rows(named=True)
    assert (row["resolution"], row["action"], row["bars"], row["sessions"]) == ("trades", "purged", 24, 1)
    assert (row["first_session"], row["reason"]) == (DAYS[1], "not ours")
    assert verify(lake.store).ok


def test_evidence_of_what_is_left_keeps_its_counts_and_nobody_heals_what_was_removed(lake: Lake) -> None:
    lake.store.purge_streams("kraken", "BTC-USD", "trades", DAYS[1], DAYS[2], reason="not ours")
    told = lake.stream_statistics("kraken", "BTC-USD", "trades").row(0, named=True)
    assert (told["messages"], told["gaps"], told["holes"]) == (48, 0, 1)
    assert find_open_holes(lake.store, 0).is_empty()
    # A hole that a restart left beside it is asked for all the same, and no moment of what was removed.
    commit_interval(lake.store, FIRST + DAY - HOUR, FIRST + DAY, kind="gap", reason="restart")
    (hole,) = find_open_holes(lake.store, 0).rows(named=True)
    assert (hole["start_time"], hole["end_time"], hole["reason"]) == (FIRST + DAY - HOUR, FIRST + DAY, "restart")


def test_a_dry_run_says_the_same_and_changes_nothing(lake: Lake) -> None:
    before = {item.dataset.name: item.version for item in map(lake.store.tables.newest, ("trades", "stream_intervals"))}
    would = lake.store.purge_streams("kraken", start=DAYS[1], reason="", dry_run=True)
    assert before == {name: lake.store.tables.newest(name).version for name in before}
    assert lake.removals().is_empty()
    assert lake.store.purge_streams("kraken", start=DAYS[1], reason="all of it").equals(would)
    assert would.select("symbol", "table", "rows").rows() == [
        ("BTC-USD", "book_updates", 16), ("BTC-USD", "trades", 48), ("ETH-USD", "trades", 48),
    ]  # fmt: skip


def test_a_source_goes_as_a_whole_and_nothing_of_it_is_known_any_more(lake: Lake) -> None:
    commit_trades(lake.store, [FIRST], source="mine")
    lake.store.purge_streams("kraken", reason="licence ended")
    assert lake.stream_data()["source"].to_list() == ["mine"]
    with pytest.raises(UnknownSeries):
        lake.trades("BTC-USD", source="kraken")
    assert lake.stream_coverage("kraken").is_empty()
    assert set(lake.removals("kraken")["symbol"]) == {"*"}
    with pytest.raises(UnknownSeries):
        lake.store.purge_streams("kraken", reason="again")


def test_a_book_goes_with_its_snapshots_and_is_not_laid_across_what_was_removed(lake: Lake) -> None:
    lake.store.purge_streams("kraken", "BTC-USD", "book_updates", DAYS[1], DAYS[2], reason="not ours")
    with pytest.raises(GapInWindow, match="removed"):
        lake.book("BTC-USD", FIRST + 2 * DAY + HOUR)
    lake.store.purge_streams("kraken", "BTC-USD", "book_updates", reason="not ours")
    assert set(lake.stream_data()["table"]) == {"trades"}
    assert everything(lake).height == 72


def test_refused_rows_and_messages_of_corrections_go_with_it(lake: Lake) -> None:
    for symbol in ("BTC-USD", "ETH-USD"):
        stamp = from_microseconds(FIRST // 1000)
        bad = pl.DataFrame(
            [{"symbol": symbol, "session": None, "timestamp": stamp, "reasons": ["bad_price"], "row": "{}"}],
            schema_overrides={"session": pl.Date()},
        )
        quarantine.record(
            lake.store.tables, "kraken", "trades", Window(stamp, from_microseconds(FIRST // 1000 + 1)), bad,
            quarantined_at=stamp, run_id=None,
        )  # fmt: skip
        event = {"source": "kraken", "at": FIRST, "event_time": FIRST, "dataset": "trades", "symbol": symbol}
        rest = {"connection": "kraken-1", "collector": "one", "detail": "a price"}
        commit_rows(
            lake.store, CONNECTION_EVENTS, [event | rest | {"kind": kind} for kind in ("correction", "subscribed")]
        )
    lake.store.purge_streams("kraken", "BTC-USD", "trades", reason="not ours")
    assert quarantine.read(lake.store.tables)["symbol"].to_list() == ["ETH-USD"]
    events = lake.sql("select symbol, kind from connection_events order by all").rows()
    assert events == [("BTC-USD", "subscribed"), ("ETH-USD", "correction"), ("ETH-USD", "subscribed")]


def test_what_comes_again_afterwards_counts_as_covered(lake: Lake) -> None:
    before = everything(lake)
    lake.store.purge_streams("kraken", "BTC-USD", "trades", DAYS[1], DAYS[2], reason="a mistake")
    commit_trades(lake.store, range(FIRST + DAY, FIRST + 2 * DAY, HOUR))
    commit_interval(lake.store, FIRST + DAY, FIRST + 2 * DAY, collector="file", messages=24)
    assert lake.stream_gaps("kraken", "BTC-USD", "trades").is_empty()
    assert everything(lake).equals(before)


def test_nothing_of_that_name_or_range_and_no_reason_are_refused(lake: Lake) -> None:
    with pytest.raises(UnknownSeries, match="ETH-USD"):
        lake.store.purge_streams("kraken", "ETH-USDT", reason="x")
    with pytest.raises(ConfigError, match="in this range"):
        lake.store.purge_streams("kraken", "BTC-USD", end=date(2020, 1, 1), reason="x")
    with pytest.raises(ConfigError, match="exclusive"):
        lake.store.purge_streams("kraken", "BTC-USD", start=DAYS[1], end=DAYS[1], reason="x")
    with pytest.raises(ConfigError, match="reason"):
        lake.store.purge_streams("kraken", "BTC-USD", reason=" ")
    with pytest.raises(ConfigError, match="no stream is called"):
        lake.store.purge_streams("kraken", "BTC-USD", "tades", reason="x")


def test_renamed_streams_are_the_same_under_another_symbol_with_their_evidence(lake: Lake) -> None:
    commit_rows(lake.store, stream_dataset("trades", Precision.WIDE), [wide_trade(FIRST + 5)])
    before, holes = everything(lake), lake.stream_coverage("kraken", "BTC-USD")
    lake.store.rename_streams("kraken", "BTC-USD", "XBT-USD", reason="as the venue has it")
    assert everything(lake, "XBT-USD").drop("symbol").equals(before.drop("symbol"))
    assert lake.stream_coverage("kraken", "XBT-USD").drop("symbol").equals(holes.drop("symbol"))
    assert lake.book("XBT-USD", FIRST + HOUR).height
    with pytest.raises(UnknownSeries):
        everything(lake)
    assert set(lake.removals("kraken", "BTC-USD")["renamed_to"]) == {"XBT-USD"}
    assert verify(lake.store).ok
    lake.store.rename_streams("kraken", "XBT-USD", "BTC-USD", reason="back")
    assert everything(lake).equals(before)


def wide_trade(at: int) -> dict[str, object]:
    from decimal import Decimal

    numbers = {"price": Decimal("0.000000000000000001"), "size": Decimal(1)}
    return {
        "source": "kraken", "symbol": "BTC-USD", "at": at, "exchange_time": at, "receive_time": at, "side": "buy",
        "trade_id": "wide", "ordinal": 0, "collector": "one", "origin": "stream", **numbers,
    }  # fmt: skip


def test_streams_of_the_same_time_are_not_mixed(lake: Lake) -> None:
    before = everything(lake)
    with pytest.raises(LakeError, match="of the same time on 3 days"):
        lake.store.rename_streams("kraken", "BTC-USD", "ETH-USD", reason="x")
    assert everything(lake).equals(before)
    with pytest.raises(ConfigError, match="called so already"):
        lake.store.rename_streams("kraken", "BTC-USD", "BTC-USD", reason="x")
    # One that ended before the other began is joined to it.
    lake.store.purge_streams("kraken", "BTC-USD", start=DAYS[1], reason="x")
    lake.store.purge_streams("kraken", "ETH-USD", end=DAYS[1], reason="x")
    lake.store.rename_streams("kraken", "BTC-USD", "ETH-USD", reason="x")
    assert everything(lake, "ETH-USD").height == 72


PURGE = 'store.purge_streams("kraken", "BTC-USD", start=date(2024, 1, 3), reason="a test")'
RENAME = 'store.rename_streams("kraken", "BTC-USD", "XBT-USD", reason="a test")'


@pytest.mark.parametrize(
    "point", ["committed:1", pytest.param("entry_written:3", marks=pytest.mark.long), "committed:3"]
)
@pytest.mark.parametrize("work", [PURGE, RENAME])
def test_killed_anywhere_running_it_again_does_what_is_left(lake: Lake, work: str, point: str) -> None:
    store = run_killed(lake.store, f"from datetime import date\n{work}", point)
    again = Lake(store)
    # Nothing that is gone is called covered meanwhile.
    for symbol in ("BTC-USD", "XBT-USD"):
        covered = again.stream_coverage("kraken", symbol, "trades")
        if work is PURGE and covered.height:
            assert covered["end"].max() == lake.trades("ETH-USD")["timestamp"][24]
    exec(work, {"store": store, "date": date})
    assert verify(store).ok
    left = {"BTC-USD": 24} if work is PURGE else {"XBT-USD": 72}
    for symbol, count in left.items():
        assert again.trades(symbol).height == count
    assert not any(again.store.tables.newest("stream_intervals").files.is_empty() for _ in left)
