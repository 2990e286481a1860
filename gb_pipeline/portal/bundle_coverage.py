"""This module says what a bundle lacks, session by session and with reasons, from the calendar and the ledger; no bar is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

import polars as pl

from gb_pipeline.config.source_facts import SourceFacts
from gb_pipeline.errors import PinRefused
from gb_pipeline.lake.bundles import Bundle
from gb_pipeline.lake.pins import Pin
from gb_pipeline.lake.report import UNSTORED, SessionStatus
from gb_pipeline.market.moments import instant_literal
from gb_pipeline.quality.gaps import OPEN_REASONS
from gb_pipeline.reading.lake import Lake

# Reasons of sessions, beside those that a gap has.
NEVER_FETCHED = "never_fetched"
REFUSED = SessionStatus.REFUSED.value
FAILED = "fetch_failed"
_OPEN = {NEVER_FETCHED, REFUSED, *(reason.value for reason in OPEN_REASONS)}
HOLES = pl.Schema(
    {
        "symbol": pl.String(),
        "session": pl.Date(),
        "missing": pl.Int64(),
        "reason": pl.String(),
        "incident_reason": pl.String(),
        "is_open": pl.Boolean(),
    }
)


@dataclass(frozen=True)
class BundleReport:
    """What `Bundles.validate` found.

    Attributes:
        bundle: that was looked at.
        symbols: that it names now.
        sessions: that have closed in its range, by the source's calendar; None where nobody knows that calendar.
        holes: `symbol`, `session` (Date), `missing` (Int64, bars; null for a session that was never fetched), `reason` (one of
            `Lake.gaps`, `never_fetched` or `refused`), `incident_reason`, and `is_open` (Boolean: nothing explains it); sorted.
        pin: that was read, bar by bar; None where there is none yet.
        refused: what of the pin is not as it was; None if it gives the same numbers.
        changes: how many bars of the bundle are known differently now than in the pin.
    """

    bundle: Bundle
    symbols: tuple[str, ...]
    sessions: int | None
    holes: pl.DataFrame = field(repr=False)
    pin: Pin | None = None
    refused: PinRefused | None = None
    changes: int = 0

    @property
    def is_complete(self) -> bool:
        """Whether something explains every missing bar."""
        return not self.holes["is_open"].any()

    @property
    def is_ok(self) -> bool:
        """Whether it is complete, and its pin, if there is one, gives the same numbers."""
        return self.is_complete and self.refused is None

    @property
    def unstored(self) -> pl.DataFrame:
        """Those of the holes that are whole sessions which were never fetched, failed or were refused."""
        return self.holes.filter(pl.col("reason").is_in([NEVER_FETCHED, REFUSED, FAILED]))


def find_holes(lake: Lake, bundle: Bundle, symbols: Sequence[str], sessions: pl.Series | None) -> pl.DataFrame:
    """What a bundle lacks; columns of `HOLES`, sorted by symbol and session.

    Args:
        lake: whose ledger tells.
        symbols: of the bundle.
        sessions: that have closed in its range; None where no calendar says so, and only what is recorded can be checked.
    """
    known = set(lake.symbols(bundle.source, bundle.resolution)["symbol"])
    there = [code for code in symbols if code in known]
    recorded = pl.DataFrame(schema={"symbol": pl.String(), "session": pl.Date(), "status": pl.String()})
    parts = [pl.DataFrame(schema=HOLES)]
    if there:
        chosen = bundle.source, there, bundle.resolution, bundle.start, bundle.end
        recorded = lake.coverage(*chosen).select("symbol", "session", "status")
        gaps = lake.gaps(*chosen).group_by("symbol", "session", "reason", "incident_reason")
        parts.append(gaps.agg(pl.col("missing").sum().cast(pl.Int64)).select(_holes(HOLES.names()[:-1])))
    if sessions is not None:
        wanted = pl.DataFrame({"symbol": list(symbols)}).join(sessions.to_frame("session"), how="cross")
        never = wanted.join(recorded, on=["symbol", "session"], how="anti")
        parts.append(never.select(_holes(["symbol", "session"], reason=NEVER_FETCHED)))
    holes = pl.concat([part.select(HOLES.names()[:-1]) for part in parts])
    # Whatever is said of its bars: nothing of a session that failed or was refused is stored as the vendor has it.
    unstored = recorded.filter(pl.col("status").is_in(UNSTORED))
    holes = holes.join(unstored, on=["symbol", "session"], how="left", maintain_order="left").with_columns(
        reason=pl.when(pl.col("incident_reason").is_null())
        .then(pl.col("status").replace_strict({"refused": REFUSED, "failed": FAILED}, default=None))
        .fill_null(pl.col("reason"))
    )
    holes = holes.with_columns(is_open=pl.col("reason").is_in(list(_OPEN)))
    return holes.select(HOLES.names()).cast(HOLES).sort("symbol", "session", "reason")


def closed_sessions(bundle: Bundle, facts: SourceFacts | None, now: datetime) -> pl.Series | None:
    """The sessions of a bundle's range that have closed; None where no calendar of its source is known."""
    if facts is None:
        return None
    calendar = facts.trading_calendar
    first = max(bundle.start, calendar.first or bundle.start)
    # Some sessions begin on the evening before the day that they are named by.
    end = min(bundle.end or date.max, now.date() + timedelta(days=2), calendar.end or date.max)
    if end <= first:
        return pl.Series("session", [], pl.Date)
    if bundle.resolution.intraday:
        days = calendar.schedule(first, end).select("session", ends="close")
    else:
        labels = calendar.expected(first, end, bundle.resolution, facts.alignment)
        days = labels.select("session", ends=calendar.bar_ends(labels["timestamp"], bundle.resolution))
    return days.filter(pl.col("ends") <= instant_literal(now))["session"]


def _holes(columns: Sequence[str], reason: str | None = None) -> list[pl.Expr]:
    """The columns of holes, null where there is nothing to say."""
    said = {} if reason is None else {"reason": pl.lit(reason)}
    return [
        pl.col(name) if name in columns else said.get(name, pl.lit(None)).cast(kind).alias(name)
        for name, kind in HOLES.items()
        if name != "is_open"
    ]
