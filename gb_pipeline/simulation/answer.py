"""What a simulated vendor answers, before HTTP.

Belongs here: status, body and content type, and the reading of query parameters.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Answer:
    """One whole answer."""

    status: int
    body: str
    content_type: str = "application/json"

    @classmethod
    def json(cls, value: object, status: int = 200) -> Answer:
        """A JSON answer without spaces, as vendors send it."""
        return cls(status, json.dumps(value, separators=(",", ":")))


def integer(query: Mapping[str, str], name: str) -> int | None:
    """A parameter as an integer, None where it is absent.

    Raises:
        ValueError: it is not one.
    """
    text = query.get(name)
    return None if text is None else int(text)
