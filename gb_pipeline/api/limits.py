"""How often one token and one address may ask: a bucket of allowances each, which fills up as time passes.

In this process only; behind several servers a proxy counts. What is kept is bounded, whoever asks.
"""

from __future__ import annotations

from collections.abc import Callable

from cachetools import LRUCache

_MOST_KEYS = 10_000


class RateLimits:
    """Buckets by name: the least recently asked is forgotten, and begins full again.

    Args:
        per_second: allowances that come back each second.
        burst: most allowances that can be saved up.
        now: a clock that only goes forward, in seconds.

    Example:
        >>> limits = RateLimits(1.0, 2, lambda: 0.0)
        >>> limits.take("a"), limits.take("a"), limits.take("a")
        (0.0, 0.0, 1.0)
    """

    def __init__(self, per_second: float, burst: float, now: Callable[[], float]) -> None:
        """All buckets are full."""
        self._rate, self._burst, self._now = per_second, burst, now
        self._buckets: LRUCache[str, tuple[float, float]] = LRUCache(_MOST_KEYS)

    def take(self, key: str) -> float:
        """Seconds until this name may ask again; 0.0 where it may now, and then one allowance is gone."""
        now = self._now()
        left, then = self._buckets.get(key, (self._burst, now))
        left = min(self._burst, left + (now - then) * self._rate)
        if left < 1:
            self._buckets[key] = left, now
            return (1 - left) / self._rate
        self._buckets[key] = left - 1, now
        return 0.0
