"""What the lake says of streams: watermarks, intervals, and how much is kept, without opening a file of trades."""

from __future__ import annotations

from pathlib import Path

import pytest

from gb_pipeline.lake.datasets import stream_dataset
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.lake.stream_evidence import find_first_evidence, measure_stored, read_intervals, read_watermarks
from gb_pipeline.storage import reading
from gb_pipeline_tests.streams import SECOND, commit_interval, commit_trades, commit_watermark, nanoseconds

NOON = nanoseconds("2024-01-02 12:00")


@pytest.fixture
def store(tmp_path: Path) -> LakeStore:
    return LakeStore.at(tmp_path / "data")


def test_an_empty_lake_has_no_evidence(store: LakeStore) -> None:
    assert read_watermarks(store.tables).is_empty()
    assert read_intervals(store.tables).is_empty()
    assert find_first_evidence(store.tables).is_empty()
    assert measure_stored(store.tables).is_empty()


def test_the_newest_watermark_of_each_collector_counts(store: LakeStore) -> None:
    for collector, through, segment in (("one", NOON, 1), ("one", NOON + SECOND, 2), ("two", NOON - SECOND, 9)):
        commit_watermark(store, through, collector=collector, segment=segment)
    commit_watermark(store, NOON, source="coinbase", dataset="book_updates")
    found = read_watermarks(store.tables).select("source", "dataset", "collector", "through_time").rows()
    assert found == [
        ("coinbase", "book_updates", "one", NOON),
        ("kraken", "trades", "one", NOON + SECOND),
        ("kraken", "trades", "two", NOON - SECOND),
    ]
    assert read_watermarks(store.tables, "coinbase").height == 1


def test_intervals_that_touch_a_window_are_read_whichever_month_their_file_is_of(store: LakeStore) -> None:
    january = nanoseconds("2024-01-31 23:00")
    commit_interval(store, january, january + 7200 * SECOND)
    commit_interval(store, NOON, NOON + SECOND, symbol="ETH-USD")
    commit_interval(store, NOON, NOON + SECOND, kind="gap", reason="restart")
    february = nanoseconds("2024-02-01 00:30")
    assert read_intervals(store.tables, february, february + 1)["start_time"].to_list() == [january]
    assert read_intervals(store.tables, NOON, NOON + 1, symbols=["ETH-USD"]).height == 1
    assert read_intervals(store.tables, NOON + SECOND, january).is_empty()
    assert sorted(find_first_evidence(store.tables).rows()) == [
        ("kraken", "BTC-USD", "trades", january),
        ("kraken", "ETH-USD", "trades", NOON),
    ]


def test_what_is_kept_of_a_day_is_what_its_files_hold(store: LakeStore) -> None:
    evening = nanoseconds("2024-01-02 23:59")
    commit_trades(store, range(evening, evening + 120 * SECOND, SECOND))
    commit_trades(store, [NOON, NOON + 1])
    commit_trades(store, [NOON], symbol="ETH-USD")
    found = measure_stored(store.tables)
    assert found.select("source", "table", "symbol", "day", "rows").rows() == [
        ("kraken", "trades", "BTC-USD", "2024-01-02", 62),
        ("kraken", "trades", "BTC-USD", "2024-01-03", 60),
        ("kraken", "trades", "ETH-USD", "2024-01-02", 1),
    ]
    files = store.tables.newest("trades").files
    assert int(found["bytes"].sum()) == int(files["size"].sum())
    assert int(found["rows"].sum()) == reading.read(store.storage, stream_dataset("trades"), files).height
