"""This module has the parts that another tool's backtest has found, without the names of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl


@dataclass(frozen=True, kw_only=True)
class BacktestParts:
    """What a tool found; fields as in `BacktestRun`."""

    metrics: Mapping[str, Any] = field(default_factory=dict)
    equity: pl.DataFrame | None = None
    fills: pl.DataFrame | None = None
    positions: pl.DataFrame | None = None
    artifacts: Mapping[str, bytes] = field(default_factory=dict)
