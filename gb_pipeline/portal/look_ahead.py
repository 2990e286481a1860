"""Attempts to look ahead: questions about what does not exist yet at the clock of a simulation, each of which is kept."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import polars as pl

ATTEMPTS = pl.Schema(
    {
        "clock": pl.Datetime("us", "UTC"),
        "method": pl.String(),
        "symbols": pl.String(),
        "asked_until": pl.Datetime("us", "UTC"),
        "answer": pl.String(),
    }
)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One question about the future.

    Attributes:
        clock: the present of the simulation.
        method: that was called.
        symbols: what for.
        asked_until: the moment that was asked for.
        answer: `refused`, or `clipped` to what exists.
    """

    clock: datetime
    method: str
    symbols: str
    asked_until: datetime
    answer: str


def to_frame(attempts: list[Attempt]) -> pl.DataFrame:
    """A row per attempt, in their order."""
    return pl.DataFrame(
        [(one.clock, one.method, one.symbols, one.asked_until, one.answer) for one in attempts], ATTEMPTS, orient="row"
    )
