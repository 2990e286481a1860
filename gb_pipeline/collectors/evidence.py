"""This module turns what was heard over one connection into evidence: stretches that are covered, and gaps with their reason.

A stream is covered while its subscription stands and its connection speaks; stretches lie on the time axis of the rows, so that
the moment up to which a connection is heard is its newest message less the largest lag of the last minute. A stream that was
lively and falls silent is stalled, and not covered since its last row; one that was quiet before may just be quiet. Whatever is
missing between two messages is a gap from the one to the other, both included, for several may be of one moment; and a gap takes
away what its collector had called covered.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from gb_pipeline.collectors.columns import Columns
from gb_pipeline.collectors.events import EVENTS, event_row
from gb_pipeline.collectors.messages import MessageRows, Signal
from gb_pipeline.collectors.venue import Connection
from gb_pipeline.lake.datasets import STREAM_INTERVALS
from gb_pipeline.market.moments import from_microseconds
from gb_pipeline.market.schema import polars_schema
from gb_pipeline.market.tick_schema import ConnectionEventKind, GapReason, IntervalKind, StreamDataset

Key = tuple[StreamDataset, str]
_INTERVALS = polars_schema(STREAM_INTERVALS.columns)
# So many rounds, of about a second each, the lag of a connection is remembered.
_ROUNDS = 60
_MICROSECOND = 1_000
# Messages in `stalled_after` from which on silence for as long is no chance: e^-20 of a stream without memory.
_LIVELY = 20.0
_TABLES = {"book_snapshots": StreamDataset.BOOK_UPDATES}
# All of a connection's streams end.
_ENDED = {
    ConnectionEventKind.DISCONNECTED: GapReason.DISCONNECT,
    ConnectionEventKind.CLOCK_SET: GapReason.CLOCK_SET,
}
_BROKEN = {
    ConnectionEventKind.SEQUENCE: GapReason.SEQUENCE,
    ConnectionEventKind.CHECKSUM: GapReason.CHECKSUM,
    ConnectionEventKind.UNREADABLE: GapReason.UNREADABLE,
}


@dataclass(slots=True)
class Stream:
    """What is known of one subscription; times are ns on the axis of its rows, `heard_time` by the collector's clock."""

    dataset: StreamDataset
    symbol: str
    reached: int | None = None
    gap_start: int | None = None
    gap_reason: GapReason | None = None
    last_row: int | None = None
    heard_time: int | None = None
    messages: int = 0
    rows: int = 0
    gaps: int = 0
    missing: int = 0
    lag: int | None = None
    liveliness: float = 0.0
    warned: bool = False
    is_over: bool = False
    clock_was_set: bool = False
    told_until: int = 0
    untold_messages: int = 0
    untold_rows: int = 0

    @property
    def is_open(self) -> bool:
        """Whether it is covered at the moment."""
        return self.reached is not None


@dataclass(frozen=True, slots=True)
class Round:
    """What is told of one connection and some time: rows for `stream_intervals` and `connection_events`, and who is silent."""

    intervals: pl.DataFrame
    events: pl.DataFrame
    stalled: tuple[Key, ...]


@dataclass(slots=True)
class _Rows:
    """Rows of one stream in one round, in the order in which they came: when, and their moments. `told` of them are dealt with."""

    received: np.ndarray
    moments: np.ndarray
    told: int = 0

    def take_until(self, receive_time: int | None) -> np.ndarray:
        """Moments of the next rows that came before a message; of all for None."""
        end = len(self.received) if receive_time is None else int(np.searchsorted(self.received, receive_time))
        taken = self.moments[self.told : max(end, self.told)]
        self.told = max(end, self.told)
        return taken

    def next_moment(self) -> int | None:
        """The oldest moment of the rows that are left."""
        left = self.moments[self.told :]
        return int(left.min()) if len(left) else None


_NO_ROWS = np.empty(0, np.int64)


class Evidence:
    """The evidence of one connection.

    Args:
        source: under which name its rows are stored.
        connection: and its subscriptions.
        collector: who hears.
        stalled_after: ns; a stream that is silent for longer is not covered any more.
        ends: up to when each stream was covered before, by an earlier run of this collector.
        best_effort: nothing of it is ever covered.
    """

    def __init__(
        self,
        source: str,
        connection: Connection,
        collector: str,
        *,
        stalled_after: int,
        ends: Mapping[Key, int] | None = None,
        best_effort: bool = False,
    ) -> None:
        """All streams wait for their first message."""
        self._source, self._connection, self._collector = source, connection.name, collector
        self._stalled_after = stalled_after
        self._kind = (IntervalKind.GAP, GapReason.BEST_EFFORT) if best_effort else (IntervalKind.COVERED, None)
        self._lags: deque[tuple[int, int]] = deque(maxlen=_ROUNDS)
        self._last_receive: int | None = None
        self._received = _NO_ROWS
        self.streams: dict[Key, Stream] = {}
        self.unreadable = 0
        for item in connection.subscriptions:
            key = (item.dataset, item.symbol)
            end = (ends or {}).get(key)
            if end is not None:
                # Its last row may have been one of several of the same moment.
                end -= _MICROSECOND
            self.streams[key] = Stream(*key, gap_start=end, gap_reason=None if end is None else GapReason.RESTART)

    def through(self, now: int) -> int:
        """Up to when everything that was heard is told, on the axis of the rows; `now` by the collector's clock."""
        return now - self._lag()

    @property
    def newest_row(self) -> int | None:
        """The newest moment of any row, on the axis of the rows; None before the first one."""
        return max((stream.last_row for stream in self.streams.values() if stream.last_row is not None), default=None)

    def tell(self, rows: MessageRows, columns: Columns, now: int) -> Round:
        """Evidence of what was heard since the last time.

        Args:
            rows: messages, signals and counts.
            columns: the rows of the same messages.
            now: ns by the collector's clock, at which `rows` were taken.
        """
        heard = self._measure(columns)
        self.unreadable += rows.unreadable
        intervals: list[dict[str, Any]] = []
        for key, messages in rows.heard.items():
            if (stream := self.streams.get(key)) is not None:
                self._note_messages(stream, messages, max(rows.last_receive, self._last_receive or 0))
        for signal in rows.signals:
            self._signal(signal, heard, intervals)
        self._last_receive = max(self._last_receive or 0, rows.last_receive) or None
        for key, stream in self.streams.items():
            self._hear(stream, heard.get(key), None, intervals)
        events = [self._event(signal) for signal in rows.signals]
        stalled = tuple(self._find_stalled(now, events))
        for stream in self.streams.values():
            self._extend(stream, self._end(), intervals)
        return Round(
            pl.DataFrame(intervals, schema=_INTERVALS, orient="row"),
            pl.DataFrame(events, schema=EVENTS, orient="row"),
            stalled,
        )

    def forget_clock(self) -> None:
        """The collector's clock was set, and every stream is closed: moments by it are not compared with later ones any more.

        A gap that is closed afterwards takes away whatever the two clocks call the same time.
        """
        self._lags.clear()
        self._last_receive = None
        for stream in self.streams.values():
            stream.heard_time = stream.last_row = None
            stream.clock_was_set = True

    def _find_stalled(self, now: int, events: list[dict[str, Any]]) -> Iterator[Key]:
        """Streams that fell silent; an event for each silence."""
        for key, stream in self.streams.items():
            if stream.warned or not stream.is_open or stream.heard_time is None:
                continue
            if now - stream.heard_time <= self._stalled_after:
                continue
            stream.warned = True
            is_stalled = stream.liveliness >= _LIVELY
            events.append(
                self._event(Signal(ConnectionEventKind.STALLED, now, *key, detail={"was_lively": is_stalled}))
            )
            if is_stalled:
                self._close(stream, stream.last_row, GapReason.STALLED)
                yield key

    def _measure(self, columns: Columns) -> dict[Key, _Rows]:
        """Moments of the rows of each stream; the lag and the messages of the connection on the way."""
        self._received = _NO_ROWS
        parts: list[pl.DataFrame] = []
        for table, frame in columns.tables.items():
            name = table.removesuffix("_wide")
            dataset = _TABLES.get(name) or StreamDataset(name)
            parts.append(
                frame.select(
                    pl.lit(dataset.value).alias("dataset"),
                    "symbol",
                    "receive_time",
                    (pl.col("timestamp").dt.epoch("us") * _MICROSECOND).alias("moment"),
                    pl.lit(name == "book_snapshots").alias("is_snapshot"),
                )
            )
        if not parts:
            return {}
        rows = pl.concat(parts).sort("receive_time", maintain_order=True)
        self._received = rows["receive_time"].to_numpy()
        # A book may have been whole for long when it is sent.
        lag = rows.filter(~pl.col("is_snapshot")).select(pl.col("receive_time") - pl.col("moment")).to_series()
        low, high = lag.min(), lag.max()
        if isinstance(low, int) and isinstance(high, int):
            # The floor of a microsecond is no lag.
            self._lags.append((low - _MICROSECOND, high))
        return {
            (StreamDataset(str(dataset)), str(symbol)): _Rows(
                part["receive_time"].to_numpy(), part["moment"].to_numpy()
            )
            for (dataset, symbol), part in rows.group_by(["dataset", "symbol"], maintain_order=True)
        }

    def _lag(self) -> int:
        return max((high for _, high in self._lags), default=0)

    def _begin(self, receive_time: int) -> int:
        """From when on everything is heard that comes after a moment of the collector's clock.

        Later than that moment where the venue's clock is ahead, and never earlier: what was slow so far may be fast now.
        """
        return receive_time - min((low for low, _ in self._lags if low < 0), default=0)

    def _end(self) -> int | None:
        """Up to when everything is heard."""
        return None if self._last_receive is None else self._last_receive - self._lag()

    def _signal(self, signal: Signal, heard: Mapping[Key, _Rows], intervals: list[dict[str, Any]]) -> None:
        kind = signal.kind
        came = int(np.searchsorted(self._received, signal.receive_time))
        if came:
            self._last_receive = max(self._last_receive or 0, int(self._received[came - 1]))
        for (dataset, symbol), stream in self.streams.items():
            if signal.dataset not in {None, dataset} or signal.symbol not in {None, symbol}:
                continue
            own = heard.get((dataset, symbol))
            self._hear(stream, own, signal.receive_time, intervals)
            after = None if own is None else own.next_moment()
            if (ended := _ENDED.get(kind)) is not None:
                self._extend(stream, self._end(), intervals)
                self._close(stream, None, ended)
            elif kind is ConnectionEventKind.SNAPSHOT or (
                kind is ConnectionEventKind.SUBSCRIBED and dataset is not StreamDataset.BOOK_UPDATES
            ):
                laid = after if kind is ConnectionEventKind.SNAPSHOT else None
                start = self._begin(signal.receive_time) if laid is None else laid
                self._open(stream, start, signal.receive_time, intervals)
            elif kind is ConnectionEventKind.VENUE and signal.detail.get("ended") is True:
                # A contract that is over: nothing is missing after it, and nobody waits for more.
                self._extend(stream, self._end(), intervals)
                stream.reached = stream.gap_start = stream.gap_reason = None
                stream.is_over = True
            elif (reason := _BROKEN.get(kind)) is not None and stream.is_open:
                self._break(stream, signal, reason, after, intervals)

    def _break(
        self, stream: Stream, signal: Signal, reason: GapReason, after: int | None, intervals: list[dict[str, Any]]
    ) -> None:
        """Something is missing between the last row and this message."""
        start = min(stream.reached or signal.receive_time, self._begin(signal.receive_time))
        if stream.last_row is not None:
            start = stream.last_row
        self._extend(stream, start, intervals)
        if signal.resubscribe:
            stream.missing += _missing(signal) or 0
            self._close(stream, start, reason)
            return
        end = max(self._begin(signal.receive_time) if after is None else after + _MICROSECOND, start + _MICROSECOND)
        self._gap(stream, start, end, reason, intervals, signal)
        stream.reached = max(stream.reached or end, end)

    def _note_messages(self, stream: Stream, messages: int, heard_time: int) -> None:
        stream.messages += messages
        stream.untold_messages += messages
        passed = heard_time - (stream.heard_time or heard_time)
        stream.liveliness = stream.liveliness * math.exp(-max(passed, 0) / self._stalled_after) + messages
        stream.heard_time, stream.warned = max(stream.heard_time or 0, heard_time), False

    def _hear(self, stream: Stream, own: _Rows | None, until: int | None, intervals: list[dict[str, Any]]) -> None:
        """The next rows of a stream, up to a message or all of them."""
        moments = _NO_ROWS if own is None else own.take_until(until)
        if not len(moments):
            return
        stream.rows += len(moments)
        stream.untold_rows += len(moments)
        stream.lag = self._lags[-1][1] if self._lags else None
        # A book is whole only from a snapshot on.
        if not stream.is_open and stream.dataset is not StreamDataset.BOOK_UPDATES:
            # Others of the same moment may have come before anybody listened.
            self._open(stream, int(moments.min()) + _MICROSECOND, stream.heard_time or 0, intervals)
        stream.last_row = max(stream.last_row or 0, int(moments.max()))

    def _extend(self, stream: Stream, end: int | None, intervals: list[dict[str, Any]]) -> None:
        """Everything up to a moment was heard; a row says that what its venue sent before it was, too."""
        if stream.reached is None:
            return
        reached = max(end or 0, 0 if stream.last_row is None else stream.last_row + _MICROSECOND)
        if reached <= stream.reached:
            return
        counts = {"messages": stream.untold_messages, "rows": stream.untold_rows}
        intervals.append(self._interval(stream, stream.reached, reached, *self._kind) | counts)
        stream.reached, stream.untold_messages, stream.untold_rows = reached, 0, 0

    def _open(self, stream: Stream, start: int, receive_time: int, intervals: list[dict[str, Any]]) -> None:
        stream.heard_time = max(stream.heard_time or 0, receive_time)
        self._last_receive = max(self._last_receive or 0, receive_time)
        if stream.is_open:
            return
        opened = start
        if stream.gap_start is not None and stream.gap_reason is not None:
            began, start = stream.gap_start, max(start, stream.gap_start + 1)
            if stream.clock_was_set:
                began, start = min(began, opened), max(start, stream.told_until)
            self._gap(stream, began, start, stream.gap_reason, intervals)
        stream.reached, stream.gap_start, stream.gap_reason = start, None, None
        stream.clock_was_set = False

    def _close(self, stream: Stream, at: int | None, reason: GapReason) -> None:
        """It is not covered since a moment, or since it was heard last, of which moment there may have been more."""
        if stream.reached is not None:
            heard = stream.reached if stream.last_row is None else min(stream.reached, stream.last_row)
            complete = self._end() or 0
            stream.gap_start, stream.gap_reason = (
                max(heard, min(stream.reached, complete)) if at is None else at,
                reason,
            )
            stream.told_until, stream.reached = stream.reached, None

    def _gap(
        self,
        stream: Stream,
        start: int,
        end: int,
        reason: GapReason,
        intervals: list[dict[str, Any]],
        signal: Signal | None = None,
    ) -> None:
        missing = None if signal is None else _missing(signal)
        stream.gaps += 1
        stream.missing += missing or 0
        gap = self._interval(stream, start, end, IntervalKind.GAP, reason) | {"missing": missing}
        if signal is not None:
            gap |= {"first_sequence": signal.first_sequence, "last_sequence": signal.last_sequence}
        intervals.append(gap)

    def _interval(
        self, stream: Stream, start: int, end: int, kind: IntervalKind, reason: GapReason | None
    ) -> dict[str, Any]:
        return {
            "source": self._source, "symbol": stream.symbol, "dataset": stream.dataset.value,
            "timestamp": from_microseconds(start // _MICROSECOND), "start_time": start, "end_time": end, "kind": kind.value,
            "reason": None if reason is None else reason.value, "collector": self._collector, "messages": 0, "rows": 0,
            "missing": None, "first_sequence": None, "last_sequence": None,
        }  # fmt: skip

    def _event(self, signal: Signal) -> dict[str, Any]:
        return event_row(signal, self._source, self._collector, self._connection)


def _missing(signal: Signal) -> int | None:
    if signal.first_sequence is None or signal.last_sequence is None:
        return None
    return max(signal.last_sequence - signal.first_sequence + 1, 0)
