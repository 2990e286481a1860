"""This module reads and writes listings: which companies and funds a vendor lists, or listed, now and at any earlier moment."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import polars as pl

from gb_pipeline.lake import quarantine
from gb_pipeline.lake.datasets import LISTINGS
from gb_pipeline.lake.fundamentals import FundamentalsReport, late_rows, make_report, window_of_day
from gb_pipeline.lake.vendor_rows import added_rows, compare, select_versions, stored_schema
from gb_pipeline.market.moments import instant_literal
from gb_pipeline.quality.fundamentals import LISTING, LISTING_KEY, validate_listings
from gb_pipeline.storage import reading
from gb_pipeline.storage.commit import Clock, Draft, commit
from gb_pipeline.storage.dataset import KNOWN_AT
from gb_pipeline.storage.history import revise
from gb_pipeline.storage.table import Tables

TABLE = LISTINGS.name
LISTINGS_STORED = stored_schema(LISTINGS)


def read(
    tables: Tables,
    source: str | None = None,
    symbols: Sequence[str] | None = None,
    as_of: datetime | None = None,
    *,
    withdrawn: bool = False,
) -> pl.DataFrame:
    """The listings that are valid now, or were at a moment.

    Returns:
        Columns of `LISTINGS_STORED`, sorted by source, symbol and first day.
    """
    snapshot = tables.newest(TABLE)
    files = snapshot.select(
        {} if source is None else {"source": source}, holding={"symbol": symbols} if symbols is not None else None
    )
    if as_of is None:
        rows = reading.read(tables.storage, LISTINGS, reading.current_files(snapshot, files))
    else:
        rows = reading.read(tables.storage, LISTINGS, reading.files_valid_at(files, as_of))
        rows = rows.filter(reading.valid_at(as_of, history=True))
    if symbols is not None:
        rows = rows.filter(pl.col("symbol").is_in(list(symbols)))
    return (
        select_versions(rows, withdrawn=withdrawn)
        .sort("source", *LISTING_KEY, KNOWN_AT)
        .select(LISTINGS_STORED.names())
    )


def write_listings(
    tables: Tables, source: str, frame: pl.DataFrame, *, fetched_at: datetime, run_id: str | None, clock: Clock
) -> FundamentalsReport:
    """See `LakeStore.write_listings`."""
    validation = validate_listings(frame)
    good = validation.good.with_columns(instant_literal(fetched_at).alias("fetched_at"))

    def quarantine_rows(rows: pl.DataFrame) -> None:
        quarantine.record(
            tables, source, TABLE, window_of_day(fetched_at), rows,
            quarantined_at=max(fetched_at, clock()), run_id=run_id, clock=clock,
        )  # fmt: skip

    quarantine_rows(validation.bad)

    def decide(draft: Draft) -> tuple[FundamentalsReport, pl.DataFrame]:
        files = reading.current_files(draft.base, draft.base.select({"source": source}))
        stored = reading.read(draft.table.storage, LISTINGS, files, with_file=True)
        covered = pl.Series("covered", [True], pl.Boolean()).new_from_index(0, stored.height)
        if stored.height:
            # An older list says nothing of what a newer one brought.
            covered = stored["fetched_at"] <= fetched_at
        compared = compare(LISTINGS, LISTING_KEY, good, stored, validation, covered=covered)
        gone = compared.gone.with_columns(instant_literal(fetched_at).alias("fetched_at"))
        version = None
        if compared.changed.height or gone.height:
            version = draft.base.version + 1
            added = added_rows(LISTINGS, source, compared.changed, gone)
            replaced = stored.join(added, on=list(LISTING_KEY), how="semi", nulls_equal=True, maintain_order="left")
            revise(draft, added, replaced, files, stored)
        return make_report(source, validation, compared, version), late_rows(compared.late, LISTING.names(), "ipo_date")

    report, late = commit(tables[TABLE], decide, clock=clock)
    quarantine_rows(late)
    return report
