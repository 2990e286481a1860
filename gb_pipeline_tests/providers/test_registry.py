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
from gb_pipeline.providers.registry import build_provider, daily_quota, missing_credentials, provider_names
from gb_pipeline.providers.rest import RestProvider
from gb_pipeline.simulation import Simulation

PLUGIN = """
from gb_pipeline.providers import Adjustment, Provider, RestProvider


class Mine(RestProvider):
    name, who = "mine", "Mine"
    adjustment, normaliser = Adjustment.RAW, "mine/1"
    credentials, options = ("key",), ("a",)

    def supports(self, symbol, resolution):
        return True

    def requests(self, window, resolution):
        return 2

    async def fetch_bars(self, symbol, window, resolution):
        raise NotImplementedError

    def normalise(self, symbol, window, resolution, bodies):
        raise NotImplementedError


class Half(Provider):
    async def aclose(self):
        pass


class Bare:
    @classmethod
    def from_settings(cls, source, *, state_dir=None):
        return cls()
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
        "[gb_pipeline.providers]\nmine = gb_mine:Mine\nhalf = gb_mine:Half\nbare = gb_mine:Bare\ngone = gb_mine_gone:Mine\n",
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
    options = {"a": 1, "key": "its key", "base_url": "http://127.0.0.1:9"}
    built = build_provider(source("mine", options=options, daily_quota={"calls": 7}), state_dir=tmp_path)
    assert isinstance(built, Provider) and isinstance(built, RestProvider)
    assert (built.name, built.secret("key"), built.base_url) == ("mine", "its key", "http://127.0.0.1:9")
    assert built.quota_left() == 7
    assert built.policy.state_dir == tmp_path


@pytest.mark.usefixtures("plugin")
def test_what_an_author_does_not_say_has_a_default() -> None:
    built = build_provider(source("mine"))
    window = Window.of("2024-01-02", "2024-01-03")
    assert built.requests_together([window, window], Resolution.DAY) == 4
    assert (built.setup_requests, built.quota_left(), daily_quota(source("mine"))) == (0, None, None)
    assert [error.what for error in missing_credentials(source("mine"))] == [
        "source binance has no credential: its option 'key' is missing"
    ]
    files = build_provider(source("csv", options={"path": "{symbol}.csv"}))
    assert (files.policy, files.quota_left(), files.setup_requests) == (None, None, 0)
    assert missing_credentials(source("csv")) == ()


@pytest.mark.usefixtures("plugin")
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("gone", "cannot be imported"),
        ("bare", "does not extend gb_pipeline.providers.Provider"),
        ("half", "has no fetch_bars, from_settings, normalise, requests, supports"),
    ],
)
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
