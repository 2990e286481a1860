"""What the tests of Yahoo share: the moment, windows, and what the simulation was asked for."""

from __future__ import annotations

from typing import Any

from gb_pipeline.market.symbol import Symbol
from gb_pipeline.market.window import Window
from gb_pipeline.providers.http.policy import Policy
from gb_pipeline.simulation import Simulation

NOW = "2024-03-20T22:00:00Z"
SHARES = ["AAPL", "KO", "BRK.B", "SPY", "IBM", "JPM", "META", "TSLA"]
AAPL, KO = Symbol.equity("AAPL"), Symbol.equity("KO")
WEEK = Window.of("2024-03-11", "2024-03-16")
DAY = Window.of("2024-03-14", "2024-03-15")
QUICK = Policy(timeout=5, retries=2, shortest_wait=0.001, longest_wait=0.002)
CHART = "v8/finance/chart"


def requests_for(sim: Simulation, part: str = CHART) -> list[dict[str, Any]]:
    """What the simulation was asked for, of one kind."""
    return [entry for entry in sim.requests if part in entry["path"]]
