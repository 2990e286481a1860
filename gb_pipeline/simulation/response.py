"""Requests to a simulated vendor and its responses, before HTTP: what a dialect sees and returns, and the reading of parameters."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")
TROUBLES = (
    "shuffle_rows",
    "duplicate_page",
    "overlap_page",
    "drop_rows",
    "endless_next",
    "oldest_rows",
    "newest_rows",
    "no_next",
)
# A page that is cut short has so many rows.
_FEW = 100
# So many rows of the page before come again where pages overlap.
_OVERLAP = 3


@dataclass(frozen=True, slots=True)
class Request:
    """One request to a simulated vendor.

    Attributes:
        host: the vendor's real host, the first segment of the URL's path: `api.binance.com`.
        path: what follows it, from the slash on: `/api/v3/klines`.
        query: parameters; of a repeated one the first.
        headers: names in any case, where the server made it.
        method: `GET` or `POST`; only stock vendors get anything but GET.
        body: the request's text.
        trouble: what this one answer does wrong on purpose, one of `TROUBLES`; a dialect ignores what it cannot do.
            `shuffle_rows`: rows out of order. `duplicate_page`: the rows of the page before come again instead of this
            one's. `overlap_page`: the last rows of the page before come again at the head. `drop_rows`: some rows in
            the middle are missing. `endless_next`: the answer names a next page, whatever it holds. `oldest_rows`,
            `newest_rows`: only the first or last hundred of the rows that were asked for, and no word of it. `no_next`: the answer
            names no next page, whatever there is.
    """

    host: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    method: str = "GET"
    body: str = ""
    trouble: str | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """One whole response."""

    status: int
    body: str
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def json(cls, value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
        """A JSON response without spaces, as vendors send it."""
        return cls(status, json.dumps(value, separators=(",", ":")), headers=headers or {})


def apply_trouble(trouble: str | None, rows: Sequence[T], previous_page: Callable[[], Sequence[T]]) -> list[T]:
    """The rows of a page as its trouble makes them, the same every time.

    Args:
        trouble: one of `TROUBLES`; None and `endless_next` leave the rows as they are.
        rows: of this page, oldest first.
        previous_page: gives those of the page before.
    """
    match trouble:
        case "shuffle_rows":
            # Never by chance in order: the first and the last row change places whatever the others do.
            shuffled = [*rows[-1:], *rows[1:-1], *rows[:1]] if len(rows) > 1 else list(rows)
            middle = shuffled[1:-1]
            random.Random(len(rows)).shuffle(middle)
            return [*shuffled[:1], *middle, *shuffled[-1:]] if len(rows) > 1 else shuffled
        case "duplicate_page" | "overlap_page":
            before = previous_page()
            return list(before) if trouble == "duplicate_page" else [*before[-_OVERLAP:], *rows]
        case "drop_rows":
            third = len(rows) // 3
            return [*rows[:third], *rows[len(rows) - third :]]
        case "oldest_rows" | "newest_rows":
            return list(rows[:_FEW] if trouble == "oldest_rows" else rows[-_FEW:])
    return list(rows)


def integer(query: Mapping[str, str], name: str) -> int | None:
    """A parameter as an integer, None where it is absent.

    Raises:
        ValueError: it is not one.
    """
    text = query.get(name)
    return None if text is None else int(text)
