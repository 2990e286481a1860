"""This module holds what was requested of bars, validates an answer against it, and counts what became of its rows.

Comparing the answer with what is stored, and writing it, is in `bars`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

import polars as pl

from gb_pipeline.errors import WindowRefused
from gb_pipeline.lake.merge import MergeResult
from gb_pipeline.lake.row_counts import RowCounts
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.window import Window
from gb_pipeline.quality.bars import ValidationResult, row_as_received, validate
from gb_pipeline.quality.reasons import NOT_REQUESTED
from gb_pipeline.quality.rules import BarRules
from gb_pipeline.quality.runs import count_rows
from gb_pipeline.quality.session_days import Listing
from gb_pipeline.quality.unplaced import UnplacedRows


@dataclass(frozen=True)
class BarsRequest:
    """What was requested from a source: bars of some symbols in a window.

    Attributes:
        source, symbols, resolution, window: what was requested.
        fetched_at: when, by symbol.
        rows_read: by symbol, rows that were read for its answer, where these are more than the answer has.
        run_id: of the run that made the request.
        listings: first session, and first session without it, by symbol.
        planned_at: when it was decided what to request: sessions that were removed later stay so.
    """

    source: str
    symbols: tuple[str, ...]
    resolution: Resolution
    window: Window
    fetched_at: Mapping[str, datetime]
    run_id: str | None
    listings: Mapping[str, Listing]
    rows_read: Mapping[str, int] = field(default_factory=dict)
    planned_at: datetime | None = None

    @property
    def earliest(self) -> datetime:
        """When the first of the symbols was requested: bars that were still open then are open in the response."""
        return min(self.fetched_at.values())


def validate_requested(frame: pl.DataFrame, request: BarsRequest, rules: BarRules) -> ValidationResult:
    """The result for what was requested; whatever else the frame holds is refused with it."""
    if frame.schema.get("symbol", pl.String()) != pl.String():
        raise WindowRefused(
            f"column 'symbol' of the frame is {frame.schema['symbol']}, not text", fix="cast it to pl.String"
        )
    if "symbol" not in frame.columns:
        return validate(frame, rules, request.window, now=request.earliest)  # which says that it is missing
    if not frame["symbol"].null_count():
        validation = validate(frame, rules, request.window, now=request.earliest, rows_read=request.rows_read)
        if validation.received_by_symbol.keys() <= set(request.symbols):
            return validation
    is_requested = frame["symbol"].is_in(list(request.symbols)).fill_null(False)
    validation = validate(
        frame.filter(is_requested), rules, request.window, now=request.earliest, rows_read=request.rows_read
    )
    others = frame.filter(~is_requested)
    refused = others.select(
        pl.col("symbol").fill_null(""),
        pl.lit(None, pl.Date()).alias("session"),
        "timestamp",
        pl.lit([NOT_REQUESTED]).alias("reasons"),
        *row_as_received(others),
    )
    received = {**validation.received_by_symbol, **count_rows(refused)}
    unplaced = {symbol: UnplacedRows(rows, rows, {NOT_REQUESTED: rows}) for symbol, rows in count_rows(refused).items()}
    return replace(
        validation,
        bad=pl.concat([validation.bad, refused]),
        received_by_symbol=received,
        unplaced={**validation.unplaced, **unplaced},
    )


def count_by_symbol(validation: ValidationResult, merged: MergeResult) -> dict[str, RowCounts]:
    """What became of the rows of each symbol."""
    added, withdrawn = count_rows(merged.added), count_rows(merged.withdrawn)
    bad, late, duplicates = (count_rows(rows) for rows in (validation.bad, merged.late, validation.duplicates))
    return {
        symbol: RowCounts(
            received=received,
            stored=added.get(symbol, 0) - withdrawn.get(symbol, 0),
            unchanged=merged.unchanged.get(symbol, 0),
            quarantined=bad.get(symbol, 0) + late.get(symbol, 0),
            duplicates=duplicates.get(symbol, 0),
            unplaced=validation.unplaced[symbol].rows if symbol in validation.unplaced else 0,
        )
        for symbol, received in validation.received_by_symbol.items()
    }
