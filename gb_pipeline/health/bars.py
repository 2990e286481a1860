"""Checks of what vendors send: bars that they restated, and rows that were refused."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta

import polars as pl

from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.health.project_state import ProjectState
from gb_pipeline.health.result import SAMPLE, HealthResult, State
from gb_pipeline.lake import decisions, ledger, overrides, quarantine, versions
from gb_pipeline.lake.datasets import parse_bar_table
from gb_pipeline.lake.decisions import Decision
from gb_pipeline.lake.restatement_shares import measure_changes, share_by_month
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.moments import instant_literal
from gb_pipeline.market.resolution import Resolution

_GROUP = ["source", "resolution"]
_DAY = timedelta(days=1)


def find_restated(state: ProjectState) -> HealthResult:
    """Months of which a source lately restated more than its budget."""
    name, days = "restatements", state.limits.restated_days
    watched = [group for group in state.groups if group[0].restatement_budget is not None]
    if not watched:
        return HealthResult(name, State.SKIPPED, "no source has a `restatement_budget`")
    since = state.now - timedelta(days=days)
    parts = [_restated_of(state.store, source, resolution, since) for source, resolution in watched]
    months = pl.concat(parts)
    over = months.filter(pl.col("share") > pl.col("budget")).sort("share", descending=True)
    if over.is_empty():
        return HealthResult(name, State.OK, f"no source restated more than its budget in the last {days} days")
    worst = over.row(0, named=True)
    return HealthResult(
        name,
        State.FAIL,
        f"{worst['source']} {worst['resolution']} restated {worst['share']:.3%} of its bars of {worst['month']:%Y-%m},"
        f" and its budget is {worst['budget']:.3%}" + (f"; {over.height - 1} more months" if over.height > 1 else ""),
        over.height,
        {"bars": int(over["restated"].sum())},
        over.select(*_GROUP, "month", "bars", "restated", "share", "budget", "largest").head(SAMPLE),
        f"gb restatements {' '.join(over['source'].unique().sort())} --since=-{days}d",
        "ask the vendor, or raise the source's `restatement_budget`",
    )


def _restated_of(store: LakeStore, source: SourceSettings, resolution: Resolution, since: datetime) -> pl.DataFrame:
    """By month, what a source restated since a moment, and its budget."""
    changes = versions.restatements(store.tables, source.name, resolution)
    changes = overrides.leave_out_corrections(store.tables, changes, source.name)
    changes = measure_changes(changes.filter(pl.col("replaced_at") > instant_literal(since)))
    sessions = _bars_of_months(store, source.name, resolution, changes["timestamp"].dt.date())
    return share_by_month(changes, sessions).with_columns(pl.lit(source.restatement_budget).alias("budget"))


def _bars_of_months(store: LakeStore, source: str, resolution: Resolution, days: pl.Series) -> pl.DataFrame:
    names = [*_GROUP, "session", "actual"]
    first, last = days.dt.month_start().min(), days.dt.month_end().max()
    if not isinstance(first, date) or not isinstance(last, date):
        return pl.DataFrame(schema={name: ledger.SESSIONS_EMPTY.schema[name] for name in names})
    return ledger.current(store.tables, source, resolution, between=(first, last + _DAY)).select(names)


def find_refused(state: ProjectState) -> HealthResult:
    """Sources of whose rows more were refused than `quarantine_budget`, and nobody has decided about them."""
    name, budget = "quarantine", state.limits.quarantine_budget
    if not state.stores_something:
        return HealthResult(name, State.SKIPPED, "nothing is stored yet")
    columns = ["source", "symbol", "resolution", "row_id", "reasons"]
    refused = quarantine.scan(state.store.tables).select(columns).collect()
    decided = decisions.with_decisions(state.store.tables, refused)
    waiting = decided.filter(pl.col("decision") == Decision.OPEN.value)
    if waiting.is_empty():
        return HealthResult(name, State.OK, "no refused row waits for a decision")
    stored = pl.DataFrame(
        list(_stored_rows(state.store)),
        schema={"source": pl.String(), "resolution": pl.String(), "stored": pl.Int64()},
        orient="row",
    )
    shares = (
        waiting.group_by(_GROUP)
        .agg(pl.len().cast(pl.Int64).alias("waiting"), pl.col("reasons").explode().mode().first().alias("commonest"))
        .join(stored.group_by(_GROUP).agg(pl.col("stored").sum()), on=_GROUP, how="left")
        .with_columns(pl.col("stored").fill_null(0))
        .with_columns((pl.col("waiting") / (pl.col("waiting") + pl.col("stored"))).alias("share"))
        .sort("share", *_GROUP, descending=[True, False, False])
    )
    over = shares.filter(pl.col("share") > budget)
    rows = int((over if over.height else shares)["waiting"].sum())
    if over.is_empty():
        waits = "1 refused row waits" if rows == 1 else f"{rows:,} refused rows wait"
        return HealthResult(
            name, State.OK, f"{waits} for a decision, within the budget of {budget:.2%}",
            counts={"waiting": rows}, sample=shares.head(SAMPLE),
        )  # fmt: skip
    worst = over.row(0, named=True)
    return HealthResult(
        name,
        State.WARN,
        f"{worst['share']:.2%} of the rows of {worst['source']} {worst['resolution']} were refused and wait for a decision; the"
        f" budget is {budget:.2%}",
        rows,
        {"waiting": int(shares["waiting"].sum()), "sources": over["source"].n_unique()},
        over.head(SAMPLE),
        f'gb quarantine drop --all-of {worst["source"]} --reason "looked at"',
        f"look first: `gb quarantine list {worst['source']}`; release what is right",
    )


def _stored_rows(store: LakeStore) -> Iterator[tuple[str, str, int]]:
    """How many bars each source has, as the logs count them."""
    for snapshot in store.tables.existing(damaged=[]):
        kind = parse_bar_table(snapshot.dataset.name)
        if kind is not None:
            counts = snapshot.files.filter("is_current").group_by("source").agg(pl.col("rows").sum())
            yield from ((source, kind[0].value, int(rows)) for source, rows in counts.iter_rows())
