"""Corporate actions of the simulated stock market: splits, dividends, delistings, and what is known of them at a moment.

This module validates planted actions and gives the latest version of each that vendors show.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any

from gb_pipeline.errors import ConfigError
from gb_pipeline.market.window import instant
from gb_pipeline.simulation.defects import to_milliseconds

ACTION_KINDS = ("split", "dividend", "delisting")
_FIELDS = {
    "split": {"ex_date", "to", "from_", "announced", "applied"},
    "dividend": {"ex_date", "amount", "label", "at", "announced", "declared", "record", "pay"},
    "delisting": {"start", "announced"},
}
# Larger terms would leave the exact arithmetic of 64-bit integers.
_LARGEST_TERM = 1000


@dataclass(frozen=True, slots=True)
class Action:
    """One corporate action of one stock.

    Attributes:
        kind: `split`, `dividend` or `delisting`.
        code: canonical code.
        ex_date: first session at the new price, or without the dividend; first day without trading of a delisting.
        to, from_: a split's new shares for old ones, integer texts: `4` for `1`; `1` for `10` is a reverse split.
        amount: a dividend's money per share as decimal text, at the share count of its ex-date.
        label: `regular` or `special`, or whatever was planted.
        declared, record, pay: a dividend's other dates.
        known: epoch milliseconds from which on vendors show it, None where they always do.
        currency: of the amount.
        applied: whether a vendor that adjusts its prices has adjusted them for this split.
    """

    kind: str
    code: str
    ex_date: date
    to: str = ""
    from_: str = ""
    amount: str = ""
    label: str = ""
    declared: date | None = None
    record: date | None = None
    pay: date | None = None
    known: int | None = None
    currency: str = "USD"
    applied: bool = True

    @property
    def ratio(self) -> Fraction:
        """New shares per old share of a split; 1 for anything else."""
        return Fraction(int(self.to), int(self.from_)) if self.kind == "split" else Fraction(1)

    @property
    def key(self) -> tuple[str, str, date, str]:
        """What a later version of the same action shares with it."""
        return self.kind, self.code, self.ex_date, self.label


def make_action(kind: str, code: str, body: Mapping[str, Any]) -> Action:
    """An action from keyword arguments or JSON; see `Stocks.plant`.

    Raises:
        ConfigError: an unknown kind or field, a missing date or amount, or no ratio.
    """
    unknown = sorted(set(body) - _FIELDS[kind])
    day = body.get("start" if kind == "delisting" else "ex_date")
    if unknown or day is None:
        problem = f"has unknown {', '.join(unknown)}" if unknown else "has no date"
        raise ConfigError(f"a {kind} of {code} {problem}", fix=f"it has {', '.join(sorted(_FIELDS[kind]))}")
    ex_date = instant(day).date()
    moment = body.get("at", body.get("announced"))
    known = None if moment is None else to_milliseconds(moment)
    if kind == "delisting":
        return Action(kind, code, ex_date, known=known)
    if kind == "split":
        to, from_ = _parse_term(code, body.get("to")), _parse_term(code, body.get("from_", 1))
        return Action(kind, code, ex_date, to=to, from_=from_, known=known, applied=bool(body.get("applied", True)))
    default_dates = {"declared": ex_date - timedelta(days=14), "record": ex_date, "pay": ex_date + timedelta(days=14)}
    declared, record, pay = (instant(body.get(name) or default_dates[name]).date() for name in default_dates)
    label, amount = str(body.get("label", "regular")), _parse_amount(code, body.get("amount"))
    return Action(
        kind, code, ex_date, amount=amount, label=label, known=known, declared=declared, record=record, pay=pay
    )


def visible_actions(planted: Iterable[Action], now: int) -> list[Action]:
    """The latest version of every action that vendors show at `now`, by ex-date."""
    newest = {item.key: item for item in planted if item.known is None or item.known <= now}
    return sorted(newest.values(), key=lambda item: (item.ex_date, item.kind, item.label))


def _parse_term(code: str, value: object) -> str:
    text = str(value)
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= _LARGEST_TERM):
        raise ConfigError(
            f"{value!r} is not a term of a split of {code}",
            fix=f"give to and from_ as integers from 1 to {_LARGEST_TERM}",
        )
    return text


def _parse_amount(code: str, value: object) -> str:
    text = str(value)
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal("NaN")
    if not (amount.is_finite() and amount > 0):
        raise ConfigError(f"{value!r} is not an amount of a dividend of {code}", fix="give decimal text, such as 0.24")
    return text
