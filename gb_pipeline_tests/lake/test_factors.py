"""Stored factors: the least that changes is written, every version stays, and older data never replaces newer."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gb_pipeline.errors import WindowRefused
from gb_pipeline.lake import factors
from gb_pipeline.lake.datasets import FACTORS
from gb_pipeline.lake.store import LakeStore
from gb_pipeline_tests.bars import SetClock, at

START, END = date(2024, 1, 1), date(2024, 2, 1)
DAYS = [date(2024, 1, day) for day in (2, 3, 4)]


def frame(values: dict[tuple[str, str, int], float | None]) -> pl.DataFrame:
    """Values by factor, symbol and number of the day."""
    rows = [(name, code, DAYS[day], "number", value, None) for (name, code, day), value in values.items()]
    kinds = {name: FACTORS.polars[name] for name in factors.COMPUTED}
    return pl.DataFrame(rows, schema=kinds, orient="row")


def write(store: LakeStore, values: dict[tuple[str, str, int], float | None], known: str) -> factors.FactorsReport:
    return factors.write_factors(
        store.tables, "trend", START, END, frame(values), data_as_of=at(known), clock=store.clock
    )


def stored(store: LakeStore, **options) -> dict[tuple[str, str, int], float | None]:
    rows = factors.read(store.tables, "trend", **options).select("factor", "symbol", "session", "value").rows()
    return {(name, code, DAYS.index(day)): value for name, code, day, value in rows}


@pytest.fixture
def store(tmp_path: Path) -> LakeStore:
    store = LakeStore.at(tmp_path / "data")
    store.clock = SetClock(at("2024-03-01"))
    return store


def test_the_same_values_are_not_written_again(store: LakeStore) -> None:
    values = {("mean", "A", 0): 1.5, ("mean", "A", 1): None, ("mean", "B", 0): -0.0}

    assert write(store, values, "2024-02-01").new == 3
    again = write(store, values, "2024-02-02")

    assert (again.unchanged, again.version) == (3, None)
    assert stored(store) == values


def test_a_value_that_changes_is_restated_and_one_that_is_gone_is_withdrawn(store: LakeStore) -> None:
    first = {("mean", "A", 0): 1.5, ("mean", "A", 1): 2.0, ("mean", "B", 0): 3.0}
    write(store, first, "2024-02-01")
    then = store.clock()
    store.clock = SetClock(at("2024-03-02"))
    second = {("mean", "A", 0): 1.5, ("mean", "A", 1): 2.5}

    report = write(store, second, "2024-02-02")

    assert (report.unchanged, report.restated, report.withdrawn) == (1, 1, 1)
    assert stored(store) == second
    assert stored(store, as_of=then) == first
    assert write(store, first, "2024-02-03").restated == 2, "what comes back is no longer withdrawn"
    assert stored(store) == first


def test_what_was_computed_from_older_data_never_replaces_newer_values(store: LakeStore) -> None:
    newer = {("mean", "A", 0): 1.5, ("mean", "B", 0): 3.0}
    write(store, newer, "2024-02-02")

    report = write(store, {("mean", "A", 0): 9.0}, "2024-02-01")

    assert (report.late, report.restated, report.withdrawn, report.version) == (1, 0, 0, None)
    assert stored(store) == newer


def test_a_value_outside_of_its_stretch_or_that_comes_twice_is_refused(store: LakeStore) -> None:
    good = frame({("mean", "A", 0): 1.0})
    for rows in (pl.concat([good, good]), good.with_columns(session=pl.lit(END))):
        with pytest.raises(WindowRefused, match="outside"):
            factors.write_factors(
                store.tables, "trend", START, END, rows, data_as_of=at("2024-02-01"), clock=store.clock
            )
    assert stored(store) == {}


cells = st.tuples(st.sampled_from(["mean", "up"]), st.sampled_from("AB"), st.integers(0, 2))
numbers = st.none() | st.floats(allow_nan=False, allow_infinity=False, width=64)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(writes=st.lists(st.dictionaries(cells, numbers, min_size=1, max_size=5), min_size=1, max_size=3))
def test_each_moment_reads_what_was_written_last_before_it(
    tmp_path_factory: pytest.TempPathFactory, writes: list[dict[tuple[str, str, int], float | None]]
) -> None:
    store = LakeStore.at(tmp_path_factory.mktemp("factors") / "data")
    for number, values in enumerate(writes, 1):
        store.clock = SetClock(at(f"2024-03-0{number}"))
        report = write(store, values, f"2024-02-0{number}")
        assert report.received == report.new + report.restated + report.unchanged + report.late
    for number, values in enumerate(writes, 1):
        assert stored(store, as_of=at(f"2024-03-0{number}T12:00Z")) == values
