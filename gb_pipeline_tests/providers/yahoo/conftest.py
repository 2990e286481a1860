"""A simulated Yahoo, a provider that asks it, and yfinance itself beside it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yfinance
from curl_cffi import requests as curl
from yfinance.data import SingletonMeta, YfData

from gb_pipeline.providers.yahoo.provider import YahooProvider
from gb_pipeline.simulation import Simulation
from gb_pipeline_tests.providers.yahoo.vendor import NOW, QUICK, SHARES


@pytest.fixture(scope="module")
def running() -> Iterator[Simulation]:
    with Simulation(seed=7, symbols=["BTC-USD"], stocks=SHARES) as simulation:
        yield simulation


@pytest.fixture
def sim(running: Simulation) -> Simulation:
    running.reset()
    running.set_now(NOW)
    return running


@pytest.fixture
async def provider(sim: Simulation) -> AsyncIterator[YahooProvider]:
    provider = YahooProvider(base_url=sim.url, policy=QUICK)
    yield provider
    await provider.aclose()


@pytest.fixture
def judge(sim: Simulation, tmp_path: Path) -> Iterator[Any]:
    """What yfinance does by itself: `judge(code, ...)` is `Ticker(code).history(...)`, asked of the simulation."""

    class Loopback(curl.Session):  # type: ignore[misc]
        def request(self, method: Any, url: str, *rest: Any, **named: Any) -> Any:
            parts = urlsplit(url)
            return super().request(method, f"{sim.url}/{parts.netloc}{parts.path}", *rest, **named)

    def forget() -> None:
        SingletonMeta._instances.pop(YfData, None)
        YfData.cache_get.cache_clear()

    forget()
    yfinance.set_tz_cache_location(str(tmp_path))
    yfinance.config.debug.hide_exceptions = False
    with Loopback(impersonate="chrome") as session:
        yield lambda code, **named: yfinance.Ticker(code, session=session).history(
            **{"start": date(2024, 3, 11), "end": date(2024, 3, 16), "auto_adjust": False, **named}
        )
    yfinance.config.debug.hide_exceptions = True
    forget()
