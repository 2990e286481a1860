"""This module is one stream of gb.yaml while it is heard: its venue, its connections, and what is told of them each second.

Symbols come from the settings, or from the venue where contracts come and go; new ones get connections of their own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import polars as pl

from gb_pipeline.collectors.books import FollowedBooks
from gb_pipeline.collectors.clock import ReceiveClock
from gb_pipeline.collectors.columns import Columns, to_columns
from gb_pipeline.collectors.events import event_rows
from gb_pipeline.collectors.evidence import Evidence, Key
from gb_pipeline.collectors.link import Link
from gb_pipeline.collectors.messages import MessageRows, Signal
from gb_pipeline.collectors.planned import build_venue, subscriptions
from gb_pipeline.collectors.venue import Connection
from gb_pipeline.config.collect import StreamSettings
from gb_pipeline.errors import GbError
from gb_pipeline.lake.datasets import WATERMARKS
from gb_pipeline.market.moments import from_microseconds
from gb_pipeline.market.schema import polars_schema
from gb_pipeline.market.spelling import list_some
from gb_pipeline.market.tick_schema import ConnectionEventKind, StreamDataset

Batches = list[tuple[str, pl.DataFrame]]
_SECOND = 1_000_000_000
# How often it is looked whether new contracts are to be asked for.
_LOOK_SECONDS = 1.0
_WATERMARKS = polars_schema(WATERMARKS.columns)


@dataclass(slots=True)
class Heard:
    """A connection, its evidence, and the task that keeps it open."""

    link: Link
    evidence: Evidence
    books: FollowedBooks
    task: asyncio.Task[None] | None = None
    # All of its contracts were over when the venue was asked; then it was closed.
    is_over: bool = False
    is_retired: bool = False


class Feed:
    """One stream of gb.yaml.

    Args:
        source: its name.
        settings: what is heard.
        collector: who hears.
        clock: stamps of messages.
        ends: up to when each of its subscriptions was covered before.
        queue_seconds: see `Link`.
        log: see `Link`.
    """

    def __init__(
        self,
        source: str,
        settings: StreamSettings,
        collector: str,
        clock: ReceiveClock,
        *,
        ends: Mapping[Key, int],
        queue_seconds: float,
        log: Callable[..., None],
    ) -> None:
        """Nothing is opened."""
        self.source, self.settings, self.venue = source, settings, build_venue(source, settings)
        self.heard: list[Heard] = []
        self._happened: list[Signal] = []
        self._discovered: int | None = None
        self._collector, self._clock, self._ends = collector, clock, ends
        self._queue_seconds, self._log = queue_seconds, log
        self._known: set[str] = set()
        self.refused = 0

    def subscribe(self, symbols: list[str]) -> int:
        """Open connections for symbols that are not heard yet; how many are new."""
        new = [symbol for symbol in symbols if symbol not in self._known]
        if not new:
            return 0
        self._known |= set(new)
        for connection in self.venue.connections(subscriptions(self.venue, self.settings, new)):
            self._open(connection)
        return len(new)

    def _open(self, connection: Connection) -> None:
        link = Link(self.venue, connection, self._clock, queue_seconds=self._queue_seconds, log=self._log)
        evidence = Evidence(
            self.source,
            connection,
            self._collector,
            stalled_after=int(self.settings.stalled_after.total_seconds() * _SECOND),
            ends=self._ends,
            best_effort=self.venue.best_effort,
        )
        every = self.settings.snapshot_every
        books = FollowedBooks(
            connection.subscriptions,
            None if every is None else int(every.total_seconds() * _SECOND),
            cut=self.venue.cuts_books,
        )
        self.heard.append(Heard(link, evidence, books, asyncio.create_task(link.run())))

    def note(self, signal: Signal) -> None:
        """Remember what happened to the collector itself; it is told with the next round."""
        self._happened.append(signal)

    async def keep_discovering(self) -> None:
        """Ask for new contracts whenever it is time to, until it is cancelled."""
        while True:
            await self.discover()
            await asyncio.sleep(_LOOK_SECONDS)

    async def discover(self) -> int:
        """Ask the venue which contracts are open, where the settings name series and it is time to; how many are new."""
        now, every = self._clock.now(), int(self.settings.discover_every.total_seconds() * _SECOND)
        # A clock that was set back makes it due.
        if not self.settings.series or (self._discovered is not None and 0 <= now - self._discovered < every):
            return 0
        self._discovered = now
        try:
            found = await self.venue.discover(self.settings.series)
        except GbError as error:
            self._log("discovery_failed", source=self.source, error=error.what, fix=error.fix)
            return 0
        await self._retire({*found, *self.settings.symbols})
        return self.subscribe(found)

    async def _retire(self, wanted: set[str]) -> None:
        """Close connections whose contracts are all over; not before the second time, for the last messages are under way."""
        for item in self.heard:
            symbols = {subscription.symbol for subscription in item.link.connection.subscriptions}
            if not symbols.isdisjoint(wanted):
                item.is_over = False
            elif not item.is_over:
                item.is_over = True
            elif not item.is_retired:
                await item.link.stop()
                if item.task is not None:
                    await asyncio.gather(item.task, return_exceptions=True)
                item.is_retired = True
                # Should the venue open them again, they are new ones.
                self._known -= symbols
                self._log("retired", source=self.source, connection=item.link.connection.name, contracts=len(symbols))

    def take(self) -> list[tuple[Heard, MessageRows]]:
        """What was heard since the last time, by connection; one that was closed is in it for the last time."""
        taken = [(item, item.link.take()) for item in self.heard]
        for item, rows in taken:
            self._log_refusals(item.link.connection.name, rows)
        self.heard = [item for item in self.heard if not item.is_retired]
        return taken

    def _log_refusals(self, connection: str, rows: MessageRows) -> None:
        """One line for each thing that a venue refuses, however many subscriptions it is about."""
        refused: dict[tuple[str, str], list[str]] = {}
        for signal in rows.signals:
            if signal.kind is ConnectionEventKind.REFUSED:
                words = (str(signal.detail.get("error") or ""), str(signal.detail.get("fix") or ""))
                refused.setdefault(words, []).append(signal.symbol or "")
        for (error, fix), symbols in refused.items():
            named = list_some(sorted({symbol for symbol in symbols if symbol}))
            self._log("refused", source=self.source, connection=connection, symbols=named, error=error, fix=fix)

    def tell(
        self, taken: list[tuple[Heard, MessageRows]], now: int, *, is_last: bool = False
    ) -> tuple[Batches, list[Heard]]:
        """Rows and evidence of what was taken, in the order in which they are to be kept; connections of streams that stalled.

        Args:
            taken: see `take`.
            now: ns by the collector's clock, at which it was taken.
            is_last: nothing comes after it, however late it would be: all of it is settled.
        """
        rows: Batches = []
        told: Batches = []
        stalled = []
        counts = dict.fromkeys(self.settings.datasets, 0)
        for item, messages in taken:
            item.books.follow(messages)
            columns = to_columns(messages, self.source, self.venue.time_unit, self._collector)
            rows += columns.tables.items()
            if columns.refused.height:
                rows.append(("refused", columns.refused))
                self.refused += columns.refused.height
            told_now = item.evidence.tell(messages, columns, now)
            told += [("stream_intervals", told_now.intervals), ("connection_events", told_now.events)]
            _count(columns, counts)
            if told_now.stalled:
                stalled.append(item)
        through = min((item.evidence.through(now) for item, _ in taken), default=now)
        if is_last:
            through = max((item.evidence.newest_row or now for item, _ in taken), default=now)
            through = max(through + 1, now)
        happened, self._happened = self._happened, []
        told.append(("connection_events", event_rows(happened, self.source, self._collector)))
        told.append(("watermarks", self._watermarks(through, counts)))
        return [*rows, *told], stalled

    def _watermarks(self, through: int, counts: Mapping[StreamDataset, int]) -> pl.DataFrame:
        rows = [
            {
                "source": self.source, "dataset": dataset.value, "collector": self._collector,
                "timestamp": from_microseconds(through // 1_000), "through_time": through, "segment": 0, "rows": count,
            }
            for dataset, count in counts.items()
        ]  # fmt: skip
        return pl.DataFrame(rows, schema=_WATERMARKS, orient="row")

    async def stop(self) -> None:
        """Close all connections."""
        await asyncio.gather(*(item.link.stop() for item in self.heard))
        await asyncio.gather(*(item.task for item in self.heard if item.task is not None), return_exceptions=True)


def _count(columns: Columns, counts: dict[StreamDataset, int]) -> None:
    for table, frame in columns.tables.items():
        name = table.removesuffix("_wide")
        dataset = StreamDataset.BOOK_UPDATES if name == "book_snapshots" else StreamDataset(name)
        counts[dataset] = counts.get(dataset, 0) + frame.height
