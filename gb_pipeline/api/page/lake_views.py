"""This module answers what the page asks about the lake as a whole and about one series: what is stored, and what is not."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import polars as pl

from gb_pipeline.api.page.frames import to_json, window
from gb_pipeline.api.page.parameters import Parameters
from gb_pipeline.errors import GbError
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.reading import overview
from gb_pipeline.reading.heat_map import Cell, read_heat_map
from gb_pipeline.reading.lake import Lake

_SERIES = ["source", "symbol", "resolution", "start", "end", "record_count", "bytes", "adjustment", "updated_at"]
_CELLS = {
    Cell.NEVER: "unknown", Cell.NO_SESSION: "no session", Cell.COMPLETE: "complete", Cell.EXPLAINED: "gaps explained",
    Cell.OPEN: "gaps unexplained", Cell.NOT_STORED: "not stored",
}  # fmt: skip


def lake_summary(lake: Lake) -> dict[str, Any]:
    """A row per resolution, and a row per source and resolution with its series, bars and bytes; `damage`, a sentence each."""
    whole = overview.summarize(lake.store)
    series = _series(lake, None)
    sources = series.group_by("source", "resolution").agg(
        series=pl.len(), bars=pl.col("record_count").sum(), bytes=pl.col("bytes").sum(), first=pl.col("start").min(),
        last=pl.col("end").max(), updated_at=pl.col("updated_at").max(),
    ).sort("source", "resolution")  # fmt: skip
    return {"resolutions": to_json(whole.rows), "sources": to_json(sources), "damage": list(whole.damage)}


def series_rows(lake: Lake, ask: Parameters) -> dict[str, Any]:
    """Series whose source, symbol or resolution holds the words of `search`, in any case; cut and sorted by `window`."""
    rows = _series(lake, ask.moment("as_of"))
    for name in ("source", "symbol", "resolution"):
        given = ask.text(name)
        rows = rows if given is None else rows.filter(pl.col(name) == given)
    for word in (ask.text("search") or "").lower().split()[:8]:
        whole = pl.concat_str("source", "symbol", "resolution", separator=" ").str.to_lowercase()
        rows = rows.filter(whole.str.contains(word, literal=True))
    return window(rows, ask)


def _series(lake: Lake, as_of: datetime | None) -> pl.DataFrame:
    return lake.symbols(as_of=as_of).select(_SERIES)


def coverage_map(lake: Lake, ask: Parameters) -> dict[str, Any]:
    """How each symbol of a source is in each session: a text of digits per symbol, whose meaning is in `cells`.

    `columns` and `rows` are how many cells the screen has room for; several sessions or symbols share one beyond it, and the worst
    of them counts.
    """
    source, resolution = ask.needed("source"), ask.resolution()
    symbol = ask.text("symbol")
    days = ask.whole("days", 0) or None
    found = read_heat_map(
        lake, source, resolution, None if symbol is None else [symbol], days=days,
        columns=ask.whole("columns", 366, least=1, most=2000), rows=ask.whole("rows", 100, least=1, most=1000),
    )  # fmt: skip
    cells = [{"name": name, "count": 0 if found is None else found.counts[cell]} for cell, name in _CELLS.items()]
    if found is None:
        return {"symbols": [], "sessions": [], "rows": [], "cells": cells}
    # One digit per cell.
    rows = [row.translate(bytes(48 + value % 10 for value in range(256))).decode("ascii") for row in found.rows]
    return {"symbols": list(found.symbols), "sessions": list(found.sessions), "rows": rows, "cells": cells}


def series_facts(lake: Lake, ask: Parameters) -> dict[str, Any]:
    """What is known of one series: its row of `series_rows`, and its sessions counted by status."""
    source, symbol, resolution = ask.needed("source"), ask.needed("symbol"), ask.resolution()
    as_of = ask.moment("as_of")
    coverage = lake.coverage(source, symbol, resolution, as_of=as_of)
    rows = _series(lake, as_of).filter(source=source, symbol=symbol, resolution=resolution.value)
    totals = coverage.select(
        pl.len().alias("sessions"), *(pl.col(name).sum() for name in ("expected", "actual", "missing", "quarantined", "withdrawn")),
        known_at=pl.col("known_at").max(),
    )  # fmt: skip
    longer = [other.value for other in Resolution if _can_show(resolution, other)]
    return {"series": to_json(rows), "totals": to_json(totals), "shown_as": longer}


def _can_show(resolution: Resolution, other: Resolution) -> bool:
    if other is resolution:
        return True
    if resolution.duration is None or other is Resolution.TICK:
        return resolution is Resolution.DAY and other in {Resolution.WEEK, Resolution.MONTH}
    return other.duration is None or (other.duration > resolution.duration and not other.duration % resolution.duration)


def findings(lake: Lake, ask: Parameters, kind: str) -> dict[str, Any]:
    """Rows of `gaps`, `restatements`, `quarantine`, `withdrawn` or `actions`, the newest first; a window of them.

    Raises:
        UnknownSeries: a name that the lake does not know.
    """
    symbol, source = ask.text("symbol"), ask.text("source")
    resolution = None if ask.text("resolution") is None else ask.resolution()
    of = (source, symbol, resolution, ask.moment("start"), ask.moment("end"))
    as_of = ask.moment("as_of")
    if kind == "gaps":
        rows = lake.gaps(*of, as_of=as_of).select(
            "source", "symbol", "resolution", "session", "start", "end", "missing", "reason", "incident_reason"
        )
        reason = ask.text("reason")
        rows = (rows if reason is None else rows.filter(reason=reason)).sort(
            "start", descending=True, maintain_order=True
        )
    elif kind == "restatements":
        rows = lake.restatements(*of).select(
            "source", "symbol", "resolution", "timestamp", "old_close", "new_close", "relative_close", "old_volume", "new_volume",
            "first_known", "replaced_at",
        ).sort("replaced_at", descending=True, maintain_order=True)  # fmt: skip
        rows = rows if as_of is None else rows.filter(pl.col("replaced_at") <= as_of)
    elif kind == "quarantine":
        rows = lake.quarantine(*of).select(
            "source", "symbol", "resolution", "timestamp", "reasons", "decision", "row", "quarantined_at", "run_id"
        ).sort("quarantined_at", descending=True, maintain_order=True)  # fmt: skip
    else:
        rows = lake.corporate_actions(symbol, source=source, start=of[3], end=of[4], as_of=as_of).select(
            "source", "symbol", "ex_date", "kind", "label", "split_to", "split_from", "amount", "currency", "known_at"
        ).sort("ex_date", descending=True, maintain_order=True)  # fmt: skip
    return window(rows, ask)


def streams(lake: Lake) -> dict[str, Any]:
    """Up to when collectors' feeds are committed, how continuously each stream was heard, and what nothing covers."""
    try:
        gaps = lake.stream_gaps()
    except GbError:
        gaps = pl.DataFrame()
    return {
        "watermarks": to_json(lake.watermarks().head(1000)),
        "statistics": to_json(lake.stream_statistics().head(1000)),
        "data": to_json(lake.stream_data().head(1000)),
        "gaps": to_json(gaps.tail(1000), total=gaps.height),
    }
