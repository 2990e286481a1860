"""The simulated now, one for everything that a simulation serves. It can be stopped."""

from __future__ import annotations

import time
from datetime import date, datetime

from gb_pipeline.simulation.defects import to_milliseconds


class Clock:
    """The wall clock, until somebody stops it at a moment."""

    def __init__(self) -> None:
        """Begin with the wall clock."""
        self._now: int | None = None

    @property
    def now(self) -> int:
        """Epoch milliseconds."""
        return round(time.time() * 1000) if self._now is None else self._now

    def set_now(self, moment: datetime | date | str | int | None) -> None:
        """Stop at a moment (a number is epoch milliseconds); None lets it follow the wall clock again."""
        self._now = None if moment is None else to_milliseconds(moment)
