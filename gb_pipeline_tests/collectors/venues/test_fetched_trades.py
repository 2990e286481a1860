"""Trades of a window by REST are all of them and no others, however many pages that takes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from gb_pipeline.collectors import Venue
from gb_pipeline.collectors.registry import venue_class
from gb_pipeline.errors import TransientVendorError, UnknownSymbol
from gb_pipeline.simulation.server import Simulation

_VENUES = [
    ("kraken", "BTC-USD"),
    ("coinbase", "BTC-USD"),
    ("coinbase_exchange", "BTC-USD"),
    ("binance", "BTC-USDT"),
    ("binance", "BTC-USDT-PERP"),
]
_DAY = datetime(2025, 7, 2, tzinfo=UTC)
_MS = 1_000_000


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulation]:
    with Simulation(7, ["BTC-USDT", "BTC-USD", "BTC-USDT-PERP"]) as simulation:
        simulation.set_now(_DAY + timedelta(hours=12))
        yield simulation


@pytest.fixture(autouse=True)
def nothing_planted(sim: Simulation) -> None:
    sim.reset()
    sim.set_now(_DAY + timedelta(hours=12))


def venue_of(sim: Simulation, name: str) -> Venue:
    return venue_class(name).from_options("healed", {"base_url": sim.url})


def nanoseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1000) * _MS


@pytest.mark.parametrize(("name", "symbol"), _VENUES)
@pytest.mark.parametrize(("start", "seconds"), [(36_030.25, 900.0), (36_059.999, 0.002), (86_400.0, 60.0)])
async def test_a_window_has_all_of_its_trades_and_no_others(
    sim: Simulation, name: str, symbol: str, start: float, seconds: float
) -> None:
    begin = nanoseconds(_DAY + timedelta(seconds=start))
    end = begin + round(seconds * 1000) * _MS
    found = await venue_of(sim, name).fetch_trades(symbol, begin, end)
    assert found is not None
    expected = sim.exchange.trades(symbol, begin // _MS, end // _MS - 1, 10**6)
    assert seconds < 100 or len(expected) > 1_000
    item = sim.exchange.instruments[symbol]
    told = [
        (int(row["trade_id"]), row["exchange_time"], row["side"], Decimal(row["price"]), Decimal(row["size"]))
        for row in found.to_dicts()
    ]
    assert told == [
        (
            number,
            moment * _MS,
            "sell" if buyer_is_maker else "buy",
            Decimal(price).scaleb(-item.price_digits),
            Decimal(size).scaleb(-item.volume_digits),
        )
        for number, moment, price, size, buyer_is_maker in expected
    ]


@pytest.mark.parametrize(("name", "symbol"), _VENUES)
async def test_nanoseconds_of_a_window_count(sim: Simulation, name: str, symbol: str) -> None:
    begin = nanoseconds(_DAY + timedelta(hours=10))
    whole = await venue_of(sim, name).fetch_trades(symbol, begin, begin + 10_000 * _MS)
    assert whole is not None
    first = whole["exchange_time"][0]
    for start, end, count in ((first, first + 1, 1), (first + 1, first + 1, 0), (first - 5, first, 0)):
        part = await venue_of(sim, name).fetch_trades(symbol, start, end)
        assert part is not None
        assert (part.height >= 1) == bool(count)


@pytest.mark.parametrize(("name", "symbol"), _VENUES)
async def test_a_failure_in_passing_is_repeated(sim: Simulation, name: str, symbol: str) -> None:
    sim.faults.add(match="rades|ticker", status=503, times=1)
    begin = nanoseconds(_DAY + timedelta(hours=10))
    found = await venue_of(sim, name).fetch_trades(symbol, begin, begin + 10_000 * _MS)
    assert found is not None
    assert found.height
    assert sim.faults._queue[0].hits == 1


@pytest.mark.parametrize(("name", "symbol"), _VENUES[1:])
async def test_trades_that_a_venue_leaves_out_are_no_answer(sim: Simulation, name: str, symbol: str) -> None:
    sim.plant("gap", symbol, start=_DAY + timedelta(hours=10, minutes=1), end=_DAY + timedelta(hours=10, minutes=2))
    begin = nanoseconds(_DAY + timedelta(hours=10))
    with pytest.raises(TransientVendorError, match="left out"):
        await venue_of(sim, name).fetch_trades(symbol, begin, begin + 180_000 * _MS)


@pytest.mark.parametrize("name", ["kraken", "coinbase", "binance"])
async def test_an_unknown_symbol_says_so(sim: Simulation, name: str) -> None:
    with pytest.raises(UnknownSymbol, match="does not list"):
        await venue_of(sim, name).fetch_trades("NOPE-EUR", 0, 10**15)


async def test_every_trade_of_a_perpetual_needs_a_key(sim: Simulation) -> None:
    venue = venue_class("binance").from_options("b", {"base_url": sim.url, "trades": "trade"})
    assert await venue.fetch_trades("BTC-USDT-PERP", 0, 1) is None
