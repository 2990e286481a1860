"""Runs in the environment of cryptofeed: its own handlers of a venue read recorded messages, and it prints seconds and objects.

`python -P cryptofeed_frames.py FILE REPEATS`: of the lines of JSON, the first one names the class and the symbols, and every other
one is a kind (`message`, `book`) and a text. Callbacks keep what they are given, as any buffer would.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from pathlib import Path
from typing import Any

RECEIVED_AT = 1_700_000_000.0


def main(file: str, repeats: int) -> None:
    """The best of some turns, each with a new feed: seconds of processor time, and objects that were handed to callbacks."""
    first, *frames = (json.loads(line) for line in Path(file).read_text(encoding="utf-8").splitlines())
    best, objects = float("inf"), 0
    for _ in range(repeats):
        seconds, objects = asyncio.run(_turn(first, frames))
        best = min(best, seconds)
    print(json.dumps({"seconds": best, "objects": objects}))


async def _turn(first: dict[str, Any], frames: list[list[str]]) -> tuple[float, int]:
    from cryptofeed import exchanges  # type: ignore[import-not-found]
    from cryptofeed.symbols import Symbols  # type: ignore[import-not-found]

    kind = getattr(exchanges, first["class"])
    kind.valid_depths = getattr(kind, "valid_depths", [1000])
    Symbols.set(kind.id, first["symbols"], {"instrument_type": {}, "tick_size": {}})
    kept: list[Any] = []

    async def keep(item: Any, _received: float) -> None:
        # A book is one object that changes; what changed in it is new each time.
        kept.append(item if not hasattr(item, "delta") else (item.symbol, item.timestamp, item.delta, item.checksum))

    channels = first["channels"]
    feed = kind(
        symbols=list(first["symbols"]), channels=channels, callbacks=dict.fromkeys(channels, keep),
        checksum_validation=first["checksums"],
    )  # fmt: skip
    whole = [text for name, text in frames if name == "book"]

    class Answers:
        async def read(self, *_: Any, **__: Any) -> str:
            return whole[0]

    feed.http_conn = Answers()
    messages = [text for name, text in frames if name == "message"]
    gc.disable()
    began = time.process_time()
    for text in messages:
        await feed.message_handler(text, None, RECEIVED_AT)
    seconds = time.process_time() - began
    gc.enable()
    return seconds, len(kept)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
