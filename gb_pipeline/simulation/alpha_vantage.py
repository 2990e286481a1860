"""Alpha Vantage's dialect (`www.alphavantage.co`).

Belongs here: paths, parameters, JSON layouts, error bodies. Does not belong here: HTTP and the market itself.
"""

from __future__ import annotations

from gb_pipeline.simulation.answer import Answer, Asked
from gb_pipeline.simulation.stocks import Stocks

HOSTS = ("www.alphavantage.co",)


def answer(_stocks: Stocks, asked: Asked) -> Answer:
    """The answer to one request."""
    return Answer.json({"error": f"no such path: {asked.path}"}, 404)
