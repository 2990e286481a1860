"""Gaps are what the model of coverage refuses: one comparison says whether there are any, Pandera which."""

from __future__ import annotations

from datetime import date, timedelta

import pandera.errors
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gb_pipeline.errors import LakeError
from gb_pipeline.market.calendar import get_calendar
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.quality.coverage_model import COVERAGE, _failing_checks, coverage_model, find_absences
from gb_pipeline.quality.gaps import REASONS, GapReason, compare, find_gaps
from gb_pipeline.quality.rules import GapPolicy

DAY = date(2024, 1, 2)
HOURS = get_calendar("24/7").expected(DAY, DAY + timedelta(days=3), Resolution.HOUR)
GRID = HOURS.with_columns((pl.col("timestamp") + pl.duration(hours=1)).alias("end"))


def run(**changes: object) -> pl.DataFrame:
    first = GRID.row(0, named=True)
    row = {"symbol": "A", "session": DAY, "start": first["timestamp"], "end": first["end"], "expected": 1, "stored": 0}
    return pl.DataFrame([row | {"reason": "unknown"} | changes], schema=COVERAGE)


@pytest.mark.parametrize("reason", GapReason)
def test_a_run_without_its_bars_fails_the_check_that_is_named_like_its_reason(reason: GapReason) -> None:
    with pytest.raises(pandera.errors.SchemaErrors) as caught:
        coverage_model(REASONS).validate(run(reason=reason.value), lazy=True)
    assert caught.value.failure_cases["check"].to_list() == [reason.value]
    coverage_model(REASONS).validate(run(reason=None, stored=1), lazy=True)


@pytest.mark.parametrize("wrong", [{"reason": None}, {"reason": "because"}, {"stored": 2}])
def test_what_no_reason_explains_is_a_bug(wrong: dict[str, object]) -> None:
    with pytest.raises(LakeError, match="cannot be validated"):
        find_absences(run(**wrong), REASONS)


def test_other_types_are_refused() -> None:
    with pytest.raises(LakeError, match="dtype"):
        find_absences(run().with_columns(pl.col("expected").cast(pl.Float64)), REASONS)


@given(st.data())
def test_the_failure_cases_are_the_gaps_and_there_are_none_where_nothing_is_absent(data: st.DataObject) -> None:
    symbols = data.draw(st.lists(st.sampled_from(["A", "B"]), unique=True, min_size=1).map(sorted))
    expected = pl.concat([GRID.with_columns(pl.lit(symbol).alias("symbol")) for symbol in symbols])
    rows = st.sets(st.integers(0, expected.height - 1), max_size=expected.height)
    absent, refused = data.draw(rows), data.draw(rows)
    policy, failed = data.draw(st.sampled_from(GapPolicy)), data.draw(st.booleans())
    numbered = expected.with_row_index()
    actual = numbered.filter(~pl.col("index").is_in(list(absent)))
    named = {"refused": numbered.filter(pl.col("index").is_in(list(refused))), "failed": failed}
    coverage = compare(expected, actual, policy, **named)  # type: ignore[arg-type]
    gaps = find_gaps(expected, actual, policy, **named)  # type: ignore[arg-type]
    assert coverage.is_empty() == gaps.is_empty() == (not absent)
    assert gaps["missing"].sum() == len(absent)
    if coverage.height:
        assert (coverage["expected"].sum(), coverage["stored"].sum()) == (expected.height, actual.height)
        with pytest.raises(pandera.errors.SchemaErrors) as caught:
            coverage_model(REASONS).validate(coverage, lazy=True)
        cases = caught.value.failure_cases.sort("index")
        rows_of_cases = coverage[cases["index"].cast(pl.UInt32)]
        assert rows_of_cases["start"].to_list() == gaps["start"].to_list()
        assert cases["check"].to_list() == gaps["reason"].to_list()
        # Only checks that something fails are asked.
        assert _failing_checks(coverage, REASONS) == tuple(name for name in REASONS if name in set(cases["check"]))
        # The same, said by columns.
        plain = coverage.filter(pl.col("stored") < pl.col("expected"))
        assert plain.select("symbol", "session", "start", "end", "reason").equals(gaps.drop("missing"))
