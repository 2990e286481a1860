"""Trades, books and their evidence in SQL: both precisions as one table, only the files that a query needs, as new as the lake."""

from __future__ import annotations

from contextlib import closing
from decimal import Decimal

import duckdb
import polars as pl

from gb_pipeline import Lake
from gb_pipeline.catalog.projection import refresh_catalog
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


def test_tables_are_what_a_reader_sees_and_raw_ones_have_every_row(lake: Lake) -> None:
    heard_by_two(lake)
    readers = {
        "trades": lake.trades,
        "quotes": lake.quotes,
        "book_updates": lake.l2,
        "book_snapshots": lake.book_snapshots,
    }
    for name, read in readers.items():
        seen = read(None, source="kraken")
        assert same_rows(lake.sql(f"select * from {name} where source = 'kraken'"), seen), name
        one = read("BTC-USD", NINE + 3 * SECOND, NINE + 9 * SECOND, source="kraken")
        edges = "'2024-01-02 09:00:03', '2024-01-02 09:00:09'"
        assert same_rows(lake.sql(f"select * from {name}_of('BTC-USD', {edges}) where source = 'kraken'"), one), name
        raw = lake.sql(f"select count(*) from raw_{name} where source = 'kraken'").item()
        assert raw > seen.height > one.height > 0, name
    assert lake.sql("select distinct source from trades where source <> 'kraken'").rows() == [("coinbase",)]
    # The catalog's file says the same to any DuckDB client.
    refresh_catalog(lake.store)
    with closing(duckdb.connect(str(lake.store.storage.catalog), read_only=True)) as client:
        for name, read in readers.items():
            found = pl.DataFrame(client.sql(f"select * from {name} where source = 'kraken'").to_arrow_table())
            assert same_rows(found, read(None, source="kraken")), name


def same_rows(found: pl.DataFrame, seen: pl.DataFrame) -> bool:
    names = [name for name in seen.columns if name != "timestamp"]
    ours, theirs = (
        frame.select(names).with_columns(pl.selectors.decimal().cast(pl.Decimal(38, 18))).sort(names, nulls_last=True)
        for frame in (found, seen)
    )
    return ours.equals(theirs)


def heard_by_two(lake: Lake) -> None:
    """Ten seconds of two collectors that each missed some, with trades that have no id, no time, or a twin; not all settled."""
    rows = []
    for second in range(12):
        at = NINE + second * SECOND
        for who, late in (("one", 1000), ("two", 500)):
            if (second, who) in {(4, "one"), (5, "two")}:
                continue
            told = {"collector": who, "receive_time": at + late}
            rows += [
                trade(at, **told), trade(at + 1, trade_id=None, **told), trade(at + 2, trade_id=None, ordinal=1, **told),
                trade(at + 2, trade_id=None, ordinal=2, **told),
                trade(at + late, exchange_time=None, trade_id=None, **told),
                trade(at + late, exchange_time=None, trade_id=f"untimed {second}", **told),
            ]  # fmt: skip
    rows.append(trade(NINE + 4 * SECOND, receive_time=None, collector=None, origin="rest", trade_id="healed"))
    # The same number on another day is another trade.
    rows.append(trade(NINE + 10, trade_id=str(NINE + SECOND), collector="two", price=Decimal(7)))
    commit_rows(lake.store, TRADES, [*rows, *(row | {"source": "coinbase", "collector": "one"} for row in rows[:1])])
    for name in ("quotes", "book_updates", "book_snapshots"):
        sides = {"side": "bid", "reason": "subscribed", "bid_price": Decimal(1)}
        commit_rows(lake.store, stream_dataset(name), [row | sides for row in rows if row["collector"]])
    for dataset in ("trades", "quotes", "book_updates"):
        for who, missed in (("one", 4), ("two", 5)):
            hole = NINE + missed * SECOND
            commit_interval(lake.store, NINE, hole, dataset=dataset, collector=who)
            commit_interval(lake.store, hole + SECOND, NINE + 12 * SECOND, dataset=dataset, collector=who)
            commit_watermark(lake.store, NINE + 10 * SECOND, dataset=dataset, collector=who)


def test_names_of_the_inside_are_in_no_list_of_tables(lake: Lake) -> None:
    commit_rows(lake.store, TRADES, [trade(NINE)])
    for listing in ("select table_name from information_schema.tables where table_name <> 'trades'", "show tables"):
        names = set(lake.sql(listing).to_series())
        assert {"raw_trades", "stream_data"} <= names
        assert not [name for name in names if name.startswith(("arrow_", "_")) or name.endswith(("_now", "_ever"))]
    columns = lake.sql("select distinct table_name from information_schema.columns where column_name = 'trade_id'")
    assert set(columns.to_series()) >= {"trades", "raw_trades"}
    assert not [name for name in columns.to_series() if name.startswith("arrow_")]
