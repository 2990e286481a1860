"""Providers by name: built in, added by other packages, or refused with what there is."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.errors import ConfigError
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.symbol import AssetClass, Symbol
from gb_pipeline.market.window import Window
from gb_pipeline.providers.base import Provider
from gb_pipeline.providers.ccxt.provider import CcxtProvider
from gb_pipeline.providers.registry import build_provider, provider_names
from gb_pipeline.simulation import Simulation

PLUGIN = """
class Mine:
    name = "mine"

    @classmethod
    def from_settings(cls, source, *, state_dir=None):
        made = cls()
        made.options, made.state_dir = source.options, state_dir
        return made

class Bare:
    pass
"""


def source(provider: str = "ccxt", **named: Any) -> SourceSettings:
    return SourceSettings.model_validate(
        {
            "name": "binance", "provider": provider, "asset_class": AssetClass.CRYPTO, "start": date(2024, 1, 1),
            "symbols": ["BTC-USDT", {"code": "XBT-USDT", "vendor": "BTCUSDT"}], **named,
        }
    )  # fmt: skip


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package as pip would have installed it."""
    (tmp_path / "gb_mine.py").write_text(PLUGIN, encoding="utf-8")
    about = tmp_path / "gb_mine-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: gb-mine\nVersion: 1.0\n", encoding="utf-8")
    (about / "entry_points.txt").write_text(
        "[gb_pipeline.providers]\nmine = gb_mine:Mine\nbare = gb_mine:Bare\ngone = gb_mine_gone:Mine\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(str(tmp_path))


def test_an_unknown_name_is_refused_with_what_there_is() -> None:
    with pytest.raises(ConfigError, match="no provider 'cxct'") as caught:
        build_provider(source("cxct"))
    assert "ccxt, csv" in caught.value.fix


@pytest.mark.usefixtures("plugin")
def test_another_package_can_add_one(tmp_path: Path) -> None:
    assert {"mine", "ccxt", "csv"} <= set(provider_names())
    built: Any = build_provider(source("mine", options={"a": 1}), state_dir=tmp_path)
    assert (built.name, built.options, built.state_dir) == ("mine", {"a": 1}, tmp_path)


@pytest.mark.usefixtures("plugin")
@pytest.mark.parametrize(("name", "says"), [("gone", "cannot be imported"), ("bare", "no from_settings")])
def test_a_broken_addition_is_named(name: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        build_provider(source(name))


@pytest.mark.parametrize(("options", "says"), [
    ({"exchange": "binanze"}, "did you mean binance"),
    ({"exchnage": "binance"}, "no option exchnage"),
    ({"base_url": "https://example.com"}, "not a simulated vendor"),
])  # fmt: skip
def test_ccxt_refuses_options_that_make_no_sense(options: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        build_provider(source(options=options))


async def test_ccxt_is_built_from_gb_yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Only gb.yaml decides where requests go.
    monkeypatch.setenv("GB_SIM_URL", "http://127.0.0.1:9")
    with Simulation(symbols=["BTC-USDT"]) as sim:
        settings = source(options={"base_url": sim.url}, rate_limit={"calls": 5, "seconds": 0.1}, retries=0)
        provider = build_provider(settings, state_dir=tmp_path)
        assert isinstance(provider, Provider)
        assert isinstance(provider, CcxtProvider)
        assert provider.name == "binance"
        window = Window.of("2024-01-02", "2024-01-03")
        try:
            got = [await provider.fetch_bars(symbol, window, Resolution.MINUTE) for symbol in settings.instruments]
        finally:
            await provider.aclose()
        assert [fetched.frame.height for fetched in got] == [1440, 1440]
        assert got[0].response_hash == got[1].response_hash
        assert (tmp_path / "rate_limits" / "ccxt-binance.sqlite").exists()


def test_the_real_exchange_has_its_documented_pace_and_the_simulated_one_none() -> None:
    assert CcxtProvider("kraken")._transport.policy.rate is not None
    assert CcxtProvider("bitstamp")._transport.policy.rate is not None
    assert CcxtProvider("kraken", base_url="http://127.0.0.1:9")._transport.policy.rate is None
    assert CcxtProvider("kraken").supports(Symbol.crypto("BTC-USD"), Resolution.MINUTE)
