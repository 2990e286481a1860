"""This module defines the names that a lake can hold: canonical codes of symbols, and short names of sources.

Whatever could not be a segment of a path or of an asset key is refused. A vendor's own spelling is mapped to and from these
codes by its provider.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from enum import StrEnum

from gb_pipeline.errors import ConfigError, InvalidSymbol


class AssetClass(StrEnum):
    """The kinds of instruments, by their field names."""

    EQUITY = "equity"
    CRYPTO = "crypto"
    FOREX = "forex"
    FUTURE = "future"
    OPTION = "option"
    PREDICTION = "prediction"


MAX_CODE_LENGTH = 64

# One path segment, one asset-key segment, one SQL literal, on every file system: upper-case ASCII, digits and `. - _`,
# starting and ending with a letter or digit (so neither `..` nor a hidden or a dot-ended Windows name).
_CODE = re.compile(r"[A-Z0-9](?:[A-Z0-9._-]*[A-Z0-9])?", re.ASCII)
# Device names that Windows resolves even with an extension.
_RESERVED = re.compile(r"(?:CON|PRN|AUX|NUL|COM[0-9]|LPT[0-9])(?:\..*)?")
_SOURCE = re.compile(r"[a-z][a-z0-9_]{0,31}", re.ASCII)
_SEPARATED_PAIR = re.compile(r"([A-Z0-9]+)[-/_:]([A-Z0-9]+)", re.ASCII)
_FUTURE_MONTHS = "FGHJKMNQUVXZ"


@dataclass(frozen=True, slots=True, order=True)
class Symbol:
    """An instrument under its canonical code.

    Args:
        code: upper-case ASCII letters, digits and ``. - _``, at most 64 characters: `AAPL`, `BTC-USDT`, `EUR-USD`,
            `BTC-USDT-PERP`, `ESZ26`, `AAPL260116C00190000`.
        asset_class: the kind of instrument.
        exchange: where it is listed, `XNYS` or `binance`; empty where that is not known or does not matter.

    Raises:
        InvalidSymbol: the code could not be a path segment on every file system.

    Example:
        >>> Symbol.crypto("btc/usd").code
        'BTC-USD'
    """

    code: str
    asset_class: AssetClass = AssetClass.EQUITY
    exchange: str = ""

    def __post_init__(self) -> None:
        """Refuse what is not canonical: a lake must never hold two spellings of one instrument."""
        if not isinstance(self.code, str) or not 0 < len(self.code) <= MAX_CODE_LENGTH:
            raise InvalidSymbol(
                f"symbol {str(self.code)[:80]!r} is empty, too long or not text",
                fix=f"use 1 to {MAX_CODE_LENGTH} characters",
            )
        if not _CODE.fullmatch(self.code) or ".." in self.code or _RESERVED.fullmatch(self.code):
            raise InvalidSymbol(
                f"symbol {self.code!r} is not a canonical code",
                fix="use A-Z, 0-9 and . - _ between letters or digits, such as BTC-USDT, EUR-USD, BRK.B or ESZ26",
            )

    def __str__(self) -> str:
        """The canonical code."""
        return self.code

    @classmethod
    def of(cls, code: str, asset_class: AssetClass | str, exchange: str = "") -> Symbol:
        """Any asset class by name, through that class's own helper.

        Example:
            >>> Symbol.of("EUR/USD", "forex").code
            'EUR-USD'
        """
        if asset_class not in list(AssetClass):
            raise InvalidSymbol(f"{asset_class!r} is not an asset class", fix=f"use one of {', '.join(AssetClass)}")
        parsed = AssetClass(asset_class)
        if parsed in {AssetClass.CRYPTO, AssetClass.FOREX}:
            return cls.crypto(code, exchange) if parsed is AssetClass.CRYPTO else cls.forex(code, exchange)
        return cls(_upper(code), parsed, exchange)

    @classmethod
    def equity(cls, code: str, exchange: str = "") -> Symbol:
        """A share, fund or index: `AAPL`, `BRK.B`, `7203.T`."""
        return cls(_upper(code), AssetClass.EQUITY, exchange)

    @classmethod
    def crypto(cls, pair: str, exchange: str = "") -> Symbol:
        """A spot pair `BTC-USD` (also `BTC/USD`), or a perpetual `BTC-USDT-PERP` (also `BTC/USDT:USDT`)."""
        text = _upper(pair)
        perpetual = re.fullmatch(r"([A-Z0-9]+)/([A-Z0-9]+):[A-Z0-9]+", text, re.ASCII)
        if perpetual:
            return cls(f"{perpetual[1]}-{perpetual[2]}-PERP", AssetClass.CRYPTO, exchange)
        pair_match = _SEPARATED_PAIR.fullmatch(text)
        return cls(f"{pair_match[1]}-{pair_match[2]}" if pair_match else text, AssetClass.CRYPTO, exchange)

    @classmethod
    def forex(cls, pair: str, exchange: str = "") -> Symbol:
        """A currency pair `EUR-USD`; `EUR/USD` and `EURUSD` are understood."""
        text = _upper(pair)
        match = _SEPARATED_PAIR.fullmatch(text) or re.fullmatch(r"([A-Z]{3})([A-Z]{3})", text, re.ASCII)
        if match is None:
            raise InvalidSymbol(f"{pair!r} is not a currency pair", fix="write it as EUR/USD, EUR-USD or EURUSD")
        return cls(f"{match[1]}-{match[2]}", AssetClass.FOREX, exchange)

    @classmethod
    def future(cls, code: str, exchange: str = "") -> Symbol:
        """A futures contract: root, month letter and two-digit year, such as `ESZ26`."""
        text = _upper(code)
        if not re.fullmatch(rf"[A-Z0-9]{{1,6}}[{_FUTURE_MONTHS}][0-9]{{2}}", text, re.ASCII):
            raise InvalidSymbol(
                f"{code!r} is not a futures contract", fix="write root, month letter and two-digit year, as in ESZ26"
            )
        return cls(text, AssetClass.FUTURE, exchange)

    @classmethod
    def option(cls, code: str, exchange: str = "") -> Symbol:
        """An option in OCC form, with or without the padding: `AAPL260116C00190000`."""
        text = _upper(code).replace(" ", "")
        if not re.fullmatch(r"[A-Z0-9.]{1,6}[0-9]{6}[CP][0-9]{8}", text, re.ASCII):
            raise InvalidSymbol(
                f"{code!r} is not an option in OCC form", fix="write root, yymmdd, C or P and strike x 1000 in 8 digits"
            )
        return cls(text, AssetClass.OPTION, exchange)

    @classmethod
    def prediction(cls, code: str, exchange: str = "") -> Symbol:
        """A contract of a prediction market, under the market's own ticker."""
        return cls(_upper(code), AssetClass.PREDICTION, exchange)


def symbol_code(symbol: Symbol | str) -> str:
    """The canonical code of a symbol, or of a text that is one already; nothing is spelled anew.

    What comes back is a name that every file system takes and gives back, also one that ignores case, and that needs no
    quoting in a path or in SQL.

    Raises:
        InvalidSymbol: a lake cannot hold it; the message names the code that was probably meant.

    Example:
        >>> symbol_code("BTC-USD"), symbol_code(Symbol.crypto("btc/usd"))
        ('BTC-USD', 'BTC-USD')
    """
    if isinstance(symbol, Symbol):
        return symbol.code
    try:
        return str(Symbol(symbol).code)
    except InvalidSymbol as error:
        suggestion = _suggest_code(symbol)
        if suggestion is None:
            raise
        raise InvalidSymbol(error.what, fix=f"its canonical code is {suggestion!r}") from None


def _suggest_code(text: object) -> str | None:
    """The code that any of the helpers makes of a text."""
    if isinstance(text, str):
        for helper in (Symbol.crypto, Symbol.equity):
            with contextlib.suppress(InvalidSymbol):
                return helper(text).code
    return None


def source_name(text: str) -> str:
    """The short name of a source, as it stands in gb.yaml, in paths and in every row.

    Raises:
        ConfigError: it is not such a name; the message suggests the nearest one that is.

    Example:
        >>> source_name("binance")
        'binance'
    """
    if isinstance(text, str) and _is_source_name(text):
        return str(text)
    written = f"{text!r:.80}" if isinstance(text, str) else f"a {type(text).__name__}"
    suggestion = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")[:32].strip("_") if isinstance(text, str) else ""
    raise ConfigError(
        f"{written} is not a name of a source",
        fix="use a letter and up to 31 of a-z, 0-9 and _"
        + (f", such as {suggestion}" if _is_source_name(suggestion) else ""),
    )


def _is_source_name(text: str) -> bool:
    return _SOURCE.fullmatch(text) is not None and _RESERVED.fullmatch(text.upper()) is None


def _upper(code: str) -> str:
    if not isinstance(code, str):
        raise InvalidSymbol(f"symbol {code!r} is not text", fix="pass the code as a string")
    # Upper-casing would turn look-alikes into ASCII: a dotless i into I, a sharp s into SS.
    if not code.isascii():
        raise InvalidSymbol(f"symbol {code[:80]!r} is not ASCII", fix="use A-Z, 0-9 and . - _")
    return code.strip().upper()
