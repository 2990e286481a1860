"""This module computes what a backfill would take before anything is fetched: calls, rows, time and quota.

Calls are those of the same chunks that `bars` cuts, so plan and fetch cannot disagree about what is asked for; repeats after
failures are not foreseen. Rows are what the calendar expects: a vendor that publishes no bar where nothing traded sends fewer.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl

from gb_pipeline.config.settings import DailyQuota, RateLimit, SourceSettings
from gb_pipeline.errors import ConfigError, PermanentVendorError
from gb_pipeline.ingest.corporate_actions import equities
from gb_pipeline.ingest.job import Job, chunk_jobs, request_window
from gb_pipeline.lake import fetches
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import Adjustment
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.market.window import Window
from gb_pipeline.providers.base import Provider
from gb_pipeline.providers.registry import build_provider, daily_quota

# Of a call that was never measured: a vendor across an ocean takes about so long.
ASSUMED_LATENCY = 0.5
# Of a bar in an answer, as JSON without compression: vendors send 60 to 120 bytes.
ASSUMED_BYTES = 80.0
# Fetches that are looked at to know how long a call takes, and how large an answer is.
_RECENT = 1000


@dataclass(frozen=True, slots=True)
class Budget:
    """What a daily quota makes of a plan.

    Attributes:
        calls: of one day.
        zone: in which the day begins at midnight.
        left: calls that today still has.
        known: whether that was counted; otherwise a whole day is assumed.
        ends: the vendor's day on which the last call is made.
    """

    calls: int
    zone: str
    left: int
    known: bool
    ends: date

    @property
    def used(self) -> int:
        """Calls that today has had."""
        return self.calls - self.left


@dataclass(frozen=True, slots=True)
class FetchPlan:
    """What some jobs would take.

    Attributes:
        source: of gb.yaml.
        resolution: of the bars.
        symbols: series.
        windows: questions that are not empty, each of one or more calls.
        calls: requests, without repeats.
        rows: bars that the calendar expects.
        bytes: of the vendor's answers.
        seconds: of asking; days of waiting for a quota are not in it.
        latency: seconds of one call.
        measured: calls of which that is the median; 0 where it is assumed.
        at_once: windows that are fetched at the same time.
        rate: the pace that holds; None where there is none.
        budget: where the calls of a day are limited.
    """

    source: str
    resolution: Resolution
    symbols: int
    windows: int
    calls: int
    rows: int
    bytes: int
    seconds: float
    latency: float
    measured: int
    at_once: int
    rate: RateLimit | None
    budget: Budget | None


def plan(
    store: LakeStore,
    source: SourceSettings,
    resolution: Resolution,
    jobs: Sequence[Job],
    *,
    provider: Provider | None = None,
) -> FetchPlan:
    """What `ingest` would do with the same arguments. No request is sent and nothing is written.

    Args:
        store: whose clock is the present, whose ledger of fetches tells how long a call takes, and whose state how many of the day
            are used.
        source: who would be asked.
        resolution: of the bars.
        jobs: symbols and ranges of sessions.
        provider: instead of the one that the settings name.

    Raises:
        PermanentVendorError: the vendor has no such bars of one of the symbols.
        ConfigError: the source's provider or calendar cannot be built.

    Example:
        >>> plan(LakeStore.at("data"), settings.source("coinbase"), Resolution.MINUTE, jobs).calls
        2978
    """
    present = store.clock()
    chosen = provider or build_provider(source, state_dir=store.storage.state)
    windows = _windows(source, resolution, jobs, present)
    for symbol in windows:
        if not chosen.supports(symbol, resolution):
            raise PermanentVendorError(
                f"{source.name} has no {resolution} bars of {symbol}",
                fix="choose another resolution for this source in gb.yaml",
            )
    count = sum(map(len, windows.values()))
    calls = _calls(chosen, resolution, windows)
    calls += chosen.setup_requests if count else 0
    # Where splits change a vendor's history, `ingest` asks for them first.
    calls += len(equities(list(windows))) if chosen.adjustment is Adjustment.SPLIT else 0
    rate = chosen.policy.rate if chosen.policy is not None else source.rate_limit
    recent = _recent_fetches(store, source, resolution)
    rows = _rows(source, resolution, windows)
    return FetchPlan(
        source=source.name,
        resolution=resolution,
        symbols=len(windows),
        windows=count,
        calls=calls,
        rows=rows,
        bytes=round(rows * recent.bytes_per_row),
        seconds=_seconds(calls, recent.latency, min(source.max_concurrency, max(count, 1)), rate),
        latency=recent.latency,
        measured=recent.measured,
        at_once=source.max_concurrency,
        rate=rate,
        budget=_budget(chosen, daily_quota(source), calls, present),
    )


def _windows(
    source: SourceSettings, resolution: Resolution, jobs: Sequence[Job], now: datetime
) -> dict[Symbol, tuple[Window, ...]]:
    rules = source.rules(resolution)
    listings = {job.symbol.code: source.listing(job.symbol) for job in jobs}
    windows: dict[Symbol, list[Window]] = defaultdict(list)
    # Hundreds of symbols ask for the same days.
    known: dict[tuple[object, ...], Window | None] = {}
    for chunk in chunk_jobs(jobs, rules):
        listing = listings[chunk.symbol.code]
        key = (chunk.start, chunk.end, listing)
        if key not in known:
            known[key] = request_window(chunk, rules, listing, now)
        if (window := known[key]) is not None:
            windows[chunk.symbol].append(window)
    return {symbol: tuple(requested) for symbol, requested in windows.items()}


def _calls(provider: Provider, resolution: Resolution, windows: Mapping[Symbol, tuple[Window, ...]]) -> int:
    """Requests for bars; symbols that ask for the same windows take the same."""
    times = Counter(windows.values())
    return sum(count * provider.requests_together(requested, resolution) for requested, count in times.items())


def _rows(source: SourceSettings, resolution: Resolution, windows: Mapping[Symbol, tuple[Window, ...]]) -> int:
    rules, length = source.rules(resolution), resolution.duration
    times: Counter[Window] = Counter()
    for requested, count in Counter(windows.values()).items():
        for window in requested:
            times[window] += count
    if rules.calendar.end is None and length is not None:
        # A market that never closes needs no grid.
        # A window may end right after the open of the last bar that has closed: what has begun counts.
        return sum(-count * ((window.start - window.end) // length) for window, count in times.items())
    margin = timedelta(days=2 if resolution.intraday else 0)
    rows = 0
    for window, count in times.items():
        until = window.end.date() + margin + timedelta(days=1)
        grid = rules.calendar.expected(window.start.date() - margin, until, resolution, rules.alignment)
        stamps = grid["timestamp"]
        rows += count * (stamps.search_sorted(window.end, "left") - stamps.search_sorted(window.start, "left"))
    return rows


@dataclass(frozen=True, slots=True)
class _Recent:
    """What newer fetches tell: the median seconds of a call, of how many fetches that is, and bytes of an answer per bar."""

    latency: float
    measured: int
    bytes_per_row: float


def _recent_fetches(store: LakeStore, source: SourceSettings, resolution: Resolution) -> _Recent:
    answered = (pl.col("outcome") == "ok") & (pl.col("calls") > 0) & (pl.col("resolution") == resolution.value)
    rows = (
        fetches.scan(store.tables, source.name)
        .filter(answered)
        .select("fetched_at", "latency_ms", "calls", "bytes", "received")
        .sort("fetched_at")
        .tail(_RECENT)
        .collect()
    )
    median = (rows["latency_ms"] / rows["calls"] / 1000).median()
    received, size = (int(rows[name].sum()) for name in ("received", "bytes"))
    return _Recent(
        latency=float(median) if isinstance(median, float) else ASSUMED_LATENCY,
        measured=rows.height,
        bytes_per_row=size / received if received else ASSUMED_BYTES,
    )


def _seconds(calls: int, latency: float, at_once: int, rate: RateLimit | None) -> float:
    """The slower of the vendor and the pace; the first windowful of calls does not wait."""
    asking = calls * latency / at_once
    waiting = 0.0 if rate is None else max(0, math.ceil(calls / rate.calls) - 1) * rate.seconds
    return max(asking, waiting + (latency if calls else 0.0))


def _budget(provider: Provider, quota: DailyQuota | None, calls: int, now: datetime) -> Budget | None:
    if quota is None:
        return None
    left = _left(provider)
    today = now.astimezone(ZoneInfo(quota.zone)).date()
    available = quota.calls if left is None else left
    days = max(0, math.ceil((calls - available) / quota.calls))
    return Budget(quota.calls, quota.zone, available, left is not None, today + timedelta(days=days))


def _left(provider: Provider) -> int | None:
    try:
        return provider.quota_left()
    except ConfigError:
        # Without a key nobody knows whose day it is; a plan can be made all the same.
        return None
