"""What a reader asks for, as values: names, ranges and moments from whatever a caller writes.

Any text may be asked for; a name that nothing can have is not found, like any other. `series` has the errors for unknown names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import numpy as np

from gb_pipeline.errors import ConfigError
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.symbol import MAX_CODE_LENGTH, Symbol
from gb_pipeline.market.window import Window, instant
from gb_pipeline.storage.commit import Clock, wall_clock

Symbols = Symbol | str | Sequence[Symbol | str]
# A datetime with a zone, a date, text of either, a text such as "-7d", or what NumPy and pandas have instead.
Moment = datetime | date | str | np.datetime64
# The first and the last instant that a bar can have; stands for an end that is left open.
EARLIEST = datetime(1, 1, 1, tzinfo=UTC)
LATEST = datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)


@dataclass(frozen=True)
class Selection:
    """Which series, and which stretch of them.

    Attributes:
        source, symbols, resolution: None for any.
        window: half-open, from `EARLIEST` to `LATEST` where an end is left open.
        as_of: what was known at this moment; None for now.
    """

    source: str | None
    symbols: list[str] | None
    resolution: Resolution | None
    window: Window
    as_of: datetime | None = None

    @classmethod
    def of(
        cls,
        source: str | None,
        symbols: Symbols | None,
        resolution: Resolution | str | None,
        start: Moment | None,
        end: Moment | None,
        as_of: Moment | None = None,
        *,
        clock: Clock = wall_clock,
    ) -> Selection:
        """From what a caller wrote; `clock` is the present that texts such as `-7d` count from."""
        return cls(
            named_source(source),
            named_symbols(symbols),
            None if resolution is None else Resolution.parse(resolution),
            between(start, end, clock),
            moment(as_of, clock),
        )

    @property
    def bounds(self) -> tuple[datetime, datetime] | None:
        """The window; None where it is everything."""
        return (
            None if (self.window.start, self.window.end) == (EARLIEST, LATEST) else (self.window.start, self.window.end)
        )


def moment(value: Moment | None, clock: Clock = wall_clock) -> datetime | None:
    """An instant in UTC, or None.

    Args:
        value: an aware datetime; a date, or a pandas Timestamp at midnight without a zone (midnight UTC); ISO 8601 text of
            either; a `numpy.datetime64`, which has no zone and counts in UTC; `now`, `today`, `yesterday`, `tomorrow` (midnight
            UTC); or a distance: `-90s`, `-30m`, `-6h` from now, `-7d`, `-2w`, `-3mo`, `-1y` from midnight UTC of today.
        clock: the present.

    Raises:
        NaiveTimestamp: a time of day without a zone.
        ConfigError: it is nothing of that, finer than a microsecond, or outside of the years 1 to 9999.

    Example:
        >>> moment("-3mo", lambda: datetime(2024, 5, 31, 9, tzinfo=UTC))
        datetime.datetime(2024, 2, 29, 0, 0, tzinfo=datetime.timezone.utc)
    """
    if value is None:
        return None
    if isinstance(value, str):
        relative = _relative(value.strip().lower(), clock)
        return instant(value) if relative is None else relative
    if isinstance(value, np.datetime64):
        return _of_numpy(value)
    if not isinstance(value, date) or value != value:  # noqa: PLR0124 - NaT of pandas
        raise ConfigError(
            f"{value!r:.40} is not a date or time",
            fix="pass a date, an aware datetime, or text such as 2024-01-02 or -7d",
        )
    if isinstance(value, datetime) and type(value) is not datetime and value.tzinfo is None:
        # pandas has no type for a date.
        whole: Any = value
        if whole.time() == time() and not getattr(whole, "nanosecond", 0):
            return instant(value.date())
    return instant(value)


def required_moment(value: Moment | None, clock: Clock = wall_clock) -> datetime:
    """The same where an end cannot be left open.

    Raises:
        ConfigError: it is None; and what `moment` raises.
    """
    found = moment(value, clock)
    if found is None:
        raise ConfigError("a range needs both ends", fix="pass two moments")
    return found


_WORDS = {"today": 0, "yesterday": -1, "tomorrow": 1}
_DISTANCE = re.compile(r"([+-])(\d{1,9})(s|m|h|d|w|mo|y)")
_FROM_NOW = {"s": timedelta(seconds=1), "m": timedelta(minutes=1), "h": timedelta(hours=1)}
_FROM_MIDNIGHT = {"d": timedelta(days=1), "w": timedelta(days=7)}
_MONTHS = {"mo": 1, "y": 12}


def _relative(text: str, clock: Clock) -> datetime | None:
    """The instant that a word or a distance from the present means; None for any other text."""
    distance = _DISTANCE.fullmatch(text)
    if text != "now" and text not in _WORDS and distance is None:
        return None
    now = instant(clock())
    if text == "now":
        return now
    midnight = datetime.combine(now.date(), time(), UTC)
    try:
        if distance is None:
            return midnight + timedelta(days=_WORDS[text])
        unit, count = distance[3], int(distance[1] + distance[2])
        if unit in _FROM_NOW:
            return now + count * _FROM_NOW[unit]
        return (
            midnight + count * _FROM_MIDNIGHT[unit]
            if unit in _FROM_MIDNIGHT
            else _add_months(midnight, count * _MONTHS[unit])
        )
    except (OverflowError, ValueError):
        raise ConfigError(f"{text} is out of range", fix="use the years 1 to 9999") from None


def _add_months(midnight: datetime, months: int) -> datetime:
    """The same day of another month, or its last day where it is shorter."""
    year, month = divmod(midnight.year * 12 + midnight.month - 1 + months, 12)
    first = midnight.replace(year=year, month=month + 1, day=1)
    length = ((first + timedelta(days=31)).replace(day=1) - first).days
    return first.replace(day=min(midnight.day, length))


def _of_numpy(value: np.datetime64) -> datetime:
    unit = np.datetime_data(value)[0]
    if np.isnat(value) or unit == "generic":
        raise ConfigError(f"{value!r} is not a date or time", fix="pass numpy.datetime64('2024-01-02')")
    micro = value.astype("datetime64[us]")
    if unit in {"ns", "ps", "fs", "as"} and micro.astype(value.dtype) != value:
        raise ConfigError(f"{value} is finer than a microsecond", fix="round it to microseconds")
    plain = micro.item()
    if not isinstance(plain, datetime):
        raise ConfigError(f"{value} is out of range", fix="use the years 1 to 9999")
    return plain.replace(tzinfo=UTC)


def between(start: Moment | None, end: Moment | None, clock: Clock = wall_clock) -> Window:
    """A window whose ends may be left open."""
    return Window(moment(start, clock) or EARLIEST, moment(end, clock) or LATEST)


def named_symbols(symbols: Symbols | None) -> list[str] | None:
    """Codes, each once; text is taken as it is, so that the error for a wrong spelling can list similar names.

    Raises:
        ConfigError: no symbol is named, or something that is not a symbol.

    Example:
        >>> named_symbols(["BTC-USD", Symbol.crypto("btc/usd")])
        ['BTC-USD']
    """
    if symbols is None:
        return None
    listed = [symbols] if isinstance(symbols, Symbol | str) else symbols
    if not isinstance(listed, Iterable):
        raise _not_a_symbol(symbols)
    codes = dict.fromkeys(_code(symbol) for symbol in listed)
    if not codes:
        raise ConfigError("no symbol was named", fix="name at least one, or None for all of the source")
    return list(codes)


def named_source(name: str | None) -> str | None:
    """The name of a source, or None for any.

    Raises:
        ConfigError: it is not a text.
    """
    if name is None:
        return None
    if not isinstance(name, str):
        raise ConfigError(
            f"a {type(name).__name__} is not a name of a source", fix="pass its short name, such as 'binance'"
        )
    return _printable(name)


def _code(symbol: object) -> str:
    if isinstance(symbol, Symbol):
        return symbol.code
    if not isinstance(symbol, str):
        raise _not_a_symbol(symbol)
    return _printable(symbol)


def _not_a_symbol(value: object) -> ConfigError:
    return ConfigError(f"a {type(value).__name__} is not a symbol", fix="pass its code, such as 'BTC-USD'")


def _printable(text: str) -> str:
    """The text itself if a name can be like that; else one that no name is like, and that can be printed."""
    printable = text.encode("utf-8", "backslashreplace").decode()
    return printable if len(printable) <= MAX_CODE_LENGTH else f"{printable[:MAX_CODE_LENGTH]}..."
