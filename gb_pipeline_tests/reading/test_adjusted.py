"""Which splits are in which stored price: the lake must know for every bar, or say that it does not."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gb_pipeline import Lake, LakeStore, Resolution, Window
from gb_pipeline.errors import LakeError, ReadError
from gb_pipeline.lake.fetches import FetchOutcome, FetchRecord
from gb_pipeline.market.calendar import get_calendar
from gb_pipeline.market.schema import Adjustment
from gb_pipeline.quality.rules import BarRules
from gb_pipeline_tests.actions import received, split
from gb_pipeline_tests.bars import SetClock

EVER = (date(2000, 1, 1), date(2035, 1, 1))
DAYS = 12
NEW_YORK = get_calendar("XNYS")
SESSIONS = NEW_YORK.sessions(date(2024, 3, 4), date(2024, 5, 1))


def day(number: int) -> date:
    """A trading day; its bar is whole in the evening, before a split of the next one."""
    return SESSIONS[number]


def evening(number: int) -> datetime:
    return datetime.combine(day(number), time(22), UTC)


class Vendor:
    """Divides its history by every split as soon as it happens; the lake is written as `ingest` would, without repairs.

    The lake's present is that of its vendor.
    """

    def __init__(self, store: LakeStore, splits: Sequence[tuple[int, int]], symbol: str = "AAPL") -> None:
        self.store, self.splits, self.symbol = store, splits, symbol

    def traded(self, number: int) -> Fraction:
        return Fraction(100 + 7 * number)

    def served(self, number: int, at: int) -> Fraction:
        price = self.traded(number)
        for ex_day, ratio in self.splits:
            price /= ratio if number < ex_day <= at else 1
        return price

    def tell(self, at: int) -> None:
        """The lake asks for the splits in the evening of a day."""
        self.store.clock = SetClock(evening(at))
        told = [split(str(day(ex)), str(ratio), symbol=self.symbol) for ex, ratio in self.splits if ex <= at]
        self.store.write_actions("v", self.symbol, EVER, received(*told))
        window = (datetime.combine(edge, time(), UTC) for edge in EVER)
        self.store.record_fetches([
            FetchRecord(
                "v", self.symbol, "", *window, evening(at), FetchOutcome.OK if told else FetchOutcome.EMPTY,
                kind="corporate_actions",
            )
        ])  # fmt: skip

    def give(self, first: int, last: int, at: int, adjustment: Adjustment = Adjustment.SPLIT) -> None:
        """The lake asks for the bars of days [first, last)."""
        prices = [
            str(Decimal(self.served(n, at).numerator) / self.served(n, at).denominator) for n in range(first, last)
        ]
        stamps = [datetime.combine(day(n), time(), UTC) for n in range(first, last)]
        frame = pl.DataFrame(
            {
                "timestamp": pl.Series(stamps, dtype=pl.Datetime("us", "UTC")),
                **dict.fromkeys(("open", "high", "low", "close"), prices),
                "volume": ["1000"] * len(prices),
            },
            schema_overrides=dict.fromkeys(("open", "high", "low", "close", "volume"), pl.String()),
        )
        rules = BarRules(resolution=Resolution.DAY, calendar=NEW_YORK, adjustment=adjustment)
        window = Window.of(day(first), day(last))
        self.store.clock = SetClock(evening(at) + timedelta(minutes=1))
        self.store.write_bars("v", self.symbol, Resolution.DAY, window, frame, rules=rules)


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[tuple[int, int]], list[tuple[int, int, int]]]:
    """Splits as (day, ratio), and questions as (first day, day after the last, asked on), in the order of time."""
    ratios = st.sampled_from([2, 4, 5, 10])
    ex_days = draw(st.lists(st.integers(1, DAYS - 1), max_size=3, unique=True))
    questions = []
    for at in sorted(draw(st.lists(st.integers(0, DAYS), min_size=1, max_size=6))):
        first = draw(st.integers(0, at))
        questions.append((first, draw(st.integers(first + 1, at + 1)), at))
    return [(ex_day, draw(ratios)) for ex_day in ex_days], questions


def ask(folder: Path, history: tuple[list[tuple[int, int]], list[tuple[int, int, int]]]) -> Vendor:
    """The vendor of a history, whose answers lie in a new lake."""
    splits, questions = history
    vendor = Vendor(LakeStore.at(folder), splits)
    for first, last, at in questions:
        vendor.tell(at)
        vendor.give(first, last, at)
    return vendor


@settings(max_examples=20)
@given(history=histories())
def test_prices_as_traded_are_found_whenever_each_bar_was_fetched(
    tmp_path_factory: pytest.TempPathFactory, history: tuple[list[tuple[int, int]], list[tuple[int, int, int]]]
) -> None:
    vendor, questions = ask(tmp_path_factory.mktemp("lake"), history), history[1]
    store = vendor.store
    lake, end = Lake(store), questions[-1][2]
    numbers = sorted({number for first, last, _ in questions for number in range(first, last)})
    raw = lake.bars("AAPL", "1d", adjustment="raw")
    assert raw["close"].to_list() == [Decimal(int(vendor.traded(number))) for number in numbers]
    divided = lake.bars("AAPL", "1d", adjustment="split")
    assert [Fraction(value) for value in divided["close"]] == [vendor.served(number, end) for number in numbers]
    try:
        stored = lake.bars("AAPL", "1d")
    except ReadError:
        return
    # Where it is answered as stored, it is one series: everything as of one and the same day.
    assert any(
        [Fraction(value) for value in stored["close"]] == [vendor.served(number, at) for number in numbers]
        for at in range(DAYS + 1)
    )


@settings(max_examples=10)
@given(history=histories())
@example(history=([(1, 2)], [(0, 1, 1), (0, 1, 1), (0, 1, 2)])).via("two questions at the same moment")
def test_under_another_symbol_adjusted_prices_are_the_same_or_the_renaming_is_refused(
    tmp_path_factory: pytest.TempPathFactory, history: tuple[list[tuple[int, int]], list[tuple[int, int, int]]]
) -> None:
    store = ask(tmp_path_factory.mktemp("lake"), history).store

    def told(symbol: str, kind: str) -> list[Decimal]:
        return Lake(store).bars(symbol, "1d", adjustment=kind)["close"].to_list()

    before = {kind: told("AAPL", kind) for kind in ("raw", "split")}
    try:
        store.rename("v", "AAPL", "APPL", reason="a test")
    except LakeError as error:
        assert "listed late or corrected" in str(error)
        assert {kind: told("AAPL", kind) for kind in before} == before
        return
    assert {kind: told("APPL", kind) for kind in before} == before


@pytest.fixture
def store(tmp_path) -> LakeStore:
    return LakeStore.at(tmp_path)


def test_a_split_that_was_corrected_changes_what_is_due_and_not_what_was_fetched(store: LakeStore) -> None:
    vendor = Vendor(store, [(3, 10)])
    vendor.tell(4)
    vendor.give(0, 5, 4)
    # On day 6 the vendor says that it was 5 for 1, and divides by that.
    vendor.splits = [(3, 5)]
    vendor.tell(6)
    lake = Lake(store)
    assert lake.bars("AAPL", "1d", adjustment="raw")["close"].to_list() == [int(vendor.traded(n)) for n in range(5)]
    assert [Fraction(v) for v in lake.bars("AAPL", "1d", adjustment="split")["close"]] == [
        vendor.served(n, 6) for n in range(5)
    ]
    with pytest.raises(ReadError, match="before a split"):
        lake.bars("AAPL", "1d")
    vendor.give(0, 5, 6)
    assert lake.bars("AAPL", "1d").equals(lake.bars("AAPL", "1d", adjustment="split"))
    assert lake.bars("AAPL", "1d", adjustment="raw")["close"][0] == 100
    assert lake.bars("AAPL", "1d", adjustment="raw", as_of=evening(5))["close"][0] == 100


def test_a_split_that_was_taken_back_is_undone(store: LakeStore) -> None:
    vendor = Vendor(store, [(3, 10)])
    vendor.tell(4)
    vendor.give(0, 5, 4)
    vendor.splits = []
    vendor.tell(6)
    lake = Lake(store)
    expected = [int(vendor.traded(n)) for n in range(5)]
    assert lake.bars("AAPL", "1d", adjustment="raw")["close"].to_list() == expected
    assert lake.bars("AAPL", "1d", adjustment="split")["close"].to_list() == expected
    vendor.give(0, 5, 6)
    assert lake.bars("AAPL", "1d")["close"].to_list() == expected
    assert lake.bars("AAPL", "1d", adjustment="raw")["close"].to_list() == expected


def test_splits_that_nobody_asked_for_are_not_none(store: LakeStore) -> None:
    vendor = Vendor(store, [(3, 10)])
    vendor.give(0, 5, 4)
    lake = Lake(store)
    with pytest.raises(ReadError, match="never fetched"):
        lake.bars("AAPL", "1d", adjustment="raw")
    assert lake.bars("AAPL", "1d", adjustment="split").equals(lake.bars("AAPL", "1d"))
    # Asked for at last: the prices were fetched with the split in place.
    vendor.tell(8)
    assert lake.bars("AAPL", "1d", adjustment="raw")["close"].to_list() == [int(vendor.traded(n)) for n in range(5)]


def test_prices_adjusted_for_dividends_stay_as_they_are(store: LakeStore) -> None:
    vendor = Vendor(store, [])
    vendor.tell(4)
    vendor.give(0, 5, 4, adjustment=Adjustment.ALL)
    lake = Lake(store)
    assert lake.bars("AAPL", "1d").height == 5
    for adjustment in ("raw", "split"):
        with pytest.raises(ReadError, match="dividends"):
            lake.bars("AAPL", "1d", adjustment=adjustment)


def test_a_series_never_changes_its_kind_of_prices(store: LakeStore) -> None:
    vendor = Vendor(store, [])
    vendor.give(0, 5, 4)
    with pytest.raises(LakeError, match="split prices, these are raw"):
        LakeStore(store.storage).write_bars(
            "v", "AAPL", Resolution.DAY, Window.of(day(6), day(7)), pl.DataFrame(schema=_EMPTY),
            rules=BarRules(resolution=Resolution.DAY, calendar=NEW_YORK),
        )  # fmt: skip
    vendor.give(5, 6, 5)


_EMPTY = {
    "timestamp": pl.Datetime("us", "UTC"),
    **dict.fromkeys(("open", "high", "low", "close", "volume"), pl.String()),
}


def minutes(stamps: Sequence[datetime], price: str) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "timestamp": pl.Series(list(stamps), dtype=pl.Datetime("us", "UTC")),
            **{name: [price] * len(stamps) for name in ("open", "high", "low", "close", "volume")},
        }
    )


def test_bars_after_midnight_utc_belong_to_the_evening_before(store: LakeStore) -> None:
    calendar = get_calendar("XNYS", extended_hours=True)
    rules = BarRules(resolution=Resolution.MINUTE, calendar=calendar, max_bad_fraction=1)
    now = datetime(2024, 3, 14, tzinfo=UTC)
    # In winter the post-market ends at 01:00 UTC; on 2024-03-10 the clocks go forward.
    last = [datetime(2024, 3, 8, 0, minute, tzinfo=UTC) for minute in range(58, 60)]
    first = [datetime(2024, 3, 8, 9, minute, tzinfo=UTC) for minute in range(2)]
    for session, stamps in ((date(2024, 3, 7), last), (date(2024, 3, 8), first)):
        window = calendar.window(session, session + timedelta(days=1), Resolution.MINUTE)
        store.write_bars("v", "AAPL", Resolution.MINUTE, window, minutes(stamps, "8"), rules=rules, fetched_at=now)
    Vendor(store, []).tell(5)
    store.write_actions("v", "AAPL", EVER, received(split("2024-03-08", "2")), fetched_at=evening(6))
    lake = Lake(store)
    closes = lake.bars("AAPL", "1m", adjustment="split")["close"].to_list()
    assert closes == [4, 4, 8, 8]
    assert lake.bars("AAPL", "1m", last[1], adjustment="split")["close"].to_list() == [4, 8, 8]
    assert lake.bars("AAPL", "1m", first[0], adjustment="split")["close"].to_list() == [8, 8]


def test_a_week_with_a_split_in_it_is_neither_of_before_nor_of_after(store: LakeStore) -> None:
    rules = BarRules(resolution=Resolution.WEEK, calendar=NEW_YORK)
    stamps = [datetime(2024, 3, 4, tzinfo=UTC), datetime(2024, 3, 11, tzinfo=UTC)]
    window = Window.of(date(2024, 3, 4), date(2024, 3, 18))
    now = datetime(2024, 3, 20, tzinfo=UTC)
    store.write_bars("v", "AAPL", Resolution.WEEK, window, minutes(stamps, "8"), rules=rules, fetched_at=now)
    vendor = Vendor(store, [(7, 2)])  # Wednesday, 2024-03-13
    vendor.tell(14)
    lake = Lake(store)
    with pytest.raises(ReadError, match="resample"):
        lake.bars("AAPL", "1w", adjustment="split")
    assert lake.bars("AAPL", "1w", end="2024-03-11", adjustment="split")["close"].to_list() == [4]
    assert lake.bars("AAPL", "1w").height == 2


def test_hundreds_of_series_are_adjusted_in_one_question(store: LakeStore) -> None:
    codes = [f"S{number:03d}" for number in range(300)]
    stamps = [datetime.combine(day(n), time(), UTC) for n in range(10)]
    frame = pl.concat([minutes(stamps, "8").with_columns(symbol=pl.lit(code)) for code in codes])
    rules = BarRules(resolution=Resolution.DAY, calendar=NEW_YORK)
    window = Window.of(day(0), day(10))
    store.write_bars("v", codes, Resolution.DAY, window, frame, rules=rules, fetched_at=evening(20))
    told = received(*(split(str(day(5)), "2", symbol=code) for code in codes[::2]))
    store.write_actions("v", codes, EVER, told, fetched_at=evening(20))
    edges = [datetime.combine(edge, time(), UTC) for edge in EVER]
    store.record_fetches([
        FetchRecord("v", code, "", *edges, evening(20), FetchOutcome.OK, kind="corporate_actions") for code in codes
    ])  # fmt: skip
    made = Lake(store).bars(None, "1d", source="v", adjustment="split")
    counts = dict(made.group_by("close").len().rows())
    assert counts == {Decimal(4): 150 * 5, Decimal(8): 150 * 5 + 150 * 10}
    assert made.select("symbol", "timestamp").equals(made.select("symbol", "timestamp").sort("symbol", "timestamp"))
    some = Lake(store).bars(codes[:20], "1d", adjustment="split")
    assert some.equals(made.filter(pl.col("symbol").is_in(codes[:20])))
