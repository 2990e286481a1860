"""This module reads splits, dividends and the first bar out of Yahoo's chart events, and undoes what Yahoo did to dividends.

Yahoo divides dividends by the splits that came later, as it does with prices, and rounds them to six decimals: 3.29 before
two splits of 7:1 and 4:1 is 0.1175 today, 3.05 is 0.108929. Spin-offs are splits to it (1281:1000), and its prices are
adjusted for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal, InvalidOperation, localcontext
from fractions import Fraction
from math import prod
from typing import Any

import polars as pl

from gb_pipeline.errors import TransientVendorError
from gb_pipeline.market.schema import ACTIONS_RECEIVED
from gb_pipeline.providers.yahoo.chart import Chart, float32_text
from gb_pipeline.providers.yahoo.errors import WHO

# Yahoo's history of old American shares begins on this day; nobody was listed on it.
_BEGINNING_OF_HISTORY = date(1962, 1, 2)
_YAHOO_DECIMALS = 6
_MOST_DECIMALS = 12
_SHARE_KINDS = (("dividends", "dividend"), ("capitalGains", "capital_gain"))


def actions(chart: Chart, start: date, end: date) -> pl.DataFrame:
    """All actions with an ex date in [start, end).

    Args:
        chart: daily, with all events from `start` until now: dividends are adjusted for splits after `end` as well.
        start: first ex date.
        end: first ex date that is not wanted.

    Returns:
        Columns of `ACTIONS_RECEIVED`, sorted. Labels: `split`; `dividend` or `capital_gain`; `first_trade` of a listing,
        which is Yahoo's first bar. Amounts are per share as of the ex date; see `as_paid`.

    Raises:
        TransientVendorError: an event that cannot be read.
    """
    try:
        splits = [_split(chart, event) for event in _events(chart, "splits")]
        ratios = [(row["ex_date"], Fraction(row["split_to"]) / Fraction(row["split_from"])) for row in splits]
        rows = list(splits)
        for name, label in _SHARE_KINDS:
            rows += [_dividend(chart, event, label, ratios) for event in _events(chart, name)]
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError):
        raise TransientVendorError(
            f"{WHO} answered an event of {chart.meta.get('symbol')} that cannot be read",
            fix="the same call may succeed later; if it does not, the vendor changed its protocol",
        ) from None
    first = chart.first_trade
    if first is not None and (day := chart.local_date(int(first.timestamp()))) != _BEGINNING_OF_HISTORY:
        rows.append({"ex_date": day, "kind": "listing", "label": "first_trade"})
    # Events come keyed by their time; one of a day and kind may stand there twice, word for word.
    frame = pl.DataFrame(rows, schema=ACTIONS_RECEIVED).unique(maintain_order=True)
    wanted = frame.filter((pl.col("ex_date") >= start) & (pl.col("ex_date") < end))
    return wanted.sort("ex_date", "kind", "label", maintain_order=True)


def as_paid(amount: str, ratio: Fraction) -> str:
    """What a dividend was before Yahoo divided it by later splits.

    Args:
        amount: Yahoo's number, rounded to six decimals.
        ratio: product of all later splits, new shares per old share.

    Returns:
        The shortest amount that Yahoo would have turned into this one, where there is exactly one of its length; otherwise
        the plain product, which is off by less than a millionth times the ratio.

    Example:
        >>> as_paid("0.108929", Fraction(28))
        '3.05'
    """
    given = Fraction(amount)
    if ratio == 1 or given == 0:
        return _plain(Decimal(amount))
    rounding = Fraction(1, 10**_YAHOO_DECIMALS)
    for decimals in range(_YAHOO_DECIMALS + 1):
        # Were they closer to each other, several amounts of this length would look the same to Yahoo.
        if Fraction(1, 10**decimals) / ratio <= rounding:
            break
        candidate = Fraction(round(given * ratio * 10**decimals), 10**decimals)
        if candidate > 0 and abs(candidate / ratio - given) <= rounding / 2:
            return _decimal(candidate, decimals)
    return _decimal(given * ratio, _MOST_DECIMALS)


def _events(chart: Chart, name: str) -> Sequence[dict[str, Any]]:
    events = chart.events.get(name) or {}
    return list(events.values()) if isinstance(events, dict) else list(events)


def _split(chart: Chart, event: dict[str, Any]) -> dict[str, Any]:
    to, from_ = event.get("numerator"), event.get("denominator")
    if to is None or from_ is None:
        to, from_ = str(event["splitRatio"]).split(":")
    terms = [_positive(str(term)) for term in (to, from_)]
    return {
        "ex_date": chart.local_date(event["date"]),
        "kind": "split",
        "label": "split",
        "split_to": terms[0],
        "split_from": terms[1],
    }


def _dividend(chart: Chart, event: dict[str, Any], label: str, splits: list[tuple[date, Fraction]]) -> dict[str, Any]:
    day = chart.local_date(event["date"])
    (amount,) = float32_text([event["amount"]])
    later = prod((ratio for ex_date, ratio in splits if ex_date > day), start=Fraction(1))
    return {
        "ex_date": day,
        "kind": "cash_dividend",
        "label": label,
        "amount": as_paid(_positive(str(amount)), later),
        "currency": str(event.get("currency") or chart.meta.get("currency") or "") or None,
    }


def _positive(text: str) -> str:
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{text!r} is no number") from None
    if not (value.is_finite() and value > 0):
        raise ValueError(f"{text!r} is not above zero")
    return _plain(value)


def _decimal(value: Fraction, decimals: int) -> str:
    with localcontext() as context:
        context.prec = 50
        return _plain(Decimal(round(value * 10**decimals)).scaleb(-decimals))


def _plain(value: Decimal) -> str:
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
