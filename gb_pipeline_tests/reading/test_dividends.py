"""Cash dividends in prices: compared with published total-return columns, and with exact arithmetic."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gb_pipeline import ConfigError, Lake, ReadError
from gb_pipeline.market.calendar import get_calendar
from gb_pipeline.reading.price_adjustment import PriceAdjustment
from gb_pipeline_tests.actions import dividend, split
from gb_pipeline_tests.bars import SetClock, at
from gb_pipeline_tests.portal.bars import put_days, tell_actions
from gb_pipeline_tests.real_data import bcolz_reader

SESSIONS = get_calendar("XNYS").sessions(date(2024, 3, 4), date(2024, 4, 1))
UNIT = Fraction(1, 10**8)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return open_lake(tmp_path)


def open_lake(folder: Path) -> Lake:
    lake = Lake.open(folder / "data", create=True)
    lake.store.clock = SetClock(at("2025-01-01"))
    return lake


def closes(lake: Lake, adjustment: object, **options: object) -> list[Decimal]:
    return lake.bars("KO", "1d", adjustment=adjustment, **options)["close"].to_list()  # type: ignore[arg-type]


def days(count: int) -> list[str]:
    return [str(day) for day in SESSIONS[:count]]


def test_a_dividend_is_reinvested_at_the_close_of_its_ex_date(lake: Lake) -> None:
    put_days(lake, "KO", days(3), [50, 60, 40])
    tell_actions(lake, dividend(str(SESSIONS[2]), "10", symbol="KO"))
    # 40 and 10 in cash are 50: a share that was bought at 60 is worth 5/6 of it.
    assert closes(lake, "splits+dividends") == [Decimal(40), Decimal(48), Decimal(40)]
    assert closes(lake, "splits") == closes(lake, "none") == [50, 60, 40]
    # Yahoo and zipline: 1 - 10 / 60.
    expected = [Decimal("41.66666667"), Decimal(50), Decimal(40)]
    assert closes(lake, PriceAdjustment(dividends="previous_close")) == expected


def test_forwards_the_first_price_of_the_answer_is_as_traded(lake: Lake) -> None:
    put_days(lake, "KO", days(3), [50, 60, 20])
    tell_actions(lake, dividend(str(SESSIONS[2]), "5", symbol="KO"), split(str(SESSIONS[2]), "2", symbol="KO"))
    forwards = PriceAdjustment(dividends="ex_close", anchor="start")
    # Two shares at 20 and 2 x 5 in cash, for one at 60.
    assert closes(lake, forwards) == [Decimal(50), Decimal(60), Decimal(50)]
    assert closes(lake, "splits+dividends") == [Decimal(20), Decimal(24), Decimal(20)]
    assert closes(lake, PriceAdjustment(anchor="start")) == [Decimal(50), Decimal(60), Decimal(40)]
    volumes = lake.bars("KO", "1d", adjustment=forwards)["volume"].to_list()
    assert volumes == [1000, 1000, 500]
    # A later start is another first bar.
    assert closes(lake, forwards, start=str(SESSIONS[2])) == [Decimal(20)]


def test_what_became_known_later_is_not_in_prices_as_known_before(lake: Lake) -> None:
    put_days(lake, "KO", days(5), [50, 50, 50, 50, 50])
    tell_actions(lake, dividend(str(SESSIONS[1]), "50", symbol="KO"), dividend(str(SESSIONS[3]), "50", symbol="KO"))
    evening = datetime.combine(SESSIONS[2], datetime.min.time(), UTC) + timedelta(hours=23)
    lake.store.clock = SetClock(at("2026-01-01"))
    assert closes(lake, "splits+dividends") == [Decimal("12.5"), 25, 25, 50, 50]
    with pytest.raises(ReadError, match="never fetched"):
        closes(lake, PriceAdjustment(dividends="ex_close", as_known=evening))


def test_a_dividend_that_nothing_was_traded_without_yet_changes_nothing(lake: Lake) -> None:
    put_days(lake, "KO", days(3), [50, 60, 40])
    tell_actions(lake, dividend("2024-06-03", "10", symbol="KO"))
    assert closes(lake, "splits+dividends") == [50, 60, 40]


def test_a_range_before_the_ex_date_carries_the_dividend_all_the_same(lake: Lake) -> None:
    put_days(lake, "KO", days(3), [50, 60, 40])
    tell_actions(lake, dividend(str(SESSIONS[2]), "10", symbol="KO"))
    assert closes(lake, "splits+dividends", end=str(SESSIONS[1])) == [Decimal(40)]


def test_dividends_that_nobody_asked_for_are_not_none(lake: Lake) -> None:
    put_days(lake, "KO", days(3), [50, 60, 40], adjustment="split")
    with pytest.raises(ReadError, match="never fetched"):
        closes(lake, "splits+dividends")


def test_a_dividend_of_the_whole_price_is_refused(lake: Lake) -> None:
    put_days(lake, "KO", days(3), [50, 60, 40])
    tell_actions(lake, dividend(str(SESSIONS[2]), "60", symbol="KO"))
    with pytest.raises(ReadError, match="as much as a share was worth"):
        closes(lake, PriceAdjustment(dividends="previous_close"))


def test_dividends_without_a_bar_between_them_are_reinvested_together(lake: Lake) -> None:
    """The symbol did not trade on the ex dates of two dividends, nor on that of a split between them."""
    put_days(lake, "KO", [str(SESSIONS[0]), str(SESSIONS[4])], [60, 20], gap_policy="no_trade")
    first, second = dividend(str(SESSIONS[1]), "10", symbol="KO"), dividend(str(SESSIONS[3]), "5", symbol="KO")
    tell_actions(lake, first, split(str(SESSIONS[2]), "2", symbol="KO"), second)
    # One share becomes two at 20, with 10 before the split and twice 5 after it.
    forwards = closes(lake, PriceAdjustment(dividends="ex_close", anchor="start"))
    assert forwards == [60, 60]
    # Of the 60 that it was worth, 20 were paid: prices before are two thirds, and half for the split.
    assert closes(lake, PriceAdjustment(dividends="previous_close")) == [20, 20]


def test_dividends_of_several_currencies_are_refused(lake: Lake) -> None:
    put_days(lake, "KO", days(3), [50, 60, 40])
    euros = dividend(str(SESSIONS[2]), "1", symbol="KO") | {"currency": "EUR"}
    tell_actions(lake, dividend(str(SESSIONS[1]), "1", symbol="KO"), euros)
    with pytest.raises(ReadError, match="are in EUR and USD"):
        closes(lake, "splits+dividends")
    assert closes(lake, "splits") == [50, 60, 40]


def test_weeks_are_made_of_adjusted_days(lake: Lake) -> None:
    put_days(lake, "KO", days(10), [50] * 5 + [40] * 5)
    tell_actions(lake, dividend(str(SESSIONS[5]), "10", symbol="KO"))
    weeks = lake.bars("KO", "1d", adjustment="splits+dividends", resample="1w")
    assert weeks["close"].to_list() == [40, 40]
    assert weeks["open"].to_list() == [40, 40]


def test_names_that_mean_nothing_are_refused() -> None:
    for wrong in ({"dividends": "open"}, {"anchor": "middle"}, {"splits": False, "dividends": "ex_close"}):
        with pytest.raises(ConfigError):
            PriceAdjustment(**wrong)  # type: ignore[arg-type]


amounts = st.decimals("0.01", "20", places=2)
prices = st.lists(st.decimals("25", "500", places=2), min_size=8, max_size=8)


@settings(max_examples=15, deadline=None)
@given(traded=prices, paid=st.dictionaries(st.integers(0, 9), amounts, max_size=4), new=st.sampled_from([1, 2, 7]))
def test_returns_are_those_of_who_reinvests(
    tmp_path_factory: pytest.TempPathFactory, traded: list[Decimal], paid: Mapping[int, Decimal], new: int
) -> None:
    """From day to day a holder has (shares x close + cash) / (close before), whatever was paid and split."""
    lake = open_lake(tmp_path_factory.mktemp("lake"))
    put_days(lake, "KO", days(8), [float(price) for price in traded])
    told = [dividend(str(SESSIONS[day]), str(amount), symbol="KO") for day, amount in paid.items()]
    ratio = {4: new} if new > 1 else {}
    told += [split(str(SESSIONS[day]), str(number), symbol="KO") for day, number in ratio.items()]
    tell_actions(lake, *(told or [dividend("2030-01-02", "1", symbol="KO")]))
    for anchor in ("end", "start"):
        adjusted = closes(lake, PriceAdjustment(dividends="ex_close", anchor=anchor))
        for day in range(1, 8):
            worth = (Fraction(traded[day]) + Fraction(paid.get(day, 0))) * ratio.get(day, 1) / Fraction(traded[day - 1])
            # Each price is off by one unit of its last decimal at the most.
            slack = UNIT * (1 + worth) / Fraction(adjusted[day - 1])
            assert abs(Fraction(adjusted[day]) / Fraction(adjusted[day - 1]) - worth) <= slack
    assert closes(lake, PriceAdjustment(dividends="ex_close", anchor="start"))[0] == traded[0]
    assert closes(lake, "splits+dividends")[-1] == traded[-1]


@pytest.mark.parametrize("name", ["IBM-2008", "IBM-2009", "IBM-2011", "ORCL-2011", "AAPL-2012", "AIG-2008", "AES-2009"])
def test_published_total_returns_are_the_same_digit_by_digit(
    lake: Lake, market_data: Callable[[str], Path], name: str
) -> None:
    """WIKI adjusts up to its last day; so its columns are ours times one number."""
    rows = read_wiki(market_data(f"equities-daily/wiki/WIKI-{name}-quandl.csv"))
    stamped = rows.with_columns(timestamp=pl.col("Date").str.to_datetime("%Y-%m-%d", time_unit="us", time_zone="UTC"))
    columns = {"Open": "open", "High": "high", "Low": "low", "Close": "close", "Volume": "volume"}
    frame = stamped.select("timestamp", **{new: pl.col(old) for old, new in columns.items()})
    lake.put(frame, source="sim", resolution="1d", symbol="KO", calendar="XNYS")
    paid = rows.filter(pl.col("Ex-Dividend").cast(pl.Float64) > 0).select("Date", "Ex-Dividend").rows()
    parts = rows.filter(pl.col("Split Ratio").cast(pl.Float64) != 1).select("Date", "Split Ratio").rows()
    told = [dividend(day, amount, symbol="KO") for day, amount in paid]
    told += [split(day, ratio, symbol="KO") for day, ratio in parts]
    tell_actions(lake, *(told or [dividend("2030-01-02", "1", symbol="KO")]))
    ours = lake.bars("KO", "1d", adjustment="splits+dividends", as_float=True)
    published = rows["Adj. Close"].cast(pl.Float64)
    anchor = published[-1] / ours["close"][-1]
    for column in ("open", "high", "low", "close"):
        theirs = rows[f"Adj. {column.title()}"].cast(pl.Float64)
        # Ours have eight decimals, before they are scaled.
        assert (ours[column] * anchor - theirs).abs().max() < 0.51e-8 * max(1, anchor)  # type: ignore[operator]


def read_wiki(file: Path) -> pl.DataFrame:
    return pl.read_csv(file, infer_schema_length=0).sort("Date")


@pytest.mark.parametrize("sid", [2, 4, 8])
def test_ratios_of_a_zipline_bundle_are_those_of_the_previous_close(
    lake: Lake, market_data: Callable[[str], Path], sid: int
) -> None:
    bundle = market_data("zipline-bundle")
    table = next(bundle.rglob("daily_equities.bcolz"))
    attributes = json.loads((table / "__attrs__").read_text(encoding="utf-8"))
    own = slice(attributes["first_row"][str(sid)], attributes["last_row"][str(sid)] + 1)
    columns = {name: bcolz_reader.read_column(table, name)[own].astype("int64") for name in bcolz_reader.COLUMNS}
    prices = [(pl.col(name).cast(pl.Decimal(18, 3)) / 1000).alias(name) for name in ("open", "high", "low", "close")]
    frame = pl.DataFrame(columns).select(pl.from_epoch("day").dt.date().alias("date"), *prices, "volume")
    lake.put(frame, source="sim", resolution="1d", symbol="KO", calendar="XNYS", gap_policy="no_trade")
    with closing(sqlite3.connect(f"{next(bundle.rglob('adjustments.sqlite')).as_uri()}?mode=ro", uri=True)) as database:
        paid = database.execute(
            "select date(ex_date, 'unixepoch'), amount, ratio from dividend_payouts join dividends"
            " on dividends.sid = dividend_payouts.sid and effective_date = ex_date where dividends.sid = ? order by 1",
            [sid],
        ).fetchall()
    assert len(paid) > 30
    tell_actions(lake, *(dividend(day, str(amount), symbol="KO") for day, amount, _ in paid))
    raw = lake.bars("KO", "1d", adjustment="none", as_float=True)
    ours = lake.bars("KO", "1d", adjustment=PriceAdjustment(dividends="previous_close"), as_float=True)
    carried = ours["close"] / raw["close"]
    days = raw["timestamp"].dt.date().cast(pl.String).to_list()
    for day, _, ratio in paid:
        position = days.index(day)
        assert carried[position - 1] / carried[position] == pytest.approx(ratio, abs=3e-9)
