"""Corporate actions: `as_of=t` is what was known at t, whatever comes later."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from hypothesis import strategies as st

from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.moments import from_microseconds
from gb_pipeline.reading.lake import Lake
from gb_pipeline_tests.actions import received, split
from gb_pipeline_tests.bars import SetClock
from gb_pipeline_tests.laws.law import law
from gb_pipeline_tests.laws.model import MICROSECOND, SOURCE, Model, Series

SYMBOLS = ("AAA", "BBB")
DATES = [date(2023, 12, 29) + timedelta(days=5 * number) for number in range(4)]
NOW = datetime(2024, 3, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Asked:
    """An answer about a range of ex dates: new shares for one old share by symbol and date, None where there is no split."""

    symbols: tuple[str, ...]
    first: int
    last: int
    ratios: tuple[int | None, ...]
    late: bool
    jump: timedelta


@st.composite
def questions(draw: st.DrawFn) -> Asked:
    first, last = sorted((draw(st.integers(0, 3)), draw(st.integers(0, 3))))
    ratios = draw(st.tuples(*[st.sampled_from([2, 2, 2, 3, None])] * (len(SYMBOLS) * len(DATES))))
    jump = draw(st.sampled_from([timedelta(hours=1), timedelta(hours=1), timedelta(days=-2)]))
    symbols = draw(st.sampled_from([SYMBOLS, SYMBOLS[:1], SYMBOLS[1:]]))
    return Asked(symbols, first, last, ratios, draw(st.sampled_from([False, False, True])), jump)


STEPS = st.lists(
    st.one_of(questions(), questions(), questions(), st.sampled_from(["compact", "vacuum"])), min_size=5, max_size=14
)


@law(STEPS, few=12)
def test_actions_as_of_a_moment_are_those_that_were_known_then(steps: list[Asked | str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        clock, model, moments = SetClock(NOW), Model(), []
        for step in steps:
            store = LakeStore.at(Path(folder), clock=clock)
            if isinstance(step, Asked):
                clock.now += step.jump
                ask(store, model, step)
            elif step == "compact":
                for partition in store.compaction_candidates(min_files=2):
                    store.compact(partition)
            else:
                later = datetime.now(UTC) + timedelta(days=60)
                store.vacuum(retention=timedelta(hours=1), dry_run=False, now=later)
            moments.append(from_microseconds(store.tables.newest("corporate_actions").clock))
            assert told(store, None) == expected(model, moments[-1])
        for moment in {*moments, *(moment - MICROSECOND for moment in moments)}:
            assert told(LakeStore.at(Path(folder)), moment) == expected(model, moment)


def ask(store: LakeStore, model: Model, step: Asked) -> None:
    places = [(symbol, day) for symbol in SYMBOLS for day in DATES]
    wanted = DATES[step.first : step.last + 1]
    said = {
        (symbol, day): ratio
        for (symbol, day), ratio in zip(places, step.ratios, strict=True)
        if ratio is not None and symbol in step.symbols and day in wanted
    }
    asked = store.clock() - timedelta(hours=3 if step.late else 0)
    rows = [split(str(day), str(ratio), symbol=symbol) for (symbol, day), ratio in said.items()]
    window = DATES[step.first], DATES[step.last] + timedelta(days=1)
    before = store.tables.newest("corporate_actions").clock
    report = store.write_actions(SOURCE, step.symbols, window, received(*rows), fetched_at=asked)
    answer = {(Series(symbol, "split"), midnight(day)): ratio for (symbol, day), ratio in said.items()}
    series = [Series(symbol, "split") for symbol in step.symbols]
    # The model compares contents, whatever they are.
    outcome = model.decide(series, [midnight(day) for day in wanted], answer, asked, "")  # type: ignore[arg-type]
    assert (report.version is None) == (outcome.added == 0)
    assert (report.unchanged, report.late, report.withdrawn) == (outcome.unchanged, outcome.late, outcome.withdrawn)
    if report.version is not None:
        stamp = store.tables.newest("corporate_actions").clock
        assert stamp > before
        model.commit(outcome, asked, from_microseconds(stamp))


def told(store: LakeStore, moment: datetime | None) -> dict[tuple[str, date], tuple[int, bool, datetime]]:
    rows = Lake(store).corporate_actions(as_of=moment, withdrawn=True)
    return {
        (row["symbol"], row["ex_date"]): (int(row["ratio"]), row["withdrawn"], row["known_at"])
        for row in rows.iter_rows(named=True)
    }


def expected(model: Model, moment: datetime) -> dict[tuple[str, date], tuple[object, bool, datetime]]:
    return {
        (symbol, slot.date()): (version.content, version.withdrawn, version.known_at)
        for symbol in SYMBOLS
        for slot, version in model.as_of(Series(symbol, "split"), moment).items()
    }


def midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
