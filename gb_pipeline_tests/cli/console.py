"""What the tests of `gb` share: a project, and what a person sees of a command."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

PROJECT = """
lake: data
sources:
  sim:
    provider: ccxt
    options: {exchange: binance, base_url: "${GB_SIM_URL}"}
    asset_class: crypto
    start: 2024-01-01
    symbols: [BTC-USDT, ETH-USDT]
    resolutions: [1m, 1h]
    retries: 0
"""


@dataclass(frozen=True)
class Result:
    """What a person sees of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Gb = Callable[..., Result]
