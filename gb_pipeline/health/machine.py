"""Checks of what a lake needs around it: calls of the vendors, room on the disk, and a clock that is right."""

from __future__ import annotations

import asyncio
import shutil
from datetime import timedelta
from pathlib import Path

import polars as pl

from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.errors import GbError
from gb_pipeline.health.project_state import ProjectState
from gb_pipeline.health.result import SAMPLE, HealthResult, State
from gb_pipeline.market.moments import from_microseconds
from gb_pipeline.providers.http.quota import QuotaBook
from gb_pipeline.providers.registry import build_provider, daily_quota

_GB = 1e9
# Clocks of two machines are never the same.
_SKEW = timedelta(minutes=2)


def find_used_quota(state: ProjectState) -> HealthResult:
    """Sources of whose vendor's calls of the day few are left."""
    name = "vendor_quota"
    schema = {"source": pl.String(), "left": pl.Int64(), "calls": pl.Int64(), "goes_on": pl.String()}
    rows, problems, fixes = [], [], []
    for source in state.settings.sources.values():
        try:
            found = _quota_left(source, state)
        except GbError as error:
            problems.append(f"{source.name}: {error.what.removeprefix(f'source {source.name}: ')}")
            fixes.append(error.fix)
            continue
        if found is not None:
            rows.append((source.name, *found))
    sample = pl.DataFrame(rows, schema=schema, orient="row").sort(pl.col("left") / pl.col("calls"))
    few = sample.filter(pl.col("left") < state.limits.quota_left * pl.col("calls"))
    if few.is_empty() and not problems:
        if sample.is_empty():
            return HealthResult(name, State.SKIPPED, "no source has a daily quota that is counted")
        left = ", ".join(f"{source} {left:,} of {calls:,}" for source, left, calls, _ in sample.head(3).iter_rows())
        return HealthResult(name, State.OK, f"calls left today: {left}", 0, sample=sample.head(SAMPLE))
    parts = [
        f"{source} has {left:,} of {calls:,} calls left, until {until}"
        for source, left, calls, until in few.head(3).iter_rows()
    ]
    fixes += ["it goes on by itself then; with a larger plan, raise `daily_quota`"] if few.height else []
    return HealthResult(
        name, State.WARN, "; ".join([*parts, *problems]), few.height + len(problems), {"sources": sample.height},
        sample.head(SAMPLE), advice="; ".join(dict.fromkeys(fixes)),
    )  # fmt: skip


def _quota_left(source: SourceSettings, state: ProjectState) -> tuple[int, int, str] | None:
    """Calls that are left, calls of a day, and when the vendor's next day begins; None where nothing is counted."""
    quota = daily_quota(source)
    if quota is None:
        return None
    folder = state.store.storage.state
    # Building a provider creates the folder of its counts; where there is none, nothing is used up.
    provider = build_provider(source, state_dir=folder if (folder / "rate_limits").is_dir() else None)
    try:
        left = provider.quota_left()
    finally:
        asyncio.run(provider.aclose())
    if left is None:
        return None
    until = QuotaBook(source.name, quota, None).until(state.now)
    return left, quota.calls, f"{until:%Y-%m-%d %H:%M}Z"


def find_full_disk(state: ProjectState) -> HealthResult:
    """The disks of the lake, of this machine's state and of Dagster's history."""
    folders = {"lake": state.settings.lake, "state": state.settings.state, "project": state.settings.path.parent}
    rows = []
    for what, folder in folders.items():
        if isinstance(folder, Path):
            usage = shutil.disk_usage(_existing(folder))
            rows.append((what, str(folder), usage.free, usage.total))
    schema = {"of": pl.String(), "folder": pl.String(), "free": pl.Int64(), "total": pl.Int64()}
    sample = pl.DataFrame(rows, schema=schema, orient="row").sort("free", maintain_order=True)
    what, folder, free, total = sample.row(0)
    least = state.limits.disk_gb * _GB
    sentence = f"{free / _GB:,.1f} GB of {total / _GB:,.1f} GB are free"
    counts = {"free_gb": round(free / _GB, 1)}
    if free >= least:
        return HealthResult("disk", State.OK, sentence, 0, counts, sample)
    return HealthResult(
        "disk",
        State.FAIL if free < least / 10 else State.WARN,
        f"{sentence} for {what} ({folder}), and `disk_gb` is {state.limits.disk_gb:g}",
        1,
        counts,
        sample,
        "gb vacuum --delete",
        "it removes replaced files; otherwise make room, or move the lake",
    )


def find_lying_clock(state: ProjectState) -> HealthResult:
    """Rows that became known later than now: sessions would be missed, or asked for too early, and nothing tell it."""
    if not state.stores_something:
        return HealthResult("clock", State.SKIPPED, "nothing is stored yet")
    clocks = {item.dataset.name: from_microseconds(item.clock) for item in state.store.tables.existing(damaged=[])}
    newest = max(clocks.values())
    if newest <= state.now + _SKEW:
        return HealthResult("clock", State.OK, "no row was stored later than now")
    ahead = newest - state.now
    return HealthResult(
        "clock",
        State.FAIL,
        f"the lake holds rows of {newest:%Y-%m-%d %H:%M}Z, {ahead} later than the clock of this machine says",
        1,
        {"seconds": round(ahead.total_seconds())},
        pl.DataFrame({"table": list(clocks), "newest": list(clocks.values())}).sort("newest", descending=True),
        advice="set this machine's clock (timedatectl); freshness cannot be told before",
    )


def _existing(folder: Path) -> Path:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder
