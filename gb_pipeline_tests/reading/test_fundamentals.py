"""Reading fundamentals: what was published by a moment, in which version, and sums that are whole or null."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gb_pipeline import Lake
from gb_pipeline.errors import ConfigError, ReadError, UnknownSeries
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.moments import INSTANT
from gb_pipeline.reading.fundamental_events import newest_periods, to_events, trailing_sums, visible_at
from gb_pipeline_tests.bars import SetClock
from gb_pipeline_tests.fundamentals import Q1, Q2, Q3, Q4, listing, listing_frame, told, told_frame

T0 = datetime(2025, 6, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
TICK = timedelta(microseconds=1)
REPORTED = {Q1: date(2024, 4, 24), Q2: date(2024, 7, 24), Q3: date(2024, 10, 23), Q4: date(2025, 1, 29)}
# Ends of these days in New York.
PUBLISHED = {
    Q1: datetime(2024, 4, 25, 4, tzinfo=UTC),
    Q2: datetime(2024, 7, 25, 4, tzinfo=UTC),
    Q3: datetime(2024, 10, 24, 4, tzinfo=UTC),
    Q4: datetime(2025, 1, 30, 5, tzinfo=UTC),
}


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake(LakeStore.at(tmp_path, clock=SetClock(T0)), facts=())
    write(lake, *(told(str(number), period, reported=REPORTED[period]) for number, period in enumerate(REPORTED, 1)))
    return lake


def write(lake: Lake, *rows: dict, at: datetime = T0, symbol: str = "IBM", source: str = "av") -> None:
    lake.store.clock.now = at  # type: ignore[attr-defined]
    lake.store.write_fundamentals(source, symbol, told_frame(*rows))


def test_a_value_is_seen_from_its_publication_on_and_not_a_microsecond_before(lake: Lake) -> None:
    for number, (period, moment) in enumerate(PUBLISHED.items(), 1):
        before = lake.fundamentals("IBM", published_by=moment - TICK)
        since = lake.fundamentals("IBM", published_by=moment)
        assert (before.height, since.height) == (number - 1, number)
        assert since["fiscal_period_end"].max() == period


def test_together_with_as_of_nothing_is_seen_that_the_lake_did_not_know(lake: Lake) -> None:
    moment = PUBLISHED[Q4]
    assert lake.fundamentals("IBM", published_by=moment).height == 4
    assert lake.fundamentals("IBM", published_by=moment, as_of=moment).height == 0


def test_a_restatement_is_seen_from_when_it_was_seen_and_the_old_value_before(lake: Lake) -> None:
    write(lake, told("7", Q1, reported=REPORTED[Q1]), at=T0 + DAY)
    seen = {
        at: lake.fundamentals("IBM", published_by=at, end=Q2)["value"].item()
        for at in (PUBLISHED[Q1], T0 + DAY - TICK, T0 + DAY)
    }
    assert list(seen.values()) == [Decimal(1), Decimal(1), Decimal(7)]
    assert lake.fundamentals("IBM", end=Q2, versions=True)["value"].to_list() == [Decimal(1), Decimal(7)]


def test_what_was_withdrawn_is_seen_until_that_was_known(lake: Lake) -> None:
    write(lake, told("1", item="ebit", reported=REPORTED[Q1]))
    write(lake, told("1", Q1, reported=REPORTED[Q1]), at=T0 + DAY)
    assert lake.fundamentals("IBM", "ebit", published_by=T0).height == 1
    assert lake.fundamentals("IBM", "ebit", published_by=T0 + DAY).height == 0
    assert lake.fundamentals("IBM", "ebit").height == 0
    assert lake.fundamentals("IBM", "ebit", withdrawn=True)["withdrawn"].to_list() == [True]


def test_four_quarters_are_summed_only_when_all_four_are_known(lake: Lake) -> None:
    assert lake.trailing_twelve_months("IBM", "total_revenue", published_by=PUBLISHED[Q4])["value"].item() == Decimal(
        10
    )
    before = lake.trailing_twelve_months("IBM", "total_revenue", published_by=PUBLISHED[Q4] - TICK)
    assert before.select("fiscal_period_end", "value").row(0) == (Q3, None)
    write(lake, told("None", Q2, reported=REPORTED[Q2]), at=T0 + DAY)
    assert lake.trailing_twelve_months("IBM")["value"].item() is None
    assert lake.trailing_twelve_months("IBM", published_by=T0)["value"].item() == Decimal(10)


def test_a_quarter_that_is_missing_is_not_replaced_by_an_older_one(lake: Lake) -> None:
    rows = [told("9", date(2023, 12, 31)), *(told(str(n), period) for n, period in ((1, Q1), (2, Q2), (4, Q4)))]
    write(lake, *rows, symbol="GAP")
    assert lake.trailing_twelve_months("GAP")["value"].item() is None


def test_quarters_of_52_weeks_are_four_in_a_row(lake: Lake) -> None:
    ends = [date(2023, 4, 1), date(2023, 7, 1), date(2023, 9, 30), date(2023, 12, 30)]
    write(lake, *(told("2.5", end) for end in ends), symbol="WEEKS")
    assert lake.trailing_twelve_months("WEEKS")["value"].item() == Decimal(10)


def test_currencies_are_never_summed(lake: Lake) -> None:
    write(lake, *(told("1", period, currency="USD" if period < Q3 else "EUR") for period in REPORTED), symbol="MIXED")
    assert lake.trailing_twelve_months("MIXED").select("value", "currency").row(0) == (None, "EUR")


def test_a_balance_sheet_is_not_summed(lake: Lake) -> None:
    with pytest.raises(ConfigError):
        lake.trailing_twelve_months("IBM", statement="balance_sheet")
    write(lake, told("1", statement="balance_sheet", item="total_assets"), symbol="BAL")
    assert lake.trailing_twelve_months("BAL").is_empty()


def test_wide_has_a_row_for_each_report(lake: Lake) -> None:
    write(
        lake,
        told("5", item="ebit", reported=REPORTED[Q1]),
        told("8", item="shares", unit="shares", currency=None),
        symbol="W",
    )
    frame = lake.fundamentals("W", ["shares", "ebit"], wide=True)
    assert frame.columns == [
        "source",
        "symbol",
        "kind",
        "fiscal_period_end",
        "currency",
        "published_at",
        "shares",
        "ebit",
    ]
    assert frame.row(0) == ("av", "W", "quarterly", Q1, "USD", T0 + TICK, Decimal(8), Decimal(5))


def test_wide_refuses_what_one_column_cannot_say(lake: Lake) -> None:
    write(lake, told("1", item="net_income"), told("2", item="net_income", statement="cash_flow"), symbol="TWO")
    with pytest.raises(ReadError, match="cash_flow and in income_statement"):
        lake.fundamentals("TWO", "net_income", wide=True)
    both = lake.fundamentals("TWO", ["cash_flow.net_income", "income_statement.net_income"], wide=True)
    assert both.row(0)[-2:] == (Decimal(2), Decimal(1))
    write(lake, told("1", item="a"), told("2", item="b", currency="EUR"), symbol="CUR")
    with pytest.raises(ReadError, match="EUR and USD"):
        lake.fundamentals("CUR", wide=True)


def test_names_that_nothing_has_are_told(lake: Lake) -> None:
    with pytest.raises(UnknownSeries, match="never fetched"):
        lake.fundamentals("NOSUCH")
    with pytest.raises(UnknownSeries, match="no report has an item 'total_revenu'") as raised:
        lake.fundamentals("IBM", "total_revenu")
    assert raised.value.near == ["total_revenue"] or "total_revenue" in raised.value.fix
    for wrong in (
        {"statement": "gossip"},
        {"kind": "weekly"},
        {"versions": True, "wide": True},
        {"wide": True, "withdrawn": True},
    ):
        with pytest.raises(ConfigError):
            lake.fundamentals("IBM", **wrong)


def test_a_range_is_half_open_and_leaves_snapshots_out(lake: Lake) -> None:
    write(lake, told("15", None, "pe_ratio", statement="overview", kind="snapshot", unit="ratio", currency=None))
    assert lake.fundamentals("IBM", start=Q2, end=Q4)["fiscal_period_end"].to_list() == [Q2, Q3]
    assert lake.fundamentals("IBM", kind="snapshot")["item"].to_list() == ["pe_ratio"]


def test_listings_of_a_day_have_those_that_are_gone_since(lake: Lake) -> None:
    rows = [
        listing("OLD", date(1999, 1, 4), date(2008, 9, 18)),
        listing("NEW", date(2010, 6, 29)),
        listing("NODAY", None),
    ]
    lake.store.write_listings("av", listing_frame(*rows))
    on = {day: lake.listings(on=day)["symbol"].to_list() for day in ("2008-09-17", "2008-09-18", "2020-01-02")}
    assert list(on.values()) == [["NODAY", "OLD"], ["NODAY"], ["NEW", "NODAY"]]
    assert lake.listings(status="delisted")["symbol"].to_list() == ["OLD"]
    assert lake.listings(as_of=T0 - DAY).is_empty()
    with pytest.raises(ConfigError):
        lake.listings(status="asleep")


# --- laws -------------------------------------------------------------------------------------------------------------

VERSIONS = st.lists(
    st.tuples(st.sampled_from([Q1, Q2, Q3, Q4]), st.sampled_from([None, 1, 2, 3]), st.integers(0, 40), st.booleans()),
    min_size=1,
    max_size=14,
)


def version_frame(rows: list[tuple[date, int | None, int, bool]]) -> pl.DataFrame:
    """Versions in the order of `known_at`, one a day, each published some days before or after."""
    return pl.DataFrame(
        {
            "source": "av", "symbol": "IBM", "statement": "income_statement", "kind": "quarterly",
            "fiscal_period_end": [row[0] for row in rows], "item": "x", "value": [row[1] for row in rows],
            "text": pl.Series([None] * len(rows), dtype=pl.String()), "unit": "money", "currency": "USD",
            "withdrawn": [row[3] for row in rows],
            "published_at": pl.Series([T0 + (row[2] - 20) * DAY for row in rows], dtype=INSTANT),
            "known_at": pl.Series([T0 + number * DAY for number in range(len(rows))], dtype=INSTANT),
        },
        schema_overrides={"value": pl.Decimal(38, 18)},
    )  # fmt: skip


@settings(max_examples=60)
@given(rows=VERSIONS, days=st.integers(-25, 45))
def test_other_futures_change_nothing_of_what_could_be_seen(rows: list[tuple], days: int) -> None:
    moment = T0 + days * DAY
    versions = version_frame(rows)
    event = pl.when("withdrawn").then("known_at").otherwise("published_at")
    past = versions.filter(event <= moment)
    for compute in (lambda frame: visible_at(to_events(frame), moment), _newest_by(moment), _sums_by(moment)):
        assert compute(versions).equals(compute(past))


@settings(max_examples=60)
@given(rows=VERSIONS, days=st.integers(-25, 45))
def test_what_is_seen_is_the_newest_version_that_was_published(rows: list[tuple], days: int) -> None:
    moment = T0 + days * DAY
    expected = {}
    for number, (period, value, published, withdrawn) in enumerate(rows):
        if (T0 + number * DAY if withdrawn else T0 + (published - 20) * DAY) <= moment:
            expected[period] = None if withdrawn else (None if value is None else Decimal(value),)
    seen = visible_at(to_events(version_frame(rows)), moment)
    assert dict(zip(seen["fiscal_period_end"], zip(seen["value"], strict=True), strict=True)) == {
        period: value for period, value in expected.items() if value is not None
    }


def _newest_by(moment: datetime):
    return lambda frame: newest_periods(to_events(frame)).filter(pl.col("event_at") <= moment).tail(1)


def _sums_by(moment: datetime):
    return lambda frame: trailing_sums(to_events(frame)).filter(pl.col("event_at") <= moment).tail(1)
