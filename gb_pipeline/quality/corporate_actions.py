"""This module validates corporate actions as a vendor sent them: text becomes exact decimals, and each row that breaks a rule
gets a reason.

What is stored already, and labels that tell actions of one day apart, are dealt with in `lake.corporate_actions`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from fractions import Fraction
from typing import Any

import polars as pl

from gb_pipeline.errors import WindowRefused
from gb_pipeline.market.schema import (
    ACTION_KINDS,
    ACTIONS_RECEIVED,
    CASH_DIVIDEND,
    CORPORATE_ACTIONS,
    SPLIT,
    Precision,
    polars_schema,
)
from gb_pipeline.quality.exact import parse_exact
from gb_pipeline.quality.reasons import NOT_REQUESTED, TOO_LARGE, TOO_PRECISE

NO_EX_DATE = "missing_ex_date"
NO_KIND = "unknown_kind"
OUTSIDE = "outside_window"
NOT_POSITIVE = "not_positive"
UNEXPECTED = "unexpected_value"

_NUMBERS = {SPLIT: ("split_to", "split_from"), CASH_DIVIDEND: ("amount",)}
_ALL_NUMBERS = ("split_to", "split_from", "amount")
_DATES = ("declared_date", "record_date", "pay_date")
_TYPES = polars_schema(CORPORATE_ACTIONS)
# An action without the source and without what the lake knows about the row.
ACTION = pl.Schema({name: kind for name, kind in _TYPES.items() if name not in {"source", "withdrawn", "fetched_at"}})
BAD = pl.Schema(
    {
        "symbol": pl.String(),
        "session": pl.Date(),
        "timestamp": pl.Datetime("us", "UTC"),
        "reasons": pl.List(pl.String()),
        "row": pl.String(),
    }
)


@dataclass(frozen=True, slots=True)
class ActionsValidation:
    """The outcome of a validation; `received == good.height + bad.height + len(repeated)`.

    Attributes:
        good: columns of `ACTION`, exact, each once; several of one day may have one label.
        bad: columns of `BAD`; `session` is the ex date.
        received: rows of the frame.
        repeated: symbols of rows that equal an earlier one, value for value.
        refused: `(symbol, ex_date, kind)` of bad rows: the vendor has not withdrawn these.
    """

    good: pl.DataFrame
    bad: pl.DataFrame
    received: int
    repeated: tuple[str, ...]
    refused: frozenset[tuple[str, date | None, str | None]]


def validate_actions(frame: pl.DataFrame, symbols: Collection[str], start: date, end: date) -> ActionsValidation:
    """Tell good actions from bad ones.

    Args:
        frame: `symbol` and columns of `market.schema.ACTIONS_RECEIVED`; numbers as text (decimals and integers are taken
            as well, floats are not: they no longer carry the vendor's own digits).
        symbols: the requested ones.
        start, end: the requested half-open range of ex dates.

    Raises:
        WindowRefused: the frame has wrong columns or types.
    """
    rows = _with_types(frame).rows(named=True)
    good: dict[tuple[Any, ...], dict[str, Any]] = {}
    bad: list[dict[str, Any]] = []
    refused: set[tuple[str, date | None, str | None]] = set()
    repeated: list[str] = []
    for row in rows:
        action, reasons = _read_action(row, symbols, start, end)
        if reasons:
            refused.add((row["symbol"], row["ex_date"], row["kind"]))
            bad.append(_bad_row(row, reasons))
        elif (content := tuple(action.values())) in good:
            repeated.append(row["symbol"])
        else:
            good[content] = action
    return ActionsValidation(
        good=pl.DataFrame(list(good.values()), schema=ACTION),
        bad=pl.DataFrame(bad, schema=BAD),
        received=len(rows),
        repeated=tuple(repeated),
        refused=frozenset(refused),
    )


def split_ratio(to: Decimal, of: Decimal) -> Fraction:
    """New shares per old share, exact.

    Example:
        >>> split_ratio(Decimal("1"), Decimal("8"))
        Fraction(1, 8)
    """
    return Fraction(to) / Fraction(of)


def _read_action(
    row: Mapping[str, Any], symbols: Collection[str], start: date, end: date
) -> tuple[dict[str, Any], list[str]]:
    kind, ex_date = row["kind"], row["ex_date"]
    reasons = []
    if row["symbol"] not in symbols:
        reasons.append(NOT_REQUESTED)
    if kind not in ACTION_KINDS:
        reasons.append(NO_KIND)
    if ex_date is None:
        reasons.append(NO_EX_DATE)
    elif not start <= ex_date < end:
        reasons.append(OUTSIDE)
    numbers: dict[str, Decimal | None] = dict.fromkeys(_ALL_NUMBERS)
    for name in _ALL_NUMBERS:
        if name in _NUMBERS.get(kind, ()):
            numbers[name], reason = parse_exact(row[name], Precision.WIDE)
            if reason is None and numbers[name] <= 0:  # type: ignore[operator]
                reason = NOT_POSITIVE
            reasons += [] if reason is None else [f"{name}_{reason}"]
        elif row[name] is not None and kind in ACTION_KINDS:
            reasons.append(f"{name}_{UNEXPECTED}")
    ratio = None
    if kind == SPLIT and not reasons:
        ratio, reason = _round_ratio(split_ratio(numbers["split_to"], numbers["split_from"]))  # type: ignore[arg-type]
        reasons += [] if reason is None else [f"ratio_{reason}"]
    action = {
        "symbol": row["symbol"],
        "ex_date": ex_date,
        "kind": kind,
        "label": (row["label"] or "").strip(),
        "ratio": ratio,
        **numbers,
        "currency": row["currency"],
        **{name: row[name] for name in _DATES},
    }
    return {name: action[name] for name in ACTION}, reasons


def _round_ratio(ratio: Fraction) -> tuple[Decimal | None, str | None]:
    """Half to even at the 18th decimal; the exact ratio is `split_to` over `split_from`."""
    digits, scale = Precision.WIDE.digits
    units = round(ratio * 10**scale)
    if units == 0:
        return None, TOO_PRECISE
    if len(str(units)) > digits:
        return None, TOO_LARGE
    return Decimal((0, tuple(map(int, str(units))), -scale)), None


def _bad_row(row: Mapping[str, Any], reasons: list[str]) -> dict[str, Any]:
    ex_date = row["ex_date"]
    content = {name: row[name] for name in ACTIONS_RECEIVED}
    return {
        "symbol": row["symbol"] or "",
        "session": ex_date,
        "timestamp": None if ex_date is None else datetime.combine(ex_date, time(), UTC),
        "reasons": reasons,
        "row": json.dumps(content, default=str),
    }


def _with_types(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with every column in the type of `ACTIONS_RECEIVED`; what would change a value is refused."""
    types = pl.Schema({"symbol": pl.String(), **ACTIONS_RECEIVED})
    missing, unknown = sorted(set(types) - set(frame.columns)), sorted(set(frame.columns) - set(types))
    if missing or unknown:
        parts = [f"lacks {', '.join(missing)}"] if missing else []
        parts += [f"has unknown columns {', '.join(unknown)}"] if unknown else []
        raise WindowRefused(f"the frame of actions {' and '.join(parts)}", fix=f"give {', '.join(types)}")
    for name, expected in types.items():
        dtype = frame.schema[name]
        number = name in _ALL_NUMBERS and (dtype.is_decimal() or dtype.is_integer())
        if dtype not in {expected, pl.Null()} and not number:
            raise WindowRefused(
                f"column {name!r} of the actions holds {dtype}, not {expected}",
                fix="pass the vendor's own text, and dates as dates",
            )
    return frame.select(pl.col(name).cast(expected) for name, expected in types.items())
