"""`SimulationClock`, the present of a simulation, which goes forwards only."""

from __future__ import annotations

from datetime import datetime, timedelta

from gb_pipeline.errors import ConfigError
from gb_pipeline.market.moments import from_microseconds, microseconds
from gb_pipeline.reading.arguments import Moment, moment


class SimulationClock:
    """The moment at which a strategy believes to be. Several portals can share one.

    Attributes:
        microseconds: since 1970, UTC.

    Example:
        >>> clock = SimulationClock("2024-01-02T14:31Z")
        >>> clock.advance_by(timedelta(minutes=1))
        >>> clock.now
        datetime.datetime(2024, 1, 2, 14, 32, tzinfo=datetime.timezone.utc)
    """

    __slots__ = ("microseconds",)

    def __init__(self, now: Moment) -> None:
        """Start at a moment.

        Raises:
            NaiveTimestamp: a time of day without a zone.
        """
        self.microseconds = _microseconds(now)

    @property
    def now(self) -> datetime:
        """The moment, in UTC."""
        return from_microseconds(self.microseconds)

    def advance_to(self, moment: Moment) -> None:
        """Go to a moment, the present one or a later one.

        Raises:
            ConfigError: it lies in the past: what a strategy has seen cannot be unseen.
        """
        later = _microseconds(moment)
        if later < self.microseconds:
            raise ConfigError(
                f"the clock is at {self.now.isoformat()} and cannot go back to {from_microseconds(later).isoformat()}",
                fix="start another simulation with a clock of its own",
            )
        self.microseconds = later

    def advance_by(self, distance: timedelta) -> None:
        """Go forwards by a distance.

        Raises:
            ConfigError: it is negative.
        """
        self.advance_to(self.now + distance)

    def __repr__(self) -> str:
        """Its moment."""
        return f"SimulationClock({self.now.isoformat()!r})"


def _microseconds(value: Moment) -> int:
    found = moment(value)
    if found is None:
        raise ConfigError("a clock needs a moment", fix="pass an aware datetime, a date, or text such as 2024-01-02")
    return microseconds(found)
