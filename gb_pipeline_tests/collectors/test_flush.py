"""What a flush makes of a spool's evidence says what the evidence of each second says, wherever its segments are cut."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gb_pipeline.collectors.flush import SPOOLED, flush_segment, join_covered
from gb_pipeline.collectors.spool import Spool
from gb_pipeline.lake.datasets import STREAM_INTERVALS, WATERMARKS
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.moments import from_microseconds
from gb_pipeline.market.schema import polars_schema
from gb_pipeline.market.stream_coverage import covered_stretches
from gb_pipeline.storage import reading

SCHEMA = polars_schema(STREAM_INTERVALS.columns)
streams = st.sampled_from([("trades", "BTC-USD"), ("trades", "ETH-USD"), ("book_updates", "BTC-USD")])
spans = st.tuples(streams, st.integers(0, 12), st.integers(1, 5), st.integers(0, 9), st.sampled_from(["one", "two"]))


def interval(
    stream: tuple[str, str], start: int, length: int, rows: int, collector: str, kind: str = "covered"
) -> dict[str, Any]:
    dataset, symbol = stream
    return {
        "source": "feed", "symbol": symbol, "dataset": dataset, "timestamp": from_microseconds(start), "start_time": start * 1000,
        "end_time": (start + length) * 1000, "kind": kind, "reason": None if kind == "covered" else "sequence",
        "collector": collector, "messages": rows, "rows": rows, "missing": None, "first_sequence": None, "last_sequence": None,
    }  # fmt: skip


def frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


@given(st.lists(spans, max_size=12), st.integers(0, 12))
def test_joined_stretches_cover_what_each_of_them_covers_and_count_the_same(told: list[Any], cut: int) -> None:
    rows = frame([interval(*item) for item in told])
    parts = [join_covered(rows), pl.concat([join_covered(rows[:cut]), join_covered(rows[cut:])])]
    for joined in parts:
        for by_collector in (False, True):
            expected = covered_stretches(rows, by_collector=by_collector)
            assert covered_stretches(joined, by_collector=by_collector).equals(expected)
        counts = pl.col("messages", "rows").sum()
        assert joined.select(counts).row(0) == rows.select(counts).row(0)
    assert parts[0].height <= rows.height


@settings(max_examples=15)
@example([((("trades", "BTC-USD"), 3, 2, 5, "one"), "covered")] * 2, set())
@given(
    st.lists(st.tuples(spans, st.sampled_from(["covered", "covered", "gap"])), min_size=1, max_size=8),
    st.sets(st.integers(0, 7)),
)
def test_the_lake_says_the_same_wherever_segments_are_cut(
    tmp_path_factory: pytest.TempPathFactory, told: list[Any], cuts: set[int]
) -> None:
    folder = tmp_path_factory.mktemp("spool")
    store, spool = LakeStore.at(str(folder / "lake")), Spool(folder / "spool", SPOOLED)
    rows = [interval(*span, kind=kind) for span, kind in told]
    for place, row in enumerate(rows):
        mark = {
            "source": "feed", "dataset": "trades", "collector": "one", "timestamp": from_microseconds(place),
            "through_time": place * 1000, "segment": 0, "rows": 1,
        }  # fmt: skip
        marks = pl.DataFrame([mark], schema=polars_schema(WATERMARKS.columns), orient="row")
        spool.append([("stream_intervals", frame([row])), ("watermarks", marks)])
        if place in cuts:
            spool.seal()
    spool.seal()
    segments = spool.segments()
    for segment in segments:
        flush_segment(store, segment, "one")
    spool.close()
    stored = reading.read(
        store.tables.storage, STREAM_INTERVALS, store.tables.newest(STREAM_INTERVALS.name).files
    ).select(SCHEMA.names())
    # A gap that is told twice within a segment is one.
    assert covered_stretches(stored).equals(covered_stretches(frame(rows)))
    # Covered rows are added up and never dropped, also where two connections tell the very same.
    told_rows = sum(row["rows"] for row in rows if row["kind"] == "covered")
    assert stored.filter(pl.col("kind") == "covered")["rows"].sum() == told_rows
    marks = reading.read(store.tables.storage, WATERMARKS, store.tables.newest(WATERMARKS.name).files)
    assert marks.height == len(segments)
    assert (marks["rows"].sum(), marks["through_time"].max()) == (len(rows), (len(rows) - 1) * 1000)
