"""The example strategy."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gb_pipeline.orchestration.moving_average import backtest, plot

START = datetime(2024, 1, 1, tzinfo=UTC)


def bars(closes: list[float]) -> pl.DataFrame:
    stamps = [START + timedelta(minutes=i) for i in range(len(closes))]
    return pl.DataFrame(
        {"timestamp": stamps, "close": closes}, schema={"timestamp": pl.Datetime("us", "UTC"), "close": pl.Float64}
    )


def test_it_is_in_the_market_one_bar_after_the_fast_average_rises_above_the_slow_one():
    result = backtest(bars([10, 10, 10, 20, 40, 40]), fast=1, slow=2, start=START)

    # Above from the fourth bar on, known at its close: only the step from 20 to 40 is earned.
    assert result.earned == pytest.approx(1.0)
    assert result.held == pytest.approx(3.0)
    assert result.trades == 1


def test_bars_before_the_start_feed_the_averages_and_earn_nothing():
    result = backtest(bars([10, 20, 40, 80, 80]), fast=1, slow=2, start=START + timedelta(minutes=4))

    assert result.curve.height == 1
    assert result.earned == 0.0


def test_a_falling_market_is_left():
    result = backtest(bars([100 * 0.99**i for i in range(100)]), fast=2, slow=5, start=START)

    assert (result.earned, result.trades, result.drawdown) == (0.0, 0, 0.0)
    assert result.held < -0.6


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(1, 1000), min_size=1, max_size=80))
def test_no_bar_changes_what_was_earned_before_it(closes):
    whole = backtest(bars(closes), fast=2, slow=4, start=START).curve
    shorter = backtest(bars(closes[:-1]), fast=2, slow=4, start=START).curve

    assert whole.head(len(closes) - 1).equals(shorter)


def test_the_plot_is_a_small_png():
    image = plot(backtest(bars([100 + i % 7 for i in range(3000)]), fast=2, slow=5, start=START), "X")
    assert image.startswith("![equity](data:image/png;base64,iVBOR")
    assert len(image) < 60_000
