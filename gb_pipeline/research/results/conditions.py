"""This module reads what runs are asked for: conditions on parameters and metrics, and everything else that a query may name."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from gb_pipeline.errors import ConfigError, ReadError
from gb_pipeline.reading.arguments import moment
from gb_pipeline.research.results.canonical import as_number, to_json
from gb_pipeline.research.results.run import RunState

_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "<=": operator.le, ">=": operator.ge, "!=": operator.ne, "==": operator.eq,
    "<": operator.lt, ">": operator.gt, "=": operator.eq,
}  # fmt: skip
_TEXT = re.compile(r"\s*(?P<name>[^<>=!\s][^<>=!]*?)\s*(?P<operator><=|>=|!=|==|=|<|>)\s*(?P<value>.+?)\s*")
# More rows than any lake has.
_MOST = 2**48
COLUMNS = ("strategy", "version", "run_id", "started_at", "finished_at", "state", "known_at")


@dataclass(frozen=True, slots=True)
class Condition:
    """A name, how it is compared, and with what; `in` compares with several values.

    Example:
        >>> Condition.parse("sharpe >= 1.5")
        Condition(name='sharpe', operator='>=', value=1.5)
    """

    name: str
    operator: str
    value: Any

    @classmethod
    def parse(cls, text: str) -> Condition:
        """From text such as `window = 20`; what is no number, `true`, `false` or `null` is text.

        Raises:
            ReadError: it is no condition.
        """
        match = _TEXT.fullmatch(text)
        if match is None:
            raise ReadError(f"{text[:80]!r} is no condition", fix='write one such as "sharpe >= 1.5" or "window = 20"')
        return cls(match["name"], match["operator"].replace("==", "="), _value(match["value"])).checked()

    @classmethod
    def of(cls, name: str, wanted: object) -> Condition:
        """From what a mapping has: a value, a pair of an operator and a value, or a list of values.

        Raises:
            ReadError: an operator that there is not.
        """
        if isinstance(wanted, tuple) and len(wanted) == 2 and isinstance(wanted[0], str):
            return cls(name, wanted[0].replace("==", "="), wanted[1]).checked()
        if isinstance(wanted, list | set | frozenset):
            return cls(name, "in", list(wanted))
        return cls(name, "=", wanted).checked()

    def checked(self) -> Condition:
        """Itself, if it can be answered."""
        if self.operator == "in" and isinstance(self.value, list | tuple):
            return self
        if self.operator not in _COMPARE:
            raise ReadError(f"{self.operator!r:.20} is no comparison", fix=f"use one of {' '.join(_COMPARE)} or in")
        number = as_number(self.value)
        if self.operator not in {"=", "!="} and (number is None or math.isnan(number)):
            raise ReadError(
                f"{self.name} {self.operator} {self.value!r:.40}: only numbers are less or greater", fix="use = or !="
            )
        return self

    def __str__(self) -> str:
        """As it is written."""
        return f"{self.name} {self.operator} {self.value}"

    def holds(self, entries: pl.DataFrame) -> npt.NDArray[np.bool_]:
        """Which entries fulfil it: of a metric by `value`, of a parameter by `number` or `text`."""
        if self.operator == "in":
            mask = np.zeros(entries.height, bool)
            for value in self.value:
                mask |= Condition(self.name, "=", value).holds(entries)
            return mask
        number = as_number(self.value)
        if number is not None and not math.isnan(number):
            # NaN and null are no numbers: nothing is said of them, not even that they differ.
            values = entries["value" if "value" in entries.columns else "number"].to_numpy()
            compared: npt.NDArray[np.bool_] = _COMPARE[self.operator](values, number)
            return compared & ~np.isnan(values) if self.operator == "!=" else compared
        if "text" not in entries.columns:
            raise ReadError(
                f"the metric {self.name} is compared with {self.value!r:.40}", fix="compare it with a number"
            )
        same = (entries["text"] == to_json(self.value, self.name)).fill_null(value=False).to_numpy()
        return same if self.operator == "=" else ~same


@dataclass(frozen=True, kw_only=True)
class RunQuery:
    """Which runs, in which order, and how many.

    Attributes:
        strategy, version, run_id: exact names; lists for any of several.
        start, end: half-open range of when runs began.
        market, tag: that a run has; of a list all.
        parameters, metrics: conditions, all of which hold.
        state: succeeded or failed.
        retired: whether runs that were retired are in the answer.
        order_by: a column, `metrics.NAME` or `parameters.NAME`; runs without it come last.
        descending: largest first.
        limit, offset: rows of the answer, and those that are left out before.
    """

    strategy: str | Sequence[str] | None = None
    version: str | Sequence[str] | None = None
    run_id: str | Sequence[str] | None = None
    start: datetime | None = None
    end: datetime | None = None
    market: str | Sequence[str] | None = None
    tag: str | Sequence[str] | None = None
    parameters: Sequence[Condition] = ()
    metrics: Sequence[Condition] = ()
    state: RunState | None = None
    retired: bool = False
    order_by: str = "started_at"
    descending: bool = True
    limit: int = 100
    offset: int = 0
    columns: Sequence[str] = field(default_factory=tuple)

    def __post_init__(self) -> None:
        """Raises ReadError for names that are no text, and for an order or limits that there are not."""
        for what in ("strategy", "version", "run_id", "market", "tag"):
            names = getattr(self, what)
            if not (names is None or isinstance(names, str) or _are_texts(names)):
                raise ReadError(f"{what} is {str(names)[:60]!r}", fix="use a name, or a list of names")
        for what in ("retired", "descending"):
            if not isinstance(value := getattr(self, what), bool):
                raise ReadError(f"{what} is {str(value)[:20]!r}", fix="use True or False")
        if not isinstance(self.order_by, str):
            raise ReadError(f"runs cannot be ordered by {str(self.order_by)[:60]!r}", fix=f"use {', '.join(COLUMNS)}")
        prefix, dot, name = self.order_by.partition(".")
        if self.order_by not in COLUMNS and not (dot and name and prefix in {"metrics", "parameters"}):
            raise ReadError(
                f"runs cannot be ordered by {self.order_by!r:.60}",
                fix=f"use {', '.join(COLUMNS)}, metrics.NAME or parameters.NAME",
            )
        for what, value in (("limit", self.limit), ("offset", self.offset)):
            if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MOST:
                raise ReadError(f"{what} is {str(value)[:20]}", fix=f"use an integer from 0 to {_MOST:,}")


def conditions(wanted: Mapping[str, object] | Sequence[str | Condition] | str | None) -> tuple[Condition, ...]:
    """Conditions from a mapping (`{"window": 20, "stop": (">", 0.1)}`) or texts (`["sharpe >= 1.5"]`).

    Raises:
        ReadError, ConfigError: one that cannot be answered.
    """
    if wanted is None:
        return ()
    if isinstance(wanted, str):
        wanted = [wanted]
    if isinstance(wanted, Mapping):
        return tuple(Condition.of(name, value) for name, value in wanted.items())
    if not isinstance(wanted, list | tuple):
        raise ConfigError(f"{wanted!r:.60} is no condition", fix='write one such as "sharpe >= 1.5"')
    found = []
    for item in wanted:
        if not isinstance(item, str | Condition):
            raise ConfigError(f"{item!r:.60} is no condition", fix='write one such as "sharpe >= 1.5"')
        found.append(item.checked() if isinstance(item, Condition) else Condition.parse(item))
    return tuple(found)


def query_of(query: RunQuery | None, filters: Mapping[str, Any], clock: Callable[[], datetime]) -> RunQuery:
    """A query, or what keywords say of one.

    Raises:
        ConfigError, ReadError: both are given, or a keyword that there is not, or one that cannot be answered.
    """
    if query is not None:
        if filters:
            raise ConfigError("a query and keywords were given", fix="use dataclasses.replace(query, ...)")
        return query
    values = dict(filters)
    for name in ("parameters", "metrics"):
        values[name] = conditions(values.get(name))
    for name in ("start", "end"):
        values[name] = moment(values.get(name), clock)
    if values.get("state") is not None:
        try:
            values["state"] = RunState(values["state"])
        except ValueError:
            raise ConfigError(f"no run is {str(values['state'])[:40]!r}", fix="use succeeded or failed") from None
    try:
        return RunQuery(**values)
    except TypeError as error:
        raise ConfigError(f"runs are not asked for like this: {error}", fix="see RunQuery") from None


def listed(wanted: str | Sequence[str] | None) -> list[str] | None:
    """One name or several as a list; None for any."""
    if wanted is None:
        return None
    return [wanted] if isinstance(wanted, str) else list(wanted)


def _are_texts(values: object) -> bool:
    return isinstance(values, list | tuple | set | frozenset) and all(isinstance(value, str) for value in values)


def _value(text: str) -> Any:
    named = {"true": True, "false": False, "null": None}
    if text in named:
        return named[text]
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
