"""Whether the answer to a question is the truth: rows, order, timestamps and every value."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pyarrow as pa

from benchmarks.peers.batch import NUMBERS, PRICES
from benchmarks.peers.judge import PROMISES, Exactness, WrongAnswer
from benchmarks.peers.questions import EXTENT, HOURS, LATEST, Question
from benchmarks.peers.truth import CENT, WHOLE, Truth

_HOUR = 3_600_000_000
_KEYS = ["symbol", "timestamp"]


def expected(truth: Truth, question: Question) -> pl.DataFrame:
    """The right answer: `symbol`, `timestamp` and numbers at 1e-8, or `symbol`, `bars`, `first` and `last`."""
    first, last = (int(edge.timestamp()) * 10**6 for edge in (question.start, question.end))
    rows = truth.frame.filter(
        pl.col("symbol").is_in(question.symbols), pl.col("timestamp").is_between(first, last, "left")
    )
    if question.kind == EXTENT:
        edges = pl.col("timestamp").min().alias("first"), pl.col("timestamp").max().alias("last")
        return rows.group_by("symbol").agg(pl.len().cast(pl.Int64).alias("bars"), *edges).sort("symbol")
    if question.kind == LATEST:
        rows = rows.group_by("symbol", maintain_order=True).last()
    if question.kind == HOURS:
        hour = (pl.col("timestamp") // _HOUR * _HOUR).alias("timestamp")
        prices = pl.col("open").first(), pl.col("high").max(), pl.col("low").min(), pl.col("close").last()
        rows = rows.group_by("symbol", hour, maintain_order=True).agg(*prices, pl.col("volume").sum())
    return rows.select(*_KEYS, *question.columns)


def judge_answer(who: str, path: Path, truth: Truth, question: Question, promise: str) -> Exactness:
    """Compare what a contender answered with the truth.

    Raises:
        WrongAnswer: other rows, another order within a symbol, or values that differ by more than the contender promises.
    """
    with pa.OSFile(str(path)) as source:
        read = pl.DataFrame(pa.ipc.open_file(source).read_all()).with_columns(pl.col("symbol").cast(pl.String))
    wanted = expected(truth, question)
    if question.kind == EXTENT:
        if not read.sort("symbol").select(wanted.columns).equals(wanted):
            raise WrongAnswer(f"{who} says of count, first and last {read} for {wanted}")
        return Exactness.EXACT
    read = read.sort("symbol", maintain_order=True).select(wanted.columns)
    if not read.select(_KEYS).equals(wanted.select(_KEYS)):
        raise WrongAnswer(f"{who} answers {question} with {read.height} rows for {wanted.height}, or in another order")
    found = _exactness(read, wanted)
    if found is None or found < PROMISES[promise]:
        raise WrongAnswer(f"{who} promises {promise!r} and answers {question} with other values")
    return found


def _exactness(read: pl.DataFrame, wanted: pl.DataFrame) -> Exactness | None:
    if read.equals(wanted):
        return Exactness.EXACT
    allowed = {**dict.fromkeys(PRICES, CENT - 1), "volume": WHOLE}
    names = [name for name in NUMBERS if name in wanted.columns]
    near = all(((read[name] - wanted[name]).abs() <= allowed[name]).all() for name in names)
    return Exactness.WHOLE_VOLUMES if near else None
