"""This module validates a received frame: which rows are good, which are bad and why, and what is refused because of them.

One pass over the columns tells whether anything is wrong (`clean`); only then does the model name it row by row (`model`,
`repeats`). What is suspicious but not wrong is found by `anomalies`, and what is absent by `gaps`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from functools import cache

import polars as pl

from gb_pipeline.errors import WindowRefused
from gb_pipeline.market.moments import instant_literal
from gb_pipeline.market.schema import (
    CONTENT,
    OPTIONAL,
    RECEIVED,
    RECEIVED_OPTIONAL,
    Precision,
    bar_schema,
    polars_schema,
)
from gb_pipeline.market.window import Window
from gb_pipeline.quality.anomalies import find_anomalies
from gb_pipeline.quality.clean import sessions_if_clean
from gb_pipeline.quality.exact import read_numbers
from gb_pipeline.quality.model import find_breaches
from gb_pipeline.quality.placement import place
from gb_pipeline.quality.reasons import (
    CROSSED,
    IMPLAUSIBLE_TIMESTAMP,
    MISSING,
    OUTSIDE_SESSION,
    OUTSIDE_WINDOW,
    PART_OF_SESSION,
    UNREADABLE,
    UNREADABLE_TIMESTAMP,
)
from gb_pipeline.quality.refusal import RefusedRows, refuse
from gb_pipeline.quality.repeats import name_rows
from gb_pipeline.quality.rules import BarRules, GapPolicy
from gb_pipeline.quality.runs import (
    Integers,
    SessionRuns,
    is_ordered,
    row_runs,
    session_runs,
    sorted_runs,
    sum_by_symbol,
)
from gb_pipeline.quality.unplaced import UnplacedRows, doubtful_days, is_absurd, is_far, is_implausible

BAD = pl.Schema(
    {
        "symbol": pl.String(),
        "session": pl.Date(),
        "timestamp": RECEIVED["timestamp"],
        "reasons": pl.List(pl.String()),
        "row": pl.String(),
        "bar": pl.String(),
    }
)
DOUBTS = pl.Schema({"symbol": pl.String(), "first": pl.Date(), "last": pl.Date()})
_GOOD = ("symbol", "session", "timestamp", *CONTENT)
_PLACE = ("symbol", "session", "timestamp")
# What is only said of a row for want of a better word.
_VAGUE = (MISSING, UNREADABLE, UNREADABLE_TIMESTAMP)
# What is about a row, and not of its content.
_ABOUT = frozenset({"index", "symbol", "reasons", "received", "fault"})


@dataclass(frozen=True, slots=True)
class ValidationResult:
    """The outcome of a validation. Every row of the frame is in one of `good`, `bad` and `duplicates`.

    Attributes:
        good: `symbol, session` (Date), `timestamp` and the content columns in stored types, sorted by symbol, timestamp.
        runs: where each session of them begins.
        bad: `symbol, session` (Date, null outside the window's sessions), `timestamp` (nullable), `reasons` (list of codes),
            `row` (the row as received, text), `bar` (what was read from it, as JSON; null where `row` is that).
        duplicates: `symbol, session, timestamp` of rows that repeat another row of the frame in every value.
        warnings: `symbol, session, timestamp, warning` of good rows that look suspicious.
        refused: the (symbol, session) pairs of which nothing is believed: too many of their rows are bad, or all of them.
        unplaced: by symbol, rows of `bad` that belong to no session of the window; where they are too many, the whole
            answer is refused, and all its rows are in `bad`.
        received_by_symbol: rows of the frame.
        doubts: `symbol`, `first`, `last` (Date, both inclusive): days of which rows without a readable stamp may be, so that
            it is not known that the vendor has nothing there.
    """

    good: pl.DataFrame
    runs: SessionRuns
    bad: pl.DataFrame
    duplicates: pl.DataFrame
    warnings: pl.DataFrame
    refused: frozenset[tuple[str, date]]
    received_by_symbol: Mapping[str, int]
    unplaced: Mapping[str, UnplacedRows] = field(default_factory=dict)
    doubts: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=DOUBTS))

    @property
    def received(self) -> int:
        """Rows of the frame."""
        return sum(self.received_by_symbol.values())

    @property
    def refused_answers(self) -> frozenset[str]:
        """Symbols of whose answer nothing is believed."""
        return frozenset(symbol for symbol, rows in self.unplaced.items() if rows.refused)


def validate(
    frame: pl.DataFrame,
    rules: BarRules,
    window: Window,
    *,
    now: datetime | None = None,
    rows_read: Mapping[str, int] | None = None,
) -> ValidationResult:
    """Validate the rows of one or many symbols against the rules of their source.

    Args:
        frame: `symbol` and the columns of `market.schema.RECEIVED`, optionally those of `RECEIVED_OPTIONAL`, in any order
            of rows; numbers as text, decimals or integers.
        rules: what they are validated against.
        window: the requested window.
        now: the present, aware; the wall clock by default.
        rows_read: by symbol, how many rows were read for its answer, where that is more than the frame has, such as the lines
            of a whole file.

    Raises:
        WindowRefused: columns are missing, unknown or of a type that cannot be read exactly.

    Example:
        >>> result = validate(frame, BarRules(), Window.of("2024-01-02", "2024-01-03"))
        >>> result.good.height + result.bad.height + result.duplicates.height == frame.height
        True
    """
    _refuse_wrong_columns(frame)
    moment = now or datetime.now(UTC)
    ordered, symbol_starts, symbol_counts = _sort_if_needed(frame)
    received = sum_by_symbol(ordered["symbol"][symbol_starts], symbol_counts)
    numbers, problems = read_numbers(ordered, rules.precision)
    numbers = _with_optional(numbers, rules)
    if problems.is_empty() and not ("ask_close" in numbers.columns and _crossed(numbers).any()):
        sessions = sessions_if_clean(numbers, rules, window, moment)
        if sessions is not None:
            good = numbers.hstack([sessions.alias("session")])[list(_GOOD)]
            runs = sorted_runs(good, symbol_starts)
            no_bad = pl.DataFrame(schema={**BAD, "symbol": frame.schema["symbol"]})
            return ValidationResult(
                good, runs, no_bad, no_bad[list(_PLACE)], find_anomalies(good), frozenset(), received
            )
    result = _name_breaches(ordered, numbers, problems, rules, window, moment, received, rows_read or {})
    if any(rows.of_any_day for rows in result.unplaced.values()):
        # Of the order in which rows came it hangs which days those may be of that say none.
        return replace(result, doubts=doubtful_days(frame, rules, window))
    return result


def _with_optional(numbers: pl.DataFrame, rules: BarRules) -> pl.DataFrame:
    """The same with every optional column."""
    absent = [column for column in _no_values(rules.precision) if column.name not in numbers.columns]
    return numbers.hstack([column.new_from_index(0, numbers.height) for column in absent])


@cache
def _no_values(precision: Precision) -> tuple[pl.Series, ...]:
    """Each optional column with one row that lacks it."""
    types = polars_schema(bar_schema(precision))
    return tuple(pl.Series(name, [None], dtype=types[name]) for name in OPTIONAL)


def _name_breaches(
    ordered: pl.DataFrame,
    numbers: pl.DataFrame,
    problems: pl.DataFrame,
    rules: BarRules,
    window: Window,
    now: datetime,
    received: Mapping[str, int],
    rows_read: Mapping[str, int],
) -> ValidationResult:
    """The result for a frame in which something is wrong."""
    ordered = ordered.with_row_index("index")
    placed = _place_near(numbers.with_row_index("index"), rules, window)
    crossed = placed.filter(_crossed(placed)).select("index", pl.lit(CROSSED).alias("reason"))
    breaches = pl.concat([problems, find_breaches(_without_absurd_stamps(placed), rules, window, now), crossed])
    # A row outside the window is in no session that was asked for.
    placed = placed.with_columns(pl.when(_is_inside(window)).then("session").alias("session"))
    named = name_rows(_name_stamps(breaches, ordered, placed, window), ordered, placed, rules)
    reasons = named.breaches.group_by("index").agg(pl.col("reason").unique().sort().alias("reasons")).sort("index")
    is_duplicate = pl.col("index").is_in(named.duplicates.implode())
    rows = placed.filter(~is_duplicate).join(reasons, on="index", how="left", maintain_order="left")
    # A vendor that leaves out bars without a trade says with an empty one that there was none.
    excused = named.blank if rules.gap_policy is GapPolicy.NO_TRADE else named.told
    refused: RefusedRows = refuse(
        rows.select("index", *_PLACE, "reasons", pl.col("index").is_in(named.blank.implode()).alias("is_blank")),
        excused,
        rules.max_bad_fraction,
        window,
        received,
        rows_read,
    )
    good = rows.join(refused.reasons, on="index", how="anti", maintain_order="left").select(_GOOD)
    return ValidationResult(
        good=good,
        runs=session_runs(good),
        bad=_bad_rows(ordered, placed, refused.reasons),
        duplicates=placed.filter(is_duplicate).select(_PLACE),
        warnings=find_anomalies(good),
        refused=refused.sessions,
        received_by_symbol=received,
        unplaced=refused.unplaced,
    )


def _is_inside(window: Window) -> pl.Expr:
    stamp = pl.col("timestamp")
    return (stamp >= instant_literal(window.start)) & (stamp < instant_literal(window.end))


def _place_near(numbers: pl.DataFrame, rules: BarRules, window: Window) -> pl.DataFrame:
    """The rows in their calendar; those far from the window are in no session, whatever the calendar would say."""
    near = numbers.with_columns(pl.when(~is_far(window)).then("timestamp").alias("timestamp"))
    return place(near, rules).with_columns(numbers["timestamp"])


def _without_absurd_stamps(placed: pl.DataFrame) -> pl.DataFrame:
    """No stamps of years that no source has: Python has no dates after 9999, and Pandera makes some of what it checks."""
    return placed.with_columns(pl.when(~is_absurd()).then("timestamp").alias("timestamp"))


def _name_stamps(breaches: pl.DataFrame, ordered: pl.DataFrame, placed: pl.DataFrame, window: Window) -> pl.DataFrame:
    """The breaches, with better words for rows of which more is known than that they are unreadable or outside."""
    if "fault" in ordered.columns:
        # What its provider says of a row is better than that something of it is missing, or that its day is no session.
        is_evening = (pl.col("reason") == OUTSIDE_SESSION) & (pl.col("fault") == PART_OF_SESSION)
        is_vague = pl.col("reason").is_in(_VAGUE) & pl.col("fault").ne_missing(PART_OF_SESSION)
        faults = breaches.join(ordered.select("index", "fault"), on="index", how="left", maintain_order="left")
        breaches = faults.select(
            "index",
            pl.when(is_vague | is_evening).then(pl.coalesce("fault", "reason")).otherwise("reason").alias("reason"),
        )
    far = placed.select("index", is_far(window).alias("far"), is_implausible(window).alias("implausible")).filter("far")
    if far.is_empty():
        return breaches
    # Far rows were not looked up, so of their session nothing is known.
    kept = breaches.filter(~(pl.col("index").is_in(far["index"].implode()) & (pl.col("reason") == OUTSIDE_SESSION)))
    strange = far.filter("implausible")["index"].implode()
    is_outside = pl.col("reason").is_in([OUTSIDE_WINDOW, UNREADABLE_TIMESTAMP])
    renamed = pl.when(pl.col("index").is_in(strange) & is_outside)
    return kept.with_columns(renamed.then(pl.lit(IMPLAUSIBLE_TIMESTAMP)).otherwise("reason").alias("reason"))


def _crossed(numbers: pl.DataFrame) -> pl.Series:
    """Rows of quotes whose ask is below their bid."""
    if "ask_close" not in numbers.columns:
        return pl.repeat(False, numbers.height, dtype=pl.Boolean(), eager=True)
    return (numbers["ask_close"] < numbers["close"]).fill_null(False)


def _sort_if_needed(frame: pl.DataFrame) -> tuple[pl.DataFrame, Integers, Integers]:
    """Sorted by symbol and timestamp, and where each symbol begins, with its rows.

    The order of a response means nothing. Most are sorted already.
    """
    if frame["timestamp"].null_count() == 0 and frame["symbol"].null_count() == 0:
        starts, counts = row_runs(frame, ["symbol"])
        if is_ordered(frame, starts, ["symbol"], repeats=True):
            return frame, starts, counts
    ordered = frame.sort("symbol", "timestamp", nulls_last=True, maintain_order=True)
    return ordered, *row_runs(ordered, ["symbol"])


def _refuse_wrong_columns(frame: pl.DataFrame) -> None:
    required = {"symbol", *RECEIVED}
    missing = sorted(required - set(frame.columns))
    unknown = sorted(set(frame.columns) - required - set(RECEIVED_OPTIONAL))
    if missing or unknown:
        parts = [f"lacks {', '.join(missing)}"] if missing else []
        parts += [f"has unknown columns {', '.join(unknown)}"] if unknown else []
        raise WindowRefused(f"the frame {' and '.join(parts)}", fix=f"give {', '.join(['symbol', *RECEIVED])}")
    if frame.schema["timestamp"] != RECEIVED["timestamp"]:
        raise WindowRefused(
            f"column 'timestamp' is {frame.schema['timestamp']}, not microseconds in UTC",
            fix="cast it to pl.Datetime('us', 'UTC') after declaring the zone it was written in",
        )


def row_as_received(rows: pl.DataFrame) -> tuple[pl.Expr, pl.Expr]:
    """The text by which a row stands in quarantine, `row`, and what was read from it, `bar`, where that is another one."""
    content = [name for name in rows.columns if name not in _ABOUT]
    as_json = pl.struct(content).struct.json_encode()
    if "received" not in rows.columns:
        return as_json.alias("row"), pl.lit(None, pl.String).alias("bar")
    is_read = pl.col("received").is_not_null()
    return pl.coalesce("received", as_json).alias("row"), pl.when(is_read).then(as_json).alias("bar")


def _bad_rows(ordered: pl.DataFrame, placed: pl.DataFrame, reasons: pl.DataFrame) -> pl.DataFrame:
    rows = ordered.join(reasons, on="index", how="inner", maintain_order="left")
    sessions = placed.select("index", "session")
    return rows.join(sessions, on="index", how="left", maintain_order="left").select(
        "symbol",
        "session",
        pl.when(~is_absurd()).then("timestamp").alias("timestamp"),
        "reasons",
        *row_as_received(rows),
    )
