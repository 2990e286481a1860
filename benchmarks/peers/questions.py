"""What a read is asked: which bars of which symbols, or what is made of them. Contenders answer it, `answers` knows the truth.

This runs in the peers' environment as well as in ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Self

from benchmarks.peers.batch import NUMBERS

BARS, LATEST, EXTENT, HOURS = "bars", "latest", "extent", "hours"
# Every kind of question; what a contender cannot answer is left out of its `acts`.
KINDS = frozenset({BARS, LATEST, EXTENT, HOURS})


@dataclass(frozen=True)
class Question:
    """One read.

    Attributes:
        kind: `bars` of a window; `latest`, the last bar of each symbol; `extent`, how many bars each symbol has and its first and
            last timestamp; `hours`, the bars of a window resampled to an hour.
        symbols: in the order of their names.
        start, end: half-open window, aware.
        columns: the numbers of the answer, beside symbol and timestamp.
    """

    kind: str
    symbols: tuple[str, ...]
    start: datetime
    end: datetime
    columns: tuple[str, ...] = NUMBERS

    def told(self) -> dict[str, Any]:
        """As JSON can say it."""
        return asdict(self) | {"start": self.start.isoformat(), "end": self.end.isoformat()}

    @classmethod
    def heard(cls, told: Mapping[str, Any]) -> Self:
        """The inverse of `told`."""
        start, end = (datetime.fromisoformat(told[name]) for name in ("start", "end"))
        return cls(told["kind"], tuple(told["symbols"]), start, end, tuple(told["columns"]))
