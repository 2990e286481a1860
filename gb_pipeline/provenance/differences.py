"""This module holds what a replay finds: bars that are not stored as the kept responses have them.

It compares frames that were read already; reading the responses is in `chunk_replay`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import reduce

import polars as pl

from gb_pipeline.errors import GbError
from gb_pipeline.market.schema import CONTENT
from gb_pipeline.market.window import Window

# Differences that are listed one by one; the rest is counted.
SHOWN = 20
_COMPARED = (*CONTENT, "withdrawn")


@dataclass(frozen=True, slots=True)
class Difference:
    """A bar that is not stored as the kept answers have it.

    Attributes:
        symbol: canonical code.
        timestamp: the bar's open.
        kind: `changed`; `missing`, which is in an answer but not stored; `unexplained`, which is stored but in no answer.
        stored: content that is stored and `withdrawn` (True, or None), None where it is missing.
        kept: the same as the answers have it, None where it is unexplained.
    """

    symbol: str
    timestamp: datetime
    kind: str
    stored: dict[str, object] | None
    kept: dict[str, object] | None


@dataclass(slots=True)
class Replayed:
    """What came of one symbol.

    Attributes:
        symbol: canonical code.
        start: first session.
        end: date, exclusive.
        answers: kept answers that were read again.
        rows: good rows of them, each bar once.
        changed, missing, unexplained: how many bars differ, by kind of `Difference`.
        examples: the first of them.
        unkept: answers with rows of which nothing was kept.
        problems: answers that could not be read or stored again, and why.
        restated: bars whose content was put right.
        written: rows of the answers that were not stored so before.
    """

    symbol: str
    start: date
    end: date
    answers: int = 0
    rows: int = 0
    changed: int = 0
    missing: int = 0
    unexplained: int = 0
    examples: list[Difference] = field(default_factory=list)
    unkept: int = 0
    problems: list[GbError] = field(default_factory=list)
    restated: int = 0
    written: int = 0

    @property
    def differences(self) -> int:
        """Of all kinds."""
        return self.changed + self.missing + self.unexplained

    def add(self, differences: pl.DataFrame) -> None:
        """Count the rows of `compare`, and take the first of them as examples."""
        kinds = differences["kind"]
        self.changed += int((kinds == "changed").sum())
        self.missing += int((kinds == "missing").sum())
        self.unexplained += int((kinds == "unexplained").sum())
        for row in differences.head(SHOWN - len(self.examples)).iter_rows(named=True):
            kept = {name: row[name] for name in _COMPARED} if row["is_kept"] else None
            stored = {name: row[f"{name}_stored"] for name in _COMPARED} if row["is_stored"] else None
            self.examples.append(Difference(self.symbol, row["timestamp"], row["kind"], stored, kept))


def compare(kept: pl.DataFrame, stored: pl.DataFrame, known: pl.Expr) -> pl.DataFrame:
    """Bars that differ.

    Args:
        kept: `timestamp`, content and the flag `gone` of the bars that should be stored.
        stored: `timestamp`, content and `withdrawn` of those that are.
        known: whether the responses say everything about a row's timestamp, so that a stored bar which they lack is unexplained.

    Returns:
        `timestamp`, `kind` as of `Difference`, both contents (`<name>`, `<name>_stored`), and whether each side has the bar
        (`is_kept`, `is_stored`); sorted by timestamp.
    """
    is_kept, is_stored = pl.col("is_kept").fill_null(False), pl.col("is_stored").fill_null(False)
    both = kept.select("timestamp", *CONTENT, _true_or_null("gone"), pl.lit(True).alias("is_kept")).join(
        stored.select("timestamp", *CONTENT, _true_or_null("withdrawn"), pl.lit(True).alias("is_stored")),
        on="timestamp",
        how="full",
        coalesce=True,
        suffix="_stored",
    )
    same = pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"{name}_stored")) for name in _COMPARED)
    kind = (
        pl.when(is_kept & is_stored & ~same).then(pl.lit("changed")).when(is_kept & ~is_stored).then(pl.lit("missing"))
        .when(~is_kept & is_stored & known).then(pl.lit("unexplained"))
    )  # fmt: skip
    return both.with_columns(kind.alias("kind")).drop_nulls("kind").sort("timestamp")


def overlap(one: Window, other: Window) -> bool:
    """Whether two windows share a moment."""
    return one.start < other.end and other.start < one.end


def inside(windows: Sequence[Window]) -> pl.Expr:
    """Whether a row's timestamp lies in one of some windows."""
    moment = pl.col("timestamp")
    tests = [(moment >= window.start) & (moment < window.end) for window in windows]
    return reduce(lambda left, right: left | right, tests, pl.lit(False))


def _true_or_null(flag: str) -> pl.Expr:
    return pl.when(flag).then(pl.lit(True)).alias("withdrawn")
