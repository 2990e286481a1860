"""This module is the process of `gb collect`: it hears all streams, keeps them in the spool, and commits them from there.

Three things go on beside each other: connections are read in the event loop, once in half an fsync interval a worker thread makes
columns and evidence of what came and makes them durable, and another one commits sealed journals. Only the spool knows both ends.
"""

from __future__ import annotations

import asyncio
import gc
import math
import os
import signal
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from importlib.metadata import version
from typing import Any

from gb_pipeline.collectors.clock import ReceiveClock
from gb_pipeline.collectors.earlier import reached_before
from gb_pipeline.collectors.evidence import Key
from gb_pipeline.collectors.feed import Batches, Feed, Heard
from gb_pipeline.collectors.flush import SPOOLED, Flushed, describe_failure, flush_segment
from gb_pipeline.collectors.healing import heal_trades
from gb_pipeline.collectors.logs import Log, silent_log
from gb_pipeline.collectors.messages import MessageRows, Signal
from gb_pipeline.collectors.resident import resident_bytes
from gb_pipeline.collectors.spool import Spool
from gb_pipeline.collectors.state import CollectorState, StreamState
from gb_pipeline.collectors.tally import Rates
from gb_pipeline.config.settings import Settings
from gb_pipeline.errors import ConfigError, GbError
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.tick_schema import ConnectionEventKind, GapReason

_SECOND = 1_000_000_000
_VERSION = version("gb_pipeline")
_STATE_SECONDS = 1.0
# Holes are looked for after a flush, but not more often.
_HEAL_SECONDS = 60.0
# Rows of messages are tuples by the hundred thousand, none of which is in a cycle: by default the search for garbage takes half of
# the time, looking at them again and again.
_GARBAGE_THRESHOLDS = (100_000, 20, 20)
# A collector that ends by itself counts from here at the latest.
_OPEN_SECONDS = 30.0
# A lake that cannot be written is tried again after a pause that doubles up to this.
_LONGEST_RETRY_SECONDS = 300.0


def run_collector(
    settings: Settings,
    *,
    log: Log = silent_log,
    ready: Callable[[], None] | None = None,
    seconds: float | None = None,
) -> CollectorState:
    """Hear what gb.yaml names until SIGTERM or Ctrl-C, then commit what is left.

    Args:
        settings: of the project.
        log: told of every happening by name and facts; never of a credential.
        ready: called once everything is set up and connections are being opened.
        seconds: end by itself after so many, counted from the moment at which all streams are heard, or 30 seconds after the start
            where one stays silent.

    Returns:
        The last state.

    Raises:
        ConfigError: nothing is to be heard, or a stream cannot be.
        LakeError: another process uses the spool, or its folder cannot be written.
    """
    if not settings.collect.streams:
        raise ConfigError(
            f"{settings.path.name} names no stream that could be heard",
            fix="add one under `collect: {streams: ...}`; docs/collecting.md shows how",
        )
    collector = Collector(settings, log)
    with few_collections():
        return _run(collector.run(ready, seconds))


@contextmanager
def few_collections() -> Iterator[None]:
    """Garbage is looked for seldom, and not among what is there already."""
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GARBAGE_THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def flush_pending(settings: Settings) -> list[Flushed]:
    """Commit the journals of a spool that nobody writes, such as after a machine was moved.

    Raises:
        LakeError: a collector has the spool open and commits by itself, or the lake cannot be written.
    """
    spool, store = Spool(settings.spool, SPOOLED), LakeStore.of_project(settings)
    try:
        return [flush_segment(store, segment, settings.collect.collector) for segment in spool.segments()]
    finally:
        spool.close()


def _run(work: Coroutine[Any, Any, CollectorState]) -> CollectorState:
    with suppress(ImportError):
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(work)
    return asyncio.run(work)


class Collector:
    """What one process hears.

    Args:
        settings: of the project.
        log: see `run_collector`.
        store: the lake; that of the project by default.
    """

    def __init__(self, settings: Settings, log: Log = silent_log, store: LakeStore | None = None) -> None:
        """Open the spool; nothing is heard before `run`."""
        self.settings, self.log = settings, log
        self.store = store or LakeStore.of_project(settings)
        self.clock = ReceiveClock()
        self.name = settings.collect.collector
        limit = settings.collect.spool_limit_mb
        self.spool = Spool(settings.spool, SPOOLED, None if limit is None else int(limit * 1e6))
        self.feeds: list[Feed] = []
        self._started = self.clock.now()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="gb-spool")
        self._flusher = ThreadPoolExecutor(1, thread_name_prefix="gb-flush")
        self._waiting: Batches = []
        self._rates = Rates()
        self._flushed: Flushed | None = None
        self._last_flush_time: int | None = None
        self._last_flush_seconds = 0.0
        self._sealed_at = time.monotonic()
        self._healed_at = -math.inf
        self._spool_error: str | None = None
        self._flush_error: str | None = None
        self._stop: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def stop(self) -> None:
        """Ask for the end, from any thread; what was heard is committed first."""
        if self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)

    async def run(self, ready: Callable[[], None] | None = None, seconds: float | None = None) -> CollectorState:
        """Hear until `stop`, SIGTERM or Ctrl-C, or so many seconds (see `run_collector`); the last state."""
        self._stop = asyncio.Event()
        self._loop = loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            with suppress(ValueError, RuntimeError, NotImplementedError):
                loop.add_signal_handler(number, self._stop.set)
        beside: list[asyncio.Task[None]] = []
        try:
            ends = await loop.run_in_executor(
                self._flusher, reached_before, self.spool, self.store, self.name, self.log
            )
            for source, stream in self.settings.collect.streams.items():
                own = {(dataset, symbol): end for (name, dataset, symbol), end in ends.items() if name == source}
                feed = Feed(
                    source, stream, self.name, self.clock,
                    ends=own, queue_seconds=self.settings.collect.queue_seconds, log=self.log,
                )  # fmt: skip
                self.feeds.append(feed)
            commits = self.settings.collect.flush.every.total_seconds()
            self._tell_all(ConnectionEventKind.STARTED, version=_VERSION, flush_seconds=commits)
            self.log("started", collector=self.name, streams=len(self.feeds))
            for feed in self.feeds:
                feed.subscribe(list(feed.settings.symbols))
            if ready is not None:
                ready()
            # A venue that answers late keeps nobody from keeping what the others say.
            beside = [asyncio.create_task(feed.keep_discovering()) for feed in self.feeds if feed.settings.series]
            beside.append(asyncio.create_task(self._flush_when_due()))
            await self._hear(seconds)
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            await self._end(loop)
        return self._state(stopped=True)

    async def _hear(self, seconds: float | None) -> None:
        """Take what came, again and again."""
        assert self._stop is not None
        loop = asyncio.get_running_loop()
        interval = self.settings.collect.fsync_seconds / 2
        stated = started = loop.time()
        ends = math.inf
        while not self._stop.is_set():
            began = loop.time()
            await self._keep(loop)
            if loop.time() - stated >= _STATE_SECONDS:
                stated = loop.time()
                self._write_state()
            if seconds is not None and ends == math.inf and (self._hears_all() or began - started > _OPEN_SECONDS):
                ends = loop.time() + seconds
            if loop.time() >= ends:
                self._stop.set()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), max(0.0, interval - (loop.time() - began)))

    def _hears_all(self) -> bool:
        streams = [stream for feed in self.feeds for item in feed.heard for stream in item.evidence.streams.values()]
        return bool(streams) and all(stream.is_open for stream in streams)

    async def _keep(self, loop: asyncio.AbstractEventLoop, *, is_last: bool = False) -> None:
        """Make what came durable. While the disk refuses, it stays here, and connections are not read any further."""
        if self._waiting and not await loop.run_in_executor(self._worker, self._append, []):
            return
        step = self.clock.step()
        if step:
            self.log("clock_set", seconds=step / _SECOND)
            for feed in self.feeds:
                for item in feed.heard:
                    item.link.follow_clock(step / _SECOND)
        now = self.clock.now()
        taken = [(feed, feed.take()) for feed in self.feeds]
        if step:
            # Nothing was stamped in between: all that was taken, and the end of each connection, are by the old clock.
            self.clock.follow(step)
        stalled = await loop.run_in_executor(self._worker, self._tell, taken, now, is_last)
        if step:
            for feed in self.feeds:
                for item in feed.heard:
                    item.evidence.forget_clock()
        for item in stalled:
            item.link.reconnect("a stream that was lively fell silent")

    def _tell(self, taken: list[tuple[Feed, list[tuple[Heard, MessageRows]]]], now: int, is_last: bool) -> list[Heard]:
        batches: Batches = []
        stalled: list[Heard] = []
        for feed, rows in taken:
            told, silent = feed.tell(rows, now, is_last=is_last)
            batches += told
            stalled += silent
        self._append(batches)
        return stalled

    def _append(self, batches: Batches) -> bool:
        self._waiting += batches
        try:
            self.spool.append(self._waiting)
        except OSError as error:
            if self._spool_error is None:
                self.log("spool_error", error=error.strerror or str(error), folder=str(self.spool.folder))
            self._spool_error = error.strerror or str(error)
            return False
        if self._spool_error is not None:
            self.log("spool_works_again", folder=str(self.spool.folder))
        self._spool_error = None
        self._waiting = []
        return True

    # --- commits --------------------------------------------------------------------------------------------------------------

    async def _flush_when_due(self) -> None:
        loop = asyncio.get_running_loop()
        retry, wait = 1.0, 0.0
        flush = self.settings.collect.flush
        while True:
            await asyncio.sleep(max(0.2, wait))
            wait = 0.0
            due = (
                self.spool.rows >= flush.rows
                or self.spool.bytes >= flush.spool_mb * 1e6
                or time.monotonic() - self._sealed_at >= flush.every.total_seconds()
                # A full disk has room again once what waits there is in the lake.
                or (self._spool_error is not None and self.spool.rows > 0)
            )
            if due:
                await loop.run_in_executor(self._worker, self._seal)
            if due or self.spool.segments():
                done = await loop.run_in_executor(self._flusher, self._flush)
                if done and self._flushed is not None and self.settings.collect.heal:
                    await loop.run_in_executor(self._flusher, self._heal)
                retry, wait = (1.0, 0.0) if done else (min(2 * retry, _LONGEST_RETRY_SECONDS), retry)

    def _seal(self) -> None:
        self._sealed_at = time.monotonic()
        self.spool.seal()

    def _flush(self) -> bool:
        for segment in self.spool.segments():
            began = time.monotonic()
            try:
                flushed = flush_segment(self.store, segment, self.name)
            except Exception as error:
                # A mistake of the program keeps nobody from hearing, and nobody from trying again.
                what, fix = describe_failure(error)
                if self._flush_error != what:
                    self.log("flush_failed", error=what, fix=fix)
                self._flush_error = what
                return False
            self._flush_error = None
            self._note(flushed, time.monotonic() - began)
        return True

    def _heal(self) -> None:
        """Ask for the trades of holes; the same is tried after later flushes, so that nothing that fails here matters."""
        if time.monotonic() - self._healed_at < _HEAL_SECONDS or self._is_stopping():
            return
        self._healed_at = time.monotonic()
        try:
            heal_trades(self.settings, now=self.clock.now(), store=self.store, log=self.log, stopped=self._is_stopping)
        except Exception as error:
            self.log("healing_failed", error=error.what if isinstance(error, GbError) else type(error).__name__)

    def _is_stopping(self) -> bool:
        return self._stop is not None and self._stop.is_set()

    def _note(self, flushed: Flushed, seconds: float) -> None:
        self._flushed, self._last_flush_time, self._last_flush_seconds = flushed, self.clock.now(), seconds
        self.log(
            "flushed", segment=flushed.segment, rows=flushed.rows, refused=flushed.refused, seconds=round(seconds, 3)
        )

    async def _end(self, loop: asyncio.AbstractEventLoop) -> None:
        """Close connections, keep what came, and commit it."""
        await asyncio.gather(*(feed.stop() for feed in self.feeds))
        self.spool.limit = None
        if self.feeds:
            self._tell_all(ConnectionEventKind.STOPPED)
            await self._keep(loop, is_last=True)
        await self._commit_rest(loop)
        if self._waiting:
            # The disk was full; what was committed has made room.
            await self._keep(loop, is_last=True)
            await self._commit_rest(loop)
        self._write_state(stopped=True)
        self._worker.shutdown()
        self._flusher.shutdown()
        self.spool.close()
        self.log("stopped", collector=self.name, committed=self._flush_error is None)

    async def _commit_rest(self, loop: asyncio.AbstractEventLoop) -> None:
        await loop.run_in_executor(self._worker, self._seal)
        await loop.run_in_executor(self._flusher, self._flush)

    def _tell_all(self, kind: ConnectionEventKind, **detail: str | float) -> None:
        """What happens to this collector, in the events of each source that it hears."""
        moment = self.clock.stamp()
        for feed in self.feeds:
            feed.note(Signal(kind, moment, detail=dict(detail)))

    # --- state ----------------------------------------------------------------------------------------------------------------

    def _write_state(self, *, stopped: bool = False) -> None:
        with suppress(OSError):
            self._state(stopped=stopped).write(self.spool.folder)

    def _state(self, *, stopped: bool = False) -> CollectorState:
        now = self.clock.now()
        links = [(feed, item) for feed in self.feeds for item in feed.heard]
        streams = tuple(
            self._stream_state(feed.source, item, key) for feed, item in links for key in item.evidence.streams
        )
        self._rates.note(
            now, {(item.source, item.dataset, item.symbol): (item.messages, item.rows) for item in streams}
        )
        return CollectorState(
            collector=self.name, pid=os.getpid(), version=_VERSION, started_time=self._started, written_time=now,
            streams=tuple(self._rates.apply(item) for item in streams),
            queue_seconds=max((item.link.queue_ns() for _, item in links), default=0) / _SECOND,
            spool_bytes=self._spool_bytes(), spool_rows=self.spool.rows,
            last_flush_time=self._last_flush_time, last_flush_rows=0 if self._flushed is None else self._flushed.rows,
            last_flush_seconds=self._last_flush_seconds, flush_error=self._flush_error, spool_error=self._spool_error,
            reconnects=sum(max(0, item.link.reconnects) for _, item in links),
            unreadable=sum(item.evidence.unreadable for _, item in links), rss_bytes=resident_bytes(), stopped=stopped,
        )  # fmt: skip

    def _spool_bytes(self) -> int:
        with suppress(OSError):
            return self.spool.waiting_bytes()
        return 0

    def _stream_state(self, source: str, item: Heard, key: Key) -> StreamState:
        stream = item.evidence.streams[key]
        return StreamState(
            source=source, dataset=stream.dataset.value, symbol=stream.symbol, connection=item.link.connection.name,
            connected=item.link.is_connected, messages=stream.messages, rows=stream.rows,
            lag_ms=None if stream.lag is None else stream.lag / 1e6, last_message_time=stream.heard_time,
            stalled=stream.gap_reason is GapReason.STALLED, open_gap=None if stream.gap_reason is None else stream.gap_reason.value,
            begun=stream.is_open or stream.is_over or stream.gap_reason is not None,
            gaps=stream.gaps + (stream.gap_reason is not None), missing=stream.missing,
        )  # fmt: skip
