"""This module draws what a dataset's page shows of its source: what is stored, its scorecard, and where others differ."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import dagster as dg
import polars as pl

from gb_pipeline.errors import GbError
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.orchestration.events.outcome import build_table
from gb_pipeline.orchestration.series_group import SeriesGroup
from gb_pipeline.reading.comparison import PRICES
from gb_pipeline.reading.comparisons import find_comparisons
from gb_pipeline.reading.heat_map import Cell, HeatMap, read_heat_map
from gb_pipeline.reading.lake import Lake
from gb_pipeline.reading.png import encode_png
from gb_pipeline.reading.scorecard import read_scorecard

# The whole of a long history is in `gb status --plot`: events are kept for ever.
_DAYS = 365
# Each run compares the newest days, so many bars of them at most: a second of reading.
_COMPARED_DAYS, _COMPARED_BARS = 30, 1_000_000
_COLOURS = {
    Cell.NEVER: "#d9dce1",
    Cell.NO_SESSION: "#ffffff",
    Cell.COMPLETE: "#2ca66f",
    Cell.EXPLAINED: "#a5d8bd",
    Cell.OPEN: "#f0b429",
    Cell.NOT_STORED: "#c8322b",
}
_MEANINGS = {
    Cell.COMPLETE: "green: complete",
    Cell.EXPLAINED: "light green: bars are missing for a reason",
    Cell.OPEN: "yellow: bars are missing, and nothing explains it",
    Cell.NOT_STORED: "red: failed or refused",
    Cell.NEVER: "grey: never fetched",
}
_WIDTH, _HEIGHT, _LARGEST = 900, 600, 16


def describe_source(store: LakeStore, group: SeriesGroup) -> dict[str, Any]:
    """Metadata `coverage` (a picture), `scorecard` and `disagreement` (tables) of a group; what cannot be read fails nothing."""
    lake = Lake(store)
    try:
        picture = read_heat_map(
            lake, group.source.name, group.resolution, [item.code for item in group.symbols.values()], days=_DAYS
        )
        card = read_scorecard(lake, group.source.name, days=_DAYS, compare=False).drop("disagreement")
    except GbError as error:
        # The bars are stored, and the run has to say so.
        return {"coverage": f"cannot be drawn: {error.what}"}
    found: dict[str, Any] = {} if picture is None else {"coverage": dg.MetadataValue.md(_draw(picture))}
    rows = card.filter(card["resolution"] == group.resolution.value).drop("source", "resolution").to_dicts()
    if rows:
        found["scorecard"] = build_table([{"measure": name, "value": _write(value)} for name, value in rows[0].items()])
    return found | _describe_disagreement(lake, group)


def _describe_disagreement(lake: Lake, group: SeriesGroup) -> dict[str, Any]:
    try:
        rows = list(_compare(lake, group))
    except GbError as error:
        return {"disagreement": f"cannot be told: {error.what}"}
    if not rows:
        return {}
    return {"disagreement": build_table(rows), "differing_sessions": sum(row["differ"] for row in rows)}


def _compare(lake: Lake, group: SeriesGroup) -> Iterator[dict[str, Any]]:
    """How many of the newest sessions others have otherwise: a row per other source, and one for the source's own daily bars."""
    codes = [symbol.code for symbol in group.symbols.values()]
    for one in find_comparisons(lake, group.source.name, None, group.resolution, codes):
        length = one.resolution.duration if one.resolution.intraday else None
        bars_a_day = len(one.symbols) * (1 if length is None else timedelta(days=1) // length)
        days = min(_COMPARED_DAYS, max(1, _COMPARED_BARS // bars_a_day))
        rows = one.run(lake, one.until - timedelta(days=days - 1))
        off = rows.filter(~pl.col("agrees")).sort("session", "symbol", descending=[True, False])
        newest = off.row(0, named=True) if off.height else None
        yield {
            "with": f"{one.other} {one.other_resolution}",
            "days": days,
            "sessions": rows.height,
            "differ": off.height,
            "newest": "" if newest is None else f"{newest['symbol']} {newest['session']}: {_describe(newest)}",
        }


def _describe(row: Mapping[str, Any]) -> str:
    """`close -0.45%, volume +12.00%`: what is not the same of a session."""
    numbers = {name: row[name] for name in (*PRICES, "volume") if row[name] != 0}
    return ", ".join(f"{name} {'from 0' if value is None else f'{value:+.2%}'}" for name, value in numbers.items())


def _draw(picture: HeatMap) -> str:
    """Markdown: the picture with what its axes and colours mean."""
    scale = max(1, min(_LARGEST, _WIDTH // len(picture.rows[0]), _HEIGHT // len(picture.rows)))
    png = encode_png(picture.rows, [_COLOURS[cell] for cell in Cell], scale=scale)
    counts = [f"{_MEANINGS[cell]} ({picture.counts[cell]:,})" for cell in _MEANINGS if picture.counts[cell]]
    axes = (
        f"{picture.symbols[0]} (top) to {picture.symbols[-1]}, {picture.sessions[0]} (left) to {picture.sessions[-1]}"
    )
    return f"![coverage](data:image/png;base64,{b64encode(png).decode()})\n\n{axes}. Sessions: {'; '.join(counts)}."


def _write(value: object) -> str:
    return "" if value is None else f"{value:,.4g}" if isinstance(value, float) else str(value)
