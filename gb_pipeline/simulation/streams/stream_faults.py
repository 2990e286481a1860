"""This module is what can be wrong with single messages of a websocket. How one finds its fault is in `simulation.fault_queue`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gb_pipeline.simulation.fault_queue import PlannedFault

ACTIONS = ("drop", "duplicate", "reorder", "replace", "checksum", "stall", "close", "reset", "flood")


@dataclass(slots=True, kw_only=True)
class StreamFault(PlannedFault):
    """What happens to the next messages that match, `/host/path MESSAGE`.

    Attributes:
        action: `drop` it, send it twice (`duplicate`), send it after the next one (`reorder`), send `body` instead (`replace`),
            send it with a wrong `checksum` of its book,
            send nothing at all for `delay` seconds and then everything (`stall`), `close` the connection properly after it, `reset`
            it without a word, or send it `size` times (`flood`).
        body: of a replacement.
        delay: seconds of a stall.
        size: copies of a flood.
    """

    ACTIONS: ClassVar[tuple[str, ...]] = ACTIONS
    WHAT: ClassVar[str] = "fault of a stream"

    action: str = "drop"
    body: str = ""
    size: int = 10_000
