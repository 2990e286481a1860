"""What a row of a pipeline is: which bars it sees, in whose shares, among whom it is ranked, and what a gap does."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import polars as pl
import pytest

from gb_pipeline import ConfigError, GapInWindow, Lake, LookAhead, NoDataInRange, SimulationClock, UnknownSeries
from gb_pipeline.market.calendar import get_calendar
from gb_pipeline.research.factors.attached import AttachedPipeline
from gb_pipeline.research.factors.custom import CustomFactor, expression_factor, window_factor
from gb_pipeline.research.factors.datasets import Dataset, LoadRequest
from gb_pipeline.research.factors.indicators import EMA, SMA, Returns
from gb_pipeline.research.factors.pipeline import Pipeline
from gb_pipeline.research.factors.prices import EquityPricing
from gb_pipeline.research.factors.rolling import rolling_std
from gb_pipeline.research.factors.run import iter_pipeline, run_pipeline
from gb_pipeline.research.factors.terms import Term
from gb_pipeline_tests.actions import split
from gb_pipeline_tests.bars import at
from gb_pipeline_tests.portal.bars import tell_actions
from gb_pipeline_tests.research.factors.markets import SESSIONS, put_closes

close = EquityPricing.close


def run(lake: Lake, term: Term, screen: Any = None, **more: Any) -> pl.DataFrame:
    more = {"start": SESSIONS[0], "end": SESSIONS[-1], "calendar": "XNYS", "adjustment": None, **more}
    return run_pipeline(Pipeline({"it": term}, screen), lake=lake, **more)


def numbers(lake: Lake, term: Term, symbol: str = "A", **more: Any) -> list[Any]:
    return run(lake, term, **more).filter(pl.col("symbol") == symbol)["it"].to_list()


def test_a_row_sees_the_bar_of_the_session_before_and_none_that_is_still_open(lake: Lake) -> None:
    put_closes(lake, {"A": [10, 11, 12]})
    rows = run(lake, close, end=None)
    assert rows.rows() == [(SESSIONS[1], "A", 10.0), (SESSIONS[2], "A", 11.0), (SESSIONS[3], "A", 12.0)]
    closing = get_calendar("XNYS").schedule(SESSIONS[2], SESSIONS[3])["close"][0]
    lake.store.clock.now = closing - timedelta(minutes=1)  # type: ignore[attr-defined]
    assert run(lake, close, end=None)["session"].to_list() == SESSIONS[1:3]
    lake.store.clock.now = closing  # type: ignore[attr-defined]
    assert run(lake, close, end=None)["session"].to_list() == SESSIONS[1:4]


def test_prices_are_in_shares_of_the_rows_day(lake: Lake) -> None:
    put_closes(lake, {"A": [100, 100, 50, 52]})
    tell_actions(lake, split(str(SESSIONS[2]), "2", symbol="A"))
    seen = numbers(lake, SMA(close, 2), adjustment="auto")
    # On the morning of the ex date the close before it is told in new shares already.
    assert seen == [None, 50.0, 50.0, 51.0]
    assert numbers(lake, SMA(EquityPricing.volume, 2), adjustment="splits")[:2] == [None, 20_000.0]
    assert numbers(lake, SMA(close, 2)) == [None, 100.0, 75.0, 51.0]


def test_splits_that_nobody_asked_for_are_not_taken_for_none(lake: Lake) -> None:
    put_closes(lake, {"A": [10, 11]})
    with pytest.raises(UnknownSeries, match="adjustment=None"):
        run(lake, close, adjustment="splits")


GAP = [10, 12, None, 14, 16, 18]


@pytest.mark.parametrize(
    ("on_gap", "means"),
    [
        ("null", [None, None, 11.0, None, None, 15.0, 17.0]),
        ("ffill", [None, None, 11.0, 12.0, 13.0, 15.0, 17.0]),
        ("skip", [None, 11.0, 13.0, 15.0, 17.0]),
    ],
)
def test_a_gap_is_crossed_only_when_asked(lake: Lake, on_gap: str, means: list[float | None]) -> None:
    put_closes(lake, {"A": GAP})
    assert numbers(lake, SMA(close, 2), on_gap=on_gap, universe="A")[: len(means)] == means


def test_a_gap_is_refused_when_asked(lake: Lake) -> None:
    put_closes(lake, {"A": GAP, "B": [1, 2, 3, 4, 5, 6]})
    with pytest.raises(GapInWindow, match=f"A has no bar on {SESSIONS[2]}"):
        run(lake, close, on_gap="error", universe=["A", "B"], end=SESSIONS[5])
    assert run(lake, close, on_gap="error", universe="B", end=SESSIONS[5]).height == 5
    # A gap that no window of these sessions reaches is none of theirs.
    for lookback, first in ((1, 4), (2, 5)):
        late = {"lake": lake, "calendar": "XNYS", "adjustment": None, "on_gap": "error", "universe": "A"}
        pipeline = Pipeline({"it": SMA(close, lookback)})
        assert run_pipeline(pipeline, SESSIONS[first], SESSIONS[6], **late)["it"].null_count() == 0
        with pytest.raises(GapInWindow, match=f"A has no bar on {SESSIONS[2]}"):
            run_pipeline(pipeline, SESSIONS[first - 1], SESSIONS[6], **late)


def test_a_recursion_begins_anew_behind_a_gap(lake: Lake) -> None:
    put_closes(lake, {"A": [10, 12, 20, None, 30, 40, 50]})
    seen = numbers(lake, EMA(close, 2), universe="A")[1:8]
    assert seen[:2] == [None, 11.0]
    assert seen[2] == pytest.approx(11 + 2 / 3 * 9)
    assert seen[3:6] == [None, None, 35.0]


def test_ranks_are_among_those_who_were_in(lake: Lake) -> None:
    put_closes(lake, {"A": [1, 1, 1, 1], "B": [2, 2, 2, 2], "C": [3, 3, 3, 3]})
    stays = pl.DataFrame({
        "symbol": ["A", "B", "C", "GONE"],
        "joined": [None, None, SESSIONS[2], SESSIONS[1]],
        "left": [None, SESSIONS[3], None, None],
    })  # fmt: skip
    rows = run(lake, close.rank(ascending=False), universe=stays, end=SESSIONS[4])
    by_day = {day: part.select("symbol", "it").rows() for (day,), part in rows.group_by("session", maintain_order=True)}
    assert by_day[SESSIONS[1]] == [("A", 2.0), ("B", 1.0), ("GONE", None)]
    assert by_day[SESSIONS[2]] == [("A", 3.0), ("B", 2.0), ("C", 1.0), ("GONE", None)]
    assert by_day[SESSIONS[3]] == [("A", 2.0), ("C", 1.0), ("GONE", None)]


def test_a_screen_leaves_rows_out_and_changes_no_rank(lake: Lake) -> None:
    put_closes(lake, {"A": [1, 5], "B": [2, 2], "C": [3, 3]})
    rows = run(lake, close.rank(), close > 2, end=SESSIONS[3])
    assert rows.rows() == [(SESSIONS[1], "C", 3.0), (SESSIONS[2], "A", 3.0), (SESSIONS[2], "C", 2.0)]
    masked = run(lake, close.rank(mask=close > 2), end=SESSIONS[2])
    assert masked["it"].to_list() == [None, None, 1.0]


def test_cross_sections(lake: Lake) -> None:
    names = [f"S{number}" for number in range(8)]
    values = [5.0, 1.0, 1.0, 7.0, 3.0, 9.0, 2.0, 100.0]
    put_closes(lake, {name: [value] for name, value in zip(names, values, strict=True)})

    def first(term: Term) -> list[Any]:
        return run(lake, term, end=SESSIONS[2])["it"].to_list()

    assert first(close.rank()) == [5, 1, 2, 6, 4, 7, 3, 8]
    assert first(close.rank(ascending=False)) == [4, 7, 8, 3, 5, 2, 6, 1]
    assert first(close.top(2)) == [False] * 5 + [True, False, True]
    assert first(close.bottom(2)) == [False, True, True] + [False] * 5, "exactly so many, ties in the order of symbols"
    assert first(close.demean()) == [value - 16 for value in values]
    assert sum(first(close.zscore())) == pytest.approx(0)
    assert first(close.quantiles(4)) == [2, 0, 0, 2, 1, 3, 1, 3]
    assert first(close.winsorize(0.2, 0.8)) == [5.0, 1.0, 1.0, 7.0, 3.0, 9.0, 2.0, 9.0]
    assert first(close.percentile_between(50, 90)) == [True, False, False, True, False, True, False, False]
    halves = close.quantiles(2)
    assert first(close.demean(groupby=halves)) == pytest.approx(
        [5 - 30.25, -0.75, -0.75, 7 - 30.25, 1.25, 9 - 30.25, 0.25, 69.75]
    )
    assert first(close.rank(groupby=halves)) == [1, 1, 2, 2, 4, 3, 3, 4]
    assert first((close > 2).if_else(close, -1.0)) == [5, -1, -1, 7, 3, 9, -1, 100]
    assert first(close.of("S7")) == [100.0] * 8


def test_what_cannot_be_computed_is_null(lake: Lake) -> None:
    put_closes(lake, {"A": [4, 4, 4]})
    assert numbers(lake, close / (close - 4)) == [None] * 3
    assert numbers(lake, (close - 5).log()) == [None] * 3
    assert numbers(lake, (close - 5) ** 0.5) == [None] * 3
    assert numbers(lake, (close * 1000).exp()) == [None] * 3
    assert numbers(lake, rolling_std(close, 2)) == [None, 0.0, 0.0]
    assert numbers(lake, close.zscore()) == [None] * 3


class Twice(CustomFactor):
    inputs = (close,)
    window_length = 2

    def compute(self, today: date, assets: Any, out: Any, closes: Any) -> None:  # type: ignore[override]
        assert closes.shape == (2, len(assets))
        out[:] = closes.sum(axis=0) + (today.year - 2022) * 0


def test_factors_of_ones_own(lake: Lake) -> None:
    put_closes(lake, {"A": [1, 2, 4], "B": [10, 20, 40]})
    expected = [None, 3.0, 6.0]
    assert numbers(lake, Twice()) == expected
    assert numbers(lake, expression_factor(lambda own: own + own.shift(1), [close], 2)) == expected
    assert numbers(lake, window_factor(lambda own: own.sum(axis=1), [close], 2)) == expected
    assert numbers(lake, SMA(Twice(), 2)) == [None, None, 4.5]
    with pytest.raises(ConfigError, match="returned"):
        numbers(lake, window_factor(lambda own: own.sum(), [close], 2))
    with pytest.raises(ConfigError, match="no inputs"):
        CustomFactor()


class Earnings:
    """Told on the evening of the 3rd session and put right before the 6th; an older quarter is told again later."""

    def load(self, request: LoadRequest) -> pl.DataFrame:
        quarter, before = date(2022, 9, 30), date(2022, 6, 30)
        rows = [
            ("A", before, at("2022-08-01"), 1.0, "old"),
            ("A", quarter, at(str(SESSIONS[2])) + timedelta(hours=22), 2.0, "tech"),
            ("A", quarter, at(str(SESSIONS[5])) + timedelta(hours=9), 3.0, "tech"),
            ("A", before, at(str(SESSIONS[6])) + timedelta(hours=9), 9.0, "old"),
        ]
        kinds = {"symbol": pl.String(), "session": pl.Date(), "known_at": pl.Datetime("us", "UTC"), "eps": pl.Float64()}
        return pl.DataFrame(rows, {**kinds, "sector": pl.String()}, orient="row")


def test_a_dataset_is_seen_as_it_was_published(lake: Lake) -> None:
    put_closes(lake, {"A": [10.0] * 9, "B": [5.0] * 9})
    earnings = Dataset("earnings", {"eps": pl.Float64(), "sector": pl.String()}, Earnings())
    assert numbers(lake, earnings["eps"])[:8] == [1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 3.0, 3.0]
    assert numbers(lake, close / earnings["eps"])[:3] == [10.0, 10.0, 5.0]
    assert numbers(lake, SMA(earnings["eps"], 2))[:4] == [1.0, 1.0, 1.5, 2.0]
    assert numbers(lake, earnings["sector"])[1:3] == ["old", "tech"]
    assert numbers(lake, earnings["eps"], symbol="B") == [None] * 9
    assert numbers(lake, close.rank(groupby=earnings["sector"]), symbol="B") == [None] * 9
    fresh = Dataset("earnings", {"eps": pl.Float64()}, Earnings(), max_age=timedelta(days=1))
    assert numbers(lake, fresh["eps"])[:8] == [None, None, 2.0, None, 3.0, None, None, None]
    with pytest.raises(ConfigError, match="two datasets are called earnings"):
        numbers(lake, earnings["eps"] + fresh["eps"])


def test_years_are_computed_alike_across_their_edge(lake: Lake) -> None:
    """2022 and 2023 belong to different pairs of years."""
    sessions = get_calendar("XNYS").sessions(date(2022, 11, 1), date(2023, 3, 1))
    put_closes(lake, {"A": [100 + number % 7 + number / 8 for number in range(len(sessions))]}, sessions)
    own = dict(run(lake, SMA(close, 15)).select("session", "it").rows())
    told = lake.bars("A", "1d", as_float=True)["close"].rolling_mean(15).to_list()
    assert [own[day] for day in sessions[1:] if day < SESSIONS[-1]] == pytest.approx(told[: len(sessions) - 1])


def test_a_strategy_sees_a_session_from_its_opening_on(lake: Lake) -> None:
    put_closes(lake, {"A": [1, 2, 3, 4], "B": [4, 3, 2, 1]})
    clock = SimulationClock(at(str(SESSIONS[1])) + timedelta(hours=9))
    pipeline = Pipeline({"it": close}, screen=close > 2)
    factors = AttachedPipeline(pipeline, clock, SESSIONS[1], SESSIONS[4], lake=lake, calendar="XNYS", adjustment=None)
    with pytest.raises(NoDataInRange, match="opened yet"):
        factors.output()
    with pytest.raises(LookAhead, match=str(SESSIONS[1])):
        factors.output(SESSIONS[1])
    clock.advance_to(at(str(SESSIONS[1])) + timedelta(hours=14))
    assert factors.output().rows() == [("B", 4.0)]
    clock.advance_to(at(str(SESSIONS[9])))
    assert factors.output().rows() == [("A", 3.0)]
    assert factors.output(SESSIONS[2]).rows() == [("B", 3.0)]
    with pytest.raises(NoDataInRange, match="no session of this pipeline"):
        factors.output(SESSIONS[5])


def test_arguments_that_mean_nothing_are_refused(lake: Lake) -> None:
    put_closes(lake, {"A": [1, 2]})
    for more, message in [
        ({"universe": []}, "no symbol was named"),
        ({"universe": pl.DataFrame({"symbol": ["A"]})}, "joined, left"),
        ({"adjustment": "dividends"}, "not an adjustment"),
        ({"on_gap": "hop"}, "unknown"),
        ({"resolution": "1w"}, "per session"),
    ]:
        with pytest.raises(ConfigError, match=message):
            run(lake, close, **more)
    with pytest.raises(UnknownSeries, match="no 1d bars of Z"):
        run(lake, close, universe=["A", "Z"])
    with pytest.raises(UnknownSeries, match="no 1d bars of Z"):
        run(lake, close.of("Z"))
    with pytest.raises(ConfigError, match="without a column"):
        run_pipeline(Pipeline(), "2022-10-03", lake=lake, calendar="XNYS", adjustment=None)
    with pytest.raises(ConfigError, match="at least 1"):
        iter_pipeline(Pipeline({"it": close}), "2022-10-03", lake=lake, chunk=0)
    with pytest.raises(ConfigError, match="end before they start"):
        run_pipeline(Pipeline({"it": close}), SESSIONS[1], SESSIONS[0], lake=lake, calendar="XNYS", adjustment=None)
    assert numbers(lake, SMA(close, 10**9)) == [None] * 2
    with pytest.raises(ConfigError, match="already"):
        Pipeline({"it": close}).add(close, "it")
    with pytest.raises(ConfigError, match="cannot be a column"):
        Pipeline({"symbol": close})
    with pytest.raises(ConfigError, match="a screen is a filter"):
        Pipeline({"it": close}, screen=close)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="no truth"):
        assert close > 1


def test_nothing_before_the_first_bar_and_an_empty_range(lake: Lake) -> None:
    put_closes(lake, {"A": [1, 2]})
    empty = run(lake, Returns(), start="2019-01-02", end="2019-02-01")
    assert empty.is_empty()
    assert empty.schema == {"session": pl.Date, "symbol": pl.String, "it": pl.Float64}
    assert run(lake, close, start=SESSIONS[3], end=SESSIONS[3]).is_empty()
    assert run(lake, close, start="2030-01-02", end=None).is_empty()
