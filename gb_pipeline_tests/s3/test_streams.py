"""Files of streams in a bucket are found by name, prefix and time from the logs alone: no file is opened, and nothing is listed."""

from __future__ import annotations

from collections.abc import Callable

from gb_pipeline import Lake
from gb_pipeline.lake.store import LakeStore
from gb_pipeline_tests.s3.store import Store
from gb_pipeline_tests.streams import SECOND, commit_trades, commit_watermark, nanoseconds

NINE = nanoseconds("2024-01-02 09:00")
DAY = 86_400 * SECOND


def test_files_of_streams_are_found_without_opening_or_listing_any(
    server: Store, machine: Callable[[str], LakeStore]
) -> None:
    writer = machine("writer")
    for number in range(12):
        commit_trades(writer, [NINE + number * DAY], symbol="KXBTC-24" if number % 2 else "KXETH-24")
    commit_watermark(writer, NINE + 12 * DAY)
    # Another machine, which has read nothing of the lake so far.
    lake = Lake(machine("reader"))
    server.requests.clear()
    assert lake.stream_data().select("symbol", "rows", "files").rows() == [("KXBTC-24", 6, 6), ("KXETH-24", 6, 6)]
    cold = len(server.requests)
    refuse_files_and_listings(server)
    server.requests.clear()
    found = lake.stream_files(prefix="KXB", table="trades", start=NINE + 3 * DAY, end=NINE + 6 * DAY)
    assert found["day"].to_list() == ["2024-01-05", "2024-01-07"]
    assert lake.stream_files(symbols="KXETH-24")["rows"].sum() == 6
    assert found["first_timestamp"].to_list() == lake.stream_files(symbols="KXBTC-24")["first_timestamp"].to_list()[1:3]
    refuse_files_and_listings(server)
    # What is known already is not asked for again, only whether there is more of it.
    assert len(server.requests) < 3 * cold
    # What was committed before the question is in its answer.
    commit_trades(writer, [NINE + 20 * DAY], symbol="KXBTC-24")
    server.requests.clear()
    assert lake.stream_files(prefix="KXBTC")["day"].to_list()[-1] == "2024-01-22"
    refuse_files_and_listings(server)


def refuse_files_and_listings(server: Store) -> None:
    rows = [request.name for request in server.requests if "/symbol=" in request.name or "symbol%3D" in request.name]
    assert server.requests, "the bucket was asked"
    assert rows == []
    # A folder of the log may be looked into for entries; that of a table's files never is.
    assert [request.name for request in server.listings() if "_delta_log" not in str(request)] == []
