"""This module calls vendors: it waits for their pace and quota, repeats what failed in passing, and counts for `Fetched`.

The numbers come from `policy`, the state that processes share lies in `rate_limit` and `quota`, and `responses` reads what came.
How any one vendor is asked is that vendor's own folder.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from gb_pipeline.errors import QuotaExhausted, RateLimited, TransientVendorError, VendorError
from gb_pipeline.providers.base import Fetched
from gb_pipeline.providers.http.policy import Policy
from gb_pipeline.providers.http.quota import QuotaBook
from gb_pipeline.providers.http.rate_limit import Cooldown, RateLimiter
from gb_pipeline.providers.http.redaction import redact_errors

if TYPE_CHECKING:
    import polars as pl
    from tenacity import RetryCallState

T = TypeVar("T")
log = logging.getLogger(__name__)


class Tally:
    """What the requests of one fetch added up to."""

    def __init__(self, *, keep: bool = False, outer: Tally | None = None) -> None:
        """Begin at nothing; `keep` collects the accepted bodies, `outer` counts the same requests and more."""
        self.outer = outer
        self.calls = 0
        self.bytes = 0
        self.latency = 0.0
        self._accepted = hashlib.sha256()
        self._keep = keep
        self._bodies: list[bytes] = []

    def accept(self, body: str | bytes) -> None:
        """Add a body that was understood to the fingerprint; refused ones do not change it."""
        raw = body.encode() if isinstance(body, str) else body
        self._accepted.update(raw)
        if self._keep:
            self._bodies.append(raw)

    def fetched(self, frame: pl.DataFrame) -> Fetched:
        """The answer that these requests led to."""
        return Fetched(frame, self.response_hash, self.bytes, self.calls, self.latency, tuple(self._bodies))

    @property
    def response_hash(self) -> str:
        """SHA-256 over the accepted bodies in their order."""
        return self._accepted.hexdigest()


_CONTEXT_TALLY: contextvars.ContextVar[Tally | None] = contextvars.ContextVar("counted", default=None)


@contextlib.contextmanager
def counted() -> Iterator[Tally]:
    """Count the requests of all vendors in this context, for answers that do not say how many they took; may be nested."""
    tally = Tally(outer=_CONTEXT_TALLY.get())
    token = _CONTEXT_TALLY.set(tally)
    try:
        yield tally
    finally:
        _CONTEXT_TALLY.reset(token)


def _context_tallies() -> Iterator[Tally]:
    tally = _CONTEXT_TALLY.get()
    while tally is not None:
        yield tally
        tally = tally.outer


class Transport:
    """The shared way to one vendor.

    Args:
        key: whose pace it is: requests under one key share it, in all processes with the same `state_dir`.
        policy: patience and pace.
    """

    def __init__(self, key: str, policy: Policy | None = None) -> None:
        """Nothing is opened before the first request."""
        self.key = key
        self.policy = policy or Policy()
        # What no error and no log may say; `HttpClient` adds the ones that it is given.
        self.secrets: tuple[str, ...] = ()
        self._pace: RateLimiter | None = None
        self._shared_cooldown: Cooldown | None = None
        self._book: QuotaBook | None = None
        self._tally: contextvars.ContextVar[Tally | None] = contextvars.ContextVar("tally", default=None)

    async def call(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Await `ask()`, and again after a while as long as it fails in passing.

        Args:
            ask: makes a new awaitable each time; it calls `admit` before each request.

        Raises:
            TransientVendorError: it failed `retries + 1` times, or the vendor asks for too long a pause.
            QuotaExhausted: the calls of the vendor's day are used up; at once.
            VendorError: anything permanent, at once.
        """
        from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt

        attempts = self.policy.retries + 1
        retrying = AsyncRetrying(
            stop=stop_after_attempt(attempts),
            wait=self._wait,
            retry=retry_if_exception(self._is_retryable),
            before_sleep=self._log_retry,
            reraise=True,
        )

        async def attempt() -> T:
            try:
                # Before anything is logged: providers make errors of the vendor's own words, which may hold the key.
                with redact_errors(self.secrets):
                    return await ask()
            except QuotaExhausted:
                raise
            except RateLimited as error:
                if error.retry_after is not None:
                    self._cooldown.extend(error.retry_after)
                raise

        try:
            return await retrying(attempt)
        except TransientVendorError as error:
            tried = retrying.statistics.get("attempt_number", 1)
            if tried > 1:
                error.what += f" (tried {tried} times)"
            raise

    async def admit(self) -> None:
        """Wait for one request's turn, in this process and in all that share the state, and count it.

        Raises:
            QuotaExhausted: the calls of the vendor's day are used up.
            RateLimited: the vendor asked for a pause that is longer than anybody waits.
            ConfigError: the shared state cannot be used.
        """
        if (book := self._quota) is not None:
            await asyncio.to_thread(book.check)
        # Somebody else may be told to wait longer while this one sleeps.
        while (hold := self._cooldown.left()) > 0:
            if hold > self.policy.longest_retry_after:
                raise _cooldown_error(self.key, hold, self._cooldown.file)
            await asyncio.sleep(hold)
        if self.policy.rate is not None:
            self._pace = self._pace or RateLimiter(self.key, self.policy.rate, self.policy.state_dir)
            await self._pace.acquire()
        if book is not None:
            await asyncio.to_thread(book.take)

    def unsent(self) -> None:
        """What was admitted last found no connection: the vendor has not seen it, so it does not count for the day.

        Raises:
            ConfigError: the shared state cannot be used.
        """
        if self._quota is not None:
            self._quota.give_back()

    def quota_left(self) -> int | None:
        """Requests that the vendor's day still has, for all processes; None where there is no quota.

        Raises:
            ConfigError: the shared state cannot be used.
        """
        return None if self._quota is None else self._quota.left()

    def exhausted(self, what: str) -> RateLimited:
        """The error to raise where the vendor itself answers that the day's calls are used up; all processes know then.

        Args:
            what: what it said, for vendors without a quota of ours; without credentials.

        Raises:
            ConfigError: the shared state cannot be used.
        """
        if self._quota is None:
            return RateLimited(what, fix="give the source a `daily_quota`, so that the rest is deferred")
        return self._quota.spend()

    @contextlib.contextmanager
    def measure(self) -> Iterator[Tally]:
        """Count the requests made in this context, which includes the tasks that it starts; also those of an error."""
        tally = Tally(keep=self.policy.keep_raw)
        token = self._tally.set(tally)
        try:
            yield tally
        except VendorError as error:
            # What was asked in vain was asked all the same.
            error.calls = tally.calls
            raise
        finally:
            self._tally.reset(token)

    @contextlib.contextmanager
    def request(self) -> Iterator[Callable[[int], None]]:
        """Time one request; the function that it yields takes the size of a body in bytes."""
        tallies = [tally for tally in (self._tally.get(), *_context_tallies()) if tally is not None]
        begun = time.perf_counter()

        def received(size: int) -> None:
            for tally in tallies:
                tally.bytes += size

        try:
            yield received
        finally:
            for tally in tallies:
                tally.calls += 1
                tally.latency += time.perf_counter() - begun

    def close(self) -> None:
        """Close the shared state; the transport can be used again afterwards."""
        if self._pace is not None:
            self._pace.close()
            self._pace = None

    # The policy may be replaced until the first request, so what depends on it is made when it is needed.

    @property
    def _cooldown(self) -> Cooldown:
        self._shared_cooldown = self._shared_cooldown or Cooldown(self.key, self.policy.state_dir)
        return self._shared_cooldown

    @property
    def _quota(self) -> QuotaBook | None:
        if self._book is None and self.policy.quota is not None:
            self._book = QuotaBook(self.key, self.policy.quota, self.policy.state_dir)
        return self._book

    def _is_retryable(self, error: BaseException) -> bool:
        if isinstance(error, QuotaExhausted):
            return False
        if isinstance(error, RateLimited) and error.retry_after is not None:
            return error.retry_after <= self.policy.longest_retry_after
        return isinstance(error, TransientVendorError)

    def _wait(self, state: RetryCallState) -> float:
        from tenacity import wait_random_exponential

        # Full jitter: those who failed together do not come back together.
        jitter = wait_random_exponential(multiplier=self.policy.shortest_wait, max=self.policy.longest_wait)
        demanded = _retry_after(state)
        return jitter(state) if demanded is None else demanded + min(jitter(state), 1.0)

    def _log_retry(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        what = error.what if isinstance(error, TransientVendorError) else error
        log.warning("%s; attempt %d of %d", what, state.attempt_number + 1, self.policy.retries + 1)


def _retry_after(state: RetryCallState) -> float | None:
    error = state.outcome.exception() if state.outcome else None
    return error.retry_after if isinstance(error, RateLimited) else None


def _cooldown_error(key: str, seconds: float, file: Path | None) -> RateLimited:
    until = datetime.now(UTC) + timedelta(seconds=seconds)
    return RateLimited(
        f"{key} asked to be left alone until {until:%Y-%m-%d %H:%M:%S}Z; nothing was sent",
        retry_after=seconds,
        fix="wait until then" + (f"; if you know better, delete {file}" if file is not None else ""),
    )
