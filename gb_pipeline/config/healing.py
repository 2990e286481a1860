"""This module holds how open work is asked for again by itself: the section `healing` of gb.yaml."""

from __future__ import annotations

from datetime import timedelta

from pydantic import BaseModel, ConfigDict, Field, field_validator

from gb_pipeline.config.durations import parse_duration


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
        return tuple(item if isinstance(item, timedelta) else parse_duration(str(item)) for item in items)

    @field_validator("after")
    @classmethod
    def _grow(cls, value: tuple[timedelta, ...]) -> tuple[timedelta, ...]:
        if min(value) <= timedelta(0) or list(value) != sorted(value):
            raise ValueError("the waits are positive, and none is shorter than the one before")
        return value
