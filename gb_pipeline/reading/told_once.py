"""This module remembers of which files it was seen that they tell no trade twice, so that ids are not read again to see it.

A file never changes, and no other one ever has its name: what was seen holds for as long as the process lives.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

# Days of a symbol that a process may look at again; of more, those that were seen first are forgotten.
_MOST = 10_000
_seen: OrderedDict[tuple[str, ...], None] = OrderedDict()


def remember_told_once(files: Iterable[str]) -> None:
    """Note that all rows of some files together were compared, and differ."""
    _seen[tuple(sorted(files))] = None
    while len(_seen) > _MOST:
        _seen.popitem(last=False)


def is_told_once(files: Iterable[str]) -> bool:
    """Whether these very files were compared: then no rows of theirs are one trade."""
    return tuple(sorted(files)) in _seen
