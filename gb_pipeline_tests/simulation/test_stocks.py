"""The simulated share market: New York's sessions, exact bars, corporate actions, delistings, planted defects."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gb_pipeline.errors import ConfigError
from gb_pipeline.market.window import instant
from gb_pipeline.simulation.stock_bars import StockBar
from gb_pipeline.simulation.stocks import Stocks
from gb_pipeline_tests.work import counted_work

DAY = "2024-06-11"


def ms(text: str) -> int:
    return int(instant(text).timestamp() * 1000)


def bars(
    stocks: Stocks, interval: str = "1d", start: str = "2024-06-03", end: str = "2024-06-15", **how: Any
) -> list[StockBar]:
    return stocks.bars(how.pop("code", "AAPL"), interval, ms(start), ms(end), **how)


@pytest.fixture
def stocks() -> Stocks:
    made = Stocks(7, ["AAPL", "KO", "brk.b", "ODD"])
    made.set_now("2024-08-01")
    return made


@pytest.mark.parametrize(("day", "extended", "first", "last", "count"), [
    ("2024-06-11", False, "09:30", "15:59", 390),
    ("2024-06-11", True, "04:00", "19:59", 960),
    ("2024-07-03", False, "09:30", "12:59", 210),
    ("2024-07-03", True, "04:00", "16:59", 780),
    ("2024-07-04", True, "", "", 0),
    ("2024-03-11", False, "09:30", "15:59", 390),
    ("2023-11-06", False, "09:30", "15:59", 390),
])  # fmt: skip
def test_minutes_are_those_of_new_yorks_sessions(
    stocks: Stocks, day: str, extended: bool, first: str, last: str, count: int
) -> None:
    from zoneinfo import ZoneInfo

    zone = ZoneInfo("America/New_York")
    start = ms(datetime.fromisoformat(day).replace(tzinfo=zone).isoformat())
    found = stocks.bars("AAPL", "1m", start, start + 86_400_000, extended=extended)
    clock = [f"{datetime.fromtimestamp(bar.start / 1000, zone):%H:%M}" for bar in found]
    assert (clock[0] if clock else "", clock[-1] if clock else "", len(clock)) == (first, last, count)


@pytest.mark.parametrize("interval", ["5m", "15m", "30m", "1h", "1d"])
@pytest.mark.parametrize("adjusted", [False, True])
def test_longer_bars_are_made_of_minutes_exactly(stocks: Stocks, interval: str, adjusted: bool) -> None:
    stocks.plant("split", "AAPL", ex_date="2024-07-10", to="4")
    start, end = f"{DAY}T04:00Z", f"{DAY}T21:00Z"
    longer = bars(stocks, interval, start, end, adjusted=adjusted)
    minutes = bars(stocks, "1m", start, end, adjusted=adjusted)
    for this, following in zip(longer, [*longer[1:], None], strict=True):
        until = ms(end) if following is None else following.start
        parts = [bar for bar in minutes if this.start <= bar.start < until]
        assert (this.open, this.close) == (parts[0].open, parts[-1].close)
        assert Decimal(this.high) == max(Decimal(bar.high) for bar in parts)
        assert Decimal(this.low) == min(Decimal(bar.low) for bar in parts)
        assert Decimal(this.volume) == sum(Decimal(bar.volume) for bar in parts)
        assert this.trades == sum(bar.trades for bar in parts)
        assert Decimal(this.low) <= Decimal(this.vwap) <= Decimal(this.high)


def test_stamps_are_new_yorks(stocks: Stocks) -> None:
    assert [bar.start for bar in bars(stocks, "1d", "2024-06-18", "2024-06-22")] == [
        ms("2024-06-18T04:00Z"), ms("2024-06-20T04:00Z"), ms("2024-06-21T04:00Z"),
    ]  # fmt: skip
    assert bars(stocks, "1d", "2024-01-02", "2024-01-03")[0].start == ms("2024-01-02T05:00Z")
    assert [bar.start for bar in bars(stocks, "1w")] == [ms("2024-06-03T04:00Z"), ms("2024-06-10T04:00Z")]
    assert [bar.start for bar in bars(stocks, "1mo", "2024-01-01", "2024-03-02")] == [
        ms("2024-01-01T05:00Z"), ms("2024-02-01T05:00Z"), ms("2024-03-01T05:00Z"),
    ]  # fmt: skip
    hours = bars(stocks, "1h", DAY, "2024-06-12")
    assert [f"{datetime.fromtimestamp(bar.start / 1000):%M}" for bar in hours] == ["00"] * 7
    assert bars(stocks, "1h", DAY, "2024-06-12", aligned="session")[0].start == ms(f"{DAY}T13:30Z")


def test_prices_fall_at_a_split_and_history_is_adjusted_once_it_happened(stocks: Stocks) -> None:
    before = bars(stocks)
    stocks.plant("split", "AAPL", ex_date="2024-06-10", to="4")
    raw = bars(stocks)
    assert raw[:5] == before[:5]
    assert [Decimal(bar.close) * 4 for bar in raw[5:]] == pytest.approx(
        [Decimal(bar.close) for bar in before[5:]], abs=Decimal("0.02")
    )
    assert [int(bar.volume) for bar in raw[5:]] == [4 * int(bar.volume) for bar in before[5:]]
    adjusted = bars(stocks, adjusted=True)
    assert [Decimal(bar.close) * 4 for bar in adjusted[:5]] == [Decimal(bar.close) for bar in raw[:5]]
    assert [Decimal(bar.volume) for bar in adjusted[:5]] == [4 * Decimal(bar.volume) for bar in raw[:5]]
    assert [bar._replace(vwap="") for bar in adjusted[5:]] == [bar._replace(vwap="") for bar in raw[5:]]
    stocks.set_now("2024-06-10T13:29:59Z")
    assert bars(stocks, adjusted=True) == before[:5]
    stocks.set_now("2024-06-10T13:30:00Z")
    assert bars(stocks, adjusted=True)[:5] == adjusted[:5]


def test_several_splits_multiply_also_reverse_ones(stocks: Stocks) -> None:
    stocks.plant("split", "AAPL", ex_date="2024-06-05", to="1", from_="3")
    stocks.plant("split", "AAPL", ex_date="2024-06-07", to="7")
    raw, adjusted = bars(stocks), bars(stocks, adjusted=True)
    ratio = Decimal(7) / 3
    for this, other, factor in zip(adjusted, raw, [ratio, ratio, *[Decimal(7)] * 2, *[Decimal(1)] * 6], strict=True):
        assert Decimal(this.close) == pytest.approx(Decimal(other.close) / factor, abs=Decimal("1e-11"))
        assert Decimal(this.volume) == pytest.approx(Decimal(other.volume) * factor, abs=Decimal("1e-11"))
        assert max(len(text.partition(".")[2]) for text in this[1:6]) <= 12
    week = bars(stocks, "1w", adjusted=True)[0]
    assert Decimal(week.high) == max(Decimal(bar.high) for bar in adjusted[:5])


def test_actions_show_when_they_are_announced_and_are_corrected(stocks: Stocks) -> None:
    stocks.plant("dividend", "KO", ex_date="2024-06-14", amount="0.485", pay="2024-07-01")
    stocks.plant("dividend", "KO", ex_date="2024-06-14", amount="0.50", at="2024-06-20")
    stocks.plant("dividend", "KO", ex_date="2024-06-14", amount="1.00", label="special")
    stocks.plant("split", "KO", ex_date="2024-08-12", to="2", announced="2024-07-29")

    def shown(now: str) -> list[tuple[str, str]]:
        stocks.set_now(now)
        return [(item.amount, item.to) for item in stocks.actions("KO", date(2024, 1, 1), date(2025, 1, 1))]

    assert shown("2024-06-19") == [("0.485", ""), ("1.00", "")]
    assert shown("2024-06-20") == [("0.50", ""), ("1.00", "")]
    assert shown("2024-08-01") == [("0.50", ""), ("1.00", ""), ("", "2")]
    assert [stocks.happened(item) for item in stocks.actions("KO", date(2024, 1, 1), date(2025, 1, 1))] == [
        True,
        True,
        False,
    ]
    assert stocks.actions("AAPL", date(2024, 1, 1), date(2025, 1, 1)) == []


def test_a_delisted_share_has_no_bars_from_that_day_on(stocks: Stocks) -> None:
    stocks.plant("delisting", "ODD", start="2024-06-11")
    stocks.plant("listing", "ODD", start="2024-06-05")
    assert [f"{datetime.fromtimestamp(bar.start / 1000):%m-%d}" for bar in bars(stocks, code="ODD")] == [
        "06-05",
        "06-06",
        "06-07",
        "06-10",
    ]
    assert bars(stocks, "1m", f"{DAY}", "2024-06-12", code="ODD") == []
    known = stocks.listing("ODD")
    assert known is not None
    assert (known.list_date, known.delisted, known.active) == (date(2024, 6, 5), date(2024, 6, 11), False)
    stocks.set_now("2024-06-10")
    known = stocks.listing("ODD")
    assert known is not None
    assert (known.delisted, known.active) == (None, True)
    assert [item.code for item in stocks.listings()] == ["AAPL", "BRK.B", "KO", "ODD"]


@pytest.mark.parametrize("interval", ["1m", "1d"])
def test_defects_show_in_minutes_and_days(stocks: Stocks, interval: str) -> None:
    plain = bars(stocks, interval, DAY, "2024-06-12")
    stocks.plant("restatement", "AAPL", start=f"{DAY}T14:00Z", values={"high": "999.99"}, at="2024-08-02")
    stocks.plant("gap", "AAPL", start=f"{DAY}T13:30Z", end=f"{DAY}T13:31Z")
    gapped = bars(stocks, interval, DAY, "2024-06-12")
    assert gapped != plain
    assert max(Decimal(bar.high) for bar in gapped) < 999
    stocks.set_now("2024-08-02")
    assert max(bar.high for bar in bars(stocks, interval, DAY, "2024-06-12")) == "999.99"
    stocks.plant(
        "bad", "AAPL", start=f"{DAY}T14:00Z" if interval == "1m" else DAY, values={"low": "1e3"}, interval=interval
    )
    assert [bar.low for bar in bars(stocks, interval, DAY, "2024-06-12")].count("1e3") == 1


def test_a_whole_day_can_be_missing_or_late(stocks: Stocks) -> None:
    stocks.plant("gap", "AAPL", start=DAY, end="2024-06-12")
    stocks.plant("late", "AAPL", start="2024-06-12", end="2024-06-13", at="2024-08-02")
    assert len(bars(stocks)) == 8
    stocks.set_now("2024-08-02")
    assert len(bars(stocks)) == 9


def test_a_day_is_restated_by_itself(stocks: Stocks) -> None:
    stocks.plant("restatement", "AAPL", start=DAY, values={"close": "123.45"}, interval="1d", from_call=2)
    assert bars(stocks, "1d", DAY, "2024-06-12")[0].close != "123.45"
    assert bars(stocks, "1d", DAY, "2024-06-12")[0].close == "123.45"
    assert bars(stocks, "1m", DAY, "2024-06-12")[-1].close != "123.45"


def test_volumes_are_whole_until_they_are_fractional(stocks: Stocks) -> None:
    assert all(bar.volume.isdigit() for bar in bars(stocks, "1m", DAY, "2024-06-12"))
    stocks.plant("fractional", "AAPL", start=f"{DAY}T14:00Z")
    volumes = [bar.volume for bar in bars(stocks, "1m", DAY, "2024-06-12")]
    assert all(text.isdigit() for text in volumes[:30])
    assert all(0 < len(text.partition(".")[2]) <= 6 for text in volumes[30:])
    assert Decimal(bars(stocks, "1d", DAY, "2024-06-12")[0].volume) == sum(map(Decimal, volumes))


def test_the_bar_in_progress_is_shown_as_far_as_it_is(stocks: Stocks) -> None:
    whole = bars(stocks, "1m", f"{DAY}T14:00Z", f"{DAY}T14:01Z")
    day = bars(stocks, "1d", DAY, "2024-06-12")
    stocks.set_now(f"{DAY}T14:00:20Z")
    assert len(bars(stocks, "1m", DAY, "2024-06-12")) == 31
    assert Decimal(bars(stocks, "1m", f"{DAY}T14:00Z", f"{DAY}T15:00Z")[-1].volume) < Decimal(whole[0].volume)
    assert 0 < Decimal(bars(stocks, "1d", DAY, "2024-06-12")[0].volume) < Decimal(day[0].volume)
    stocks.set_now(f"{DAY}T13:29:59Z")
    assert bars(stocks, "1d", DAY, "2024-06-12") == []


@pytest.mark.parametrize("plant", [
    lambda stocks: stocks.plant("split", "AAPL", ex_date=DAY, to="0"),
    lambda stocks: stocks.plant("split", "AAPL", ex_date=DAY, to="1.5"),
    lambda stocks: stocks.plant("split", "AAPL", to="2"),
    lambda stocks: stocks.plant("dividend", "AAPL", ex_date=DAY, amount="NaN"),
    lambda stocks: stocks.plant("dividend", "AAPL", ex_date=DAY, amount="-1"),
    lambda stocks: stocks.plant("dividend", "AAPL", ex_date=DAY, amount="1", colour="red"),
    lambda stocks: stocks.plant("delisting", "GONE", start=DAY),
    lambda stocks: stocks.plant("restatement", "AAPL", start=DAY, values={"close": "1.234"}),
    lambda stocks: stocks.plant("gap", "AAPL", start=DAY, interval="1h"),
    lambda stocks: stocks.plant("hole", "AAPL", start=DAY),
    lambda stocks: stocks.plant("fractional", "AAPL"),
    lambda stocks: stocks.bars("GONE", "1d", 0, 1),
    lambda stocks: stocks.bars("AAPL", "2d", 0, 1),
    lambda stocks: stocks.bars("AAPL", "1h", 0, 1, aligned="moon"),
])  # fmt: skip
def test_nonsense_is_refused(stocks: Stocks, plant: Callable[[Stocks], object]) -> None:
    with pytest.raises(ConfigError):
        plant(stocks)


def test_a_limit_gives_the_first_ones_and_any_part_is_part_of_the_whole(stocks: Stocks) -> None:
    whole = bars(stocks, "1m", "2024-06-03", "2024-06-15")
    assert bars(stocks, "1m", "2024-06-03", "2024-06-15", limit=1000) == whole[:1000]
    assert bars(stocks, "1m", "2024-06-03", "2024-06-15", limit=0) == []
    middle = stocks.bars("AAPL", "1m", whole[500].start, whole[900].start)
    assert middle == whole[500:900]
    assert bars(stocks, "1d", "2024-06-03", "2024-06-03") == []


@settings(max_examples=20)
@given(data=st.data())
def test_any_question_is_answered_out_of_the_same_market(data: st.DataObject) -> None:
    stocks = Stocks(data.draw(st.integers(0, 9)), ["AAPL"])
    stocks.set_now("2024-12-01")
    day = st.dates(date(2024, 2, 20), date(2024, 4, 10))
    for ex_date, to, from_ in data.draw(st.lists(st.tuples(day, st.integers(1, 20), st.integers(1, 20)), max_size=3)):
        stocks.plant("split", "AAPL", ex_date=ex_date, to=to, from_=from_)
    interval = data.draw(st.sampled_from(["1m", "15m", "1h", "1d", "1w", "1mo"]))
    how: dict[str, Any] = {"adjusted": data.draw(st.booleans()), "extended": data.draw(st.booleans())}
    first, second = sorted((ms(str(data.draw(day))), ms(str(data.draw(day)))))
    whole = stocks.bars("AAPL", interval, ms("2024-01-25"), ms("2024-04-20"), **how)
    part = stocks.bars("AAPL", interval, first, second, **how)
    assert part == [bar for bar in whole if first <= bar.start < second]
    assert stocks.bars("AAPL", interval, first, second, limit=7, **how) == part[:7]
    assert stocks.bars("AAPL", interval, second, first, **how) == []
    stamps = [bar.start for bar in whole]
    assert stamps == sorted(set(stamps))
    for bar in part:
        low, high = Decimal(bar.low), Decimal(bar.high)
        assert 0 < low <= min(Decimal(bar.open), Decimal(bar.close))
        assert max(Decimal(bar.open), Decimal(bar.close)) <= high
        assert Decimal(bar.volume) > 0
    # Days that are remembered are those that their minutes make.
    stocks.plant("restatement", "AAPL", start="2024-03-01T15:00Z", values={"volume": "1"}, from_call=10**9)
    assert stocks.bars("AAPL", interval, first, second, **how) == part


def test_questions_from_beyond_time_are_answered(stocks: Stocks) -> None:
    assert bars(stocks, "1d", "1900-01-01", "1999-12-31") == []
    days = stocks.bars("AAPL", "1w", -(10**30), 10**30)
    assert (days[0].start, days[-1].start) == (ms("2000-01-03T05:00Z"), ms("2024-07-29T04:00Z"))
    assert stocks.bars("AAPL", "1m", 10**25, 10**30) == []


def test_a_minute_takes_a_handful_of_calls_however_many_are_asked_for(stocks: Stocks) -> None:
    bars(stocks, "1m", DAY, "2024-06-12")
    with counted_work() as work:
        assert len(bars(stocks, "1m", "2024-05-01", "2024-06-01")) == 22 * 390
    assert 0 < work.calls < 5 * 22 * 390
