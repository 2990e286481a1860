"""What the simulated exchange shows: aggregation, listings, the clock, and planted defects."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

import pytest

from gb_pipeline.errors import ConfigError, InvalidSymbol
from gb_pipeline.market.window import instant
from gb_pipeline.simulation.exchange import Bar, Exchange

DAY = "2024-01-02"


def ms(text: str) -> int:
    return int(instant(text).timestamp() * 1000)


def minutes(
    exchange: Exchange, start: str = f"{DAY}T10:00Z", end: str = f"{DAY}T10:09Z", code: str = "BTC-USDT"
) -> list[Bar]:
    return exchange.bars(code, "1m", ms(start), ms(end), 10_000)


@pytest.fixture
def exchange() -> Exchange:
    made = Exchange(7, ["BTC-USDT", "DOGE-USD"])
    made.set_now("2024-03-01")
    return made


@pytest.mark.parametrize(("interval", "start", "end"), [
    ("5m", "2024-01-02T10:05Z", "2024-01-02T10:10Z"),
    ("1h", "2024-01-02T10:00Z", "2024-01-02T11:00Z"),
    ("1d", "2024-01-02", "2024-01-03"),
    ("1w", "2024-01-01", "2024-01-08"),
    ("1M", "2024-02-01", "2024-03-01"),
])  # fmt: skip
def test_longer_bars_are_made_of_minutes_exactly(exchange: Exchange, interval: str, start: str, end: str) -> None:
    parts = exchange.bars("DOGE-USD", "1m", ms(start), ms(end) - 1, 100_000)
    (bar,) = exchange.bars("DOGE-USD", interval, ms(start), ms(end) - 1, 10)
    assert bar.start == ms(start)
    assert (bar.open, bar.close) == (parts[0].open, parts[-1].close)
    assert Decimal(bar.high) == max(Decimal(part.high) for part in parts)
    assert Decimal(bar.low) == min(Decimal(part.low) for part in parts)
    assert Decimal(bar.volume) == sum(Decimal(part.volume) for part in parts)
    assert bar.trades == sum(part.trades for part in parts)


def test_a_gap_is_not_served_and_the_limit_counts_what_is(exchange: Exchange) -> None:
    exchange.plant("gap", "BTC-USDT", start=f"{DAY}T10:02Z", end=f"{DAY}T12:00Z")
    assert [bar.start for bar in minutes(exchange)] == [ms(f"{DAY}T10:00Z"), ms(f"{DAY}T10:01Z")]
    served = exchange.bars("BTC-USDT", "1m", ms(f"{DAY}T10:00Z"), None, 4)
    assert [bar.start for bar in served[2:]] == [ms(f"{DAY}T12:00Z"), ms(f"{DAY}T12:01Z")]
    assert exchange.trades("BTC-USDT", ms(f"{DAY}T11:00Z"), ms(f"{DAY}T11:05Z"), 100) == []


def test_a_restatement_shows_from_a_call_or_a_moment_on_and_in_longer_bars(exchange: Exchange) -> None:
    at = f"{DAY}T10:03Z"
    exchange.plant("restatement", "BTC-USDT", start=at, values={"high": "99999.99"}, from_call=2)
    exchange.plant("restatement", "BTC-USDT", start=f"{DAY}T10:04Z", values={"volume": "0.00001"}, at="2024-03-02")
    first, second = minutes(exchange), minutes(exchange)
    assert first[3].high != "99999.99"
    assert second[3].high == "99999.99"
    assert second[:3] == first[:3]
    assert exchange.bars("BTC-USDT", "1d", ms(DAY), ms(DAY), 1)[0].high == "99999.99"
    assert second[4].volume != "0.00001"
    exchange.set_now("2024-03-02")
    assert minutes(exchange)[4].volume == "0.00001"


def test_late_bars_appear_after_their_moment(exchange: Exchange) -> None:
    exchange.plant("late", "BTC-USDT", start=f"{DAY}T10:05Z", end=f"{DAY}T10:07Z", at="2024-03-05")
    assert len(minutes(exchange)) == 8
    exchange.set_now("2024-03-05")
    assert len(minutes(exchange)) == 10


def test_bad_rows_are_served_as_planted(exchange: Exchange) -> None:
    exchange.plant("bad", "BTC-USDT", start=f"{DAY}T10:00Z", values={"high": "1", "volume": "-5"})
    exchange.plant("bad", "BTC-USDT", start=f"{DAY}T10:01Z", repeat=1)
    exchange.plant("bad", "BTC-USDT", start=f"{DAY}T10:02Z", shift_ms=13_000)
    rows = minutes(exchange)
    assert (rows[0].high, rows[0].volume) == ("1", "-5")
    assert rows[1] == rows[2]
    assert rows[4].start == rows[3].start + 13_000
    assert len(rows) == 12


def test_nothing_exists_before_a_listing(exchange: Exchange) -> None:
    exchange.plant("listing", "BTC-USDT", start="2024-01-02T10:05Z")
    assert exchange.bars("BTC-USDT", "1m", 0, None, 3)[0].start == ms("2024-01-02T10:05Z")
    assert minutes(exchange, "2024-01-01", "2024-01-02") == []
    assert exchange.trades("BTC-USDT", ms("2024-01-01"), ms("2024-01-01T00:10Z"), 10) == []


def test_the_bar_in_progress_is_shown_as_far_as_it_is(exchange: Exchange) -> None:
    whole = minutes(exchange)[9]
    seen = []
    for second in (0, 20, 40, 59):
        exchange.set_now(ms(f"{DAY}T10:09Z") + second * 1000)
        rows = minutes(exchange, end=f"{DAY}T11:00Z")
        assert len(rows) == 10
        seen.append(rows[-1])
    assert seen[0].open == whole.open
    assert [Decimal(bar.volume) for bar in seen] == sorted(Decimal(bar.volume) for bar in seen)
    assert Decimal(seen[0].volume) < Decimal(whole.volume)
    exchange.set_now(ms(f"{DAY}T10:10Z") - 1)
    assert minutes(exchange)[-1][:6] == whole[:6]


def test_the_future_is_empty(exchange: Exchange) -> None:
    assert minutes(exchange, "2024-03-01T00:01Z", "2025-01-01") == []
    assert exchange.trades("BTC-USDT", ms("2024-03-02"), ms("2024-03-03"), 10) == []


@pytest.mark.parametrize(("kind", "body", "says"), [
    ("hole", {"start": DAY}, "not a kind of defect"),
    ("gap", {}, "no start"),
    ("gap", {"start": DAY, "until": 3}, "unknown until"),
    ("bad", {"start": DAY, "values": {"opne": "1"}}, "opne"),
    ("restatement", {"start": DAY, "values": {"open": "1.234"}}, "grid"),
    ("restatement", {"start": DAY, "values": {"open": "NaN"}}, "not a number"),
])  # fmt: skip
def test_nonsense_cannot_be_planted(exchange: Exchange, kind: str, body: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        exchange.plant(kind, "BTC-USDT", **body)


def test_only_listed_pairs_can_be_planted_and_only_pairs_be_listed(exchange: Exchange) -> None:
    with pytest.raises(ConfigError, match="not listed"):
        exchange.plant("gap", "ETH-USDT", start=DAY)
    with pytest.raises(ConfigError, match="not a pair"):
        Exchange(symbols=["BTC"])
    with pytest.raises(InvalidSymbol):
        Exchange(symbols=["../etc"])


def test_five_hundred_pairs_are_listed_without_being_computed() -> None:
    exchange = Exchange(symbols=[f"S{number:03}-USDT" for number in range(500)])
    exchange.set_now(datetime.fromisoformat("2024-01-03T00:00:00+00:00"))
    assert len(exchange.instruments) == 500
    assert len(exchange.bars("S499-USDT", "1m", ms(DAY), None, 1000)) == 1000
