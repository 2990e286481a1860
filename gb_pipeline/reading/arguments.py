"""What a reader asks for, as values: names, ranges and moments from whatever a caller writes.

Any text may be asked for; a name that nothing can have is not found, like any other. `series` has the errors for unknown names.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from gb_pipeline.errors import ConfigError
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.symbol import MAX_CODE_LENGTH, Symbol
from gb_pipeline.market.window import Window, instant

Symbols = Symbol | str | Sequence[Symbol | str]
Moment = datetime | date | str
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
    ) -> Selection:
        """From what a caller wrote."""
        return cls(
            named_source(source),
            named_symbols(symbols),
            None if resolution is None else Resolution.parse(resolution),
            between(start, end),
            moment(as_of),
        )

    @property
    def bounds(self) -> tuple[datetime, datetime] | None:
        """The window; None where it is everything."""
        return (
            None if (self.window.start, self.window.end) == (EARLIEST, LATEST) else (self.window.start, self.window.end)
        )


def moment(value: Moment | None) -> datetime | None:
    """An instant in UTC, or None."""
    return None if value is None else instant(value)


def between(start: Moment | None, end: Moment | None) -> Window:
    """A window whose ends may be left open."""
    return Window(EARLIEST if start is None else instant(start), LATEST if end is None else instant(end))


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
