"""This module has one order book: exact levels that messages change, its best levels, and the checksum by which Kraken proves it.

Prices are compared as whole numbers of the smallest step that was seen, so that nothing is rounded; prices and sizes come out as
the texts that went in. Books of many moments at once are rebuilt in columns by `book_states`.

    >>> book = OrderBook()
    >>> book.lay([("100.5", "2"), ("100.0", "1")], [("101.0", "3")])
    >>> book.apply([("100.5", "0")], [("100.75", "0.5")])
    >>> book.best_bid, book.best_ask
    (('100.0', '1'), ('100.75', '0.5'))
"""

from __future__ import annotations

import re
import zlib
from bisect import bisect_left, insort
from collections.abc import Sequence
from decimal import Decimal

# Price and size as the venue writes them.
Level = tuple[str, str]

_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?P<exponent>[eE][+-]?[0-9]{1,3})?", re.ASCII)
# Kraken's checksum is of so many levels on each side, whatever the depth of the subscription.
_CHECKED = 10
# Prices come back, so their numbers are kept; so many at most.
_MOST_KNOWN = 200_000


class OrderBook:
    """The levels of one instrument.

    Args:
        depth: levels on each side; those beyond are forgotten after each message, as venues that cut their books demand. None keeps
            all of them.
    """

    __slots__ = ("_asks", "_bids", "_checked", "_checksum", "_decimals", "_digits", "_known", "depth")

    def __init__(self, depth: int | None = None) -> None:
        """Begin with nothing on either side."""
        self.depth = depth
        self._decimals = 0
        self._known: dict[str, int] = {}
        # Of each side: keys in order with the best one last, so that what changes most moves least; levels by key; digits by key.
        self._bids: tuple[list[int], dict[int, Level]] = ([], {})
        self._asks: tuple[list[int], dict[int, Level]] = ([], {})
        self._digits: tuple[dict[int, str], dict[int, str]] = ({}, {})
        # The text of each side that the checksum is made of, and the checksum; None where they are to be made anew.
        self._checked: list[bytes | None] = [None, None]
        self._checksum: int | None = None

    def lay(self, bids: Sequence[Level], asks: Sequence[Level]) -> None:
        """Replace the whole book.

        Args:
            bids: price and size as text, in any order; of one price the last counts, and one of size 0 is not there.
            asks: the same.

        Raises:
            ValueError: a price is no number.
        """
        for digits in self._digits:
            digits.clear()
        self._lay_side(self._bids, 1, bids)
        self._lay_side(self._asks, -1, asks)
        self._checked = [None, None]
        self._checksum = None

    def apply(self, bids: Sequence[Level], asks: Sequence[Level]) -> None:
        """Change levels: a size stands at its price from now on, 0 removes the level.

        Raises:
            ValueError: a price is no number; the book is then not to be used any more.
        """
        if bids:
            self._change(self._bids, 0, 1, bids)
        if asks:
            self._change(self._asks, 1, -1, asks)

    @property
    def best_bid(self) -> Level | None:
        """The highest bid, None where there is none."""
        keys, levels = self._bids
        return levels[keys[-1]] if keys else None

    @property
    def best_ask(self) -> Level | None:
        """The lowest ask, None where there is none."""
        keys, levels = self._asks
        return levels[keys[-1]] if keys else None

    @property
    def crossed(self) -> bool:
        """Whether the best bid is at or above the best ask, which no book of an exchange in continuous trading is."""
        bids, asks = self._bids[0], self._asks[0]
        return bool(bids and asks) and bids[-1] >= -asks[-1]

    def bids(self, depth: int | None = None) -> list[Level]:
        """Levels from the best one on, at most `depth` of them."""
        return _best(self._bids, depth)

    def asks(self, depth: int | None = None) -> list[Level]:
        """Levels from the best one on, at most `depth` of them."""
        return _best(self._asks, depth)

    def __len__(self) -> int:
        """Levels on both sides."""
        return len(self._bids[0]) + len(self._asks[0])

    def checksum(self) -> int:
        """CRC32 of the ten best levels of each side, as Kraken defines it for versions 1 and 2 of its websockets.

        Prices and sizes count with the digits that the venue wrote, without the point and the zeros before the first digit; asks
        come first.

        Example:
            >>> book = OrderBook()
            >>> book.lay([("0.05000", "0.00000500")], [("0.05005", "0.00000500")])
            >>> book.checksum() == zlib.crc32(b"5005" + b"500" + b"5000" + b"500")
            True
        """
        if self._checksum is None:
            bids, asks = self._checked
            if bids is None:
                bids = self._checked[0] = _checked_text(self._bids, self._digits[0])
            if asks is None:
                asks = self._checked[1] = _checked_text(self._asks, self._digits[1])
            self._checksum = zlib.crc32(bids, zlib.crc32(asks))
        return self._checksum

    # --- how --------------------------------------------------------------------------------------------------------

    def _lay_side(self, side: tuple[list[int], dict[int, Level]], sign: int, laid: Sequence[Level]) -> None:
        keys, levels = side
        keys.clear()
        levels.clear()
        if laid:
            self._learn_all([price for price, _ in laid])
        known = self._known
        for level in laid:
            key = known.get(level[0])
            # Of a book with more prices than are kept, some are forgotten already.
            levels[(self._learn(level[0]) if key is None else key) * sign] = level
        for key in [key for key, (_, size) in levels.items() if not size.strip("0.")]:
            del levels[key]
        keys += sorted(levels)
        self._cut(side)

    def _learn_all(self, prices: Sequence[str]) -> None:
        """The whole numbers of many prices, at once where all are written alike, as those of one instrument mostly are."""
        if len(self._known) + len(prices) <= _MOST_KNOWN and _are_alike(prices):
            joined = ",".join(prices)
            decimals = len(prices[0]) - 1 - prices[0].index(".")
            if decimals > self._decimals:
                self._refine(decimals)
            if decimals == self._decimals:
                self._known.update(zip(prices, map(int, joined.replace(".", "").split(",")), strict=True))
                return
        known, before = self._known, -1
        # A price of more decimals than all before makes the numbers of the others new.
        while before != self._decimals:
            before = self._decimals
            for price in prices:
                if price not in known:
                    self._learn(price)

    def _cut(self, side: tuple[list[int], dict[int, Level]]) -> None:
        keys, levels = side
        if self.depth is not None and len(keys) > self.depth:
            beyond = keys[: -self.depth]
            del keys[: -self.depth]
            for key in beyond:
                del levels[key]

    def _change(
        self, side: tuple[list[int], dict[int, Level]], place: int, sign: int, changes: Sequence[Level]
    ) -> None:
        keys, levels = side
        known, digits = self._known, self._digits[place]
        if not digits:
            # Nobody has compared a checksum, so that none is prepared.
            self._change_plainly(keys, levels, sign, changes)
            self._checked[place] = self._checksum = None
            self._cut(side)
            return
        edge = keys[-_CHECKED] if len(keys) >= _CHECKED else None
        touched = False
        for level in changes:
            price, size = level
            try:
                key = known[price] * sign
            except KeyError:
                before = self._decimals
                key = self._learn(price) * sign
                if self._decimals != before:
                    edge, touched = None, True
            counts = edge is None or key >= edge
            if counts:
                touched = True
            if size.strip("0."):
                if key not in levels:
                    insort(keys, key)
                levels[key] = level
                if counts:
                    digits[key] = price.replace(".", "").lstrip("0") + size.replace(".", "").lstrip("0")
                else:
                    digits.pop(key, None)
            elif levels.pop(key, None) is not None:
                del keys[bisect_left(keys, key)]
                digits.pop(key, None)
        if self.depth is not None and len(keys) > self.depth:
            self._cut(side)
        if touched:
            self._checked[place] = self._checksum = None

    def _change_plainly(self, keys: list[int], levels: dict[int, Level], sign: int, changes: Sequence[Level]) -> None:
        known = self._known
        for level in changes:
            key = known.get(level[0])
            key = (self._learn(level[0]) if key is None else key) * sign
            if level[1].strip("0."):
                if key not in levels:
                    insort(keys, key)
                levels[key] = level
            elif levels.pop(key, None) is not None:
                del keys[bisect_left(keys, key)]

    def _learn(self, price: str) -> int:
        """The whole number of a price that was not seen before; the steps become finer where it needs that."""
        whole, _, fraction = price.partition(".")
        missing = self._decimals - len(fraction)
        if missing >= 0 and len(self._known) < _MOST_KNOWN:
            digits = whole + fraction
            # So are most prices: plain, and with no more decimals than those before.
            if digits.isdigit() and digits.isascii():
                key = self._known[price] = int(digits) * 10**missing if missing else int(digits)
                return key
        text = price
        if not (price.isascii() and price.replace(".", "", 1).isdigit()):
            number = _NUMBER.fullmatch(price)
            if number is None:
                raise ValueError(f"{price[:40]!r} is no price")
            text = price if number["exponent"] is None else format(Decimal(price), "f")
        whole, _, fraction = text.partition(".")
        if len(fraction) > self._decimals:
            fraction = fraction.rstrip("0")
            if len(fraction) > self._decimals:
                self._refine(len(fraction))
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        missing = self._decimals - len(fraction)
        key = int(whole + fraction) * 10**missing if missing else int(whole + fraction)
        self._known[price] = key
        return key

    def _refine(self, decimals: int) -> None:
        factor = 10 ** (decimals - self._decimals)
        self._decimals = decimals
        self._known.clear()
        for keys, levels in (self._bids, self._asks):
            keys[:] = [key * factor for key in keys]
            moved = {key * factor: level for key, level in levels.items()}
            levels.clear()
            levels.update(moved)
        for digits in self._digits:
            digits.clear()


def _best(side: tuple[list[int], dict[int, Level]], depth: int | None) -> list[Level]:
    keys, levels = side
    chosen = keys if depth is None else keys[max(0, len(keys) - depth) :]
    return [levels[key] for key in reversed(chosen)]


def _are_alike(prices: Sequence[str]) -> bool:
    """Whether all are plain numbers with the same count of decimals, of which there are some."""
    ends = {len(price) - price.rfind(".") for price in prices}
    if len(ends) > 1 or not ",".join(prices).isascii():
        return False
    return ",".join(prices).encode().translate(None, b"0123456789") == b".," * (len(prices) - 1) + b"." and all(
        price[0] != "." and price[-1] != "." for price in prices
    )


def _checked_text(side: tuple[list[int], dict[int, Level]], digits: dict[int, str]) -> bytes:
    """What the checksum is made of, the best level first."""
    keys, levels = side
    best = keys[: -_CHECKED - 1 : -1]
    try:
        return "".join(map(digits.__getitem__, best)).encode("ascii")
    except KeyError:
        for key in best:
            if key not in digits:
                price, size = levels[key]
                digits[key] = price.replace(".", "").lstrip("0") + size.replace(".", "").lstrip("0")
        if len(digits) > 50 * _CHECKED:
            for key in set(digits).difference(best):
                del digits[key]
        return "".join(map(digits.__getitem__, best)).encode("ascii")
