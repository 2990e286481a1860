"""`PriceAdjustment`, what is done to prices when they are read, from what a caller wrote."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from gb_pipeline.errors import ConfigError
from gb_pipeline.market.schema import Adjustment
from gb_pipeline.market.spelling import did_you_mean, near_names
from gb_pipeline.reading.arguments import Moment


class Reinvested(StrEnum):
    """At which price a cash dividend buys new shares."""

    EX_CLOSE = "ex_close"
    """The close of the ex date, as CRSP and WIKI do: returns are (close + dividend) / close before."""
    PREVIOUS_CLOSE = "previous_close"
    """The last close before the ex date, as Yahoo and zipline do: prices before are multiplied by 1 - dividend / close."""


class Anchor(StrEnum):
    """Which bars keep their prices as traded."""

    END = "end"
    """The newest: earlier ones are adjusted back, and change with the next split or dividend."""
    START = "start"
    """The first of the answer: later ones are adjusted forwards, and what was once computed stays."""


_Kind = TypeVar("_Kind", bound=StrEnum)


def _one_of(kinds: type[_Kind], text: str) -> _Kind:
    if text not in {kind.value for kind in kinds}:
        raise ConfigError(f"{text!r:.40} is unknown", fix=f"use {' or '.join(kinds)}")
    return kinds(text)


@dataclass(frozen=True, slots=True)
class PriceAdjustment:
    """What is done to prices and volumes.

    Attributes:
        splits: prices are in shares of the anchor's day, volumes too.
        dividends: cash dividends are reinvested, at this price; None leaves them out. Volumes are not changed by them.
        anchor: which bars keep their prices.
        as_known: splits and dividends as they were known at this moment, and none with a later ex date.

    Example:
        >>> lake.bars("KO", "1d", "2000-01-01", adjustment=PriceAdjustment(dividends="ex_close", anchor="start"))
    """

    splits: bool = True
    dividends: Reinvested | str | None = None
    anchor: Anchor | str = Anchor.END
    as_known: Moment | None = None

    def __post_init__(self) -> None:
        """Refuse names that mean nothing.

        Raises:
            ConfigError: an unknown price or anchor, or dividends of prices that are not adjusted for splits.
        """
        if self.dividends is not None:
            object.__setattr__(self, "dividends", _one_of(Reinvested, self.dividends))
        object.__setattr__(self, "anchor", _one_of(Anchor, self.anchor))
        if not self.splits and (self.dividends is not None or self.anchor is Anchor.START):
            raise ConfigError("dividends belong to shares, which splits change", fix="leave splits=False out")

    @property
    def by_splits_alone(self) -> Adjustment | None:
        """What splits alone, counted from the newest bar, make of prices; None where there is more to do."""
        if self.dividends is not None or self.anchor is Anchor.START:
            return None
        return Adjustment.SPLIT if self.splits else Adjustment.RAW


_NAMED = {
    "none": PriceAdjustment(splits=False),
    "raw": PriceAdjustment(splits=False),
    "split": PriceAdjustment(),
    "splits": PriceAdjustment(),
    "splits+dividends": PriceAdjustment(dividends=Reinvested.EX_CLOSE),
}


def parse_adjustment(given: str | Adjustment | PriceAdjustment | None) -> PriceAdjustment | None:
    """From a name; None for prices as they are stored.

    Raises:
        ConfigError: it is neither a name nor a `PriceAdjustment`.
    """
    if given is None or isinstance(given, PriceAdjustment):
        return given
    found = _NAMED.get(str(given))
    if found is None:
        near = near_names(str(given)[:40], list(_NAMED), 1)
        raise ConfigError(
            f"{str(given)[:40]!r} is not an adjustment of bars",
            fix=f"{did_you_mean(near)} use none, splits, splits+dividends, or leave it out for what is stored".strip(),
        )
    return found
