"""Codes become Yahoo's spelling and back, and searches find them."""

from __future__ import annotations

import pytest

from gb_pipeline.errors import (
    TransientVendorError,
)
from gb_pipeline.market.symbol import AssetClass, Symbol
from gb_pipeline.providers.yahoo.provider import YahooProvider
from gb_pipeline.providers.yahoo.symbols import instrument, vendor_code
from gb_pipeline.simulation import Simulation

pytestmark = pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")


# --- search and spelling ----------------------------------------------------------------------------------------------


async def test_a_search_finds_codes_and_names(provider: YahooProvider) -> None:
    by_code, by_name = await provider.search("BRK"), await provider.search("berkshire")
    assert [(item.symbol.code, item.vendor, item.symbol.exchange) for item in by_code] == [("BRK.B", "BRK-B", "XNYS")]
    assert by_name == by_code
    assert await provider.search("no such thing") == []


@pytest.mark.parametrize("body", ["{}", '{"quotes":null}', '{"quotes":["AAPL"]}', "<html>", "[]"])
async def test_a_search_is_never_empty_for_want_of_a_better_answer(
    sim: Simulation, provider: YahooProvider, body: str
) -> None:
    sim.faults.add(match="finance/search", body=body, times=-1)
    with pytest.raises(TransientVendorError):
        await provider.search("AAPL")


@pytest.mark.parametrize(
    ("symbol", "vendor"),
    [
        (Symbol.equity("AAPL"), "AAPL"),
        (Symbol.equity("BRK.B"), "BRK-B"),
        (Symbol.equity("VOD.L"), "VOD.L"),
        (Symbol.equity("7203.T"), "7203.T"),
        (Symbol.equity("SAP.DE"), "SAP.DE"),
        (Symbol.equity("ABC.L", "XNYS"), "ABC-L"),
        (Symbol.crypto("BTC-USD"), "BTC-USD"),
        (Symbol.forex("EUR-USD"), "EURUSD=X"),
        (Symbol.option("AAPL260116C00190000"), "AAPL260116C00190000"),
    ],
)
def test_symbols_are_spelled_as_yahoo_does(symbol: Symbol, vendor: str) -> None:
    assert vendor_code(symbol) == vendor


@pytest.mark.parametrize(
    ("quote", "code", "kind"),
    [
        ({"symbol": "BRK-B", "quoteType": "EQUITY", "exchange": "NYQ"}, "BRK.B", AssetClass.EQUITY),
        ({"symbol": "^GSPC", "quoteType": "INDEX"}, "GSPC", AssetClass.EQUITY),
        ({"symbol": "BTC-USD", "quoteType": "CRYPTOCURRENCY"}, "BTC-USD", AssetClass.CRYPTO),
        ({"symbol": "EURUSD=X", "quoteType": "CURRENCY"}, "EUR-USD", AssetClass.FOREX),
        ({"symbol": "JPY=X", "quoteType": "CURRENCY"}, "USD-JPY", AssetClass.FOREX),
        ({"symbol": "7203.T", "quoteType": "EQUITY", "exchange": "JPX"}, "7203.T", AssetClass.EQUITY),
    ],
)
def test_what_is_found_has_a_canonical_code(quote: dict[str, str], code: str, kind: AssetClass) -> None:
    found = instrument(quote)
    assert found is not None
    assert (found.symbol.code, found.symbol.asset_class, found.vendor) == (code, kind, quote["symbol"])


@pytest.mark.parametrize("quote", [{"symbol": "ES=F", "quoteType": "FUTURE"}, {"quoteType": "EQUITY"}, {}])
def test_what_has_no_canonical_code_is_left_out(quote: dict[str, str]) -> None:
    assert instrument(quote) is None
