"""This module makes bars of refused rows, and takes that back: what a release holds, and the bars and sessions that it changes.

A release is an override of a bar that is not stored, or not like this (`overrides`). Which rows are decided is known to
`decisions`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import uuid4

import polars as pl

from gb_pipeline.errors import ConfigError, LakeError
from gb_pipeline.lake import bars, ledger, overrides
from gb_pipeline.lake.bars_request import BarsRequest
from gb_pipeline.lake.datasets import CORPORATE_ACTIONS, OVERRIDES, bars_dataset
from gb_pipeline.lake.quarantine import OTHER_TABLES
from gb_pipeline.lake.report import SessionStatus, WriteReport
from gb_pipeline.lake.stored import is_wide, read_window
from gb_pipeline.market.calendar import Calendar, calendar_of_version
from gb_pipeline.market.moments import INSTANT, MICROSECOND
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import (
    CONTENT,
    CORRECTABLE,
    OPTIONAL,
    Adjustment,
    Precision,
    bar_schema,
    polars_schema,
)
from gb_pipeline.market.spelling import did_you_mean, near_names
from gb_pipeline.market.window import Window
from gb_pipeline.quality.anomalies import find_anomalies
from gb_pipeline.quality.bars import BAD, ValidationResult, validate
from gb_pipeline.quality.exact import read_numbers
from gb_pipeline.quality.releasing import MEANINGS, UNKNOWN, WAIVED, Release
from gb_pipeline.quality.rules import BarRules
from gb_pipeline.quality.runs import session_runs
from gb_pipeline.storage.commit import Clock
from gb_pipeline.storage.table import Tables

# The rules of a source for bars of a resolution.
RulesOf = Callable[[str, Resolution], BarRules]
SHORT_ID = 12
_KEY = ["symbol", "timestamp"]
_SERIES = ["source", "symbol", "resolution"]
_GOOD = ["symbol", "session", "timestamp", *CONTENT]


def parse_values(values: Mapping[str, Any]) -> dict[str, Decimal]:
    """Values of a bar that somebody names, exact.

    Raises:
        ConfigError: there is none, one that is not a number, or a name that no bar has.
    """
    if not values:
        raise ConfigError("no value is corrected", fix=f"name at least one of {', '.join(CORRECTABLE)}")
    parsed = {}
    for name, value in values.items():
        if name not in CORRECTABLE:
            near = did_you_mean(near_names(name, CORRECTABLE), f"name one of {', '.join(CORRECTABLE)}")
            raise ConfigError(f"{name!r} of a bar cannot be corrected", fix=near)
        try:
            parsed[name] = Decimal(str(value))
        except InvalidOperation:
            parsed[name] = Decimal("NaN")
        if not parsed[name].is_finite():
            raise ConfigError(f"{name} {str(value)[:40]!r} is not a number", fix="write it like 187.25")
    return parsed


def recorded_calendar(version: str | None, rules: BarRules) -> Calendar:
    """The calendar by which a session was recorded; that of the rules where nobody said."""
    return rules.calendar if version is None else calendar_of_version(version)


def whole_sessions(rules: BarRules, window: Window) -> Window:
    """A window, and all of the sessions of its first and last instant: a bar off the grid touches no other one of its session."""
    if not rules.resolution.intraday:
        return window
    ends = pl.Series([window.start, window.end - MICROSECOND]).cast(INSTANT)
    first, last = rules.calendar.session_of(ends, rules.resolution)
    if first is None or last is None:
        return window
    begin, end = rules.calendar.session_window(first).start, rules.calendar.session_window(last).end
    return Window(min(window.start, begin), max(window.end, end))


def refuse_unreleasable(rows: pl.DataFrame) -> None:
    """Raise ConfigError where nothing that somebody says makes one of the rows a bar.

    Args:
        rows: of the dataset `quarantine`.
    """
    for row in rows.iter_rows(named=True):
        if row["resolution"] in OTHER_TABLES:
            what = "a corporate action" if row["resolution"] == CORPORATE_ACTIONS.name else f"of {row['resolution']}"
            raise ConfigError(
                f"{row['row_id'][:SHORT_ID]} is {what}, and only bars are released",
                fix="fetch them again, or `gb quarantine drop` it",
            )
        for code in row["reasons"]:
            meaning = MEANINGS.get(code, UNKNOWN)
            if meaning.release is Release.NOT:
                raise ConfigError(
                    f"{row['row_id'][:SHORT_ID]} cannot be released ({code}): {meaning.words}", fix=meaning.fix
                )
    twice = rows.filter(pl.struct(*_SERIES, "timestamp").is_duplicated())
    if twice.height:
        names = ", ".join(name[:SHORT_ID] for name in twice["row_id"].head(2))
        raise ConfigError(f"{names} are of the same moment", fix="release the one that is right, and drop the other")


def release(
    tables: Tables,
    rows: pl.DataFrame,
    values: Mapping[str, Any] | None,
    reason: str,
    rules_of: RulesOf,
    clock: Clock,
) -> list[WriteReport]:
    """Make bars of open rows of the dataset `quarantine`: one commit per series. Every row is looked at before the first."""
    refuse_unreleasable(rows)
    given = parse_values(values) if values else {}
    if given and rows.height > 1:
        raise ConfigError(f"values are named for {rows.height:,} rows", fix="release one row at a time with its values")
    prepared = [
        _Batch(tables, batch, given, reason, rules_of)
        for batch in _with_recorded(tables, rows).partition_by(*_SERIES, "calendar", "adjustment", maintain_order=True)
    ]
    return [batch.commit(clock) for batch in prepared]


def take_back(tables: Tables, in_force: pl.DataFrame, reason: str, rules: BarRules, clock: Clock) -> WriteReport:
    """Take back the release of a bar that the vendor has not sent well since: it is no bar any more.

    Args:
        in_force: the row of `overrides` that is to end.
    """
    [source], [symbol], [stamp] = (in_force[name].to_list() for name in ("source", "symbol", "timestamp"))
    resolution = Resolution(in_force["resolution"].item())
    precision = _precision(tables, source, resolution, symbol, rules)
    window = Window(stamp, stamp + MICROSECOND)
    stored = read_window(tables, tables.newest(bars_dataset(resolution, precision).name), source, [symbol], window)
    if stored.is_empty() or stored["file"].null_count():
        raise LakeError(
            f"the bar of {source}:{symbol} {resolution} at {stamp.isoformat()} was released before the series went wide",
            fix="correct it with `gb override`",
        )
    session = rules.calendar.session_of(stored["timestamp"], resolution)
    asked = max(in_force["vendor_fetched_at"].item(), stored["fetched_at"].item())
    facts = _sessions(tables, source, symbol, resolution, session)
    if facts.height:
        asked = max(asked, facts["fetched_at"].max())
        rules = replace(rules, calendar=recorded_calendar(facts["calendar"][0], rules))
        rules = replace(rules, adjustment=Adjustment(facts["adjustment"][0] or "raw"))
    ended = in_force.select(OVERRIDES.columns.names).with_columns(
        pl.lit(True).alias("withdrawn"),
        pl.lit(reason).alias("reason"),
        pl.lit(uuid4().hex[: overrides.ID_LENGTH]).alias("override_id"),
    )
    override = overrides.Override(ended, stored, in_force, decides=True)
    overrides.record(tables, ended, clock=clock)
    types = polars_schema(bar_schema(precision))
    good = pl.DataFrame(schema={"symbol": pl.String(), "session": pl.Date(), **{n: types[n] for n in _GOOD[2:]}})
    span = whole_sessions(rules, window)
    request = BarsRequest(source, (symbol,), resolution, span, {symbol: asked}, None, {})
    return bars.decide(tables, request, _validated(good, {}), replace(rules, precision=precision), clock, override)


class _Batch:
    """Rows of one series that are released at once."""

    def __init__(
        self, tables: Tables, rows: pl.DataFrame, values: Mapping[str, Decimal], reason: str, rules_of: RulesOf
    ) -> None:
        """Read what they say and what is stored; nothing is written.

        Raises:
            ConfigError: a row makes no bar, or its bar is corrected already.
        """
        self.tables = tables
        source, symbol, resolution = rows.select(_SERIES).row(0)
        kind = Resolution.parse(resolution)
        rules = rules_of(source, kind)
        precision = _precision(tables, source, kind, symbol, rules)
        self.rules = replace(
            rules,
            resolution=kind,
            calendar=recorded_calendar(rows["calendar"][0], rules),
            adjustment=Adjustment(rows["adjustment"][0] or rules.adjustment),
            precision=precision,
            allow_unaligned=True,
            max_bad_fraction=1.0,
        )
        _refuse_removed(rows)
        rows = rows.sort("timestamp")
        window = Window(rows["timestamp"][0], rows["timestamp"][-1] + MICROSECOND)
        base = tables.newest(bars_dataset(kind, precision).name)
        stored = read_window(tables, base, source, [symbol], window).join(rows, on=_KEY, how="semi")
        in_force = overrides.read_in_force(tables, base, source, kind, [symbol], window).join(rows, on=_KEY, how="semi")
        if in_force.height:
            moment = in_force["timestamp"][0].isoformat()
            raise ConfigError(
                f"the bar of {source}:{symbol} {kind} at {moment} is corrected or released already",
                fix=f"take that back first: `gb override {source}:{symbol} {moment} --withdraw --reason ...`",
            )
        asked: datetime = max(  # type: ignore[assignment]
            moment
            for frame, name in ((rows, "quarantined_at"), (rows, "session_fetched_at"), (stored, "fetched_at"))
            if (moment := frame[name].max()) is not None
        )
        good = self._read(rows, values, window, asked)
        row = good.join(
            stored.select(*_KEY, *(pl.col(n).alias(f"old {n}") for n in CONTENT), pl.col("fetched_at")),
            on=_KEY,
            how="left",
        )
        is_new = pl.col("fetched_at").is_null()
        batch = uuid4().hex[: overrides.ID_LENGTH]
        self.override = overrides.Override(
            row.join(rows.select("timestamp", "row_id"), on="timestamp")
            .sort("timestamp")
            .select(
                pl.lit(source).alias("source"),
                "symbol",
                pl.lit(kind.value).alias("resolution"),
                "timestamp",
                *(pl.col(name).alias(f"corrected_{name}") for name in CONTENT),
                *(pl.when(is_new).then(name).otherwise(f"old {name}").alias(f"vendor_{name}") for name in CONTENT),
                pl.col("fetched_at").fill_null(asked).alias("vendor_fetched_at"),
                pl.lit(reason).alias("reason"),
                pl.lit(False).alias("withdrawn"),
                (pl.lit(batch) + "-" + pl.int_range(pl.len()).cast(pl.String)).alias("override_id"),
                "row_id",
                is_new.alias("vendor_refused"),
            )
            .cast(polars_schema(OVERRIDES.columns)),
            stored,
            in_force,
            decides=True,
        )
        self.validation = _validated(good, {symbol: good.height})
        span = whole_sessions(self.rules, window)
        self.request = BarsRequest(source, (symbol,), kind, span, {symbol: asked}, None, {})

    def commit(self, clock: Clock) -> WriteReport:
        """Write the bars, and what makes them hold."""
        overrides.record(self.tables, self.override.rows, clock=clock)
        return bars.decide(self.tables, self.request, self.validation, self.rules, clock, self.override)

    def _read(self, rows: pl.DataFrame, values: Mapping[str, Decimal], window: Window, asked: datetime) -> pl.DataFrame:
        """The bars that the rows are, `session` and all content in stored types."""
        texts = read_texts(rows).with_columns(pl.lit(f"{value:f}").alias(name) for name, value in values.items())
        lacking = [name for name in CORRECTABLE if texts[name].null_count() == texts.height]
        if lacking and rows["bar"].null_count() and not rows["row"].str.starts_with("{").any():
            raise ConfigError(
                f"which values {rows['row_id'][0][:SHORT_ID]} has is not recorded, only its line",
                fix=f"name all of them: {' '.join(f'--{name} ...' for name in lacking)}",
            )
        numbers, _ = read_numbers(texts, self.rules.precision)
        counts = pl.when(pl.col("trade_count") >= 0).then("trade_count")
        numbers = numbers.with_columns(counts.alias("trade_count"))
        checked = texts.with_columns(pl.lit(None, pl.String).alias(name) for name in OPTIONAL)
        bad = validate(checked, self.rules, window, now=asked).bad
        broken = bad.with_columns(pl.col("reasons").list.set_difference(sorted(WAIVED))).filter(
            pl.col("reasons").list.len() > 0
        )
        if broken.height:
            raise _makes_no_bar(rows, broken, texts)
        sessions = self.rules.calendar.session_of(numbers["timestamp"], self.rules.resolution).alias("session")
        good = numbers.hstack([sessions])
        if good["session"].null_count():
            raise ConfigError("a row lies on a day without a session", fix=MEANINGS["outside_session"].fix)
        return good.select(_GOOD)


def _refuse_removed(rows: pl.DataFrame) -> None:
    """Raise ConfigError where a row is of a session that was removed on purpose: it would bring a bar of it back."""
    removed = rows.filter(pl.col("session_status") == SessionStatus.REMOVED.value)
    if removed.height:
        row = removed.row(0, named=True)
        series = f"{row['source']}:{row['symbol']}"
        raise ConfigError(
            f"{row['row_id'][:SHORT_ID]} is of {row['session']}, which was removed from {series} on purpose",
            fix=f"`gb removals {series}` says why; `gb delete {series} --undo` lets it have bars again, or drop the row",
        )


def read_texts(rows: pl.DataFrame) -> pl.DataFrame:
    """What rows of the dataset `quarantine` say: `symbol`, `timestamp`, and all content as text, null where it is not said."""
    said = pl.coalesce("bar", pl.when(pl.col("row").str.starts_with("{")).then("row"))
    return rows.select(*_KEY, *(said.str.json_path_match(f"$.{name}").alias(name) for name in CONTENT))


def _makes_no_bar(rows: pl.DataFrame, broken: pl.DataFrame, texts: pl.DataFrame) -> ConfigError:
    where = broken["timestamp"][0]
    name = rows.filter(pl.col("timestamp") == where)["row_id"][0][:SHORT_ID]
    said = texts.filter(pl.col("timestamp") == where).row(0, named=True)
    reasons = broken["reasons"][0].to_list()
    words = "; ".join(MEANINGS.get(code, UNKNOWN).words for code in reasons)
    values = " ".join(f"{column} {(said[column] or 'missing')[:24]}" for column in CORRECTABLE)
    return ConfigError(
        f"{name} makes no bar ({', '.join(reasons)}): {words} ({values})",
        fix=f"name the right values, such as --{_culprit(reasons, said)} ..., or drop the row",
    )


def _culprit(reasons: list[str], said: Mapping[str, Any]) -> str:
    for code, name in (("high_not_highest", "high"), ("low_not_lowest", "low"), ("negative_volume", "volume")):
        if code in reasons:
            return name
    return next((name for name in CORRECTABLE if not said[name]), "close")


def _validated(good: pl.DataFrame, received: Mapping[str, int]) -> ValidationResult:
    no_bad = pl.DataFrame(schema=BAD)
    places = no_bad.select("symbol", "session", "timestamp")
    return ValidationResult(good, session_runs(good), no_bad, places, find_anomalies(good), frozenset(), received)


def _precision(tables: Tables, source: str, kind: Resolution, symbol: str, rules: BarRules) -> Precision:
    return Precision.WIDE if is_wide(tables, source, kind, [symbol]) else rules.precision


def _with_recorded(tables: Tables, rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with what is recorded of their sessions: `calendar, adjustment, session_fetched_at, session_status`, or null."""
    parts = []
    for series in rows.partition_by(*_SERIES, maintain_order=True):
        source, symbol, resolution = series.select(_SERIES).row(0)
        known = _sessions(tables, source, symbol, Resolution.parse(resolution), series["session"])
        facts = known.select(
            "session",
            "calendar",
            "adjustment",
            pl.col("fetched_at").alias("session_fetched_at"),
            pl.col("status").alias("session_status"),
        )
        parts.append(series.join(facts, on="session", how="left", maintain_order="left"))
    return pl.concat(parts)


def _sessions(tables: Tables, source: str, symbol: str, kind: Resolution, sessions: pl.Series) -> pl.DataFrame:
    first, last = sessions.min(), sessions.max()
    if not isinstance(first, date) or not isinstance(last, date):
        return ledger.SESSIONS_EMPTY
    found = ledger.current(tables, source, kind, [symbol], (first, last + timedelta(days=1)))
    return found.filter(pl.col("session").is_in(sessions.implode()))
