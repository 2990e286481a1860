"""Whether what a contender read is what was written: rows, timestamps and every value."""

from __future__ import annotations

from enum import IntEnum
from pathlib import Path

import polars as pl

from benchmarks.peers.batch import NUMBERS, PRICES, load
from benchmarks.peers.truth import CENT, WHOLE, Truth


class Exactness(IntEnum):
    """How much of the truth an answer kept; more is better."""

    WHOLE_VOLUMES = 1
    """Prices are right to a cent; a volume is right to one unit."""
    EXACT = 2
    """Every value is the decimal that was stored."""


PROMISES = {"exact": Exactness.EXACT, "whole volumes": Exactness.WHOLE_VOLUMES}


class WrongAnswer(Exception):
    """A contender returned other rows or values than were stored; nothing that it measured counts."""


def judge(who: str, answer: Path, truth: Truth, promise: str) -> Exactness:
    """Compare an Arrow file of everything that a contender holds with everything that it should hold.

    Raises:
        WrongAnswer: rows or values differ by more than the contender promises.
    """
    read = pl.DataFrame(load(answer)).with_columns(pl.col("symbol").cast(pl.String)).sort("symbol", "timestamp")
    wanted = truth.frame
    keys = ["symbol", "timestamp"]
    if not read.select(keys).equals(wanted.select(keys)):
        missing, added = (len(a.join(b, on=keys, how="anti")) for a, b in ((wanted, read), (read, wanted)))
        raise WrongAnswer(
            f"{who} holds {read.height} rows for {wanted.height}: {missing} are missing, {added} were never stored"
        )
    found = _exactness(read, wanted)
    if found is None or found < PROMISES[promise]:
        wrong = {name: int((read[name] != wanted[name]).sum()) for name in NUMBERS}
        raise WrongAnswer(f"{who} promises {promise!r} and returned other values: {wrong} of {read.height}")
    return found


def _exactness(read: pl.DataFrame, wanted: pl.DataFrame) -> Exactness | None:
    if read.select(NUMBERS).equals(wanted.select(NUMBERS)):
        return Exactness.EXACT
    prices = all(_farthest(read[name], wanted[name]) < CENT for name in PRICES)
    return Exactness.WHOLE_VOLUMES if prices and _farthest(read["volume"], wanted["volume"]) <= WHOLE else None


def _farthest(one: pl.Series, other: pl.Series) -> int:
    return int((one - other).abs().max() or 0)  # type: ignore[arg-type]
