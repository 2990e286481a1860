"""This module holds how open work is asked for again by itself: the section `healing` of gb.yaml."""

from __future__ import annotations

import re
from datetime import timedelta

from pydantic import BaseModel, ConfigDict, Field, field_validator

_LENGTHS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_LENGTH = re.compile(r"([0-9]{1,6})\s*([smhd])")


class HealingSettings(BaseModel):
    """How often, and after which waits.

    Example:
        >>> HealingSettings(after=["1h", "1d"]).after
        (datetime.timedelta(seconds=3600), datetime.timedelta(days=1))
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = Field(
        default=True, description="whether Dagster asks again by itself; `gb healing` lists in any case"
    )
    after: tuple[timedelta, ...] = Field(
        default=(timedelta(hours=1), timedelta(hours=4), timedelta(days=1), timedelta(days=3)),
        min_length=1,
        max_length=20,
        description="how long after each attempt the next one comes, such as 1h or 3d; after the last one it is given up",
    )
    runs: int = Field(
        default=10, gt=0, le=100, description="so many runs of a source and resolution are requested at once"
    )

    @field_validator("after", mode="before")
    @classmethod
    def _lengths(cls, value: object) -> object:
        items = value if isinstance(value, list | tuple) else [value]
        return tuple(_read_length(item) for item in items)

    @field_validator("after")
    @classmethod
    def _grow(cls, value: tuple[timedelta, ...]) -> tuple[timedelta, ...]:
        if min(value) <= timedelta(0) or list(value) != sorted(value):
            raise ValueError("the waits are positive, and none is shorter than the one before")
        return value


def _read_length(item: object) -> timedelta:
    if isinstance(item, timedelta):
        return item
    found = _LENGTH.fullmatch(str(item).strip())
    if found is None:
        raise ValueError("a wait is written as 30m, 1h or 3d")
    return timedelta(**{_LENGTHS[found[2]]: int(found[1])})
