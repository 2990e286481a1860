"""This module explains gaps by incidents, when they are read: nothing of it is ever stored.

A missing bar is explained if all of its trading time lies in an incident. A gap of which only a part does is cut, along the bars
that the calendar expects; what is missing in its parts is what was missing in the whole.
"""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl
import pyarrow as pa

from gb_pipeline.config.incident_times import utc_start
from gb_pipeline.config.incidents import Incident
from gb_pipeline.config.project_incidents import Incidents
from gb_pipeline.lake.incident_cuts import PERIODS, cut_runs
from gb_pipeline.lake.report import UNSTORED, SessionStatus
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.quality.gaps import GapReason

_SERIES = ["source", "symbol", "resolution"]
_RUN = ("start", "end", "missing", "reason")
# What an explained gap says of its incident: its number in the file, and what stands there. Null elsewhere.
INCIDENT_COLUMNS = pl.Schema({"incident": pl.Int64(), "incident_kind": pl.String(), "incident_reason": pl.String()})
EXPLAINED = GapReason.INCIDENT.value
# Nothing is missing there, or somebody took it out on purpose.
_KEPT_REASONS = [GapReason.CLOSED.value, GapReason.NOT_LISTED.value, GapReason.REMOVED.value]
# A session begins and ends within this time of its date's midnight in UTC.
_MARGIN = timedelta(days=2)


def explain_sessions(rows: pl.DataFrame, incidents: Incidents) -> pl.DataFrame:
    """Rows of the ledger, with the gaps that incidents explain.

    Args:
        rows: `source, symbol, resolution, session, gaps`, and any others; at most one row per series and session.
        incidents: of the project.

    Returns:
        The same rows in their order. Gaps have `incident` (Int64, number of the entry), `incident_kind` and `incident_reason`
        besides, null where no incident explains them. A session that failed or was refused, and lacks nothing that is not
        explained, is `empty` in the column `status`, or `partial` where it has bars. Without any incident the rows are returned
        as they are.
    """
    if not incidents.items or rows.is_empty():
        return rows
    runs = rows.lazy().select(pl.int_range(pl.len()).alias("place"), *_SERIES, "session", "gaps").collect()
    runs = runs.explode("gaps", empty_as_null=False, keep_nulls=False)
    runs = runs.unnest("gaps") if runs.height else pl.DataFrame(schema={**runs.drop("gaps").schema, **_run_types(rows)})
    found = explain_runs(runs, incidents)
    gaps = _gather(found, rows.height)
    explained = rows.with_columns(gaps)
    return _with_status(explained, found) if "status" in rows.columns else explained


def explain_runs(runs: pl.DataFrame, incidents: Incidents) -> pl.DataFrame:
    """Runs of missing bars, cut where an incident explains only a part of them.

    Args:
        runs: `source, symbol, resolution, session, start, end, missing, reason`, and any others.
        incidents: of the project; of several that cover a bar, the first one explains it.

    Returns:
        The same columns and those of `INCIDENT_COLUMNS`, in the order of the rows; parts of one row follow each other in time. The
        sum of `missing` is that of the rows.

    Example:
        >>> explain_runs(lake_gaps, incidents).filter(pl.col("reason") == "incident")["incident_kind"].unique().to_list()
        ['halt']
    """
    unexplained = [pl.lit(None, kind).alias(name) for name, kind in INCIDENT_COLUMNS.items()]
    rows = runs.with_row_index("row").with_columns(unexplained)
    touched = rows.filter(
        (pl.col("missing") > 0) & ~pl.col("reason").is_in(_KEPT_REASONS), _near_any(rows["session"], incidents)
    )
    if touched.is_empty():
        return rows.drop("row")
    left, explained = touched, []
    for incident in incidents.items:
        candidates = left.filter(_concerns(incident, incidents), _is_near(incident))
        if candidates.is_empty():
            continue
        parts = cut_runs(candidates, incident, incidents)
        inside = parts.filter("inside").drop("inside")
        if inside.is_empty():
            continue
        explained.append(inside.with_columns(_explanation(incident)))
        outside = parts.filter(~pl.col("inside")).drop("inside")
        # A row may have several parts by now; those that were no candidates stay as they are.
        left = pl.concat([left.join(candidates.select("row", "start"), on=["row", "start"], how="anti"), outside])
    others = rows.join(touched.select("row"), on="row", how="anti")
    return pl.concat([others, left, *explained]).sort("row", "start").drop("row")


def _explanation(incident: Incident) -> list[pl.Expr]:
    values = {"incident": incident.entry, "incident_kind": incident.kind, "incident_reason": incident.reason}
    columns = [pl.lit(value, INCIDENT_COLUMNS[name]).alias(name) for name, value in values.items()]
    return [pl.lit(EXPLAINED).alias("reason"), *columns]


def _concerns(incident: Incident, incidents: Incidents) -> pl.Expr:
    """Whether a series is in the scope of an incident."""
    conditions = [pl.lit(True)]
    if incident.sources:
        conditions.append(pl.col("source").is_in(incident.sources))
    if incident.resolutions:
        conditions.append(pl.col("resolution").is_in(incident.resolutions))
    if incident.calendars:
        names = [name for name, facts in incidents.facts.items() if facts.trading_calendar.name in incident.calendars]
        conditions.append(pl.col("source").is_in(names))
    if incident.symbols:
        patterns = "|".join(_as_regex(pattern) for pattern in incident.symbols)
        conditions.append(pl.col("symbol").str.contains(f"^(?:{patterns})$"))
    if incident.exchanges:
        listed = [":".join(key) for key, exchange in incidents.exchanges.items() if exchange in incident.exchanges]
        conditions.append(pl.concat_str("source", pl.lit(":"), "symbol").is_in(listed))
    return pl.all_horizontal(conditions)


def _as_regex(pattern: str) -> str:
    return "".join({"*": ".*", "?": ".", ".": r"\."}.get(letter, letter) for letter in pattern)


def _is_near(incident: Incident) -> pl.Expr:
    """Whether a session may have bars in an incident; weeks and months are named by their first day."""
    first, last = _days_near(incident)
    return pl.col("session").is_between(first, last)


def _days_near(incident: Incident) -> tuple[date, date]:
    longest = PERIODS[Resolution.MONTH]
    return (utc_start(incident.start) - longest - _MARGIN).date(), (utc_start(incident.end) + _MARGIN).date()


def _near_any(sessions: pl.Series, incidents: Incidents) -> pl.Series:
    """Which sessions may have bars in some incident: most rows of a lake are in none."""
    spans = sorted(map(_days_near, incidents.items))
    firsts = pl.Series([first for first, _ in spans], dtype=pl.Date)
    # The latest end of all that began before.
    ends = pl.Series([last for _, last in spans], dtype=pl.Date).cum_max()
    position = firsts.search_sorted(sessions, side="right").cast(pl.Int64) - 1
    return (position >= 0) & (sessions <= ends.gather(position.clip(0)))


def _run_types(rows: pl.DataFrame) -> dict[str, pl.DataType]:
    inner = rows.schema["gaps"]
    assert isinstance(inner, pl.List) and isinstance(inner.inner, pl.Struct)
    return {field.name: field.dtype for field in inner.inner.fields}  # type: ignore[misc]


def _gather(runs: pl.DataFrame, height: int) -> pl.Series:
    """The runs of each place as a list, as `session_gaps.gather_gaps` has them."""
    counts = np.bincount(runs["place"].to_numpy(), minlength=height)
    offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int64())
    items = runs.select(*_RUN, *INCIDENT_COLUMNS).to_struct().to_arrow()
    return pl.Series("gaps", pl.from_arrow(pa.LargeListArray.from_arrays(offsets, items)))


def _with_status(rows: pl.DataFrame, runs: pl.DataFrame) -> pl.DataFrame:
    """Sessions that failed or were refused, and lack nothing that no incident explains, count as such no longer."""
    unexplained = runs.filter((pl.col("missing") > 0) & (pl.col("reason") != EXPLAINED))["place"].unique()
    explained = runs.filter(pl.col("reason") == EXPLAINED)["place"].unique()
    place = pl.int_range(pl.len())
    settled = (
        pl.col("status").is_in(UNSTORED)
        & place.is_in(explained.cast(pl.Int64).implode())
        & ~place.is_in(unexplained.cast(pl.Int64).implode())
    )
    has_bars = pl.col("first_timestamp").is_not_null() if "first_timestamp" in rows.columns else pl.lit(False)
    value = pl.when(has_bars).then(pl.lit(SessionStatus.PARTIAL.value)).otherwise(pl.lit(SessionStatus.EMPTY.value))
    return rows.with_columns(pl.when(settled).then(value).otherwise("status").alias("status"))
