"""This module holds the type of settings that name a time zone."""

from __future__ import annotations

from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator

from gb_pipeline.config.suggestions import suggest_zone


def _exists(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError):
        raise ValueError(f"{value!r} is not a time zone, {suggest_zone(value, 'write America/New_York')}") from None
    return value


# The name of a time zone that exists.
ZoneName = Annotated[str, AfterValidator(_exists)]
