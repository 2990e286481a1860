"""What a simulated vendor is asked and what it answers, before HTTP.

Belongs here: the request as a dialect sees it, status, headers and body of the answer, the reading of parameters.
Does not belong here: any vendor's layout, and the market.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

TROUBLES = ("shuffle_rows", "duplicate_page", "overlap_page", "drop_rows", "endless_next")


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


def integer(query: Mapping[str, str], name: str) -> int | None:
    """A parameter as an integer, None where it is absent.

    Raises:
        ValueError: it is not one.
    """
    text = query.get(name)
    return None if text is None else int(text)
