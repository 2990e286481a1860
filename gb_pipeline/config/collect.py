"""What gb.yaml says of collectors: which streams are heard, where what was heard waits, and when it is committed."""

from __future__ import annotations

import re
import socket
from datetime import timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from gb_pipeline.config.credentials import seal
from gb_pipeline.config.durations import parse_duration
from gb_pipeline.errors import ConfigError
from gb_pipeline.market.symbol import AssetClass, source_name, symbol_code
from gb_pipeline.market.tick_schema import NO_COLLECTORS, StreamDataset


def _duration(value: object) -> object:
    return value if isinstance(value, timedelta) else parse_duration(str(value))


def _name(text: str) -> str:
    try:
        return source_name(text)
    except ConfigError as error:
        raise ValueError(f"{error.what}; {error.fix}") from None


def _collector_name(text: str) -> str:
    if text in NO_COLLECTORS:
        taken = ", ".join(sorted(NO_COLLECTORS))
        raise ValueError(
            f"a collector cannot be called {text}: {taken} stand for what no collector heard; give it another name"
        )
    return _name(text)


def _name_of_machine(host: str) -> str:
    """The name of a machine as one that a lake can hold; machines may be called anything."""
    text = re.sub(r"[^a-z0-9]+", "_", host.split(".", maxsplit=1)[0].lower())[:32].strip("_")
    try:
        return _collector_name(text)
    except ValueError:
        return "collector"


def _code(text: str) -> str:
    return symbol_code(text)


Duration = Annotated[timedelta, BeforeValidator(_duration)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FlushSettings(_Model):
    """When what was heard goes from the spool into the lake: whatever comes first."""

    rows: int = Field(default=5_000_000, gt=0, description="of all datasets together")
    every: Duration = Field(default=timedelta(hours=1), description="since the last one, such as 15m or 1h")
    spool_mb: float = Field(default=2048, gt=0, allow_inf_nan=False, description="megabytes that wait in the spool")


class StreamSettings(_Model):
    """One feed of one venue."""

    venue: str = Field(description="coinbase, binance, kraken, kalshi, massive, alpaca, or that of another package")
    symbols: tuple[Annotated[str, AfterValidator(_code)], ...] = Field(default=(), description="canonical codes")
    series: tuple[str, ...] = Field(
        default=(),
        description="prefixes of contracts that come and go, such as KXBTC; the venue is asked which are open",
    )
    datasets: tuple[StreamDataset, ...] = Field(
        default=(StreamDataset.TRADES,), description="trades, book_updates, quotes"
    )
    asset_class: AssetClass = Field(default=AssetClass.CRYPTO, description="the kind of its instruments")
    depth: int | None = Field(
        default=None, gt=0, description="levels of a book on each side; the venue's most by default"
    )
    snapshot_every: Duration | None = Field(
        default=timedelta(minutes=10), description="how often a whole book is kept beside its updates; null: never"
    )
    stalled_after: Duration = Field(
        default=timedelta(minutes=5),
        description="a stream that is silent for so long is reported, and subscribed again",
    )
    discover_every: Duration = Field(
        default=timedelta(minutes=1),
        gt=timedelta(0),
        description="how often the venue is asked which contracts of `series` are open",
    )
    options: dict[str, Any] = Field(default_factory=dict, description="the venue's own settings, credentials included")

    @field_validator("options", mode="after")
    @classmethod
    def _credentials_are_sealed(cls, value: dict[str, Any]) -> dict[str, Any]:
        return seal(value)

    @model_validator(mode="after")
    def _names_something(self) -> StreamSettings:
        if not self.symbols and not self.series:
            raise ValueError("it names no instrument: add `symbols`, or `series` where the venue has them")
        return self


class CollectSettings(_Model):
    """What `gb collect` hears.

    Example:
        >>> CollectSettings(streams={"kraken": {"venue": "kraken", "symbols": ["BTC-USD"]}}).queue_seconds
        10.0
    """

    collector: Annotated[str, AfterValidator(_collector_name)] = Field(
        default_factory=lambda: _name_of_machine(socket.gethostname()),
        description="name of this collector, by which two that hear the same are told apart; that of the machine by default",
    )
    spool: str | None = Field(
        default=None,
        description="local folder, relative to gb.yaml, in which everything waits until it is committed, each collector's in one "
        "of its name; `spool` in the folder of the lake's state by default",
    )
    spool_limit_mb: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="megabytes of all journals from which on connections are not read any further, such as while the lake is away; "
        "as many as the disk has by default",
    )
    fsync_seconds: float = Field(
        default=1.0, gt=0, le=60, description="what is older than this survives a crash of the machine"
    )
    queue_seconds: float = Field(
        default=10.0, gt=0, description="back-pressure: a connection is not read while so many seconds of messages wait"
    )
    heal: bool = Field(
        default=True,
        description="whether trades of holes are asked for by REST some time after they are closed, where the venue serves them",
    )
    flush: FlushSettings = Field(default=FlushSettings(), description="when what was heard goes into the lake")
    streams: dict[Annotated[str, AfterValidator(_name)], StreamSettings] = Field(
        default_factory=dict, description="what is heard, by the name of the source under which it is stored"
    )

    @model_validator(mode="after")
    def _limit_is_above_a_flush(self) -> CollectSettings:
        if self.spool_limit_mb is not None and self.spool_limit_mb <= self.flush.spool_mb:
            raise ValueError(
                f"`spool_limit_mb` ({self.spool_limit_mb:g}) must be more than `flush.spool_mb` ({self.flush.spool_mb:g}), "
                "at which what waits is committed"
            )
        return self
