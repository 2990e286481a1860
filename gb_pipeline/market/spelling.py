"""This module finds the names that somebody may have meant who wrote one that there is not."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


def near_names(name: str, names: Iterable[str], limit: int = 5) -> list[str]:
    """Names that resemble a text: the same letters in another spelling first, then near ones, then those that it begins.

    Example:
        >>> near_names("btc/usd", ["ETH-USD", "BTC-USD", "BTC-USDT"])
        ['BTC-USD', 'BTC-USDT']
    """
    bare = {other: _bare(other) for other in names}
    wanted = _bare(name)
    same = [other for other, letters in bare.items() if letters == wanted]
    by_letters: dict[str, list[str]] = {}
    for other, letters in bare.items():
        by_letters.setdefault(letters, []).append(other)
    close = difflib.get_close_matches(wanted, list(by_letters), n=limit, cutoff=0.6)
    starts = [other for other, letters in bare.items() if wanted and letters.startswith(wanted)]
    return list(dict.fromkeys([*same, *(other for letters in close for other in by_letters[letters]), *starts]))[:limit]


def did_you_mean(near: Sequence[str], otherwise: str = "") -> str:
    """What to do about a name that there is not: take one of the near ones, or something else where none is near."""
    return f"did you mean {' or '.join(near[:3])}?" if near else otherwise


def list_some(names: Sequence[str], most: int = 8) -> str:
    """Names in a sentence, the first ones of many.

    Example:
        >>> list_some(["a", "b", "c"], 2)
        'a, b and 1 more'
    """
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most:,} more"


def _bare(name: str) -> str:
    return "".join(letter for letter in name.upper() if letter.isalnum())
