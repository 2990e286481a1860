"""`Cache`, the places where answers are kept: memory first, then files, then Redis. What is found further away comes nearer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import polars as pl

from gb_pipeline.caching.folder import CacheFolder
from gb_pipeline.caching.key import Key
from gb_pipeline.caching.memory import Memory
from gb_pipeline.config.cache import CacheOptions

if TYPE_CHECKING:
    from gb_pipeline.caching.redis_store import RedisStore


@dataclass(frozen=True, slots=True)
class Kept:
    """What one place keeps of a lake.

    Attributes:
        place: `memory`, `disk` or `redis`.
        where: a folder or host; empty for memory.
        answers: how many.
        bytes: how much; None where it could not be asked.
        bound: how much it may be, in bytes; None where nothing bounds it here.
        hits, misses: how often an answer was there, and how often not; of the disk for all processes since it was last
            cleared, else for this one.
    """

    place: str
    where: str
    answers: int | None
    bytes: int | None
    bound: int | None
    hits: int | None
    misses: int | None


class Cache:
    """Answers of one lake. Safe for threads; every process has its own, and may share files and Redis with others.

    Attributes:
        lake: its name in keys.
        hits, misses: how often an answer was in any of the places, and how often in none.
    """

    def __init__(self, lake: str, options: CacheOptions, state: Path) -> None:
        """Nothing is opened or connected to.

        Args:
            lake: as `lake_name` says.
            options: which places there are.
            state: folder of the lake's state on this machine.

        Raises:
            ConfigError: Redis is wanted and its client is not installed.
        """
        self.lake = lake
        self.options = options
        self.memory = Memory(options.memory_mb)
        self._files = CacheFolder(options.folder or state / "cache", options.disk_mb)
        self.folder = self._files if options.disk else None
        self.redis = _redis(options)
        self.hits = self.misses = 0
        self._memory_hits = self._redis_hits = self._redis_misses = 0
        self._lock = Lock()

    @property
    def keeps_anything(self) -> bool:
        """Whether there is any place."""
        return self.memory.bound > 0 or self.folder is not None or self.redis is not None

    @property
    def is_shared(self) -> bool:
        """Whether other processes see what is kept."""
        return self.folder is not None or self.redis is not None

    @property
    def bytes(self) -> int:
        """How much is kept in memory."""
        return self.memory.bytes

    def get(self, key: Key) -> pl.DataFrame | None:
        """The answer that is kept under a key."""
        found = self.memory.get(key.digest)
        with self._lock:
            self._memory_hits += found is not None
        if found is None and key.lasting:
            found = self._get_further(key)
        with self._lock:
            self.hits, self.misses = self.hits + (found is not None), self.misses + (found is None)
        return found

    def _get_further(self, key: Key) -> pl.DataFrame | None:
        found = None if self.folder is None else self.folder.get(key)
        if found is None and self.redis is not None:
            found = self.redis.get(key)
            with self._lock:
                self._redis_hits += found is not None
                self._redis_misses += found is None
            if found is not None and self.folder is not None:
                self.folder.put(key, found)
        if found is not None:
            self.memory.put(key.digest, found)
        return found

    def put(self, key: Key, frame: pl.DataFrame) -> None:
        """Keep an answer."""
        self.memory.put(key.digest, frame)
        if key.lasting:
            if self.folder is not None:
                self.folder.put(key, frame)
            if self.redis is not None:
                self.redis.put(key, frame)

    def remove(self, key: Key) -> None:
        """Remove an answer from every place."""
        self.memory.remove(key.digest)
        if self.folder is not None:
            self.folder.remove(key)
        if self.redis is not None:
            self.redis.remove(key)

    def clear(self) -> list[Kept]:
        """Remove everything of the lake; what that was."""
        removed = [self._in_memory(self.memory.answers)]
        self.memory.clear()
        # Also what was kept before somebody said that no files are.
        answers, size = self._files.clear(self.lake)
        if self.folder is not None or answers:
            removed.append(Kept("disk", str(self._files.folder), answers, size, self._files.bound, None, None))
        if self.redis is not None:
            there, size_there = self.redis.clear(self.lake) or (None, None)
            removed.append(Kept("redis", self.redis.where, there, size_there, None, None, None))
        return removed

    def read_marks(self, name: str) -> list[str]:
        """What was noted last under a name, in the files and in Redis, where that was done and can be asked."""
        marks = [] if self.folder is None else [self.folder.read_mark(self.lake, name)]
        if self.redis is not None:
            marks.append(self.redis.read_mark(self.lake, name))
        return [mark for mark in marks if mark is not None]

    def write_mark(self, name: str, text: str) -> None:
        """Note something beside what is kept."""
        if self.folder is not None:
            self.folder.write_mark(self.lake, name, text)
        if self.redis is not None:
            self.redis.write_mark(self.lake, name, text)

    def statistics(self) -> list[Kept]:
        """What every place keeps of the lake."""
        kept = [self._in_memory(self.memory.answers)]
        measured = self._files.measure(self.lake)
        if self.folder is not None or measured[0]:
            counts = self._files.counts(self.lake)
            kept.append(Kept("disk", str(self._files.folder), *measured, self._files.bound, *counts))
        if self.redis is not None:
            answers, size = self.redis.measure(self.lake) or (None, None)
            kept.append(Kept("redis", self.redis.where, answers, size, None, self._redis_hits, self._redis_misses))
        return kept

    def _in_memory(self, answers: int) -> Kept:
        misses = self.hits + self.misses - self._memory_hits
        return Kept("memory", "", answers, self.memory.bytes, self.memory.bound, self._memory_hits, misses)


def _redis(options: CacheOptions) -> RedisStore | None:
    if options.redis is None:
        return None
    # Its client takes longer to import than most reads take.
    from gb_pipeline.caching.redis_store import RedisStore

    return RedisStore(options.redis)
