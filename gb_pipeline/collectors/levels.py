"""This module holds levels of a book as the venue's JSON text, which is taken apart for all messages of a second at once.

Most levels are only stored, and text is stored for a fraction of what two Python strings each cost. A text is kept as it came only
where its shape is proven: pairs of quoted digits and points, and nothing else. Anything else is read at once, or refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from gb_pipeline.collectors.messages import Level, Levels

_DIGITS = b"0123456789."


def _shape(count: int) -> bytes:
    """What is left of so many levels without their digits."""
    return b"[" + b",".join([b'["",""]'] * count) + b"]"


# More than most messages have.
_SHAPES = frozenset(map(_shape, range(1, 65)))
_PAIRS = msgspec.json.Decoder(list[tuple[str, str]])
_QUOTES_PER_LEVEL = 4


def keep_levels(raw: msgspec.Raw) -> Levels:
    """Levels as text where every one is a pair of plain numbers, and as pairs otherwise.

    Args:
        raw: a JSON value.

    Raises:
        msgspec.MsgspecError: it is no list of pairs of text.

    Example:
        >>> keep_levels(msgspec.Raw(b'[["1.5","2"]]')), keep_levels(msgspec.Raw(b'[["1e3","2"]]'))
        (b'[["1.5","2"]]', [('1e3', '2')])
    """
    text = bytes(raw)
    shape = text.translate(None, _DIGITS)
    # A list of one bare number has the shape of an empty one.
    if shape in _SHAPES or text == b"[]" or shape == _shape(shape.count(b",") // 2 + 1):
        return text
    return _PAIRS.decode(text)


def read_levels(levels: Levels) -> list[Level]:
    """Levels as pairs of price and size."""
    return _PAIRS.decode(levels) if isinstance(levels, bytes) else levels


def count_levels(levels: Levels) -> int:
    """How many levels there are.

    Example:
        >>> count_levels(b'[["1.5","2"],["1.4","3"]]'), count_levels([("1.5", "2")])
        (2, 1)
    """
    return levels.count(b'"') // _QUOTES_PER_LEVEL if isinstance(levels, bytes) else len(levels)


def level_columns(sides: Sequence[Levels]) -> tuple[npt.NDArray[np.int64], pl.Series, pl.Series]:
    """Prices and sizes of many sides of books as text, in their order, and how many levels each side has."""
    is_text = np.array([isinstance(side, bytes) for side in sides], np.bool_)
    if is_text.any():
        counts = np.fromiter(map(count_levels, sides), np.int64, len(sides))
    else:
        counts = np.fromiter(map(len, sides), np.int64, len(sides))
    numbers: list[pl.Series] = []
    if is_text.any():
        joined = b",".join([side for side in sides if isinstance(side, bytes)]).decode("ascii")
        # Between every second pair of quotes is a number.
        numbers.append(pl.Series([joined]).str.split('"').explode().gather_every(2, 1))
    if not is_text.all():
        pairs = chain.from_iterable([side for side in sides if not isinstance(side, bytes)])
        numbers.append(pl.Series(list(chain.from_iterable(pairs)), dtype=pl.String()))
    flat = pl.concat(numbers) if numbers else pl.Series(dtype=pl.String())
    if len(flat) != 2 * counts.sum():
        raise ValueError("a level is a price and a size")
    prices, sizes = flat.gather_every(2), flat.gather_every(2, 1)
    if len(numbers) > 1:
        # Texts stand before pairs: each side's place among its own kind, and then each level's.
        order = np.argsort(~is_text, kind="stable")
        starts = np.empty(len(sides), np.int64)
        starts[order] = counts[order].cumsum() - counts[order]
        places = np.repeat(starts - (counts.cumsum() - counts), counts) + np.arange(counts.sum())
        prices, sizes = prices[places], sizes[places]
    return counts, prices.alias("price"), sizes.alias("size")
