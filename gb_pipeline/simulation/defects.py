"""What can be wrong with a vendor's data: the kinds of planted defects, and their validation.

Faults of the connection are in `faults`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from gb_pipeline.errors import ConfigError
from gb_pipeline.market.window import instant

FIELDS = ("open", "high", "low", "close", "volume")
Row = TypeVar("Row", bound=tuple[Any, ...])
KINDS = ("gap", "restatement", "late", "bad", "listing", "delisting")


def to_milliseconds(value: datetime | date | str | int) -> int:
    """Epoch milliseconds of an instant; a number already is one."""
    return value if isinstance(value, int) else round(instant(value).timestamp() * 1000)


@dataclass(slots=True)
class Defect:
    """One planted defect of the bars of one minute and everything made of them.

    Attributes:
        kind: `gap` (no bars in [start, end)), `late` (the same until the moment `at`), `restatement` (other values at
            `start`, from the moment `at` or from the `from_call`-th answer that holds the bar), `bad` (other values at
            `start`, or an additional row where `repeat` or `shift_ms` is given), `listing` (nothing before `start`),
            `delisting` (nothing from `start` on).
        symbol: canonical code.
        start, end: epoch milliseconds; `end` is one minute after `start` by default.
        values: decimal text by field; in a restatement on the instrument's grid, in a bad row any text.
        interval: `1m`; of a stock's restatement or bad row also `1d`: then `start`'s date names the session, and minutes
            stay as they are.
        at: epoch milliseconds of the simulated clock.
        from_call: number of the first answer that shows the restated values, from 1.
        repeat: how often a bad row appears in addition to the bar itself.
        shift_ms: offset of the bad row's timestamp, which makes it misaligned.
    """

    kind: str
    symbol: str
    start: int
    end: int
    values: dict[str, str] = field(default_factory=dict)
    at: int | None = None
    from_call: int = 1
    repeat: int = 0
    shift_ms: int = 0
    interval: str = "1m"
    calls: int = 0

    def covers(self, first_ms: int, last_ms: int) -> bool:
        """Whether a minute that opens within [first_ms, last_ms] is touched."""
        return self.start <= last_ms and first_ms < self.end

    def hides(self, opens: npt.NDArray[np.int64], now: int) -> npt.NDArray[np.bool_]:
        """Which of the minutes that open then (epoch milliseconds) are hidden at `now`, by whatever hides minutes."""
        if self.kind == "listing":
            return np.asarray(opens < self.start)
        if self.kind == "delisting":
            return np.asarray(opens >= self.start)
        if self.kind == "late" and self.at is not None and now >= self.at:
            return np.zeros(len(opens), bool)
        return np.asarray((opens >= self.start) & (opens < self.end))

    def restates(self, now: int) -> bool:
        """Whether a restatement shows already."""
        return (self.at is None or now >= self.at) and self.calls >= self.from_call


def make_defect(kind: str, symbol: str, body: Mapping[str, Any]) -> Defect:
    """A defect from keyword arguments or JSON.

    Args:
        kind: one of `KINDS`.
        symbol: canonical code, as the venue lists it.
        body: the other attributes of `Defect`.

    Raises:
        ConfigError: an unknown kind, name or field.
    """
    if kind not in KINDS:
        raise ConfigError(f"{kind!r} is not a kind of defect", fix=f"use one of: {', '.join(KINDS)}")
    allowed = {"start", "end", "values", "at", "from_call", "repeat", "shift_ms", "interval"}
    unknown = sorted(set(body) - allowed)
    if unknown or "start" not in body:
        raise ConfigError(
            f"a {kind} of {symbol} has {'unknown ' + ', '.join(unknown) if unknown else 'no start'}",
            fix=f"give start and any of {', '.join(sorted(allowed - {'start'}))}",
        )
    values = {name: str(value) for name, value in dict(body.get("values") or {}).items()}
    if set(values) - set(FIELDS):
        raise ConfigError(f"a {kind} of {symbol} changes {', '.join(values)}", fix=f"fields are {', '.join(FIELDS)}")
    start = to_milliseconds(body["start"])
    end, at = body.get("end"), body.get("at")
    return Defect(
        kind=kind,
        symbol=symbol,
        start=start,
        end=start + 60_000 if end is None else to_milliseconds(end),
        values=values,
        at=None if at is None else to_milliseconds(at),
        from_call=int(body.get("from_call", 1)),
        repeat=int(body.get("repeat", 0)),
        shift_ms=int(body.get("shift_ms", 0)),
        interval=str(body.get("interval", "1m")),
    )


def to_grid_units(text: str, digits: int) -> int:
    """Decimal text in units of a grid: `on_grid("62000.01", 2)` is 6200001.

    Raises:
        ConfigError: no number, or one between two points of the grid.
    """
    try:
        units = Decimal(text).scaleb(digits)
        whole = int(units)
    except (InvalidOperation, ValueError, OverflowError):
        raise ConfigError(f"{text!r} is not a number", fix="plant a `bad` row to serve such text") from None
    if whole != units:
        raise ConfigError(
            f"{text} is not on the instrument's grid of {digits} decimals", fix="round it, or plant a `bad` row"
        )
    return whole


def insert_bad_rows(rows: list[Row], bad_rows: Iterable[tuple[int, Defect]]) -> list[Row]:
    """Bars with bad rows among them.

    Args:
        rows: named tuples with `start` and `FIELDS`.
        bad_rows: the stamp that each defect hits, and the defect.
    """
    by_stamp: dict[int, list[Defect]] = {}
    for stamp, item in bad_rows:
        by_stamp.setdefault(stamp, []).append(item)
    if not by_stamp:
        return rows
    result: list[Row] = []
    for row in rows:
        bar: Any = row
        result.append(row)
        for item in by_stamp.get(bar.start, ()):
            wrong = bar._replace(start=bar.start + item.shift_ms, **item.values)
            if item.repeat or item.shift_ms:
                result += [wrong] * max(1, item.repeat)
            else:
                result[-1] = wrong
    return result
