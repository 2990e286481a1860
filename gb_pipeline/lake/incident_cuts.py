"""This module says which missing bars lie in an incident, and cuts runs of them where it begins and ends.

A bar lies in it if all of its trading time does, by the calendar of its source. Whose bars an incident concerns is known to
`explained`.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta

import polars as pl

from gb_pipeline.config.incidents import Incident
from gb_pipeline.config.project_incidents import Incidents
from gb_pipeline.config.source_facts import SourceFacts
from gb_pipeline.errors import ConfigError
from gb_pipeline.market import grid
from gb_pipeline.market.calendar import Calendar
from gb_pipeline.market.exchange_sessions import SCHEDULE
from gb_pipeline.market.moments import INSTANT, MICROSECOND, instant_literal
from gb_pipeline.market.resolution import Resolution

# The longest that a bar's sessions lie after its label.
PERIODS = {Resolution.DAY: timedelta(days=1), Resolution.WEEK: timedelta(days=7), Resolution.MONTH: timedelta(days=31)}
_DAY = timedelta(days=1)


def cut_runs(runs: pl.DataFrame, incident: Incident, incidents: Incidents) -> pl.DataFrame:
    """Runs that an incident concerns, as parts that are `inside` of it or not.

    Args:
        runs: `source, resolution, session, start, end, missing`, and any others.
        incident: that concerns these series.
        incidents: with the facts of their sources; the calendar is 24/7 where there are none.

    Returns:
        The same columns and `inside` (Boolean); the parts of a run have its `missing` in sum, and lie in no order.
    """
    parts = [
        _cut_series(
            same, incident, incidents.facts.get(str(source)) or SourceFacts(str(source)), Resolution(resolution)
        )
        for (source, resolution), same in runs.group_by("source", "resolution", maintain_order=True)
    ]
    return pl.concat(parts)


def _cut_series(runs: pl.DataFrame, incident: Incident, facts: SourceFacts, resolution: Resolution) -> pl.DataFrame:
    calendar = facts.trading_calendar
    if not resolution.intraday:
        return runs.with_columns(_labels_inside(runs["session"], calendar, resolution, incident).alias("inside"))
    whole = runs.with_columns(_is_inside(incident, pl.col("start"), pl.col("end") - MICROSECOND).alias("inside"))
    # Bars on the clock may begin before the market and end after it.
    beside = ~pl.col("inside") & _overlaps(incident)
    partial = whole.filter(beside)
    if partial.is_empty():
        return whole
    return pl.concat([whole.filter(~beside), _cut_by_bars(partial, calendar, facts.alignment, resolution, incident)])


def _is_inside(
    incident: Incident, first: pl.Expr, last: pl.Expr, first_session: str = "session", last_session: str = "session"
) -> pl.Expr:
    """Whether trading from a first to a last microsecond, or sessions, lie in an incident."""
    start, end = incident.start, incident.end
    begun = first >= instant_literal(start) if isinstance(start, datetime) else pl.col(first_session) >= start
    ended = last < instant_literal(end) if isinstance(end, datetime) else pl.col(last_session) < end
    return begun & ended


def _overlaps(incident: Incident) -> pl.Expr:
    """Whether any of a run may lie in an incident."""
    start, end = incident.start, incident.end
    begun = pl.col("end") > instant_literal(start) if isinstance(start, datetime) else pl.col("session") >= start
    ended = pl.col("start") < instant_literal(end) if isinstance(end, datetime) else pl.col("session") < end
    return begun & ended


def _labels_inside(sessions: pl.Series, calendar: Calendar, resolution: Resolution, incident: Incident) -> pl.Series:
    """Which bars of a day, week or month trade only in an incident."""
    period = grid.period_of(resolution)
    labels = sessions.unique().sort()
    hours = _schedule(calendar, labels, PERIODS[resolution]).with_columns(
        pl.col("session").dt.truncate(period).alias("label")
    )
    spans = hours.group_by("label").agg(
        pl.col("open").min().alias("first"),
        pl.col("close").max().alias("last"),
        pl.col("session").min().alias("first_session"),
        pl.col("session").max().alias("last_session"),
    )
    is_inside = _is_inside(incident, pl.col("first"), pl.col("last") - MICROSECOND, "first_session", "last_session")
    inside = spans.select("label", is_inside.alias("inside"))
    joined = sessions.to_frame("label").join(inside, on="label", how="left", maintain_order="left")
    return joined["inside"].fill_null(False)


def _schedule(calendar: Calendar, labels: pl.Series, length: timedelta) -> pl.DataFrame:
    """Hours of the sessions of some days, weeks or months; what the calendar does not know is left out."""
    last = labels[-1] + length
    try:
        return calendar.schedule(labels[0], last if calendar.end is None else min(last, calendar.end))
    except ConfigError:
        # They were recorded by another calendar.
        return pl.DataFrame(schema=SCHEDULE)


def _cut_by_bars(
    runs: pl.DataFrame, calendar: Calendar, alignment: str, resolution: Resolution, incident: Incident
) -> pl.DataFrame:
    """Runs that an incident may explain a part of, cut between the bars of their sessions."""
    grids = [_bars_of(calendar, session, resolution, alignment) for session in runs["session"].unique().sort()]
    bars = pl.concat(grids)
    spans = calendar.trading_span(bars["timestamp"], resolution, alignment)
    bars = bars.hstack([spans["first"].alias("first_trade"), spans["last"].alias("last_trade")])
    is_inside = _is_inside(incident, pl.col("first_trade"), pl.col("last_trade")).fill_null(False)
    bars = bars.with_columns(is_inside.alias("inside"))
    names = [name for name in runs.columns if name not in {"start", "end", "missing", "inside"}]
    numbered = runs.drop("inside").with_row_index("run")
    missing = numbered.join(bars, on="session", how="inner").filter(
        (pl.col("timestamp") >= pl.col("start")) & (pl.col("timestamp") < pl.col("end"))
    )
    # By another calendar than the one that counted them the bars may be others: such a run is not cut.
    counts = missing.group_by("run").agg(pl.len().alias("bars"))
    matching = numbered.join(counts, on="run", how="left").filter(pl.col("bars") == pl.col("missing")).select("run")
    strange = numbered.join(matching, on="run", how="anti").drop("run").with_columns(pl.lit(False).alias("inside"))
    changes = (pl.col("inside") != pl.col("inside").shift()).over("run").fill_null(True)
    parts = (
        missing.join(matching, on="run", how="semi")
        .sort("run", "timestamp")
        .with_columns(changes.cum_sum().over("run").alias("part"))
        .group_by("run", "part", maintain_order=True)
        .agg(
            pl.col(names).first(),
            pl.col("timestamp").first().alias("start"),
            pl.col("bar_end").last().alias("end"),
            pl.len().cast(pl.Int64).alias("missing"),
            pl.col("inside").first(),
        )
    )
    columns = [*runs.drop("inside").columns, "inside"]
    return pl.concat([parts.select(columns), strange.select(columns)])


def _bars_of(calendar: Calendar, session: date, resolution: Resolution, alignment: str) -> pl.DataFrame:
    """`session`, `timestamp` and `bar_end` of the bars of one session; none where the calendar does not know it."""
    try:
        bars = calendar.expected(session, session + _DAY, resolution, alignment)
    except ConfigError:
        bars = pl.DataFrame(schema={"session": pl.Date(), "timestamp": INSTANT})
    return bars.hstack([calendar.bar_ends(bars["timestamp"], resolution).alias("bar_end")])
