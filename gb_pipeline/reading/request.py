"""What `Lake.bars` and its siblings are asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gb_pipeline.errors import ConfigError, ReadError
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.window import Window
from gb_pipeline.reading.arguments import Symbols, named_source, named_symbols
from gb_pipeline.reading.plan import Question
from gb_pipeline.reading.price_adjustment import PriceAdjustment, parse_adjustment


@dataclass(frozen=True, slots=True)
class Request:
    """A question, columns of its answer (None: the usual ones), what is done to prices, and whether only settled bars count."""

    question: Question
    columns: Sequence[str] | None
    adjustment: PriceAdjustment | None
    settled_only: bool = False


def make_request(
    symbols: Symbols | None,
    resolution: Resolution | str,
    window: Window,
    source: str | None,
    columns: Sequence[str] | None,
    as_of: datetime | None,
    adjustment: str | PriceAdjustment | None,
    settled_only: bool = False,
) -> Request:
    """From what a caller wrote.

    Raises:
        ReadError: ticks are asked for.
        ConfigError: a name or an adjustment that cannot be.
    """
    kind = Resolution.parse(resolution)
    if kind is Resolution.TICK:
        raise ReadError("ticks are not bars", fix="name a resolution such as 1m")
    question = Question(tuple(named_symbols(symbols) or ()), kind, window, named_source(source), as_of)
    return Request(question, columns, parse_adjustment(adjustment), settled_only)


def refuse_options(options: Mapping[str, Any], *taken: str) -> None:
    """Refuse keywords that a method sets itself.

    Raises:
        ConfigError: one of them is given.
    """
    for name in taken:
        if name in options:
            raise ConfigError(f"{name} cannot be chosen here", fix="leave it out, or use `bars`")
