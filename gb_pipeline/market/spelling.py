"""This module finds the names that somebody may have meant who wrote one that there is not."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence

_NUMBER = re.compile(r"[0-9]+")


def near_names(name: str, names: Iterable[str], limit: int = 3) -> list[str]:
    """Names that resemble a text: the same letters in another spelling first, then near ones, then those that it begins.

    Names that only have another number resemble each other, and only the next ones may be meant.

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
    near = [other for letters in close if not _are_far_in_one_list(wanted, letters) for other in by_letters[letters]]
    return list(dict.fromkeys([*same, *near, *starts]))[:limit]


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


def format_count(number: int, noun: str) -> str:
    """A number with its noun.

    Example:
        >>> format_count(1, "row"), format_count(2_000, "row")
        ('1 row', '2,000 rows')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _are_far_in_one_list(one: str, other: str) -> bool:
    """Whether two texts are far apart in one numbered list, as S07 and S12; S7 and S07 are one number, S03 and S04 next ones."""
    numbers = [[int(number) for number in _NUMBER.findall(text)] for text in (one, other)]
    if not all(numbers) or _NUMBER.sub("#", one) != _NUMBER.sub("#", other):
        return False
    return any(abs(mine - theirs) > 1 for mine, theirs in zip(*numbers, strict=True))


def _bare(name: str) -> str:
    return "".join(letter for letter in name.upper() if letter.isalnum())
