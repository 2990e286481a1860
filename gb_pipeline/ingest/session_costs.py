"""This module says what each session had of a vendor's answer: an answer holds many days, and a page shows one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from itertools import accumulate, pairwise
from typing import NamedTuple

from gb_pipeline.lake.fetches import FetchRecord
from gb_pipeline.lake.report import SessionReport


class SessionCost(NamedTuple):
    """What one session had of a vendor's answer, which holds many of them.

    Attributes:
        bytes: its share of the size, by its rows.
        latency_ms: how long the vendor took for a call of the answer that the session came with.
    """

    bytes: int
    latency_ms: int


def share_costs(sessions: Sequence[SessionReport], record: FetchRecord) -> dict[date, SessionCost]:
    """What each session had of the answer to one question; the bytes add up to those of the answer.

    Args:
        sessions: of the answer.
        record: the row of the question.
    """
    # An answer without rows is of all its sessions alike.
    weights = [session.received for session in sessions]
    if not any(weights):
        weights = [1] * len(sessions)
    ends = list(accumulate(weights))
    edges = [0, *(record.bytes * end // ends[-1] for end in ends)] if ends else [0]
    latency = round(record.latency_ms / max(record.calls, 1))
    return {
        session.session: SessionCost(end - begin, latency)
        for session, (begin, end) in zip(sessions, pairwise(edges), strict=True)
    }
