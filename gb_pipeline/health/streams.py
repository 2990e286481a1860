"""Checks of what is heard around the clock: the collector of this machine, how far its commits are, and what is not covered.

The first asks the state that the collector writes each second, which only its own machine has; the others ask the lake, and tell
the same wherever they run. What stands in gb.yaml under `collect` is expected, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from gb_pipeline.collectors.state import FRESH_SECONDS, CollectorState
from gb_pipeline.health.project_state import ProjectState
from gb_pipeline.health.result import SAMPLE, HealthResult, State
from gb_pipeline.health.stream_facts import (
    SECOND,
    count_coverage,
    describe_coverage,
    format_seconds,
    now_of,
    uncovered_of_last_day,
    watermark_ages,
    watermark_limit,
)

# This share of a day, uncovered, is no matter of a budget any more.
_FAILURE = 0.1
_MOST_SHOWN = 3


def find_silent_collector(state: ProjectState) -> HealthResult:
    """The collector of this machine: whether it runs, hears everything that gb.yaml names, and can store it."""
    name = "collector"
    if not state.settings.collect.streams:
        return HealthResult(name, State.SKIPPED, "nothing is collected (`collect` in gb.yaml)")
    found = CollectorState.read(state.settings.spool)
    if found is None:
        return HealthResult(name, State.SKIPPED, "no collector ever ran on this machine", advice="gb collect")
    problems = list(describe_problems(found, now_of(state)))
    counts = {
        "streams": len(found.streams),
        "messages": found.messages,
        "gaps": found.gaps,
        "queue_seconds": round(found.queue_seconds, 3),
        "spool_bytes": found.spool_bytes,
    }
    if not problems:
        return HealthResult(name, State.OK, f"{found.collector} hears {len(found.streams):,} streams", 0, counts)
    sample = pl.DataFrame({"problem": problems[:SAMPLE]})
    more = f"; and {len(problems) - _MOST_SHOWN} more" if len(problems) > _MOST_SHOWN else ""
    dead = found.stopped or found.age_seconds(now_of(state)) > FRESH_SECONDS
    return HealthResult(
        name,
        State.FAIL if dead or found.spool_error else State.WARN,
        "; ".join(problems[:_MOST_SHOWN]) + more,
        len(problems),
        counts,
        sample,
        "gb collect" if dead else "",
        "" if dead else "it reconnects by itself; `gb collect --status` shows every stream, and its log what it cannot mend",
    )  # fmt: skip


def describe_problems(found: CollectorState, now: int) -> Iterator[str]:
    """What is wrong with a collector at a moment (ns since 1970 UTC), the worst first; nothing where all is well."""
    if found.stopped:
        yield f"collector {found.collector} was stopped"
        return
    if (age := found.age_seconds(now)) > FRESH_SECONDS:
        yield f"collector {found.collector} (process {found.pid}) has not been heard of for {format_seconds(age)}"
        return
    if found.spool_error:
        yield f"the spool cannot be written: {found.spool_error}"
    if found.flush_error:
        yield f"nothing can be committed: {found.flush_error}"
    for stream in found.streams:
        what = f"{stream.source} {stream.dataset} {stream.symbol}"
        if not stream.connected:
            yield f"{what} is not connected"
        elif stream.stalled:
            last = found.started_time if stream.last_message_time is None else stream.last_message_time
            yield f"{what} is silent for {format_seconds((now - last) / SECOND)}"
        elif not stream.begun:
            yield f"{what} has not begun: the venue refuses it, or has not confirmed it yet"
        elif stream.open_gap:
            yield f"{what} is not covered: {stream.open_gap}"


def find_late_watermarks(state: ProjectState) -> HealthResult:
    """Feeds whose newest commit is too long ago, whoever heard them."""
    name = "stream_watermarks"
    if not state.settings.collect.streams:
        return HealthResult(name, State.SKIPPED, "nothing is collected (`collect` in gb.yaml)")
    feeds = watermark_ages(state)
    late = find_late(feeds, watermark_limit(state))
    behind = max((seconds for seconds in feeds["behind_seconds"] if seconds is not None), default=0.0)
    counts = {"feeds": feeds.height, "behind_seconds": round(behind)}
    if late.is_empty():
        return HealthResult(name, State.OK, f"{feeds.height:,} feeds are committed", 0, counts)
    more = f", and {late.height - 1} more feeds are late" if late.height > 1 else ""
    # What was never heard is a set-up that is not done yet.
    never = late["behind_seconds"].null_count() == late.height
    return HealthResult(
        name,
        State.WARN if never else State.FAIL,
        describe_lateness(late) + more,
        late.height,
        counts,
        late.head(SAMPLE),
        advice="look with `gb collect --status`, where these are heard, whether it runs and reaches the lake",
    )


def find_late(feeds: pl.DataFrame, limit: float) -> pl.DataFrame:
    """Of `watermark_ages`, the feeds that are further behind than so many seconds, or were never committed; the worst first."""
    behind = pl.col("behind_seconds")
    return feeds.filter(behind.is_null() | (behind > limit)).sort(behind, descending=True, nulls_last=True)


def describe_lateness(feeds: pl.DataFrame) -> str:
    """What is wrong with the first of some feeds."""
    worst = feeds.row(0, named=True)
    what, behind = f"{worst['source']} {worst['dataset']}", worst["behind_seconds"]
    return (
        f"{what} was never committed" if behind is None else f"{what} is committed up to {format_seconds(behind)} ago"
    )


def find_uncovered(state: ProjectState) -> HealthResult:
    """Stretches of the last day that no evidence covers, and gaps per million messages."""
    name = "stream_coverage"
    if not state.settings.collect.streams:
        return HealthResult(name, State.SKIPPED, "nothing is collected (`collect` in gb.yaml)")
    streams = uncovered_of_last_day(state)
    if streams.is_empty():
        return HealthResult(name, State.SKIPPED, "nothing was committed yet")
    bad = find_above_budget(streams, state.limits.uncovered_budget)
    counts = count_coverage(streams)
    if bad.is_empty():
        return HealthResult(name, State.OK, describe_coverage(streams), 0, counts)
    more = f", and {bad.height - 1} more streams are above `uncovered_budget`" if bad.height > 1 else ""
    return HealthResult(
        name,
        State.FAIL if is_failure(bad) else State.WARN,
        describe_worst_hole(bad) + more,
        bad.height,
        counts,
        bad.head(SAMPLE),
        advice="trades heal by themselves where the venue has them; the rest stays a hole, which no window of a feature may cross",
    )


def find_above_budget(streams: pl.DataFrame, budget: float) -> pl.DataFrame:
    """Of `uncovered_of_last_day`, the streams of which a larger share is uncovered; the worst first."""
    return streams.filter(pl.col("uncovered_share") > budget).sort("uncovered_share", descending=True)


def describe_worst_hole(streams: pl.DataFrame) -> str:
    """What is missing of the first of some streams."""
    worst = streams.row(0, named=True)
    because = f" ({worst['reason']})" if worst["reason"] else ""
    what = f"{worst['source']} {worst['dataset']} {worst['symbol']}"
    return f"{what}: nothing covers {format_seconds(worst['uncovered_seconds'])} of the last day{because}"


def is_failure(streams: pl.DataFrame) -> bool:
    """Whether so much is uncovered of any of some streams that it is no matter of a budget."""
    return bool((streams["uncovered_share"] > _FAILURE).any())
