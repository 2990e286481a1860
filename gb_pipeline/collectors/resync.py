"""This module says when a book that broke is laid anew: at once, and later each time where it breaks again and again."""

from __future__ import annotations

_SHORTEST = 1_000_000_000
_LONGEST = 60_000_000_000
# A book that was whole for so long has its past forgotten.
_FORGOTTEN = 10 * _LONGEST


class Resync:
    """The books of one connection that wait to be laid anew.

    Times are ns of the collector's clock; nothing is waited for here.

    Attributes:
        waiting: when each book that is to be asked for is due, by its name; whoever reads messages asks for those that are due only
            where there are some.
    """

    __slots__ = ("_breaks", "waiting")

    def __init__(self) -> None:
        """Begin with none."""
        self.waiting: dict[str, int] = {}
        self._breaks: dict[str, tuple[int, int]] = {}

    def broken(self, name: str, now: int) -> None:
        """A book is not the venue's any more; it becomes due now, or after 1, 2, 4 ... 60 s if it broke lately."""
        count, last = self._breaks.get(name, (0, 0))
        count = count + 1 if now - last < _FORGOTTEN else 1
        self._breaks[name] = (count, now)
        self.waiting[name] = now + (0 if count == 1 else min(_SHORTEST << min(count - 2, 10), _LONGEST))

    def due(self, now: int) -> list[str]:
        """Books to ask for now, once each."""
        if not self.waiting:
            return []
        names = [name for name, moment in self.waiting.items() if moment <= now]
        for name in names:
            del self.waiting[name]
        return names

    def __contains__(self, name: str) -> bool:
        """Whether it still waits to be asked for."""
        return name in self.waiting
