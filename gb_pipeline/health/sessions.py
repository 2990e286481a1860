"""Checks of what the calendar expects: sessions that are missing, sessions that failed, and gaps that nothing explains.

They compare the calendar with the ledger; no file of bars is opened. An old backfill makes nothing of it green, as Dagster's own
freshness would: each session counts for itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import date, timedelta

import polars as pl

from gb_pipeline.health.project_state import ProjectState
from gb_pipeline.health.result import SAMPLE, HealthResult, State
from gb_pipeline.ingest.backlog import Backlog, Why
from gb_pipeline.ingest.open_work import find_open_work
from gb_pipeline.lake import ledger
from gb_pipeline.lake.explained import explain_sessions
from gb_pipeline.lake.report import UNSTORED
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.moments import instant_literal
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.quality.gaps import OPEN_REASONS

_SERIES = ["source", "resolution", "symbol"]
_MISSING = [Why.NEW.value, Why.MORE_BARS.value]
_FAILED = [Why.FAILED.value, Why.REFUSED.value]
_OPEN = [reason.value for reason in OPEN_REASONS]
# What a gap needs to be explained, and to be the valid row of its session.
_GAP_COLUMNS = (*ledger.KEYS, "status", "gaps", "first_timestamp", "known_at")


def find_missing(state: ProjectState) -> HealthResult:
    """Sessions that are over, had time to settle and to be fetched, and are not stored."""
    name = "missing_sessions"
    late = timedelta(minutes=state.limits.missing_after_minutes)
    parts, unknown = [], [f"{group}: {error.what}" for group, error in state.backlogs.errors.items()]
    fixes = [error.fix for error in state.backlogs.errors.values()]
    for backlog in state.backlogs.found:
        parts.append(_missing_of(backlog, state, late))
        end = backlog.source.rules(backlog.resolution).calendar.end
        if end is not None and end <= state.now.date() and (backlog.source.end is None or backlog.source.end > end):
            # Later sessions are not expected by anybody: that would be green for ever.
            unknown.append(f"calendar {backlog.source.calendar} is known until {end} only")
            fixes.append("install a newer release of gb_pipeline, which brings newer calendars")
    if not parts and not unknown:
        return HealthResult(name, State.SKIPPED, "gb.yaml names no series")
    rows = pl.concat(parts) if parts else pl.DataFrame(schema=_MISSING_SCHEMA)
    series = rows.group_by(_SERIES, maintain_order=True).agg(
        pl.len().alias("sessions"), pl.col("session").min().alias("first"), pl.col("session").max().alias("last"),
        pl.col("newest").any().alias("behind"),
    )  # fmt: skip
    behind = int(series["behind"].sum())
    if rows.is_empty() and not unknown:
        return HealthResult(name, State.OK, "every session that is over is stored")
    sentence = "; ".join([*_describe_missing(rows.height, series.height, behind), *dict.fromkeys(unknown)])
    return HealthResult(
        name,
        State.FAIL if behind or unknown else State.WARN,
        sentence,
        rows.height + len(set(unknown)),
        {"series": series.height, "series_behind": behind},
        series.sort("behind", "sessions", *_SERIES, descending=[True, True, False, False, False]).head(SAMPLE),
        _update(rows["source"]),
        "; ".join(dict.fromkeys(fixes)),
    )


_MISSING_SCHEMA = pl.Schema(
    {**dict.fromkeys(_SERIES, pl.String()), "session": pl.Date(), "why": pl.String(), "newest": pl.Boolean()}
)


def _missing_of(backlog: Backlog, state: ProjectState, late: timedelta) -> pl.DataFrame:
    settled = pl.col("ends") + timedelta(minutes=backlog.source.settle_minutes) + late <= instant_literal(state.now)
    due = backlog.days.filter(settled)["session"]
    rows = backlog.sessions.filter(pl.col("why").is_in(_MISSING), pl.col("session").is_in(due.implode()))
    newest = pl.col("session") == pl.lit(due.max(), pl.Date)
    return (
        _of_group(backlog, rows).with_columns(newest.fill_null(False).alias("newest")).select(_MISSING_SCHEMA.names())
    )


def _describe_missing(sessions: int, series: int, behind: int) -> Iterator[str]:
    if sessions:
        newest = (
            f"{behind:,} series {'lacks' if behind == 1 else 'lack'} the newest one"
            if behind
            else "none the newest one"
        )
        yield f"{_count(sessions, 'session')} of {series:,} series {_is_are(sessions)} missing, {newest}"


def find_failed(state: ProjectState) -> HealthResult:
    """Sessions whose last word is that they failed or were refused."""
    name = "failed_sessions"
    rows = pl.concat(
        [
            pl.DataFrame(schema={**dict.fromkeys(_SERIES, pl.String()), "session": pl.Date(), "why": pl.String()}),
            *(_of_group(item, item.sessions.filter(pl.col("why").is_in(_FAILED))) for item in state.backlogs.found),
        ]
    )
    if rows.is_empty():
        return HealthResult(name, State.OK, "no session is left that failed or was refused")
    failed = int((rows["why"] == Why.FAILED.value).sum())
    refused = rows.height - failed
    parts = [f"{failed:,} failed"] if failed else []
    parts += [f"{refused:,} {'was' if refused == 1 else 'were'} refused"] if refused else []
    advice = "`gb quarantine list` shows the rows of refused ones" if refused else ""
    return HealthResult(
        name,
        State.FAIL,
        f"{_count(rows.height, 'session')} of {rows.n_unique(_SERIES):,} series {_is_are(rows.height)} not stored: "
        + ", ".join(parts),
        rows.height,
        {"failed": failed, "refused": refused},
        _with_messages(state, rows.sort("session", *_SERIES, descending=[True, False, False, False]).head(SAMPLE)),
        _update(rows["source"]),
        advice,
    )


def _with_messages(state: ProjectState, rows: pl.DataFrame) -> pl.DataFrame:
    """Some failed sessions with what the vendor or the rules said last, where that is on record."""
    keys = [*_SERIES, "session"]
    parts = [pl.DataFrame(schema={**{name: rows.schema[name] for name in keys}, "message": pl.String()})]
    for item in state.backlogs.found:
        mine = (pl.col("source") == item.source.name) & (pl.col("resolution") == item.resolution.value)
        if rows.filter(mine).is_empty():
            continue
        work = find_open_work(state.store, item.source, item.resolution, item.symbols, state.settings.healing).items
        named = [pl.lit(item.source.name).alias("source"), pl.lit(item.resolution.value).alias("resolution")]
        parts.append(work.with_columns(named).select(*keys, "message"))
    return rows.join(pl.concat(parts).unique(keys), on=keys, how="left", maintain_order="left")


def find_open_gaps(state: ProjectState) -> HealthResult:
    """Bars that are missing for longer than `open_gap_days`, within sessions that are stored, and that nothing explains."""
    name, days = "open_gaps", state.limits.open_gap_days
    until = state.now.date() - timedelta(days=days)
    found = [_open_gaps_of(state.store, source.name, resolution, until) for source, resolution in state.groups]
    if not found:
        return HealthResult(name, State.SKIPPED, "gb.yaml names no series")
    gaps = pl.concat(found)
    if gaps.is_empty():
        return HealthResult(name, State.OK, f"nothing older than {_count(days, 'day')} is missing without a reason")
    series = gaps.group_by(_SERIES, maintain_order=True).agg(
        pl.col("missing").sum(), pl.len().alias("gaps"), pl.col("session").n_unique().alias("sessions"),
        pl.col("session").min().alias("first"), pl.col("session").max().alias("last"),
    )  # fmt: skip
    missing = int(gaps["missing"].sum())
    return HealthResult(
        name,
        State.WARN,
        f"{_count(missing, 'bar')} of {series.height:,} series {_is_are(missing)} missing for more than {_count(days, 'day')},"
        " and nothing explains why",
        missing,
        {"gaps": gaps.height, "series": series.height, "sessions": gaps.n_unique([*_SERIES, "session"])},
        series.sort("missing", *_SERIES, descending=[True, False, False, False]).head(SAMPLE),
        _update(gaps["source"]),
        "what stays missing is explained in incidents.yaml: `gb gaps` lists it",
    )


def _open_gaps_of(store: LakeStore, source: str, resolution: Resolution, until: date) -> pl.DataFrame:
    """Runs of missing bars without an explanation, of sessions before a day."""
    schema = {**dict.fromkeys(_SERIES, pl.String()), "session": pl.Date(), "missing": pl.Int64()}
    rows = ledger.scan(store.tables, source, resolution, None, (date.min, until), _GAP_COLUMNS).collect()
    # Few sessions have such gaps: only of those the valid row is looked for.
    suspects = _explode(rows)["symbol", "session"].unique()
    if suspects.is_empty():
        return pl.DataFrame(schema=schema)
    valid = ledger.select_valid(rows.join(suspects, on=["symbol", "session"], how="semi").lazy()).collect()
    if store.incidents is not None:
        valid = explain_sessions(valid, store.incidents())
    return _explode(valid.filter(~pl.col("status").is_in(UNSTORED))).select(list(schema))


def _explode(rows: pl.DataFrame) -> pl.DataFrame:
    """One row per open run of missing bars: the keys and `missing`."""
    some = rows.filter(pl.col("gaps").list.len() > 0).select(*ledger.KEYS, "gaps")
    if some.is_empty():
        return some.select(*ledger.KEYS, pl.lit(0, pl.Int64).alias("missing"))
    runs = some.explode("gaps").select(
        *ledger.KEYS,
        pl.col("gaps").struct.field("missing").alias("missing"),
        pl.col("gaps").struct.field("reason").alias("reason"),
    )
    return runs.filter(pl.col("reason").is_in(_OPEN), pl.col("missing") > 0).drop("reason")


def _of_group(backlog: Backlog, rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select(
        pl.lit(backlog.source.name).alias("source"),
        pl.lit(backlog.resolution.value).alias("resolution"),
        "symbol",
        "session",
        "why",
    )


def _update(sources: Collection[str]) -> str:
    """The command that fetches what is missing of some sources."""
    names = sorted(set(sources))
    return f"gb update {' '.join(names)}" if names else ""


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _is_are(number: int) -> str:
    return "is" if number == 1 else "are"
