"""What can be wrong with a vendor's data.

Belongs here: the kinds of planted defects and their validation.
Does not belong here: faults of the connection (`faults`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from gb_pipeline.errors import ConfigError
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.market.window import instant

FIELDS = ("open", "high", "low", "close", "volume")
KINDS = ("gap", "restatement", "late", "bad", "listing")


def milliseconds(value: datetime | date | str | int) -> int:
    """Epoch milliseconds of an instant; a number already is one."""
    return value if isinstance(value, int) else round(instant(value).timestamp() * 1000)


@dataclass(slots=True)
class Defect:
    """One planted defect of the bars of one minute and everything made of them.

    Attributes:
        kind: `gap` (no bars in [start, end)), `late` (the same until the moment `at`), `restatement` (other values at
            `start`, from the moment `at` or from the `from_call`-th answer that holds the bar), `bad` (other values at
            `start`, or an additional row where `repeat` or `shift_ms` is given), `listing` (nothing before `start`).
        symbol: canonical code.
        start, end: epoch milliseconds; `end` is one minute after `start` by default.
        values: decimal text by field; in a restatement on the instrument's grid, in a bad row any text.
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
    calls: int = 0

    def covers(self, first_ms: int, last_ms: int) -> bool:
        """Whether a minute that opens within [first_ms, last_ms] is touched."""
        return self.start <= last_ms and first_ms < self.end


def defect(kind: str, symbol: str, body: Mapping[str, Any]) -> Defect:
    """A defect from keyword arguments or JSON.

    Raises:
        ConfigError: an unknown kind, name or field.
        InvalidSymbol: not a symbol.
    """
    if kind not in KINDS:
        raise ConfigError(f"{kind!r} is no kind of defect", fix=f"use one of: {', '.join(KINDS)}")
    allowed = {"start", "end", "values", "at", "from_call", "repeat", "shift_ms"}
    unknown = sorted(set(body) - allowed)
    if unknown or "start" not in body:
        raise ConfigError(
            f"a {kind} of {symbol} has {'unknown ' + ', '.join(unknown) if unknown else 'no start'}",
            fix=f"give start and any of {', '.join(sorted(allowed - {'start'}))}",
        )
    values = {name: str(value) for name, value in dict(body.get("values") or {}).items()}
    if set(values) - set(FIELDS):
        raise ConfigError(f"a {kind} of {symbol} changes {', '.join(values)}", fix=f"fields are {', '.join(FIELDS)}")
    start = milliseconds(body["start"])
    end, at = body.get("end"), body.get("at")
    return Defect(
        kind=kind,
        symbol=Symbol.crypto(symbol).code,
        start=start,
        end=start + 60_000 if end is None else milliseconds(end),
        values=values,
        at=None if at is None else milliseconds(at),
        from_call=int(body.get("from_call", 1)),
        repeat=int(body.get("repeat", 0)),
        shift_ms=int(body.get("shift_ms", 0)),
    )
