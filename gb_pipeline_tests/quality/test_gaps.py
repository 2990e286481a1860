"""Every hole is found, once, with the reason that the source's policy gives it."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from gb_pipeline.market.calendar import get_calendar
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.quality.gaps import GAPS, Gap, GapReason, find_gaps
from gb_pipeline.quality.rules import GapPolicy
from gb_pipeline_tests.bars import at

DAY = date(2024, 1, 2)
KEY = ("BTC-USD", DAY)


def grid(days: int = 1, calendar: str = "24/7") -> pl.DataFrame:
    bars = get_calendar(calendar).expected(DAY, DAY + timedelta(days=days), Resolution.MINUTE)
    return bars.with_columns(
        pl.lit("BTC-USD").alias("symbol"), (pl.col("timestamp") + pl.duration(minutes=1)).alias("end")
    )


def without(bars: pl.DataFrame, *stamps: str) -> pl.DataFrame:
    return bars.filter(~pl.col("timestamp").is_in([at(text) for text in stamps]))


Gaps = dict[tuple[str, date], tuple[Gap, ...]]


def gaps_of(
    bars: pl.DataFrame,
    actual: pl.DataFrame,
    policy: GapPolicy,
    *,
    refused: pl.DataFrame | None = None,
    failed: bool = False,
) -> Gaps:
    """The gaps of every session as values."""
    found: Gaps = {}
    frame = find_gaps(bars, actual, policy, refused=refused, failed=failed)
    assert frame.schema == GAPS
    for symbol, session, start, end, missing, reason in frame.iter_rows():
        found[symbol, session] = (*found.get((symbol, session), ()), Gap(start, end, missing, GapReason(reason)))
    return found


def test_a_complete_session_has_no_gap() -> None:
    assert find_gaps(grid(), grid(), GapPolicy.OPEN).is_empty()
    assert find_gaps(grid(), grid(), GapPolicy.OPEN).schema == GAPS


def test_neighbouring_missing_bars_are_one_gap() -> None:
    bars = grid()
    gaps = gaps_of(bars, without(bars, "2024-01-02T10:00", "2024-01-02T10:01", "2024-01-02T12:00"), GapPolicy.NO_TRADE)
    assert gaps == {
        KEY: (
            Gap(at("2024-01-02T10:00"), at("2024-01-02T10:02"), 2, GapReason.NO_TRADE),
            Gap(at("2024-01-02T12:00"), at("2024-01-02T12:01"), 1, GapReason.NO_TRADE),
        )
    }


def test_what_absence_means_is_the_sources_policy() -> None:
    bars = grid()
    actual = without(bars, "2024-01-02T10:00")
    assert gaps_of(bars, actual, GapPolicy.OPEN)[KEY][0].reason is GapReason.UNKNOWN
    assert gaps_of(bars, actual, GapPolicy.NO_TRADE)[KEY][0].reason is GapReason.NO_TRADE


def test_a_bar_that_was_delivered_and_refused_is_no_absence_of_trades() -> None:
    bars = grid()
    actual = without(bars, "2024-01-02T10:00", "2024-01-02T10:01")
    refused = bars.filter(pl.col("timestamp") == at("2024-01-02T10:00"))
    gaps = gaps_of(bars, actual, GapPolicy.NO_TRADE, refused=refused)[KEY]
    assert [(gap.missing, gap.reason) for gap in gaps] == [(1, GapReason.UNKNOWN), (1, GapReason.NO_TRADE)]


def test_a_session_without_a_row_was_answered_empty() -> None:
    bars = grid(2)
    actual = bars.filter(pl.col("session") == DAY)
    gaps = gaps_of(bars, actual, GapPolicy.NO_TRADE)
    next_day = DAY + timedelta(days=1)
    assert gaps == {
        ("BTC-USD", next_day): (Gap(at("2024-01-03T00:00"), at("2024-01-04T00:00"), 1440, GapReason.VENDOR_EMPTY),)
    }


def test_a_failed_fetch_says_so() -> None:
    bars = grid()
    assert gaps_of(bars, bars.clear(), GapPolicy.NO_TRADE, failed=True)[KEY][0].reason is GapReason.FETCH_FAILED


def test_one_refused_row_makes_an_absent_session_more_than_empty() -> None:
    bars = grid()
    gaps = gaps_of(bars, bars.clear(), GapPolicy.NO_TRADE, refused=bars[100:101])[KEY]
    assert [(gap.missing, gap.reason.value) for gap in gaps] == [(100, "no_trade"), (1, "unknown"), (1339, "no_trade")]


def test_symbols_do_not_mix() -> None:
    bars = grid()
    both = pl.concat([bars, bars.with_columns(pl.lit("ETH-USD").alias("symbol"))])
    gaps = gaps_of(both, both.filter(pl.col("symbol") == "BTC-USD")[:-1], GapPolicy.NO_TRADE)
    assert {key: [gap.missing for gap in runs] for key, runs in gaps.items()} == {KEY: [1], ("ETH-USD", DAY): [1440]}
    assert gaps["ETH-USD", DAY][0].reason is GapReason.VENDOR_EMPTY


def test_a_gap_does_not_run_across_a_closed_market() -> None:
    bars = grid(2, "XNYS")
    actual = without(bars, "2024-01-02T20:59", "2024-01-03T14:30")
    gaps = gaps_of(bars, actual, GapPolicy.NO_TRADE)
    assert [(day.day, len(runs), runs[0].missing) for (_, day), runs in gaps.items()] == [(2, 1, 1), (3, 1, 1)]


@given(st.sets(st.integers(0, 1439), max_size=60), st.sampled_from(GapPolicy))
def test_gaps_and_bars_together_are_what_was_expected(holes: set[int], policy: GapPolicy) -> None:
    bars = grid()
    actual = bars.filter(~pl.int_range(pl.len()).is_in(sorted(holes)))
    gaps = gaps_of(bars, actual, policy)
    assert sum(gap.missing for runs in gaps.values() for gap in runs) == len(holes)
    covered = {
        gap.start + timedelta(minutes=minute) for runs in gaps.values() for gap in runs for minute in range(gap.missing)
    }
    assert covered == {bars["timestamp"][row] for row in holes}
