"""Chains of futures: when they roll, and what the gap between two contracts does to prices."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
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
from gb_pipeline.market.continuous import continuous
from gb_pipeline.market.rolls import check_rolls, make_rolls

DAYS = get_calendar("XNYS").sessions(date(2024, 3, 4), date(2024, 6, 1))
CHAIN = ["ESH24", "ESM24", "ESU24"]


def chain(*expiries: int, **more: Sequence[date | None]) -> pl.DataFrame:
    """Contracts whose last sessions are those of these numbers."""
    return pl.DataFrame({"symbol": CHAIN[: len(expiries)], "expiry": [DAYS[number] for number in expiries], **more})


def bars(closes: Mapping[str, Sequence[str | None]]) -> pl.DataFrame:
    """A bar per session and contract, from the first session on."""
    rows = [
        (code, datetime.combine(DAYS[number], datetime.min.time(), UTC), DAYS[number], Decimal(close))
        for code, own in closes.items()
        for number, close in enumerate(own)
        if close is not None
    ]
    schema = {
        "symbol": pl.String(),
        "timestamp": pl.Datetime("us", "UTC"),
        "session": pl.Date(),
        "close": pl.Decimal(18, 8),
    }
    return pl.DataFrame(rows, schema, orient="row").with_columns(open="close", volume=pl.lit(5))


def test_by_the_calendar_a_contract_is_held_through_its_last_session() -> None:
    rolls = make_rolls(chain(5, 10), DAYS, "calendar")
    assert rolls.rows() == [(DAYS[6], "ESH24", "ESM24")]
    assert make_rolls(chain(5, 10), DAYS, "calendar", days_before=3)["session"].to_list() == [DAYS[3]]


def test_a_contract_is_left_before_its_first_notice() -> None:
    rolls = make_rolls(chain(5, 10, first_notice=[DAYS[4], None]), DAYS, "calendar")
    assert rolls["session"].to_list() == [DAYS[4]]


def test_by_volume_the_session_after_the_first_larger_one_is_the_next_contract_s() -> None:
    volumes = [("ESH24", 9, 8, 7, 1), ("ESM24", 1, 2, 8, 0)]
    measures = pl.DataFrame(
        [(code, DAYS[number], volume) for code, *own in volumes for number, volume in enumerate(own)],
        {"symbol": pl.String(), "session": pl.Date(), "volume": pl.Int64()},
        orient="row",
    )
    rolls = make_rolls(chain(5, 10), DAYS, "volume", measures=measures)
    # In session 2 the next one was larger, which was known when it had closed.
    assert rolls["session"].to_list() == [DAYS[3]]
    # Where it never is, the calendar decides.
    quiet = measures.filter(pl.col("session") < DAYS[2])
    assert make_rolls(chain(5, 10), DAYS, "volume", measures=quiet)["session"].to_list() == [DAYS[6]]


def test_who_was_larger_before_its_forerunner_was_the_front_one_is_not_the_front_one_for_that() -> None:
    """Far contracts trade a lot now and then: one such day must not skip the whole life of the contract between."""
    volumes = [("ESH24", 9, 9, 1, 1, 1), ("ESM24", 2, 2, 9, 9, 1), ("ESU24", 3, 0, 0, 0, 5)]
    measures = pl.DataFrame(
        [(code, DAYS[number], volume) for code, *own in volumes for number, volume in enumerate(own)],
        {"symbol": pl.String(), "session": pl.Date(), "volume": pl.Int64()},
        orient="row",
    )
    rolls = make_rolls(chain(6, 12, 18), DAYS, "volume", measures=measures)
    assert rolls["session"].to_list() == [DAYS[3], DAYS[5]]


def test_a_contract_that_may_not_be_held_when_its_turn_comes_is_left_at_once() -> None:
    """Notice can be given of the next contract before this one expires; the order of the list says nothing."""
    contracts = chain(5, 10, 15, first_notice=[None, DAYS[2], None])
    rolls = make_rolls(contracts.reverse(), DAYS[::-1], "calendar")
    assert rolls.rows() == [(DAYS[6], "ESH24", "ESM24"), (DAYS[6], "ESM24", "ESU24")]
    prices = bars({"ESH24": ["1"] * 6, "ESU24": ["2"] * 8})
    assert continuous(prices, rolls, CHAIN, join="ratio")["close"].to_list() == [2] * 8
    with pytest.raises(ConfigError, match="days_before=-1"):
        make_rolls(contracts, DAYS, "calendar", days_before=-1)


def test_what_decides_a_roll_lies_before_it() -> None:
    """Measures of the roll's own session and of later ones change nothing."""
    measures = pl.DataFrame(
        [("ESH24", DAYS[n], 5) for n in range(8)] + [("ESM24", DAYS[n], 9 if n >= 3 else 1) for n in range(8)],
        {"symbol": pl.String(), "session": pl.Date(), "volume": pl.Int64()},
        orient="row",
    )
    [session] = make_rolls(chain(7, 20), DAYS, "volume", measures=measures)["session"]
    known = measures.filter(pl.col("session") < session)
    assert make_rolls(chain(7, 20), DAYS, "volume", measures=known)["session"].to_list() == [session]


def test_joins_and_anchors() -> None:
    prices = bars({"ESH24": ["100", "110"], "ESM24": ["104", "121", "130"]})
    rolls = make_rolls(chain(1, 9), DAYS, "calendar")

    def closes(**options: object) -> list[Decimal]:
        return continuous(prices, rolls, CHAIN, **options)["close"].to_list()  # type: ignore[arg-type]

    assert closes() == [100, 110, 130]
    assert closes(join="ratio") == [110, 121, 130]
    assert closes(join="difference") == [111, 121, 130]
    assert closes(join="ratio", anchor="start") == [100, 110, Decimal("118.18181818")]
    assert closes(join="difference", anchor="start") == [100, 110, 119]
    assert continuous(prices, rolls, CHAIN)["symbol"].to_list() == ["ESH24", "ESH24", "ESM24"]
    assert continuous(prices, rolls, CHAIN, join="ratio")["volume"].to_list() == [5, 5, 5]


def test_a_contract_behind_the_front_one() -> None:
    prices = bars({"ESH24": ["1", "1"], "ESM24": ["2", "2", "2"], "ESU24": ["4", "4", "4", "4"]})
    rolls = make_rolls(chain(1, 2, 9), DAYS, "calendar")
    assert continuous(prices, rolls, CHAIN, depth=1)["close"].to_list() == [2, 2, 4]
    assert continuous(prices, rolls, CHAIN, depth=1, join="ratio")["close"].to_list() == [4, 4, 4]
    assert continuous(prices, rolls, CHAIN, depth=2)["close"].to_list() == [4, 4]


def test_a_table_of_ones_own() -> None:
    own = pl.DataFrame({"session": [DAYS[1]], "from_symbol": ["ESH24"], "to_symbol": ["ESU24"]})
    prices = bars({"ESH24": ["1", "1"], "ESM24": ["2", "2"], "ESU24": ["4", "4"]})
    assert continuous(prices, own, CHAIN)["close"].to_list() == [1, 4]
    torn = pl.concat([own, pl.DataFrame({"session": [DAYS[3]], "from_symbol": ["ESM24"], "to_symbol": ["ESU24"]})])
    with pytest.raises(ConfigError, match="leaves ESM24, which the roll before did not go to"):
        check_rolls(torn)


def test_who_is_not_in_the_answer_has_no_part_in_its_prices() -> None:
    """A roll that lies after the newest bar, or before the first, changes no price, and needs no bar of its contracts."""
    rolls = make_rolls(chain(2, 4, 9), DAYS, "calendar")
    prices = bars({"ESH24": ["1", "1"], "ESM24": ["2", "2"]})
    for join, anchor in (("ratio", "end"), ("difference", "start")):
        front = continuous(prices, rolls, CHAIN, join=join, anchor=anchor)
        assert front["close"].to_list() == [1, 1]
    later = bars({"ESU24": [None] * 6 + ["7"]})
    assert continuous(later, rolls, CHAIN, join="ratio", anchor="start")["close"].to_list() == [7]


def test_a_table_with_holes_or_a_contract_that_comes_back_is_refused() -> None:
    own = pl.DataFrame({"session": [DAYS[1], DAYS[3]], "from_symbol": CHAIN[:2], "to_symbol": ["ESM24", "ESH24"]})
    with pytest.raises(ConfigError, match="come back to ESH24"):
        check_rolls(own)
    with pytest.raises(ConfigError, match="no session or no contract"):
        check_rolls(own.with_columns(session=pl.Series([DAYS[1], None])))


def test_what_cannot_be_joined_is_an_error() -> None:
    rolls = make_rolls(chain(1, 9), DAYS, "calendar")
    apart = bars({"ESH24": ["1", None], "ESM24": [None, "2", "2"]})
    with pytest.raises(ReadError, match="no session in common before the roll"):
        continuous(apart, rolls, CHAIN, join="ratio")
    below = bars({"ESH24": ["-5", "-37.63"], "ESM24": ["3", "4", "2"]})
    with pytest.raises(ReadError, match="not above 0"):
        continuous(below, rolls, CHAIN, join="ratio")
    assert continuous(below, rolls, CHAIN, join="difference")["close"].to_list() == [Decimal("36.63"), 4, 2]
    with pytest.raises(ConfigError, match="is unknown"):
        continuous(below, rolls, CHAIN, join="panama")


price = st.decimals("10", "5000", places=2)
anchors = st.sampled_from(["start", "end"])
four = st.lists(price, min_size=12, max_size=12)


@settings(max_examples=40, deadline=None)
@given(
    closes=st.tuples(four, four, four),
    expiries=st.tuples(st.integers(1, 4), st.integers(5, 8)),
    anchor=anchors,
)
def test_returns_within_a_contract_and_across_a_roll_are_those_of_who_holds_it(
    closes: tuple[list[Decimal], ...], expiries: tuple[int, int], anchor: str
) -> None:
    prices = bars({code: [str(each) for each in own] for code, own in zip(CHAIN, closes, strict=True)})
    rolls = make_rolls(chain(*expiries, 11), DAYS, "calendar")
    joined = continuous(prices, rolls, CHAIN, join="ratio", anchor=anchor)
    moved = continuous(prices, rolls, CHAIN, join="difference", anchor=anchor)
    for number in range(1, 12):
        # On the morning of a roll the next contract was bought at the close before.
        held = 0 if number <= expiries[0] else 1 if number <= expiries[1] else 2
        before, after = Fraction(closes[held][number - 1]), Fraction(closes[held][number])
        own, last = Fraction(joined["close"][number]), Fraction(joined["close"][number - 1])
        assert abs(own / last - after / before) <= Fraction(1, 10**8) * (1 + after / before) / last
        assert moved["close"][number] - moved["close"][number - 1] == closes[held][number] - closes[held][number - 1]


def third_friday(year: int, month: int) -> date:
    first = date(year, month, 1)
    return first + timedelta(days=(4 - first.weekday()) % 7 + 14)


@pytest.fixture
def futures(market_data: Callable[[str], Path]) -> Path:
    return market_data("futures-daily")


def test_published_rolls_of_ten_years_are_the_same(futures: Path) -> None:
    """LEAN's map of ES: a contract is the front one through the session before its expiry."""
    rows = (futures / "lean-future-cme-map_files" / "es.csv").read_text(encoding="utf-8").splitlines()
    last = [row.split(",")[0] for row in rows if row.endswith(",0")]
    published = [date.fromisoformat(day) for day in last if "2010" < day[:4] < "2020"]
    months = [(year, month) for year in range(2010, 2021) for month in (3, 6, 9, 12)]
    contracts = pl.DataFrame(
        {
            "symbol": [f"ES{year}{month:02d}" for year, month in months],
            "expiry": [third_friday(*month) for month in months],
        }
    )
    sessions = get_calendar("XNYS").sessions(date(2010, 1, 1), date(2021, 1, 1))
    rolls = make_rolls(contracts, sessions, "calendar", days_before=1)
    before = [sessions[sessions.index(session) - 1] for session in rolls["session"]]
    assert [day for day in before if 2010 < day.year < 2020] == published
    assert len(published) == 36


def test_the_same_rolls_come_from_contracts_that_a_lake_knows(futures: Path, tmp_path: Path) -> None:
    """The contracts of ES as CME lists them, told to a lake, which answers `Lake.contracts`."""
    rows = (futures / "lean-future-cme-map_files" / "es.csv").read_text(encoding="utf-8").splitlines()
    published = [
        date.fromisoformat(row.split(",")[0]) for row in rows if row.endswith(",0") and "2010" < row[:4] < "2020"
    ]
    months = [(year, month) for year in range(2010, 2021) for month in (3, 6, 9, 12)]
    codes = [f"ES{'HMUZ'[month // 3 - 1]}{year % 100}" for year, month in months]
    told = pl.DataFrame({"symbol": codes, "expiry": [third_friday(*month) for month in months]}).with_columns(
        asset_class=pl.lit("future"), exchange=pl.lit("XCME"), currency=pl.lit("USD"), tick_size=pl.lit("0.25"),
        multiplier=pl.lit("50"),
    )  # fmt: skip
    lake = Lake.open(tmp_path / "data", create=True)
    assert lake.store.write_instruments(told.sample(fraction=1, shuffle=True, seed=3)).new == len(months)
    contracts = lake.contracts("ES")
    assert contracts["symbol"].to_list() == codes
    assert set(contracts.select("multiplier", "tick_size", "currency").rows()) == {(50, Decimal("0.25"), "USD")}
    sessions = get_calendar("XNYS").sessions(date(2010, 1, 1), date(2021, 1, 1))
    rolls = make_rolls(contracts, sessions, "calendar", days_before=1)
    lake.store.write_rolls("ES", rolls)
    stored = lake.rolls("ES")["session"]
    before = [sessions[sessions.index(session) - 1] for session in stored]
    assert [day for day in before if 2010 < day.year < 2020] == published


def read_closes(archive: Path) -> pl.DataFrame:
    """Daily trades of December 2013, of the contracts that LEAN's folder has."""
    frames = []
    with zipfile.ZipFile(archive) as folder:
        for member, code in (("es_trade_201312.csv", "ESZ13"), ("es_trade_201403.csv", "ESH14")):
            rows = list(csv.reader(io.TextIOWrapper(folder.open(member), encoding="utf-8")))
            frames.append(
                pl.DataFrame(
                    {
                        "symbol": [code] * len(rows),
                        "timestamp": [datetime.strptime(row[0], "%Y%m%d %H:%M").replace(tzinfo=UTC) for row in rows],
                        "close": [Decimal(row[4]) for row in rows],
                        "volume": [int(row[5]) for row in rows],
                    },
                    schema_overrides={"timestamp": pl.Datetime("us", "UTC"), "close": pl.Decimal(18, 8)},
                )
            )
    return pl.concat(frames).with_columns(session=pl.col("timestamp").dt.date())


def test_real_contracts_roll_and_join_as_published(futures: Path) -> None:
    prices = read_closes(futures / "lean-future-cme-daily" / "es_trade.zip")
    contracts = pl.DataFrame({"symbol": ["ESZ13", "ESH14"], "expiry": [date(2013, 12, 20), date(2014, 3, 21)]})
    sessions = get_calendar("XNYS").sessions(date(2013, 10, 1), date(2014, 4, 1))
    by_volume = make_rolls(contracts, sessions, "volume", measures=prices)
    # On Friday 13 December 868,208 of March and 347,764 of December were traded.
    assert by_volume["session"].to_list() == [date(2013, 12, 16)]
    rolls = make_rolls(contracts, sessions, "calendar", days_before=1)
    assert rolls["session"].to_list() == [date(2013, 12, 20)]
    lines = (futures / "lean-future-cme-factor_files" / "es.csv").read_text(encoding="utf-8").splitlines()
    factors = {row["Date"][:10]: row for row in map(json.loads, lines) if row["DataMappingMode"] == 0}
    here, after = factors["2013-12-19"], factors["2014-03-20"]
    first = prices.filter(pl.col("symbol") == "ESZ13")["close"][0]
    ratio = continuous(prices, rolls, ["ESZ13", "ESH14"], join="ratio")["close"][0] / first
    shift = continuous(prices, rolls, ["ESZ13", "ESH14"], join="difference")["close"][0] - first
    # LEAN compares prices of another hour of 19 December.
    published = here["BackwardsRatioScale"][0] / after["BackwardsRatioScale"][0]
    assert float(ratio) == pytest.approx(published, abs=3e-4)
    assert float(shift) == pytest.approx(
        here["BackwardsPanamaCanalScale"][0] - after["BackwardsPanamaCanalScale"][0], abs=0.5
    )
