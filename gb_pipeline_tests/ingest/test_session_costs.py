"""What each session had of a vendor's answer: shares that add up to the answer."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from gb_pipeline.ingest.session_costs import share_costs
from gb_pipeline.lake.fetches import FetchOutcome, FetchRecord
from gb_pipeline.lake.report import SessionReport, SessionStatus


def sessions(rows: list[int]) -> list[SessionReport]:
    first = date(2024, 1, 1)
    return [
        SessionReport("A", first + timedelta(days=day), SessionStatus.COMPLETE, received=count)
        for day, count in enumerate(rows)
    ]


def record(size: int, calls: int = 1, latency: int = 0) -> FetchRecord:
    moment = datetime(2024, 2, 1, tzinfo=UTC)
    return FetchRecord(
        "sim", "A", "1m", moment, moment, moment, FetchOutcome.OK, bytes=size, calls=calls, latency_ms=latency
    )


@given(st.lists(st.integers(0, 2000), min_size=1, max_size=40), st.integers(0, 10**8))
def test_the_bytes_of_the_sessions_are_those_of_the_answer_and_go_by_their_rows(rows, size):
    shares = [cost.bytes for cost in share_costs(sessions(rows), record(size)).values()]

    assert sum(shares) == size and min(shares) >= 0
    weights = rows if any(rows) else [1] * len(rows)
    assert all(abs(share - size * rows / sum(weights)) < 1 for share, rows in zip(shares, weights, strict=True))


def test_the_latency_is_that_of_one_call_of_the_answer():
    assert {cost.latency_ms for cost in share_costs(sessions([10, 20]), record(0, calls=3, latency=90)).values()} == {
        30
    }


def test_a_question_about_no_session_costs_no_session_anything():
    assert share_costs([], record(100)) == {}
