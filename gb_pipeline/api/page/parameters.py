"""This module reads what the page's scripts ask for out of an address, and refuses what it cannot be."""

from __future__ import annotations

from datetime import UTC, datetime

from starlette.requests import Request

from gb_pipeline.errors import ConfigError
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.reading.arguments import moment

_LARGEST = 2**53


class Parameters:
    """The parameters of one request; one that is empty counts as left out.

    Example:
        >>> Parameters(request).whole("limit", 100, most=1000)
        100
    """

    def __init__(self, request: Request) -> None:
        """Take those of a request."""
        self._given = request.query_params

    def text(self, name: str) -> str | None:
        """A text, or None."""
        return self._given.get(name) or None

    def needed(self, name: str) -> str:
        """A text that has to be there.

        Raises:
            ConfigError: it is not.
        """
        found = self.text(name)
        if found is None:
            raise ConfigError(f"the request names no {name}", fix=f"add {name}=... to its address")
        return found

    def whole(self, name: str, default: int, *, least: int = 0, most: int = _LARGEST) -> int:
        """A whole number; what is beyond the largest counts as that.

        Raises:
            ConfigError: it is no number, or too small.
        """
        given = self.text(name)
        if given is None:
            return default
        if not given.isdecimal() or len(given) > 16 or int(given) < least:
            raise ConfigError(f"{name}={given[:40]!r} is not a whole number", fix=f"pass one from {least} on")
        return min(int(given), most)

    def resolution(self, name: str = "resolution") -> Resolution:
        """A resolution that has to be there.

        Raises:
            ConfigError, InvalidResolution: it is not, or is none.
        """
        return Resolution.parse(self.needed(name))

    def moment(self, name: str) -> datetime | None:
        """An instant in UTC, or None; whole numbers are seconds since 1970.

        Raises:
            ConfigError, NaiveTimestamp: it is none.
        """
        given = self.text(name)
        if given is None or not given.removeprefix("-").isdecimal():
            return moment(given)
        try:
            return datetime.fromtimestamp(int(given), UTC)
        except (OverflowError, ValueError, OSError):
            raise ConfigError(f"{name}={given[:40]} is no time", fix="pass seconds since 1970, or ISO 8601") from None
