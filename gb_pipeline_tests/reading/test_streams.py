"""Trades, quotes and books as a reader sees them: each event once, up to the watermark, in their order, exact."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gb_pipeline import Lake
from gb_pipeline.errors import ConfigError, NoDataInRange, ReadError, UnknownSeries
from gb_pipeline.lake.datasets import CONNECTION_EVENTS, stream_dataset
from gb_pipeline.market.schema import Precision
from gb_pipeline.market.stream_stitching import TURNS, one_at_a_time, take_turns, unite_trades
from gb_pipeline_tests.streams import SECOND, commit_interval, commit_rows, commit_trades, commit_watermark, nanoseconds

NINE = nanoseconds("2024-01-02 09:00")
MINUTE = 60 * SECOND


def trade(at: int, **more: Any) -> dict[str, Any]:
    row = {
        "source": "kraken", "symbol": "BTC-USD", "at": at, "exchange_time": at, "receive_time": at + 5_000_000, "side": "buy",
        "price": Decimal("100.5"), "size": Decimal("0.25"), "trade_id": str(at), "ordinal": 0, "collector": "one",
        "origin": "stream",
    }  # fmt: skip
    return row | more


def commit(lake: Lake, rows: Iterable[dict[str, Any]], precision: Precision = Precision.STANDARD) -> None:
    commit_rows(lake.store, stream_dataset("trades", precision), rows)


def test_trades_of_a_window_are_exact_to_the_nanosecond_and_in_order(lake: Lake) -> None:
    commit(lake, [trade(NINE + 1500, trade_id="b"), trade(NINE + 1400, trade_id="a")])
    commit(lake, [trade(NINE + 900, trade_id="c"), trade(NINE + 1600, trade_id="d")])
    found = lake.trades("BTC-USD", NINE + 1400, NINE + 1600)
    assert found["trade_id"].to_list() == ["a", "b"]
    assert found.schema["timestamp"] == pl.Datetime("ns", "UTC")
    assert found["timestamp"].cast(pl.Int64).to_list() == found["exchange_time"].to_list() == [NINE + 1400, NINE + 1500]
    assert found["price"].to_list() == [Decimal("100.5")] * 2
    assert lake.trades("BTC-USD")["trade_id"].to_list() == ["c", "a", "b", "d"]
    shown = lake.trades("BTC-USD", columns=["price", "timestamp"], as_float=True)
    assert shown.columns == ["price", "timestamp"]
    assert shown["price"].to_list() == [100.5] * 4
    assert lake.trades("BTC-USD", as_datetime=True).schema["receive_time"] == pl.Datetime("ns", "UTC")


def test_windows_are_of_the_exchange_where_it_says_a_time_and_else_of_ours(lake: Lake) -> None:
    day = 86_400 * SECOND
    rows = [
        trade(NINE, exchange_time=NINE, receive_time=NINE + 2 * MINUTE, trade_id="late"),
        trade(NINE + MINUTE, exchange_time=None, receive_time=NINE + MINUTE, trade_id="untimed"),
        trade(NINE + 2 * MINUTE, exchange_time=NINE - 2 * day, receive_time=NINE + 2 * MINUTE, trade_id="wrong clock"),
    ]
    commit(lake, rows)
    assert lake.trades("BTC-USD", "2024-01-02T09:00Z", "2024-01-02T09:02Z")["trade_id"].to_list() == ["late", "untimed"]
    assert lake.trades("BTC-USD", "2024-01-02T09:02Z")["trade_id"].to_list() == ["wrong clock"]


def test_rows_of_both_precisions_are_one_stream(lake: Lake) -> None:
    tiny = Decimal("0.000000000012345678")
    commit(lake, [trade(NINE), trade(NINE + 2)])
    commit(lake, [trade(NINE + 1, price=tiny)], Precision.WIDE)
    found = lake.trades("BTC-USD")
    assert found.schema["price"] == pl.Decimal(38, 18)
    assert found["price"].to_list() == [Decimal("100.5"), tiny, Decimal("100.5")]
    assert lake.trades("BTC-USD", as_float=True)["price"].to_list() == [100.5, float(tiny), 100.5]
    assert lake.trades("BTC-USD", NINE + 2).schema["price"] == pl.Decimal(18, 8)


def test_reads_end_at_the_watermark_unless_asked_otherwise(lake: Lake) -> None:
    commit_trades(lake.store, [NINE, NINE + MINUTE, NINE + 2 * MINUTE])
    commit_watermark(lake.store, NINE + MINUTE)
    assert lake.trades("BTC-USD")["exchange_time"].to_list() == [NINE]
    assert lake.trades("BTC-USD", include_unsettled=True).height == 3
    with pytest.raises(NoDataInRange, match=r"settled up to 2024-01-02 09:01:00.*(?s:.)*include_unsettled"):
        lake.trades("BTC-USD", "2024-01-02T09:01Z")
    mark = lake.watermarks().row(0, named=True)
    assert (mark["collector"], mark["unsettled"], mark["running"]) == ("one", True, True)
    assert mark["through"] == datetime(2024, 1, 2, 9, 1, tzinfo=UTC)
    commit_watermark(lake.store, NINE + MINUTE * 3, segment=2)
    assert lake.trades("BTC-USD").height == 3
    assert not lake.watermarks()["unsettled"].any()


def test_what_files_brought_is_settled(lake: Lake) -> None:
    commit(lake, [trade(NINE, collector=None, origin="file", receive_time=None)])
    assert lake.trades("BTC-USD").height == 1


def test_two_collectors_are_settled_where_both_committed_or_one_heard_all(lake: Lake) -> None:
    for collector, reached in (("one", 10), ("two", 4)):
        commit(lake, [trade(NINE + i * SECOND, collector=collector) for i in range(reached)])
        commit_watermark(lake.store, NINE + reached * SECOND, collector=collector)
    assert lake.trades("BTC-USD").height == 4
    commit_interval(lake.store, NINE, NINE + 7 * SECOND, collector="one")
    assert lake.trades("BTC-USD").height == 7
    assert lake.trades("BTC-USD", collectors="one").height == 10
    event = {"source": "kraken", "at": NINE, "event_time": NINE, "kind": "stopped", "collector": "two"}
    commit_rows(lake.store, CONNECTION_EVENTS, [event])
    assert lake.trades("BTC-USD").height == 10
    assert dict(lake.watermarks().select("collector", "running").iter_rows()) == {"one": True, "two": False}
    commit_rows(lake.store, CONNECTION_EVENTS, [event | {"at": NINE + 1, "event_time": NINE + 1, "kind": "connected"}])
    assert lake.trades("BTC-USD").height == 7


@pytest.mark.parametrize(("flush_hours", "patience"), [(None, 24), (1, 24), (20, 60)])
def test_a_collector_that_died_without_a_word_is_waited_for_so_long_and_no_longer(
    lake: Lake, flush_hours: int | None, patience: int
) -> None:
    hour = 60 * MINUTE
    if flush_hours is not None:
        said = json.dumps({"version": "1", "flush_seconds": flush_hours * 3600.0})
        started = {"source": "kraken", "kind": "started", "collector": "two", "detail": said}
        commit_rows(lake.store, CONNECTION_EVENTS, [started | {"at": NINE, "event_time": NINE}])
    commit(lake, [trade(NINE + i * hour) for i in range(patience + 3)])
    commit_watermark(lake.store, NINE + hour, collector="two")
    commit_interval(lake.store, NINE, NINE + 2 * hour, collector="one")
    commit_interval(lake.store, NINE + 3 * hour, NINE + 200 * hour, collector="one")
    commit_watermark(lake.store, NINE + (patience + 1) * hour, collector="one")
    # The hole of the one is where the other may have heard something.
    assert lake.trades("BTC-USD").height == 2
    assert lake.watermarks()["silent"].to_list() == [False, False]
    commit_watermark(lake.store, NINE + (patience + 1) * hour + 1, collector="one", segment=2)
    assert lake.trades("BTC-USD").height == patience + 2
    marks = lake.watermarks().select("collector", "running", "silent").rows()
    assert marks == [("one", True, False), ("two", False, True)]
    # Who comes back is waited for again.
    commit_watermark(lake.store, NINE + patience * hour, collector="two", segment=2)
    assert lake.trades("BTC-USD").height == patience + 2
    assert lake.watermarks()["running"].all()


def test_a_trade_that_comes_again_later_is_told_once_whatever_was_read_before(lake: Lake) -> None:
    few = ["price", "size"]
    commit(lake, [trade(NINE + step, trade_id=str(step)) for step in (1, 2, 3)])
    assert [lake.trades("BTC-USD", columns=few).height for _ in range(3)] == [3, 3, 3]
    commit(lake, [trade(NINE + 3, trade_id="3", origin="rest"), trade(NINE + 4, trade_id="4")])
    assert [lake.trades("BTC-USD", columns=few).height for _ in range(3)] == [4, 4, 4]
    assert lake.trades("BTC-USD", NINE + 3, columns=few).height == 2
    assert lake.trades("BTC-USD", collectors="all").height == 5


def test_silence_with_evidence_is_an_answer_and_without_it_an_error(lake: Lake) -> None:
    commit_trades(lake.store, [NINE])
    commit_interval(lake.store, NINE, NINE + 5 * MINUTE)
    commit_watermark(lake.store, NINE + 10 * MINUTE)
    assert lake.trades("BTC-USD", "2024-01-02T09:01Z", "2024-01-02T09:02Z").height == 0
    with pytest.raises(NoDataInRange, match="there is 2024-01-02 09:00"):
        lake.trades("BTC-USD", "2024-01-02T09:01Z", "2024-01-02T09:06Z")


def test_what_is_not_there_is_refused_with_what_is(lake: Lake) -> None:
    commit_trades(lake.store, [NINE])
    commit_trades(lake.store, [NINE], source="coinbase")
    with pytest.raises(ReadError, match="coinbase, kraken"):
        lake.trades("BTC-USD")
    with pytest.raises(UnknownSeries, match="BTC-USDT") as caught:
        lake.trades("BTC-USDT", source="kraken")
    assert "BTC-USD" in caught.value.near
    with pytest.raises(ConfigError, match="pric"):
        lake.trades("BTC-USD", source="kraken", columns=["pric"])
    with pytest.raises(UnknownSeries):
        lake.quotes("BTC-USD")
    with pytest.raises(ConfigError, match="names none"):
        lake.trades("BTC-USD", source="kraken", collectors=[])


# --- two collectors side by side --------------------------------------------------------------------------------------

KINDS = ("with ids", "without ids")


@st.composite
def heard(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[set[int]], str]:
    """Trades, and which of them each of two collectors missed; together they have all."""
    kind = draw(st.sampled_from(KINDS))
    times = draw(st.lists(st.integers(0, 6), min_size=1, max_size=12).map(sorted))
    trades = [
        trade(
            NINE + time,
            trade_id=str(number) if kind == "with ids" else None,
            size=Decimal(draw(st.integers(1, 2))),
            price=Decimal(draw(st.integers(1, 2))),
        )
        for number, time in enumerate(times)
    ]
    missed = [set[int](), set[int]()]
    # Alike trades of one moment are missed together: without an id nobody could tell which of them it was.
    alike = {index: (row["at"], row["price"], row["size"], row["trade_id"]) for index, row in enumerate(trades)}
    for content in dict.fromkeys(alike.values()):
        who = draw(st.sampled_from([None, 0, 1]))
        if who is not None:
            missed[who] |= {index for index, own in alike.items() if own == content}
    return trades, missed, kind


@given(heard(), st.integers(-3, 3), st.booleans())
def test_two_collectors_that_miss_different_stretches_give_the_union_without_doubles(
    drawn: tuple[list[dict[str, Any]], list[set[int]], str], lag: int, healed: bool
) -> None:
    trades, missed, _ = drawn
    told = [
        row | {"collector": name, "receive_time": row["receive_time"] + shift}
        for name, shift, lost in (("one", 0, missed[0]), ("two", lag * 10**6, missed[1]))
        for index, row in enumerate(trades)
        if index not in lost
    ]
    if healed:
        told += [row | {"origin": "rest", "receive_time": None, "collector": None} for row in trades[:3]]
    rows = pl.DataFrame(
        told, schema_overrides={"trade_id": pl.String, "price": pl.Decimal(18, 8), "size": pl.Decimal(18, 8)}
    )
    rows = rows.with_columns(pl.col("exchange_time").alias("event_time")).sort("event_time", maintain_order=True)
    united = unite_trades(rows, pl.DataFrame(schema=TURNS))
    content = ["at", "price", "size", "trade_id"]
    expected = sorted(tuple(row[name] for name in content) for row in trades)
    assert sorted(united.select(content).rows(), key=str) == sorted(expected, key=str)
    assert united["event_time"].is_sorted()
    # What was heard live comes before what was fetched afterwards.
    assert (united["origin"] == "stream").all()


def test_an_id_that_comes_again_another_day_is_another_trade(lake: Lake) -> None:
    commit(lake, [trade(NINE, trade_id="7"), trade(NINE + 1000, trade_id="7", collector="two")])
    commit(
        lake, [trade(NINE + 86_400 * SECOND, trade_id="7"), trade(NINE + 500, trade_id="7", price=Decimal("100.75"))]
    )
    found = lake.trades("BTC-USD")
    assert found.height == 3
    assert found["collector"].to_list() == ["one", "one", "one"]
    assert lake.trades("BTC-USD", collectors="all").height == 4
    assert lake.trades("BTC-USD", collectors="two").height == 1


SPANS = st.lists(
    st.tuples(st.sampled_from(["one", "two", "three"]), st.integers(0, 20), st.integers(1, 8)), min_size=1, max_size=8
)


@given(SPANS)
def test_one_collector_is_read_at_a_time_and_wherever_anybody_covers_one_that_does(
    spans: list[tuple[str, int, int]],
) -> None:
    stretches = pl.DataFrame(
        [("k", "A", "quotes", name, start, start + length) for name, start, length in spans],
        schema=["source", "symbol", "dataset", "collector", "start_time", "end_time"],
        orient="row",
    )
    turns = take_turns(stretches)
    names = ["one", "two", "three", None]
    rows = pl.DataFrame(
        [("k", "A", name, time) for time in range(-2, 32) for name in names],
        schema=["source", "symbol", "collector", "event_time"],
        orient="row",
    )
    kept = one_at_a_time(rows, turns)
    for time in range(-2, 32):
        own = kept.filter(pl.col("event_time") == time)["collector"].to_list()
        covering = {name for name, start, length in spans if start <= time < start + length}
        assert len([name for name in own if name is not None]) == 1
        assert own[0] in covering if covering else None in own
        assert not covering or None not in own


@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_quotes_of_two_collectors_switch_where_a_hole_begins(lake: Lake, data: st.DataObject) -> None:
    symbol = f"S{data.draw(st.integers(0, 10**9))}-USD"
    quote = {"source": "kraken", "symbol": symbol, "ordinal": 0, "bid_price": Decimal(1), "bid_size": Decimal(1)}
    hole = data.draw(st.integers(1, 8))
    rows = [
        quote | {"at": NINE + i, "exchange_time": NINE + i, "receive_time": NINE + i + lag, "collector": name}
        for name, lag in (("one", 1), ("two", 2))
        for i in range(10)
        if name == "two" or i < hole
    ]
    commit_rows(lake.store, stream_dataset("quotes"), rows)
    for name, end in (("one", hole), ("two", 10)):
        commit_interval(lake.store, NINE, NINE + end, dataset="quotes", symbol=symbol, collector=name)
    found = lake.quotes(symbol)
    assert found["exchange_time"].to_list() == [NINE + i for i in range(10)]
    assert found["collector"].n_unique() == 1


def test_a_lake_of_streams_alone_is_not_empty_at_the_prompt(lake: Lake) -> None:
    commit(lake, [trade(NINE), trade(NINE + MINUTE, symbol="ETH-USD")])
    assert "trades 2 series of kraken, 2024-01-02 09:00 to 2024-01-02 09:01" in repr(lake)
    assert "<td>trades</td><td>2</td>" in lake._repr_html_()
