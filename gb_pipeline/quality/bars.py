"""This module validates a received frame: which rows are good, which are bad and why, and which sessions are refused.

One pass over the columns tells whether anything is wrong (`clean`); only then does the model name it row by row (`model`). What
is suspicious but not wrong is found by `anomalies`, and what is absent by `gaps`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime

import polars as pl

from gb_pipeline.errors import WindowRefused
from gb_pipeline.market.schema import CONTENT, OPTIONAL, PRICES, RECEIVED, RECEIVED_OPTIONAL, bar_schema, polars_schema
from gb_pipeline.market.window import Window
from gb_pipeline.quality.anomalies import find_anomalies
from gb_pipeline.quality.clean import sessions_if_clean
from gb_pipeline.quality.exact import MISSING, UNREADABLE, read_numbers
from gb_pipeline.quality.model import BREACHES, NOT_INCREASING, STILL_OPEN, UNREADABLE_TIMESTAMP, find_breaches
from gb_pipeline.quality.placement import place
from gb_pipeline.quality.rules import BarRules
from gb_pipeline.quality.runs import is_ordered, row_runs

REFUSED_WITH_SESSION = "refused_with_session"
CROSSED, DUPLICATE, CONFLICT = "crossed_quote", "duplicate", "conflicting_duplicate"
# A row of a date without any price, such as the line of a dividend between those of bars: it says nothing about the bar.
NO_BAR = "no_bar"
_WORD = "(?i)[a-z]{3,}"
# A provider's own words (column `fault`) for a stamp of an hour that the clock shows twice, of which it is not known which.
AMBIGUOUS_TIMESTAMP = "ambiguous_timestamp"
# What a vendor sends as a matter of course does not discredit the rest of its response: the bar in progress, and bars that it
# repeats in the same words, where pages or files overlap.
HARMLESS = frozenset({STILL_OPEN, DUPLICATE, NO_BAR, AMBIGUOUS_TIMESTAMP})
BAD = pl.Schema(
    {
        "symbol": pl.String(),
        "session": pl.Date(),
        "timestamp": RECEIVED["timestamp"],
        "reasons": pl.List(pl.String()),
        "row": pl.String(),
    }
)
_GOOD = ("symbol", "session", "timestamp", *CONTENT)


@dataclass(frozen=True, slots=True)
class ValidationResult:
    """The outcome of a validation.

    Attributes:
        good: `symbol, session` (Date), `timestamp` and the content columns in stored types, sorted by symbol, timestamp.
        bad: `symbol, session` (Date, null outside all sessions), `timestamp` (nullable), `reasons` (list of codes),
            `row` (the row as received, text).
        warnings: `symbol, session, timestamp, warning` of good rows that look suspicious.
        refused: the (symbol, session) pairs with too many bad rows; all their rows are in `bad`.
        received: rows in the frame; always rows of `good` plus rows of `bad`.
    """

    good: pl.DataFrame
    bad: pl.DataFrame
    warnings: pl.DataFrame
    refused: frozenset[tuple[str, date]]
    received: int

    @property
    def unplaced(self) -> int:
        """Rows of `bad` that belong to no session: their stamp is unreadable, or outside all sessions."""
        return self.bad["session"].null_count()


def validate(frame: pl.DataFrame, rules: BarRules, window: Window, *, now: datetime | None = None) -> ValidationResult:
    """Validate the rows of one or many symbols against the rules of their source.

    Args:
        frame: `symbol` and the columns of `market.schema.RECEIVED`, optionally those of `RECEIVED_OPTIONAL`, in any order
            of rows; numbers as text, decimals or integers.
        rules: what they are validated against.
        window: the requested window.
        now: the present, aware; the wall clock by default.

    Raises:
        WindowRefused: columns are missing, unknown or of a type that cannot be read exactly.

    Example:
        >>> result = validate(frame, BarRules(), Window.of("2024-01-02", "2024-01-03"))
        >>> result.good.height + result.bad.height == result.received
        True
    """
    _refuse_wrong_columns(frame)
    moment = now or datetime.now(UTC)
    ordered = _sort_if_needed(frame)
    numbers, problems = read_numbers(ordered, rules.precision)
    types = polars_schema(bar_schema(rules.precision))
    absent = [pl.lit(None, types[name]).alias(name) for name in OPTIONAL if name not in numbers.columns]
    numbers = numbers.with_columns(absent)
    if problems.is_empty() and not _crossed(numbers).any():
        sessions = sessions_if_clean(numbers, rules, window, moment)
        if sessions is not None:
            good = numbers.with_columns(sessions.alias("session")).select(_GOOD)
            return ValidationResult(good, _no_bad_rows(frame), find_anomalies(good), frozenset(), frame.height)
    return _name_breaches(ordered, numbers, problems, rules, window, moment)


def _name_breaches(
    ordered: pl.DataFrame,
    numbers: pl.DataFrame,
    problems: pl.DataFrame,
    rules: BarRules,
    window: Window,
    now: datetime,
) -> ValidationResult:
    """The result for a frame in which something is wrong."""
    ordered = ordered.with_row_index("index")
    placed = place(numbers.with_row_index("index"), rules)
    crossed = placed.filter(_crossed(placed)).select("index", pl.lit(CROSSED).alias("reason"))
    empty = _without_prices(ordered, placed)
    # Rows without any price are no bars: they repeat none and contradict none.
    bars = placed.join(empty, on="index", how="anti", maintain_order="left")
    all_breaches = pl.concat([problems, find_breaches(bars, rules, window, now), crossed])
    all_breaches = _with_faults(all_breaches, empty, ordered)
    reasons = _reasons(all_breaches, ordered.join(empty, on="index", how="anti", maintain_order="left"))
    refused = _refused_sessions(placed, reasons, rules.max_bad_fraction)
    reasons = _with_refused(placed, reasons, refused)
    good = placed.join(reasons, on="index", how="anti", maintain_order="left").select(_GOOD)
    return ValidationResult(good, _bad_rows(ordered, placed, reasons), find_anomalies(good), refused, ordered.height)


def _without_prices(ordered: pl.DataFrame, placed: pl.DataFrame) -> pl.DataFrame:
    """Column `index` of dated rows that have no price: nothing is there, or words such as `0.24 Dividend`."""
    unread = placed.filter(pl.col("timestamp").is_not_null() & pl.all_horizontal(pl.col(*PRICES).is_null())).select(
        "index"
    )
    if "fault" in ordered.columns:
        ordered = ordered.filter(pl.col("fault").is_null())
    rows = ordered.join(unread, on="index", how="semi", maintain_order="left")
    texts = [pl.col(name) for name in PRICES if rows.schema[name] == pl.String]
    none = [(text.str.strip_chars(" -") == "") | text.str.contains(_WORD) for text in texts]
    return rows.filter(pl.all_horizontal(pl.lit(True), *(empty.fill_null(True) for empty in none))).select("index")


def _with_faults(all_breaches: pl.DataFrame, empty: pl.DataFrame, ordered: pl.DataFrame) -> pl.DataFrame:
    """The breaches with better words for what cannot be read: `NO_BAR` of rows without prices, and those of a provider."""
    vague = pl.col("reason").is_in([MISSING, UNREADABLE, UNREADABLE_TIMESTAMP])
    named = empty.with_columns(pl.lit(NO_BAR).alias("fault"))
    if "fault" in ordered.columns:
        named = pl.concat([named, ordered.filter(pl.col("fault").is_not_null()).select("index", "fault")])
    better = all_breaches.join(named, on="index", how="left", maintain_order="left")
    reason = pl.when(vague).then(pl.coalesce("fault", "reason")).otherwise("reason").alias("reason")
    return better.select("index", reason).cast(BREACHES)


def _crossed(numbers: pl.DataFrame) -> pl.Series:
    """Rows of quotes whose ask is below their bid."""
    if "ask_close" not in numbers.columns:
        return pl.repeat(False, numbers.height, dtype=pl.Boolean(), eager=True)
    return (numbers["ask_close"] < numbers["close"]).fill_null(False)


def _no_bad_rows(frame: pl.DataFrame) -> pl.DataFrame:
    return pl.DataFrame(schema={**BAD, "symbol": frame.schema["symbol"]})


def _sort_if_needed(frame: pl.DataFrame) -> pl.DataFrame:
    """Sorted by symbol and timestamp; the order of a response means nothing. Most are sorted already."""
    if frame["timestamp"].null_count() == 0 and frame["symbol"].null_count() == 0:
        starts, _ = row_runs(frame, ["symbol"])
        if is_ordered(frame, starts, ["symbol"], repeats=True):
            return frame
    return frame.sort("symbol", "timestamp", nulls_last=True, maintain_order=True)


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


def _reasons(all_breaches: pl.DataFrame, ordered: pl.DataFrame) -> pl.DataFrame:
    """Columns `index` and `reasons`; repeated timestamps told apart into repeats and contradictions."""
    repeats = all_breaches.filter(pl.col("reason") == NOT_INCREASING)
    if not repeats.is_empty():
        all_breaches = pl.concat(
            [all_breaches.filter(pl.col("reason") != NOT_INCREASING), _reasons_of_repeats(repeats, ordered)]
        )
    return all_breaches.group_by("index").agg(pl.col("reason").unique().sort().alias("reasons")).sort("index")


def _reasons_of_repeats(repeats: pl.DataFrame, ordered: pl.DataFrame) -> pl.DataFrame:
    """The first of identical rows stays; of rows that contradict each other it is not known which is true."""
    keys = ["symbol", "timestamp"]
    repeated_keys = ordered.join(repeats, on="index", how="semi").select(keys).unique()
    rows = ordered.join(repeated_keys, on=keys, how="semi").sort("index")
    content = [name for name in rows.columns if name not in {"index", "received", "fault", *keys}]
    alike = pl.struct(content).n_unique().over(keys) == 1
    first = pl.col("index") == pl.col("index").min().over(keys)
    return (
        rows.with_columns(alike.alias("alike"), first.alias("first"))
        .filter(~(pl.col("alike") & pl.col("first")))
        .select("index", pl.when("alike").then(pl.lit(DUPLICATE)).otherwise(pl.lit(CONFLICT)).alias("reason"))
        .cast(BREACHES)
    )


def _refused_sessions(placed: pl.DataFrame, reasons: pl.DataFrame, limit: float) -> frozenset[tuple[str, date]]:
    harmful = pl.col("reasons").list.set_difference(list(HARMLESS)).list.len() > 0
    counts = (
        placed.select("index", "symbol", "session")
        .filter(pl.col("session").is_not_null())
        .join(reasons.filter(harmful).select("index", pl.lit(1).alias("bad")), on="index", how="left")
        .group_by("symbol", "session")
        .agg(pl.len().alias("rows"), pl.col("bad").sum())
    )
    return frozenset(counts.filter(pl.col("bad") > limit * pl.col("rows")).select("symbol", "session").rows())


def _with_refused(placed: pl.DataFrame, reasons: pl.DataFrame, refused: frozenset[tuple[str, date]]) -> pl.DataFrame:
    if not refused:
        return reasons
    pairs = pl.DataFrame(sorted(refused), schema={"symbol": pl.String(), "session": pl.Date()}, orient="row")
    other_rows = (
        placed.select("index", "symbol", "session")
        .join(pairs, on=["symbol", "session"], how="semi")
        .join(reasons, on="index", how="anti")
    )
    return pl.concat([reasons, other_rows.select("index", pl.lit([REFUSED_WITH_SESSION]).alias("reasons"))]).sort(
        "index"
    )


def _bad_rows(ordered: pl.DataFrame, placed: pl.DataFrame, reasons: pl.DataFrame) -> pl.DataFrame:
    rows = ordered.join(reasons, on="index", how="inner", maintain_order="left")
    sessions = placed.select("index", "session")
    content = [name for name in rows.columns if name not in {"index", "symbol", "reasons", "received", "fault"}]
    as_json = pl.struct(content).struct.json_encode()
    row = pl.coalesce("received", as_json) if "received" in rows.columns else as_json
    return rows.join(sessions, on="index", how="left", maintain_order="left").select(
        "symbol", "session", "timestamp", "reasons", row.alias("row")
    )
