"""This module says how patient to be with a vendor and how fast; `transport` keeps to it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from gb_pipeline.config.settings import DailyQuota, RateLimit, SourceSettings


@dataclass(frozen=True, slots=True)
class Policy:
    """How patient to be with a vendor, and how fast.

    Attributes:
        timeout: seconds for one request, from its first to its last byte.
        retries: repeats of a call that failed in passing.
        rate: requests in so many seconds; None sets no pace.
        quota: requests of one vendor's day; None sets no quota. It holds across processes where `state_dir` is set.
        keep_raw: whether accepted bodies are handed over with the answer.
        state_dir: folder of the state that all processes on this machine share; the pace holds in this process only where
            it is None.
        shortest_wait: seconds; the first repeat waits a random time up to this, each further one up to twice as long.
        longest_wait: seconds; no repeat waits longer, unless the vendor says so.
        longest_retry_after: seconds; a vendor that asks for more patience gets an error instead, and is not asked by anybody
            until then.
    """

    timeout: float = 30.0
    retries: int = 5
    rate: RateLimit | None = None
    quota: DailyQuota | None = None
    keep_raw: bool = False
    state_dir: Path | None = None
    shortest_wait: float = 0.5
    longest_wait: float = 30.0
    longest_retry_after: float = 120.0

    @classmethod
    def of(
        cls,
        source: SourceSettings,
        *,
        rate: RateLimit | None,
        state_dir: Path | None,
        quota: DailyQuota | None = None,
    ) -> Policy:
        """From gb.yaml, with the vendor's documented pace and quota where the source sets none."""
        return cls(
            timeout=source.timeout_seconds,
            retries=source.retries,
            rate=source.rate_limit or rate,
            quota=source.daily_quota or quota,
            keep_raw=source.keep_raw,
            state_dir=state_dir,
        )

    def with_defaults(self, *, rate: RateLimit | None = None, quota: DailyQuota | None = None) -> Policy:
        """The same, with the vendor's documented pace and quota where it sets none.

        Example:
            >>> Policy(retries=1).with_defaults(rate=RateLimit(calls=5, seconds=60)).rate.calls
            5
        """
        return replace(self, rate=self.rate or rate, quota=self.quota or quota)
