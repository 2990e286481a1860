"""`RedisStore`, answers that several machines share in a Redis, for a time.

A Redis that is down, slow, full or holds something else never fails an answer: a warning is given once, and it is left alone for a
while.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import polars as pl
import pyarrow as pa

from gb_pipeline.caching.key import Key
from gb_pipeline.caching.sealed import seal, unseal
from gb_pipeline.config.cache import RedisOptions
from gb_pipeline.errors import ConfigError

if TYPE_CHECKING:
    from redis import Redis

log = logging.getLogger(__name__)

# A larger answer takes longer on its way than making it.
_LARGEST = 64 << 20
# Who did not answer is not asked for so many seconds.
_REST = 30.0
_AT_ONCE = 500
_FULL = "it is full"
_Result = TypeVar("_Result")


class RedisStore:
    """Values of a Redis, or of a cluster of them. Safe for threads."""

    def __init__(self, options: RedisOptions, *, stopwatch: Callable[[], float] = time.monotonic) -> None:
        """Nothing is connected to before it is needed.

        Raises:
            ConfigError: the client of Redis is not installed, or the address cannot be used.
        """
        try:
            from redis.connection import parse_url
        except ImportError:
            raise ConfigError(
                "the cache in Redis needs its client, which is not installed",
                fix="install gb_pipeline[redis], or leave `redis` out of `cache` in gb.yaml",
            ) from None
        self._options, self._stopwatch = options, stopwatch
        try:
            parse_url(options.url)  # type: ignore[no-untyped-call]
        except ValueError:
            # Its text holds the address, with the password.
            raise ConfigError(
                "the address of Redis in `cache` cannot be used", fix="write it as redis://:password@host:6379/0"
            ) from None
        self._client: Redis | None = None
        self._rests_until = float("-inf")
        self._has_warned = False
        self.where = host_of(options.url)

    def get(self, key: Key) -> pl.DataFrame | None:
        """A frame that is kept."""
        data = self._ask(lambda client: client.get(key.name))
        if data is None:
            return None
        frame = unseal(key, pa.py_buffer(data)) if isinstance(data, bytes) else None
        if frame is None:
            self._warn("it holds something else than was put there")
            self._ask(lambda client: client.delete(key.name))
        return frame

    def put(self, key: Key, frame: pl.DataFrame) -> None:
        """Keep a frame for a time, unless it is too large to be worth it."""
        if frame.estimated_size() > _LARGEST or self._rests:
            return
        data = b"".join(seal(key, frame))
        self._ask(lambda client: client.set(key.name, data, ex=self._seconds))

    def remove(self, key: Key) -> None:
        """Remove a frame if it is there."""
        self._ask(lambda client: client.delete(key.name))

    def read_mark(self, lake: str, name: str) -> str | None:
        """What was noted last under a name beside a lake's answers; None where there is nothing."""
        data = self._ask(lambda client: client.get(f"{lake}:{name}"))
        return data.decode("utf-8", "replace") if isinstance(data, bytes) else None

    def write_mark(self, lake: str, name: str, text: str) -> None:
        """Note something beside a lake's answers, of which no end is known."""
        self._ask(lambda client: client.set(f"{lake}:{name}", text))

    def clear(self, lake: str) -> tuple[int, int] | None:
        """Remove all of a lake; how many answers and bytes that were, None where Redis cannot be asked."""
        return self._ask(lambda client: _clear(client, lake))

    def measure(self, lake: str) -> tuple[int, int] | None:
        """Answers of a lake, and their bytes."""
        return self._ask(lambda client: _measure(client, lake))

    @property
    def _seconds(self) -> int:
        return max(1, round(self._options.ttl))

    @property
    def _rests(self) -> bool:
        return self._stopwatch() < self._rests_until

    def _ask(self, question: Callable[[Any], _Result]) -> _Result | None:
        if self._rests:
            return None
        try:
            if self._client is None:
                self._client = _connect(self._options)
            return question(self._client)
        # A server may say anything, and the client's parser fails of it in any way.
        except Exception as error:
            reason = _reason(error)
            # One that is full still gives at once what it has.
            if reason != _FULL:
                self._rests_until = self._stopwatch() + _REST
            self._warn(reason)
            return None

    def _warn(self, reason: str) -> None:
        if not self._has_warned:
            self._has_warned = True
            log.warning("the cache in Redis at %s is not used: %s; answers are made without it", self.where, reason)


def host_of(url: str) -> str:
    """Where a Redis is, without the credentials in its address."""
    try:
        parts = urlsplit(url)
        return f"{parts.hostname or parts.path}{f':{parts.port}' if parts.port else ''}"
    except ValueError:
        return "an unusable address"


def _connect(options: RedisOptions) -> Any:
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    kinds: dict[str, Any] = {
        "socket_timeout": options.timeout,
        "socket_connect_timeout": options.timeout,
        # Making an answer anew takes less time than asking a second time.
        "retry": Retry(NoBackoff(), 0),
    }
    kind = redis.RedisCluster if options.cluster else redis.Redis
    return kind.from_url(options.url, **kinds)


def _reason(error: Exception) -> str:
    kind = type(error).__name__
    # Its text may hold the address, with the password, and is not told.
    if "OutOfMemory" in kind:
        return _FULL
    if "Timeout" in kind:
        return "it does not answer in time"
    if "Auth" in kind or "NOAUTH" in str(error) or "WRONGPASS" in str(error):
        return "it refuses the credentials"
    return "it cannot be reached" if "Connection" in kind or isinstance(error, OSError) else f"it failed ({kind})"


def _batches(client: Any, lake: str) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    for name in client.scan_iter(match=f"bars:*:{lake}:*", count=_AT_ONCE):
        batch.append(name)
        if len(batch) == _AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch


def _measure(client: Any, lake: str) -> tuple[int, int]:
    answers = size = 0
    for batch in _batches(client, lake):
        lengths = [client.strlen(name) for name in batch]
        answers, size = answers + len(batch), size + sum(lengths)
    return answers, size


def _clear(client: Any, lake: str) -> tuple[int, int]:
    answers = size = 0
    # Listed before anything is removed: a scan may miss what lies beside a removed key.
    for batch in list(_batches(client, lake)):
        for name in batch:
            size += int(client.strlen(name))
            answers += int(client.delete(name))
    return answers, size
