"""This module holds what a running collector says of itself: one small JSON file beside its spool, replaced as a whole each second.

`gb collect --status`, its live view, the metrics and the health checks read nothing else of a running process. The file is no
evidence: what was heard and what is missing stands in the lake. Nobody but the collector writes it.

All times are ns since 1970 UTC, as in the tables; who reads is given the present, for nothing here asks a clock.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

from gb_pipeline.errors import GbError
from gb_pipeline.market.stream_coverage import gaps_per_million

STATE_FILE = "state.json"
# Of the file; a newer one may say more, and is read all the same.
FORMAT = 1
# Written each second: a process whose file is older than this hangs, or is gone.
FRESH_SECONDS = 10.0
_SECOND = 1_000_000_000


class StateError(GbError):
    """The state of a collector cannot be read."""


@dataclass(frozen=True, slots=True)
class StreamState:
    """One subscription: a dataset of an instrument.

    Attributes:
        source, dataset, symbol: what is heard, and under which name it is stored.
        connection: over which connection, such as kraken-1.
        connected: whether the connection stands, and the subscription with it.
        messages, rows, refused: heard since the start, stored or waiting of them, and refused into the quarantine.
        messages_per_second, rows_per_second: over the last ten seconds.
        lag_ms: receive time less exchange time of the newest message; None where the venue gives no time.
        last_message_time: receive time of the newest message; None before the first one.
        stalled: silent for longer than `stalled_after`.
        open_gap: why it is not covered at the moment, as `GapReason` names it; None while it is.
        begun: whether the venue ever began to send it; one that it refuses, or has not confirmed yet, has not.
        gaps: stretches since the start that are not covered, an open one included.
        missing: messages or trades in them, where the venue's numbers tell.
        healed: of `gaps`, those that were closed afterwards.
    """

    source: str
    dataset: str
    symbol: str
    connection: str
    connected: bool = False
    messages: int = 0
    rows: int = 0
    refused: int = 0
    messages_per_second: float = 0.0
    rows_per_second: float = 0.0
    lag_ms: float | None = None
    last_message_time: int | None = None
    stalled: bool = False
    open_gap: str | None = None
    begun: bool = True
    gaps: int = 0
    missing: int = 0
    healed: int = 0

    @property
    def gaps_per_million(self) -> float | None:
        """Gaps per million messages; None before the first message.

        Example:
            >>> StreamState("kraken", "trades", "BTC-USD", "kraken-1", messages=500_000, gaps=1).gaps_per_million
            2.0
        """
        return gaps_per_million(self.gaps, self.messages)


@dataclass(frozen=True, slots=True)
class CollectorState:
    """A whole collector.

    Attributes:
        collector: its name.
        pid: of its process.
        version: of gb_pipeline.
        started_time, written_time: of the process, and of this state.
        streams: one for each subscription.
        queue_seconds: time span of what was heard and is not in the spool yet.
        spool_bytes, spool_rows: that wait for a flush.
        last_flush_time: end of the last flush that committed; None before the first one.
        last_flush_rows, last_flush_seconds: of it.
        flush_error: what stops flushes at the moment; None while they work.
        spool_error: what stops the spool at the moment, such as a full disk; None while it works.
        reconnects: connections that were opened again since the start.
        unreadable: messages that were not understood.
        rss_bytes: memory of the process.
        stopped: it ended as it was asked to, after its last flush.
    """

    collector: str
    pid: int
    version: str
    started_time: int
    written_time: int
    streams: tuple[StreamState, ...] = ()
    queue_seconds: float = 0.0
    spool_bytes: int = 0
    spool_rows: int = 0
    last_flush_time: int | None = None
    last_flush_rows: int = 0
    last_flush_seconds: float = 0.0
    flush_error: str | None = None
    spool_error: str | None = None
    reconnects: int = 0
    unreadable: int = 0
    rss_bytes: int = 0
    stopped: bool = False

    @property
    def messages(self) -> int:
        """Heard since the start, of all streams."""
        return sum(stream.messages for stream in self.streams)

    @property
    def gaps(self) -> int:
        """Stretches since the start that are not covered, of all streams."""
        return sum(stream.gaps for stream in self.streams)

    @property
    def gaps_per_million(self) -> float | None:
        """Gaps per million messages of all streams; None before the first message."""
        return gaps_per_million(self.gaps, self.messages)

    def age_seconds(self, now: int) -> float:
        """How long ago it was written; 0 where the clock was set back since."""
        return max(0.0, (now - self.written_time) / _SECOND)

    def to_json(self) -> str:
        """One JSON document."""
        return json.dumps({"format": FORMAT} | asdict(self), ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote; names that are not known are left out.

        Raises:
            StateError: it is none.

        Example:
            >>> state = CollectorState("one", 7, "1.0", 0, 5, (StreamState("kraken", "trades", "BTC-USD", "kraken-1"),))
            >>> CollectorState.from_json(state.to_json()) == state
            True
        """
        try:
            document = json.loads(text)
            streams = tuple(StreamState(**_known(StreamState, item)) for item in document["streams"])
            return cls(**_known(cls, document) | {"streams": streams})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StateError(
                f"the collector's state cannot be read: {error}",
                fix="it is replaced each second: look whether `gb collect` runs, and is of this version",
            ) from None

    def write(self, spool: Path) -> None:
        """Put it in the place of the one before; a reader meets the old one or the new one, never a part.

        Raises:
            OSError: the folder cannot be written.
        """
        fresh = spool / f".{STATE_FILE}.{self.pid}"
        fresh.write_text(self.to_json(), encoding="utf-8")
        Path(fresh).replace(spool / STATE_FILE)

    @classmethod
    def read(cls, spool: Path) -> Self | None:
        """The newest one of a spool; None where no collector ever ran.

        Raises:
            StateError: it cannot be read.
        """
        try:
            text = (spool / STATE_FILE).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        return cls.from_json(text)


def _known(kind: type, document: Mapping[str, Any]) -> dict[str, Any]:
    return {field.name: document[field.name] for field in fields(kind) if field.name in document}
