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


@cache
def coverage_model(reasons: Sequence[str]) -> pa.DataFrameSchema:
    """The Pandera model of coverage: types and nullability of `COVERAGE`, and one check per reason for which bars are absent.

    Args:
        reasons: codes that there are, as a tuple.

    Example:
        >>> coverage_model(("no_trade", "unknown")).validate(coverage, lazy=True)
        Traceback (most recent call last):
        pandera.errors.SchemaErrors: ... no_trade ...
    """
    import pandera.polars as pa

    columns = {name: pa.Column(kind, nullable=name == "reason") for name, kind in COVERAGE.items()}
    is_stored = pl.col("stored") == pl.col("expected")
    rules = {reason: is_stored | (pl.col("reason") != reason).fill_null(True) for reason in reasons}
    rules["unexplained"] = is_stored | pl.col("reason").is_in(list(reasons)).fill_null(False)
    rules["more_stored_than_expected"] = pl.col("stored") <= pl.col("expected")
    checks = [pa.Check(_as_check(rule), name=name) for name, rule in rules.items()]
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
        coverage_model(tuple(reasons)).validate(coverage, lazy=True)
    except pandera.errors.SchemaErrors as errors:
        cases = errors.failure_cases.sort("index")
    unnamed = cases.filter(pl.col("index").is_null() | ~pl.col("check").is_in(list(reasons)))
    if unnamed.height:
        raise LakeError(
            f"the coverage of a window cannot be validated: {', '.join(unnamed['check'].unique())}",
            fix="this is a bug of gb_pipeline: please report it",
        )
    return _as_missing(coverage[cases["index"].cast(pl.UInt32)].with_columns(cases["check"].alias("reason")))


def _as_missing(coverage: pl.DataFrame) -> pl.DataFrame:
    missing = (pl.col("expected") - pl.col("stored")).alias("missing")
    return coverage.with_columns(missing).drop("expected", "stored")


def _as_check(rule: pl.Expr) -> Any:
    def check(data: Any) -> pl.LazyFrame:
        lazy: pl.LazyFrame = data.lazyframe.select(rule)
        return lazy

    return check
