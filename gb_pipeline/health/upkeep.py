"""Checks of what happens by itself: open work that nobody asks for any more, and the last test of the backup."""

from __future__ import annotations

import polars as pl

from gb_pipeline.health.project_state import ProjectState
from gb_pipeline.health.result import SAMPLE, HealthResult, State
from gb_pipeline.ingest.open_work import ITEMS, find_open_work
from gb_pipeline.ingest.open_work import State as Work
from gb_pipeline.lake.restore_test import read_restore

_SERIES = ["source", "resolution", "symbol"]


def find_given_up(state: ProjectState) -> HealthResult:
    """Sessions that were asked for as often as `healing` in gb.yaml says, and are still not as they should be."""
    name = "given_up"
    # What is wrong with other calendars and providers is said by `missing_sessions`.
    found = [
        find_open_work(
            state.store, item.source, item.resolution, item.symbols, state.settings.healing
        ).items.with_columns(source=pl.lit(item.source.name), resolution=pl.lit(item.resolution.value))
        for item in state.backlogs.found
    ]
    empty = pl.DataFrame(schema={**ITEMS, "source": pl.String(), "resolution": pl.String()})
    items = pl.concat([empty, *found])
    lost = items.filter(pl.col("state") == Work.GIVEN_UP.value)
    counts = {"open": items.height, "given_up": lost.height}
    if lost.is_empty():
        said = f"{items.height:,} sessions are asked for again by themselves" if items.height else "nothing is open"
        return HealthResult(name, State.OK, said, 0, counts)
    return HealthResult(
        name,
        State.WARN,
        f"{lost.height:,} session{'' if lost.height == 1 else 's'} of {lost.n_unique(_SERIES):,} series"
        f" {'was' if lost.height == 1 else 'were'} asked for too often in vain, and nobody asks any more",
        lost.height,
        counts,
        lost.sort("session", *_SERIES, descending=[True, False, False, False])
        .select(*_SERIES, "session", "why", "attempts", "message")
        .head(SAMPLE),
        "gb healing --retry",
        "what stays is explained in incidents.yaml, or the symbol's listing in gb.yaml is corrected",
    )


def find_untested_backup(state: ProjectState) -> HealthResult:
    """The last time that the backup was restored to see whether it can be: too long ago, or what it found."""
    name, days = "restore_test", state.limits.verify_days
    if state.settings.backup is None:
        return HealthResult(name, State.SKIPPED, "no backup is configured (`backup` in gb.yaml)")
    advice = "Dagster tests it on Sundays; or materialise `restore_test` on its page"
    record = read_restore(state.store.storage)
    if record is None:
        return HealthResult(
            name, State.WARN, "the backup was never restored to see whether it can be", 1, advice=advice
        )
    age, behind = (state.now - record.at).days, (record.at - record.newest).days
    when = f"{record.at:%Y-%m-%d %H:%M}Z"
    counts = {"days": age, "days_behind": behind, "series": record.series, "problems": record.problems}
    if record.problems:
        return HealthResult(
            name, State.FAIL, f"the backup that was restored at {when} has {record.problems:,} problems: {record.damages[0]}",
            record.problems, counts, pl.DataFrame({"damage": list(record.damages)}), "gb backup --verify", advice,
        )  # fmt: skip
    if age > days:
        return HealthResult(
            name, State.WARN, f"the backup was restored {age:,} days ago ({when})", age, counts, advice=advice
        )
    restored = "all" if record.series == record.of_series else f"{record.series:,} of {record.of_series:,}"
    return HealthResult(
        name, State.OK, f"{restored} series were restored from the backup, byte by byte ({when})", 0, counts
    )
