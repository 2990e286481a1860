"""Outcomes wait for company: for a time, or until there are partitions enough; none is lost and none is written twice."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise

from gb_pipeline.ingest.job import Outcome
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.orchestration.events.waiting import WaitingOutcomes

HOUR = 3600.0


def outcomes(count: int) -> list[Outcome]:
    first = date(2024, 1, 1)
    days = [first + timedelta(days=number) for number in range(count + 1)]
    return [Outcome(Symbol.crypto("BTC-USDT"), *pair) for pair in pairwise(days)]


def test_they_are_due_when_their_time_is_over() -> None:
    (one,) = outcomes(1)
    assert not WaitingOutcomes(seconds=HOUR).add(one)
    assert WaitingOutcomes(seconds=-1).add(one)


def test_so_many_partitions_are_due_at_once_and_are_counted_anew_afterwards() -> None:
    waiting, due = WaitingOutcomes(seconds=HOUR, partitions=5), []
    for number, one in enumerate(outcomes(6), 1):
        if waiting.add(one, partitions=2):
            due.append(number)
            waiting.take()
    assert due == [3, 6]


def test_each_is_taken_once_in_the_order_in_which_they_came() -> None:
    waiting, given, taken = WaitingOutcomes(seconds=HOUR, partitions=3), outcomes(8), []
    for one in given:
        if waiting.add(one, partitions=1):
            taken += waiting.take()
    assert len(taken) == 6
    assert taken + waiting.take() == given
    assert waiting.take() == []
