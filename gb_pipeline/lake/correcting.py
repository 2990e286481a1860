"""This module corrects one bar, or takes its correction back: it makes the override, and writes the bar with it in one commit.

What an override is, and how later writes keep it, is in `overrides`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import polars as pl

from gb_pipeline.errors import ConfigError, LakeError, UnknownSeries
from gb_pipeline.lake import bars, ledger, overrides
from gb_pipeline.lake.bars_request import BarsRequest
from gb_pipeline.lake.datasets import OVERRIDES, bars_dataset
from gb_pipeline.lake.releasing import parse_values, recorded_calendar, take_back, whole_sessions
from gb_pipeline.lake.report import WriteReport
from gb_pipeline.lake.stored import is_wide, read_window
from gb_pipeline.market.moments import MICROSECOND, instant_literal
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import CONTENT, CORRECTABLE, PRICES, Adjustment, Precision, polars_schema
from gb_pipeline.market.window import Window
from gb_pipeline.quality.bars import validate
from gb_pipeline.quality.rules import BarRules
from gb_pipeline.storage.commit import Clock
from gb_pipeline.storage.table import Tables

# A session may be named by a date some days from its bars, a label may stand for a month.
_NEAR = timedelta(days=32)
# Of a number in a message.
_MOST_DIGITS = 40


def override_bar(
    tables: Tables,
    source: str,
    symbol: str,
    resolution: Resolution,
    timestamp: datetime,
    values: Mapping[str, Any] | None,
    reason: str,
    rules: BarRules,
    clock: Clock,
) -> WriteReport:
    """See `LakeStore.override`; values None take the override back."""
    reason = " ".join(reason.split())
    if not reason or not reason.isprintable():
        raise ConfigError(
            "a correction needs a reason" + (", without control characters" if reason else ""),
            fix="say why, for whoever reads it in a year",
        )
    window = Window(timestamp, timestamp + MICROSECOND)
    stored, precision = _read_bar(tables, source, symbol, resolution, window)
    bar = stored.row(0, named=True)
    recorded = _read_session(tables, source, symbol, resolution, timestamp)
    rules = replace(
        rules,
        calendar=recorded_calendar(recorded["calendar"], rules),
        precision=precision,
        adjustment=Adjustment(recorded["adjustment"] or "raw"),
        max_bad_fraction=1.0,
        # The bar is stored: its moment was accepted, and so was the sign of its prices.
        allow_unaligned=True,
        allow_negative_prices=rules.allow_negative_prices or any(bar[name] <= 0 for name in PRICES),
    )
    base = tables.newest(bars_dataset(resolution, precision).name)
    in_force = overrides.read_in_force(tables, base, source, resolution, [symbol], window)
    before = in_force.row(0, named=True) if in_force.height else None
    if values is None and before is not None and before["vendor_refused"]:
        return take_back(tables, in_force, reason, rules, clock)
    vendor = {name: bar[name] if before is None else before[f"vendor_{name}"] for name in CONTENT}
    vendor_fetched_at = bar["fetched_at"] if before is None else before["vendor_fetched_at"]
    if values is None:
        if before is None:
            raise ConfigError(
                f"{source}:{symbol} {resolution} {timestamp.isoformat()} is not corrected",
                fix="`gb overrides` lists the bars that are",
            )
        corrected = vendor
    else:
        corrected = {name: bar[name] for name in CONTENT} | parse_values(values)
        if all(corrected[name] == bar[name] for name in CORRECTABLE):
            raise ConfigError("the bar has these values already", fix="name another value, or leave it as it is")
    asked = max(vendor_fetched_at, bar["fetched_at"], recorded["fetched_at"])
    _refuse_bad(corrected, symbol, window, rules, asked)
    row = pl.DataFrame(
        [
            {
                **{"source": source, "symbol": symbol, "resolution": resolution.value, "timestamp": timestamp},
                **{f"corrected_{name}": corrected[name] for name in CONTENT},
                **{f"vendor_{name}": vendor[name] for name in CONTENT},
                **{"vendor_fetched_at": vendor_fetched_at, "reason": reason, "withdrawn": values is None},
                "override_id": uuid4().hex[: overrides.ID_LENGTH],
                **{name: None if before is None else before[name] for name in ("row_id", "vendor_refused")},
            }
        ],
        schema=polars_schema(OVERRIDES.columns),
    )
    overrides.record(tables, row, clock=clock)
    override = overrides.Override(row, stored, in_force)
    span = whole_sessions(rules, window)
    request = BarsRequest(source, (symbol,), resolution, span, {symbol: asked}, None, {})
    return bars.write(tables, request, _received(vendor, symbol, timestamp), rules, clock, override)


def _read_bar(
    tables: Tables, source: str, symbol: str, resolution: Resolution, window: Window
) -> tuple[pl.DataFrame, Precision]:
    precision = Precision.WIDE if is_wide(tables, source, resolution, [symbol]) else Precision.STANDARD
    snapshot = tables.newest(bars_dataset(resolution, precision).name)
    rows = read_window(tables, snapshot, source, [symbol], window)
    if rows.height:
        return rows, precision
    raise UnknownSeries(
        f"{source}:{symbol} has no {resolution} bar at {window.start.isoformat()}",
        fix="name the open of a stored bar, in UTC: `gb show` prints them",
    )


def _read_session(
    tables: Tables, source: str, symbol: str, resolution: Resolution, timestamp: datetime
) -> dict[str, Any]:
    """What the ledger has of the session of a stored bar, whatever calendar placed it there."""
    near = (
        timestamp.date() - min(_NEAR, timestamp.date() - date.min),
        timestamp.date() + min(_NEAR, date.max - timestamp.date()),
    )
    stamp = instant_literal(timestamp)
    sessions = (
        ledger.current(tables, source, resolution, [symbol], near)
        .filter(pl.col("actual") > 0, pl.col("first_timestamp") <= stamp, pl.col("last_timestamp") >= stamp)
        .sort("known_at")
    )
    if sessions.is_empty():
        raise LakeError(
            f"the ledger has no session of {source}:{symbol} at {timestamp.isoformat()}", fix="run `gb verify`"
        )
    return sessions.row(-1, named=True)


def _received(content: Mapping[str, Any], symbol: str, timestamp: datetime) -> pl.DataFrame:
    """A bar as a provider hands it over."""
    texts = {
        name: [None if content[name] is None else format(content[name], "f" if name != "trade_count" else "")]
        for name in CONTENT
    }
    columns: dict[str, Any] = {"symbol": [symbol], "timestamp": [timestamp], **texts}
    return pl.DataFrame(
        columns,
        schema={
            "symbol": pl.String(),
            "timestamp": pl.Datetime("us", "UTC"),
            **dict.fromkeys(CONTENT, pl.String()),
        },
    )


def _refuse_bad(content: Mapping[str, Any], symbol: str, window: Window, rules: BarRules, asked: datetime) -> None:
    """Raise where the corrected bar is none: a vendor's would go to quarantine."""
    bad = validate(_received(content, symbol, window.start), rules, window, now=asked).bad
    if bad.height:
        reasons = bad["reasons"][0].to_list()
        said = " ".join(f"{name} {_shorten(content[name])}" for name in CORRECTABLE)
        fix = "correct the other values as well, so that low <= open, close <= high holds and none is negative"
        if {"too_precise", "too_large", "unreadable_number"} & set(reasons):
            fix = f"name a value that fits: its bars are stored with {rules.precision.value} precision"
        raise ConfigError(f"the corrected bar would be refused: {', '.join(reasons)} ({said})", fix=fix)


def _shorten(number: Decimal) -> str:
    text = format(number.normalize(), "f") if abs(number.adjusted()) < _MOST_DIGITS else f"{number:.6e}"
    return text if len(text) <= _MOST_DIGITS else f"{text[:_MOST_DIGITS]}..."
