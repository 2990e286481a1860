"""What a simulated vendor is asked and what it answers, before HTTP.

Belongs here: the request as a dialect sees it, status, headers and body of the answer, the reading of parameters.
Does not belong here: any vendor's layout, and the market.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")
TROUBLES = ("shuffle_rows", "duplicate_page", "overlap_page", "drop_rows", "endless_next")
# So many rows of the page before come again where pages overlap.
_OVERLAP = 3


@dataclass(frozen=True, slots=True)
class Asked:
    """One request to a simulated vendor.

    Attributes:
        host: the vendor's real host, the first segment of the URL's path: `api.binance.com`.
        path: what follows it, from the slash on: `/api/v3/klines`.
        query: parameters; of a repeated one the first.
        headers: names in any case, where the server made it.
        method: `GET` or `POST`; only share modules are asked with anything but GET.
        body: the request's text.
        trouble: what this one answer does wrong on purpose, one of `TROUBLES`; a dialect ignores what it cannot do.
            `shuffle_rows`: rows out of order. `duplicate_page`: the rows of the page before come again instead of this
            one's. `overlap_page`: the last rows of the page before come again at the head. `drop_rows`: some rows in
            the middle are missing. `endless_next`: the answer names a next page, whatever it holds.
    """

    host: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    method: str = "GET"
    body: str = ""
    trouble: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """One whole answer."""

    status: int
    body: str
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def json(cls, value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
        """A JSON answer without spaces, as vendors send it."""
        return cls(status, json.dumps(value, separators=(",", ":")), headers=headers or {})


def troubled(trouble: str | None, rows: Sequence[T], before: Callable[[], Sequence[T]]) -> list[T]:
    """The rows of a page as its trouble makes them, the same every time.

    Args:
        trouble: one of `TROUBLES`; None and `endless_next` leave the rows as they are.
        rows: of this page, oldest first.
        before: gives those of the page before.
    """
    match trouble:
        case "shuffle_rows":
            # Never by chance in order: the first and the last row change places whatever the others do.
            mixed = [*rows[-1:], *rows[1:-1], *rows[:1]] if len(rows) > 1 else list(rows)
            middle = mixed[1:-1]
            random.Random(len(rows)).shuffle(middle)
            return [*mixed[:1], *middle, *mixed[-1:]] if len(rows) > 1 else mixed
        case "duplicate_page":
            return list(before())
        case "overlap_page":
            return [*before()[-_OVERLAP:], *rows]
        case "drop_rows":
            third = len(rows) // 3
            return [*rows[:third], *rows[len(rows) - third :]]
    return list(rows)


def integer(query: Mapping[str, str], name: str) -> int | None:
    """A parameter as an integer, None where it is absent.

    Raises:
        ValueError: it is not one.
    """
    text = query.get(name)
    return None if text is None else int(text)
