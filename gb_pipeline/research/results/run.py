"""This module says what a run of a backtest is: its three names, what went in, and what came out. Nothing here stores anything."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Any

import polars as pl

from gb_pipeline.errors import ConfigError
from gb_pipeline.lake.pins import Pin

SHARDS = 16
_NAME = re.compile(r"[^\s/\x00-\x1f\x7f](?:[^/\x00-\x1f\x7f]{0,198}[^\s/\x00-\x1f\x7f])?")


class RunState(StrEnum):
    """How a run ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, order=True)
class RunName:
    """What tells runs apart: strategy, version of its code, and the run's own id.

    Example:
        >>> str(RunName("momentum", "1.2", "2024-01"))
        'momentum/1.2/2024-01'
    """

    strategy: str
    version: str
    run_id: str

    def __str__(self) -> str:
        """The three, with slashes between."""
        return f"{self.strategy}/{self.version}/{self.run_id}"

    @classmethod
    def parse(cls, name: RunName | str) -> RunName:
        """The name itself, or what its text says.

        Raises:
            ConfigError: it is no name of a run.
        """
        if isinstance(name, RunName):
            return name
        parts = name.split("/") if isinstance(name, str) else []
        if len(parts) != 3:
            raise ConfigError(f"{str(name)[:80]!r} is no name of a run", fix="write strategy/version/run_id")
        return cls(*parts).checked()

    def checked(self) -> RunName:
        """Itself, if runs can be called so.

        Raises:
            ConfigError: a part is empty, too long, or has a slash or control characters.
        """
        for what, text in (("strategy", self.strategy), ("version", self.version), ("run id", self.run_id)):
            check_text(text, f"the {what}")
        return self

    @property
    def key(self) -> int:
        """A number of 63 bits made of the three, by which rows of a run lie together."""
        return int.from_bytes(sha256("\0".join((self.strategy, self.version, self.run_id)).encode()).digest()[:8]) >> 1


def check_text(text: object, what: str) -> str:
    """A name of up to 200 characters without slashes.

    Raises:
        ConfigError: it is not.
    """
    if not isinstance(text, str) or not _NAME.fullmatch(text) or not text.isprintable():
        raise ConfigError(
            f"{what} cannot be {str(text)[:80]!r}",
            fix="use up to 200 characters, without slashes and spaces at the ends",
        )
    return text


def shard_of(strategy: str) -> str:
    """The hive partition of a strategy: one of sixteen, `0` to `f`."""
    return f"{zlib.crc32(strategy.encode()) % SHARDS:x}"


@dataclass(frozen=True)
class PinnedData:
    """Which data a run read: what a pin named, and the fingerprint of each series.

    Attributes:
        pin: name of the pin in the lake.
        as_of: up to when what was known counts.
        fingerprint: of all of it.
        resolution: of the bars.
        start, end: half-open window; None for everything that was known.
        series: fingerprint by `source:symbol`.
    """

    pin: str
    as_of: datetime
    fingerprint: str
    resolution: str
    start: datetime | None = None
    end: datetime | None = None
    series: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, pin: object) -> PinnedData:
        """Of a pin, of a `Replay` that reads one, or itself.

        Raises:
            ConfigError: it is none of these.
        """
        found = getattr(pin, "pin", pin) if not isinstance(pin, PinnedData) else pin
        if isinstance(found, PinnedData):
            return found
        if not isinstance(found, Pin):
            raise ConfigError(
                f"data cannot be {type(pin).__name__}", fix="pass what lake.pin(...) or lake.replay(...) returned"
            )
        series = found.series
        names = (series["source"] + ":" + series["symbol"]).to_list()
        return cls(
            pin=found.name,
            as_of=found.as_of,
            fingerprint=found.fingerprint,
            resolution=found.resolution.value,
            start=None if found.window is None else found.window.start,
            end=None if found.window is None else found.window.end,
            series=dict(zip(names, series["fingerprint"].to_list(), strict=True)),
        )


@dataclass(frozen=True, kw_only=True)
class BacktestRun:
    """One run of a backtest, as it is saved and loaded.

    Numbers are kept as they are given: floats as Float64, decimals and integers exactly, as `Decimal(38,18)`.

    Attributes:
        strategy, version, run_id: its three names.
        parameters: typed values; see `to_json`.
        metrics: numbers by name: float, int or Decimal.
        equity: `timestamp` (Datetime with a zone, or Date) and a column of numbers per curve, such as `equity` and `cash`.
        fills: `timestamp, symbol, quantity, price` and any of `side, fee, currency, order_id`.
        positions: `timestamp, symbol, quantity` and any of `price, value, cost_basis`.
        artifacts: any bytes by name, such as a report; loaded on demand.
        data: pins of what was read.
        markets: that it traded, such as `crypto` or `XNYS`.
        seeds: of random numbers, by name.
        environment: where it ran; `Environment.capture` when it is saved, by default.
        timings: seconds by name.
        tags: for finding it.
        state, error: how it ended.
        started_at, finished_at: moments; the present when it is saved, by default.
    """

    strategy: str
    version: str
    run_id: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    equity: pl.DataFrame | None = None
    fills: pl.DataFrame | None = None
    positions: pl.DataFrame | None = None
    artifacts: Mapping[str, bytes] = field(default_factory=dict)
    data: Sequence[PinnedData] = ()
    markets: Sequence[str] = ()
    seeds: Mapping[str, int] = field(default_factory=dict)
    environment: Mapping[str, Any] | None = None
    timings: Mapping[str, float] = field(default_factory=dict)
    tags: Sequence[str] = ()
    state: RunState = RunState.SUCCEEDED
    error: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def name(self) -> RunName:
        """Its three names."""
        return RunName(self.strategy, self.version, self.run_id)
