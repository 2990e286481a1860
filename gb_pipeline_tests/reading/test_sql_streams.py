"""Trades, books and their evidence in SQL: both precisions as one table, only the files that a query needs, as new as the lake."""

from __future__ import annotations

from decimal import Decimal

from gb_pipeline import Lake
from gb_pipeline.lake.datasets import CONNECTION_EVENTS, stream_dataset
from gb_pipeline.market.schema import Precision
from gb_pipeline_tests.reading.test_streams import trade
from gb_pipeline_tests.streams import SECOND, commit_interval, commit_rows, commit_watermark, nanoseconds

NINE = nanoseconds("2024-01-02 09:00")
DAY = 86_400 * SECOND
TRADES = stream_dataset("trades")


def test_a_query_of_one_symbol_and_day_opens_one_file(lake: Lake) -> None:
    for symbol in ("BTC-USD", "ETH-USD"):
        commit_rows(lake.store, TRADES, [trade(NINE, symbol=symbol), trade(NINE + DAY, symbol=symbol)])
    named = "select price, size from trades_of('BTC-USD', '2024-01-02', '2024-01-03')"
    plain = "select price from trades where symbol = 'BTC-USD' and timestamp >= '2024-01-03'"
    assert lake.sql(named).rows() == [(Decimal("100.5"), Decimal("0.25"))]
    for query in (named, plain):
        scan = lake.explain_sql(query).scans.row(0, named=True)
        assert (scan["table"], scan["files"], scan["of_files"]) == ("trades", 1, 4)
    assert lake.sql("select count(*) from trades_of('ETH-USD')").item() == 2


def test_rows_of_both_precisions_are_one_table(lake: Lake) -> None:
    tiny = Decimal("0.000000000012345678")
    commit_rows(lake.store, stream_dataset("trades", Precision.WIDE), [trade(NINE, price=tiny)])
    assert lake.sql("select price from trades").rows() == [(tiny,)]
    commit_rows(lake.store, TRADES, [trade(NINE + 1)])
    assert lake.sql("select price from trades order by exchange_time").rows() == [(tiny,), (Decimal("100.5"),)]
    assert lake.sql("select count(*) from trades_of('BTC-USD')").item() == 2
    assert lake.sql("select count(*) from trades_wide").item() == 1


def test_what_was_committed_is_seen_at_once_in_every_table(lake: Lake) -> None:
    commit_rows(lake.store, TRADES, [trade(NINE)])
    assert lake.sql("select rows from stream_data").rows() == [(1,)]
    commit_rows(lake.store, TRADES, [trade(NINE + 1)])
    assert lake.sql("select symbol, rows, files from stream_data").rows() == [("BTC-USD", 2, 2)]
    assert lake.sql("select sum(rows) from stream_files where symbol like 'BTC%' and day = '2024-01-02'").item() == 2
    assert lake.sql('select "end" from stream_data').item() == lake.stream_data()["end"][0]
    for name in ("book_updates", "book_snapshots", "quotes"):
        row = trade(NINE, side="bid", reason="subscribed")
        commit_rows(lake.store, stream_dataset(name), [row])
        assert lake.sql(f"select symbol from {name}").rows() == [("BTC-USD",)]
        assert lake.sql(f"select symbol from {name}_of('BTC-USD', '2024-01-02')").rows() == [("BTC-USD",)]
    commit_interval(lake.store, NINE, NINE + 5)
    commit_watermark(lake.store, NINE + 5)
    event = {"source": "kraken", "at": NINE, "event_time": NINE, "kind": "connected", "collector": "one"}
    commit_rows(lake.store, CONNECTION_EVENTS, [event])
    assert lake.sql("select end_time - start_time from stream_intervals").item() == 5
    assert lake.sql("select through_time from watermarks").item() == NINE + 5
    assert lake.sql("select kind from connection_events").item() == "connected"
    shown = set(lake.sql("show tables")["name"])
    assert {"trades", "quotes", "book_updates", "book_snapshots", "stream_data", "stream_files", "watermarks"} <= shown


def test_what_was_known_then_can_be_asked(lake: Lake) -> None:
    commit_rows(lake.store, TRADES, [trade(NINE)])
    then = lake.sql("select max(known_at) from trades").item()
    commit_rows(lake.store, TRADES, [trade(NINE + 1)])
    assert lake.sql("select count(*) from trades", as_of=then).item() == 1
    assert lake.sql("select count(*) from trades").item() == 2
