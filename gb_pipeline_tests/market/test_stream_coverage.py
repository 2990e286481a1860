"""Coverage of streams from intervals of evidence, against a ruler that looks at every nanosecond."""

from __future__ import annotations

from itertools import pairwise

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from gb_pipeline.market.stream_coverage import STREAM, covered_stretches, find_holes

NAMES = [("kraken", "BTC-USD", "trades"), ("kraken", "ETH-USD", "trades"), ("kraken", "BTC-USD", "book_updates")]
SCHEMA = {
    **dict.fromkeys(STREAM, pl.String()),
    "start_time": pl.Int64(), "end_time": pl.Int64(), "kind": pl.String(), "reason": pl.String(), "missing": pl.Int64(),
    "collector": pl.String(),
}  # fmt: skip
MOST = 30


def frame(rows: list[tuple]) -> pl.DataFrame:
    return pl.DataFrame([(*name, *rest) for name, *rest in rows], schema=SCHEMA, orient="row")


@st.composite
def intervals(draw: st.DrawFn) -> list[tuple]:
    rows = []
    for _ in range(draw(st.integers(0, 14))):
        start = draw(st.integers(0, MOST))
        end = draw(st.integers(start, MOST))
        kind = draw(st.sampled_from(["covered", "healed", "gap"]))
        reason = draw(st.sampled_from(["restart", "sequence"])) if kind == "gap" else None
        missing = draw(st.none() | st.integers(0, 9)) if kind == "gap" else None
        collector = draw(st.sampled_from(["one", "two"]))
        rows.append((draw(st.sampled_from(NAMES)), start, end, kind, reason, missing, collector))
    return rows


def points(rows: list[tuple], name: tuple) -> set[int]:
    """Every nanosecond that a collector covers and does not call a gap, or that was healed."""

    def spans(kind: str, collector: str | None = None) -> set[int]:
        return {
            point
            for own, start, end, said, _, _, who in rows
            if own == name and said == kind and collector in {None, who}
            for point in range(start, end)
        }

    own = (spans("covered", who) - spans("gap", who) for who in ("one", "two"))
    return set().union(*own, spans("healed"))


@given(intervals())
def test_stretches_are_exactly_what_the_evidence_covers_and_no_two_meet(rows: list[tuple]) -> None:
    found = covered_stretches(frame(rows))
    for name in NAMES:
        own = [row[3:] for row in found.iter_rows() if row[:3] == name]
        assert {point for start, end in own for point in range(start, end)} == points(rows, name)
        assert all(before[1] < after[0] for before, after in pairwise(own))


@given(intervals(), st.lists(st.tuples(st.integers(0, MOST), st.integers(0, MOST)), min_size=3, max_size=3))
def test_holes_and_stretches_together_are_the_window_and_share_nothing(rows: list[tuple], spans: list[tuple]) -> None:
    windows = pl.DataFrame(
        [(*name, *sorted(span)) for name, span in zip(NAMES, spans, strict=True)],
        schema={name: SCHEMA[name] for name in [*STREAM, "start_time", "end_time"]},
        orient="row",
    )
    holes = find_holes(frame(rows), windows)
    for *stream, first, last in windows.iter_rows():
        name = tuple(stream)
        own = [row[3:5] for row in holes.iter_rows() if row[:3] == name]
        assert {point for start, end in own for point in range(start, end)} == set(range(first, last)) - points(
            rows, name
        )
        assert all(before[1] < after[0] for before, after in pairwise(own))


@given(intervals())
def test_two_collectors_cover_what_either_of_them_covers(rows: list[tuple]) -> None:
    together = covered_stretches(frame(rows))
    ones, twos = ([row for row in rows if row[-1] == who] for who in ("one", "two"))
    for name in NAMES:
        own = {p for row in together.iter_rows() if row[:3] == name for p in range(row[3], row[4])}
        assert own == points(ones, name) | points(twos, name)


def test_a_hole_says_why_where_a_gap_row_does() -> None:
    btc, eth, book = NAMES
    rows = frame(
        [
            (btc, 0, 10, "covered", None, None, "one"),
            (btc, 10, 12, "gap", "sequence", 3, "one"),
            (btc, 12, 20, "gap", "disconnect", None, "one"),
            (btc, 20, 30, "covered", None, None, "one"),
            (eth, 0, 10, "covered", None, None, "one"),
        ]
    )
    windows = pl.DataFrame(
        [(*name, 0, 30) for name in NAMES],
        schema={name: SCHEMA[name] for name in [*STREAM, "start_time", "end_time"]},
        orient="row",
    )
    assert find_holes(rows, windows).rows() == [
        (*book, 0, 30, None, None),
        (*btc, 10, 20, "disconnect", None),
        (*eth, 10, 30, None, None),
    ]
