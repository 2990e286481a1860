"""What holds of every pipeline: no later bar, split or restatement changes a row, and nobody sees how a run was cut."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from gb_pipeline import Lake
from gb_pipeline.market.calendar import get_calendar
from gb_pipeline.research.factors.custom import CustomFactor, window_factor
from gb_pipeline.research.factors.indicators import ATR, EMA, MACD, RSI, SMA, BollingerBands, Returns
from gb_pipeline.research.factors.pipeline import Pipeline
from gb_pipeline.research.factors.prices import EquityPricing
from gb_pipeline.research.factors.rolling import (
    linear_regression,
    rolling_correlation,
    rolling_kurtosis,
    rolling_quantile,
    rolling_rank,
    rolling_rank_correlation,
    rolling_slope,
    rolling_std,
)
from gb_pipeline.research.factors.run import iter_pipeline, run_pipeline
from gb_pipeline_tests.actions import dividend, split
from gb_pipeline_tests.bars import at
from gb_pipeline_tests.portal.bars import tell_actions
from gb_pipeline_tests.research.factors.markets import SESSIONS, open_lake, put_closes

close, volume = EquityPricing.close, EquityPricing.volume
FIRST, LAST = SESSIONS[0], SESSIONS[-1] + timedelta(days=7)


class Spread(CustomFactor):
    inputs = (EquityPricing.high, EquityPricing.low)
    window_length = 3

    def compute(self, today, assets, out, highs, lows):  # type: ignore[no-untyped-def]
        out[:] = highs.max(axis=0) - lows.min(axis=0)


PIPELINE = Pipeline({
    "close": close,
    "average": SMA(close, 5),
    "ema": EMA(close, 4),
    "rsi": RSI(3),
    "atr": ATR(3),
    "signal": MACD(2, 4, 2).signal,
    "upper": BollingerBands(4).upper,
    "volatility": rolling_std(Returns(), 4),
    "kurtosis": rolling_kurtosis(close, 6),
    "median": rolling_quantile(close, 5, 0.3),
    "place": rolling_rank(close, 5),
    "slope": rolling_slope(close, 5),
    "beta": linear_regression(Returns(), Returns().of("B"), 5).slope,
    "together": rolling_correlation(close, volume.log(), 5),
    "alike": rolling_rank_correlation(close, volume, 5),
    "rank": close.rank(),
    "mean_rank": SMA(close.rank(), 3),
    "deviation": Returns(2).zscore(),
    "winsorized": Returns().winsorize(0.3, 0.7),
    "half": volume.quantiles(2),
    "dear": close.top(1),
    "spread": Spread(),
    "mean_spread": SMA(Spread(), 2),
    "own": window_factor(lambda own: own.max(axis=1) - own.min(axis=1), [close], 3),
})  # fmt: skip

price = st.one_of(st.none(), st.floats(1, 500).map(lambda number: round(number, 2)))
market = st.fixed_dictionaries({name: st.lists(price, min_size=60, max_size=len(SESSIONS) - 1) for name in "ABC"})
ratios = st.dictionaries(st.integers(2, 100), st.sampled_from(["2", "3", "0.1", "1.5"]), max_size=3)


def make(lake: Lake, closes: Mapping[str, list[float | None]], splits: Mapping[int, str], until: int = 1000) -> Lake:
    # Everybody has a bar on the first day, so that a lake that ends early knows the same symbols.
    put_closes(lake, {name: [10.0, *own][:until] for name, own in closes.items()})
    for name in closes:
        own = [split(str(SESSIONS[day]), ratio, symbol=name) for day, ratio in splits.items() if day <= until]
        tell_actions(lake, *(own if name != "C" and own else [split("2033-01-03", "2", symbol=name)]))
    return lake


def run(lake: Lake, **more: object) -> pl.DataFrame:
    more = {"start": FIRST, "end": LAST, "lake": lake, "calendar": "XNYS", **more}
    return run_pipeline(PIPELINE, **more)  # type: ignore[arg-type]


@settings(max_examples=5)
@given(closes=market, splits=ratios, until=st.integers(20, 59), gaps=st.sampled_from(["null", "ffill", "skip"]))
def test_no_later_bar_and_no_later_split_changes_a_row(
    tmp_path_factory: pytest.TempPathFactory,
    closes: Mapping[str, list[float | None]],
    splits: Mapping[int, str],
    until: int,
    gaps: str,
) -> None:
    whole = make(open_lake(tmp_path_factory.mktemp("whole")), closes, splits)
    ended = make(open_lake(tmp_path_factory.mktemp("ended")), closes, splits, until)
    # The row of a session sees the bars before it: the lake's last session is number `until - 1`.
    last = SESSIONS[until] + timedelta(days=1)
    seen = run(whole, end=last, universe=list("ABC"), on_gap=gaps)
    assert seen.equals(run(ended, end=last, universe=list("ABC"), on_gap=gaps))
    longer = run(whole, universe=list("ABC"), on_gap=gaps).filter(pl.col("session") < last)
    assert seen.equals(longer)
    assert seen["close"].count()


@settings(max_examples=5)
@given(closes=market, splits=ratios, chunk=st.integers(1, 70), begin=st.integers(1, 110))
def test_a_run_can_be_cut_begun_anywhere_and_repeated(
    tmp_path_factory: pytest.TempPathFactory,
    closes: Mapping[str, list[float | None]],
    splits: Mapping[int, str],
    chunk: int,
    begin: int,
) -> None:
    lake = make(open_lake(tmp_path_factory.mktemp("lake")), closes, splits)
    whole = run(lake)
    assert whole.equals(run(lake))
    parts = list(iter_pipeline(PIPELINE, FIRST, LAST, lake=lake, calendar="XNYS", chunk=chunk))
    assert max(part["session"].n_unique() for part in parts) <= chunk
    assert pl.concat(parts).equals(whole)
    later = run(lake, start=SESSIONS[begin])
    assert later.equals(whole.filter(pl.col("session") >= SESSIONS[begin]))


@settings(max_examples=3)
@given(
    closes=market, wrong=st.dictionaries(st.integers(1, 20), st.integers(0, 6), max_size=4), at_row=st.integers(12, 28)
)
def test_a_strict_row_is_what_the_lake_knew_when_its_session_opened(
    tmp_path_factory: pytest.TempPathFactory,
    closes: Mapping[str, list[float | None]],
    wrong: Mapping[int, int],
    at_row: int,
) -> None:
    """Some bars are told wrongly at first and put right some sessions later; every day's bar is stored that evening."""
    lake = open_lake(tmp_path_factory.mktemp("lake"), str(SESSIONS[0]))
    have = ["A", "B"]
    right = {name: [10.0, *closes[name]] for name in have}
    for number, day in enumerate(SESSIONS[:30]):
        lake.store.clock.now = at(str(day)) + timedelta(hours=23)  # type: ignore[attr-defined]
        for name in have:
            own = right[name][number]
            if own is not None:
                put_closes(lake, {name: [own + 1 if number in wrong else own]}, [day])
            for told, late in wrong.items():
                if told + late == number and right[name][told] is not None:
                    put_closes(lake, {name: [right[name][told]]}, [SESSIONS[told]])
    opens = get_calendar("XNYS").schedule(SESSIONS[at_row], SESSIONS[at_row + 1])["open"][0]
    chosen = {"universe": have, "adjustment": None}
    strict = run(lake, start=SESSIONS[at_row], end=SESSIONS[at_row + 1], strict=True, **chosen)
    known = run(lake, start=SESSIONS[at_row], end=SESSIONS[at_row + 1], as_of=opens, **chosen)
    assert strict.height == len(have)
    assert strict.equals(known)


cash = st.dictionaries(st.integers(2, 100), st.sampled_from(["0.1", "0.25", "0.5"]), max_size=3)
worth = st.fixed_dictionaries({
    name: st.lists(st.one_of(st.none(), st.floats(5, 500).map(lambda number: round(number, 2))), min_size=60, max_size=80)
    for name in "ABC"
})  # fmt: skip


@settings(max_examples=4)
@given(closes=worth, splits=ratios, dividends=cash, until=st.integers(20, 59))
def test_no_later_dividend_changes_a_row_of_total_returns(
    tmp_path_factory: pytest.TempPathFactory,
    closes: Mapping[str, list[float | None]],
    splits: Mapping[int, str],
    dividends: Mapping[int, str],
    until: int,
) -> None:
    def make_with_dividends(name: str, last: int) -> Lake:
        lake = open_lake(tmp_path_factory.mktemp(name))
        put_closes(lake, {code: [10.0, *own][:last] for code, own in closes.items()})
        for code in closes:
            told = [dividend(str(SESSIONS[ex]), amount, symbol=code) for ex, amount in dividends.items() if ex <= last]
            told += [split(str(SESSIONS[ex]), ratio, symbol=code) for ex, ratio in splits.items() if ex <= last]
            tell_actions(lake, *told, split("2033-01-03", "2", symbol=code))
        return lake

    whole, ended = make_with_dividends("whole", 1000), make_with_dividends("ended", until)
    options = {"end": SESSIONS[until] + timedelta(days=1), "universe": list("ABC"), "adjustment": "splits+dividends"}
    seen = run(ended, **options)
    assert seen.equals(run(whole, **options))
    assert seen["close"].count()


TOTAL_RETURNS = Pipeline({"close": close, "far": close.shift(6), "average": SMA(close, 5), "rank": close.rank()})


@settings(max_examples=2)
@given(
    closes=worth,
    told=st.dictionaries(
        st.integers(2, 13), st.tuples(st.integers(-2, 4), st.sampled_from(["0.1", "0.5", "2"])), min_size=1, max_size=4
    ),
    wrong=st.dictionaries(st.integers(1, 10), st.integers(1, 4), max_size=2),
    corrected=st.integers(1, 14),
)
def test_a_strict_row_of_total_returns_knows_the_dividends_splits_and_closes_of_its_session(
    tmp_path_factory: pytest.TempPathFactory,
    closes: Mapping[str, list[float | None]],
    told: Mapping[int, tuple[int, str]],
    wrong: Mapping[int, int],
    corrected: int,
) -> None:
    """Actions are told some sessions before or after their ex date, one amount is corrected, and so are some closes."""
    lake = open_lake(tmp_path_factory.mktemp("lake"), str(SESSIONS[0]))
    right = {name: [10.0, *closes[name]] for name in "AB"}
    actions: list[int] = []
    for number, day in enumerate(SESSIONS[:16]):
        lake.store.clock.now = at(str(day)) + timedelta(hours=23)  # type: ignore[attr-defined]
        late = [bar for bar, sessions in wrong.items() if bar + sessions == number]
        for bar, error in [(number, 1 if number in wrong else 0), *((bar, 0) for bar in late)]:
            own = {name: [value + error] for name in "AB" if (value := right[name][bar]) is not None}
            if own:
                put_closes(lake, own, [SESSIONS[bar]])
        actions += [ex for ex, (sessions, _) in told.items() if max(0, ex + sessions) == number]
        amounts = {ex: "0.3" if number >= corrected and ex == min(told) else told[ex][1] for ex in actions}
        for name in "AB":
            known = [
                dividend(str(SESSIONS[ex]), amount, symbol=name)
                if ex % 3
                else split(str(SESSIONS[ex]), "2", symbol=name)
                for ex, amount in amounts.items()
            ]
            tell_actions(lake, *known, split("2033-01-03", "2", symbol=name))
    options = {"lake": lake, "calendar": "XNYS", "universe": ["A", "B"], "adjustment": "splits+dividends"}

    strict = run_pipeline(TOTAL_RETURNS, FIRST, SESSIONS[16], strict=True, **options)  # type: ignore[arg-type]

    assert strict["close"].count()
    for number in (5, 10, 15):
        opens = get_calendar("XNYS").schedule(SESSIONS[number], SESSIONS[number + 1])["open"][0]
        session, row = SESSIONS[number], strict.filter(pl.col("session") == SESSIONS[number])
        end = session + timedelta(days=1)
        known = run_pipeline(TOTAL_RETURNS, session, end, as_of=opens, **options)  # type: ignore[arg-type]
        # A running mean that began elsewhere differs in its last bit.
        assert_frame_equal(row, known, check_exact=False, rel_tol=1e-12)
        before = run_pipeline(TOTAL_RETURNS, FIRST, end, strict=True, as_of=opens, **options)  # type: ignore[arg-type]
        assert strict.filter(pl.col("session") <= session).equals(before), "what came later changes no bit"
