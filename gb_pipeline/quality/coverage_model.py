"""This module has the coverage of a window as a Pandera model: what is expected against what is stored, run by run.

Its failure cases are the gaps, as those of `model` are the breaches of bars. It is used only where something is missing: one
comparison of two columns says whether anything is.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import polars as pl

from gb_pipeline.errors import LakeError
from gb_pipeline.market.moments import INSTANT

if TYPE_CHECKING:
    import pandera.polars as pa

# One row per run of neighbouring bars of a session that are all stored, or all absent for one reason.
COVERAGE = pl.Schema(
    {
        "symbol": pl.String(),
        "session": pl.Date(),
        "start": INSTANT,
        "end": INSTANT,
        "expected": pl.Int64(),
        "stored": pl.Int64(),
        "reason": pl.String(),
    }
)
_UNEXPLAINED, _TOO_MANY = "unexplained", "more_stored_than_expected"


@cache
def coverage_model(reasons: Sequence[str], named: Sequence[str] | None = None) -> pa.DataFrameSchema:
    """The Pandera model of coverage: types and nullability of `COVERAGE`, and one check per reason for which bars are absent.

    Args:
        reasons: codes that there are, as a tuple.
        named: names of the checks that it is to have, as a tuple; all by default. A check takes half a millisecond.

    Example:
        >>> coverage_model(("no_trade", "unknown")).validate(coverage, lazy=True)
        Traceback (most recent call last):
        pandera.errors.SchemaErrors: ... no_trade ...
    """
    import pandera.polars as pa

    columns = {name: pa.Column(kind, nullable=name == "reason") for name, kind in COVERAGE.items()}
    is_stored = pl.col("stored") == pl.col("expected")
    rules = {reason: is_stored | (pl.col("reason") != reason).fill_null(True) for reason in reasons}
    rules[_UNEXPLAINED] = is_stored | pl.col("reason").is_in(list(reasons)).fill_null(False)
    rules[_TOO_MANY] = pl.col("stored") <= pl.col("expected")
    checks = [pa.Check(_as_check(rule), name=name) for name, rule in rules.items() if named is None or name in named]
    return pa.DataFrameSchema(columns, checks=checks, strict=False, name="coverage")


def find_absences(coverage: pl.DataFrame, reasons: Sequence[str]) -> pl.DataFrame:
    """The runs in which bars are absent: the failure cases of the model.

    Args:
        coverage: columns of `COVERAGE`, and any others.
        reasons: codes that there are.

    Returns:
        These rows in their order, with `missing` (Int64) in place of `expected` and `stored`; `reason` is the check that failed.

    Raises:
        LakeError: a run is absent for no reason that there is, or holds more than is expected, which is a bug.
    """
    # Few windows lack anything; Pandera takes 0.4 s to import.
    if (coverage["stored"] == coverage["expected"]).all():
        return _as_missing(coverage.clear())
    import pandera.errors

    try:
        coverage_model(tuple(reasons), _failing_checks(coverage, reasons)).validate(coverage, lazy=True)
    except pandera.errors.SchemaErrors as errors:
        cases = errors.failure_cases.sort("index")
    unnamed = cases.filter(pl.col("index").is_null() | ~pl.col("check").is_in(list(reasons)))
    if unnamed.height:
        raise LakeError(
            f"the coverage of a window cannot be validated: {', '.join(unnamed['check'].unique())}",
            fix="this is a bug of gb_pipeline: please report it",
        )
    return _as_missing(coverage[cases["index"].cast(pl.UInt32)].with_columns(cases["check"].alias("reason")))


def _failing_checks(coverage: pl.DataFrame, reasons: Sequence[str]) -> tuple[str, ...] | None:
    """The checks of the model that some run fails, by its columns; None where these lack what they need, for all of them."""
    stored, expected = coverage["stored"], coverage["expected"]
    if stored.null_count() or expected.null_count():
        return None
    found = set(coverage["reason"].filter(stored != expected).to_list())
    failing = [reason for reason in reasons if reason in found]
    if not found <= set(reasons):
        failing.append(_UNEXPLAINED)
    if (stored > expected).any():
        failing.append(_TOO_MANY)
    return tuple(failing)


def _as_missing(coverage: pl.DataFrame) -> pl.DataFrame:
    missing = (pl.col("expected") - pl.col("stored")).alias("missing")
    return coverage.with_columns(missing).drop("expected", "stored")


def _as_check(rule: pl.Expr) -> Any:
    def check(data: Any) -> pl.LazyFrame:
        lazy: pl.LazyFrame = data.lazyframe.select(rule)
        return lazy

    return check
