"""This module limits how fast all processes on this machine call a vendor, and holds the pause that a vendor demanded.

Repeats and time-outs are in `transport`, a day's quota in `quota`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gb_pipeline.config.private_files import FILE_MODE, private_file, private_folder
from gb_pipeline.config.settings import RateLimit
from gb_pipeline.errors import ConfigError

if TYPE_CHECKING:
    from pyrate_limiter import AbstractBucket

# A request arrives later than it was admitted, by a moment that differs: without this much more room than the vendor asks
# for, it would now and then see one request too many. Limits of a minute or more need no more than a second.
_ROOM = 0.08
_MOST_ROOM_SECONDS = 1.0
_NEVER_STALE_MS = 20.0
# pyrate-limiter's file lock looks every 50 ms, in which twenty requests of a fast vendor would fit.
_LOOK_SECONDS = 0.002
# Turns after which what lies outside the window is forgotten.
_FORGET_EVERY = 1000
# Binance bans for up to three days; whoever asks for more has a broken clock.
_LONGEST_HOLD = 3 * 86_400.0
_CLOCK_SLACK = 1.0


class RateLimiter:
    """At most so many requests in any window of so many seconds.

    Args:
        key: whose pace it is.
        rate: requests and seconds.
        state_dir: folder that all processes on this machine share; the pace holds in this object only where it is None.

    Raises:
        ConfigError: the shared file cannot be used.
    """

    def __init__(self, key: str, rate: RateLimit, state_dir: Path | None) -> None:
        """Open the shared file."""
        self._key = key
        self._file = None if state_dir is None else state_file(state_dir, key, "sqlite")
        room = min(rate.seconds * _ROOM, _MOST_ROOM_SECONDS)
        self._bucket = _bucket(key, rate.calls, rate.seconds + room, self._file)
        # On a machine that is too busy a turn may be old when we learn of it, and is better lost. Milliseconds.
        self._stale = max(room * 1000 / 2, _NEVER_STALE_MS)
        self._turns = 0
        self._first: asyncio.Lock | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def acquire(self) -> None:
        """Wait for the next request's turn, and take it.

        Raises:
            ConfigError: the shared file cannot be used.
        """
        async with self._first_in_line():
            while True:
                stamp, wait = await self._take()
                if wait:
                    await asyncio.sleep(wait)
                elif self._now() - stamp <= self._stale:
                    return

    def close(self) -> None:
        """Close the shared file."""
        self._bucket.close()

    def _first_in_line(self) -> asyncio.Lock:
        # One waits at the file, the others behind it: a crowd would wake up only to wait again.
        loop = asyncio.get_running_loop()
        if self._first is None or self._loop is not loop:
            self._first, self._loop = asyncio.Lock(), loop
        return self._first

    def _now(self) -> int:
        now: int = self._bucket.now()  # type: ignore[no-untyped-call]
        return now

    async def _take(self) -> tuple[int, float]:
        """The moment in milliseconds, and the seconds to wait before asking again; 0 where the turn is ours."""
        if self._file is None:
            return self._put()
        # Other processes may hold the file; this one's other requests go on meanwhile.
        return await asyncio.to_thread(self._put_shared)

    def _put_shared(self) -> tuple[int, float]:
        import sqlite3

        try:
            # The moment is read while nobody else can take a turn; read before, it would be too old by the wait for the lock.
            with self._bucket.lock:  # type: ignore[attr-defined]
                return self._put()
        except (sqlite3.Error, OSError) as error:
            raise _unusable(self._key, self._file, error) from None

    def _put(self) -> tuple[int, float]:
        from pyrate_limiter import RateItem

        item = RateItem(self._key, self._now())
        self._turns += 1
        if self._turns % _FORGET_EVERY == 0:
            self._bucket.leak(item.timestamp)
        if self._bucket.put(item):
            return item.timestamp, 0.0
        wait: Any = self._bucket.waiting(item)
        return item.timestamp, max(1, int(wait)) / 1000


class Cooldown:
    """The pause that a vendor asked for. It is everybody's: all calls under one key hold, not only the one that was told.

    Args:
        key: whose pause it is.
        state_dir: folder that all processes on this machine share; the pause holds in this object only where it is None.
    """

    def __init__(self, key: str, state_dir: Path | None) -> None:
        """No pause yet."""
        self.file = None if state_dir is None else state_file(state_dir, key, "hold")
        self._own = (0.0, 0.0)

    def extend(self, seconds: float) -> None:
        """Pause from now on; a longer pause that is known stays."""
        now = time.time()
        until = now + min(seconds, _LONGEST_HOLD)
        # To be told of a known pause again is no news, even if that took a moment.
        if until <= now + self.left() + 0.01:
            return
        self._own = (now, until)
        if self.file is not None:
            beside = self.file.with_name(f"{self.file.name}.{os.getpid()}")
            private_file(beside).write_text(f"{now!r} {until!r}", encoding="utf-8")
            beside.replace(self.file)

    def left(self) -> float:
        """Seconds that are left of it; 0 when there is none."""
        return max(_left(*self._own), _left(*self._shared()))

    def _shared(self) -> tuple[float, float]:
        if self.file is not None:
            with contextlib.suppress(OSError, ValueError):
                begin, until = self.file.read_text(encoding="utf-8").split()
                return float(begin), float(until)
        return (0.0, 0.0)


def state_file(state_dir: Path, key: str, kind: str) -> Path:
    """Where something is kept for all processes of this user; the folder is made, and closed to others."""
    folder = private_folder(private_folder(state_dir) / "rate_limits")
    return folder / (re.sub(r"[^A-Za-z0-9.-]", "_", key) + f".{kind}")


def _left(begin: float, until: float) -> float:
    now = time.time()
    # A clock that was set back must not make a pause longer.
    return 0.0 if begin > now + _CLOCK_SLACK else max(0.0, min(until - now, _LONGEST_HOLD))


def _bucket(key: str, calls: int, seconds: float, file: Path | None) -> AbstractBucket:
    import sqlite3

    from filelock import FileLock
    from pyrate_limiter import InMemoryBucket, Rate, SQLiteBucket

    rates = [Rate(calls, max(1, round(seconds * 1000)))]
    if file is None:
        return InMemoryBucket(rates)
    try:
        # What SQLite and the lock put beside a file is as private as the file is.
        for place in (file, file.with_name(f"{file.name}.lock")):
            private_file(place)
        bucket = SQLiteBucket.init_from_file(rates, db_path=str(file), use_file_lock=True)
        bucket.lock = FileLock(f"{file}.lock", mode=FILE_MODE, poll_interval=_LOOK_SECONDS)  # type: ignore[assignment]
        # Without this the file would remember every request ever made; no thread is needed for it.
        bucket.leak(bucket.now())  # type: ignore[no-untyped-call]
    except (sqlite3.Error, OSError) as error:
        raise _unusable(key, file, error) from None
    return bucket


def _unusable(key: str, file: Path | None, error: Exception) -> ConfigError:
    return ConfigError(f"the pace of {key} cannot be kept in {file}: {error}", fix="delete that file; it holds no data")
