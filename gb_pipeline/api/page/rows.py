"""This module reads the rows of the page's grid: some hundred bars at any place among millions, with the memory of those alone."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import polars as pl

from gb_pipeline.api.page.frames import MOST_ROWS, to_json
from gb_pipeline.api.page.session_index import SessionIndex, SessionIndexes
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.reading.lake import Lake

COLUMNS = ["symbol", "timestamp", "open", "high", "low", "close", "volume", "trade_count", "vwap", "known_at"]
# Beyond so many short series one question for all of them is faster than one for each.
_MOST_QUESTIONS = 4


def read_rows(
    lake: Lake,
    indexes: SessionIndexes,
    source: str,
    symbol: str | None,
    resolution: Resolution,
    offset: int,
    limit: int,
    as_of: datetime | None = None,
) -> dict[str, Any]:
    """Bars by their place, sorted by symbol and time.

    Args:
        lake: whose.
        indexes: where each session begins.
        source, symbol, resolution, as_of: as in `Lake.bars`; every symbol of the source where none is named.
        offset: place of the first row among all.
        limit: how many, up to `MOST_ROWS`.

    Returns:
        As `to_json`, with the number of all bars as `total`. Only files of the sessions that hold the rows are opened.

    Raises:
        UnknownSeries: a name that the lake does not know.
    """
    index = indexes.find(source, symbol, resolution, as_of)
    limit = max(0, min(limit, MOST_ROWS, index.total - offset))
    frame = read_places(lake, index, source, resolution, offset, limit, as_of)
    return to_json(frame, total=index.total, offset=offset)


def read_places(
    lake: Lake,
    index: SessionIndex,
    source: str,
    resolution: Resolution,
    offset: int,
    limit: int,
    as_of: datetime | None,
) -> pl.DataFrame:
    """The bars from one place on, as `COLUMNS`; arguments as those of `read_rows`, and any number of rows."""
    parts = index.parts(offset, limit)
    if limit == 0 or not parts:
        return pl.DataFrame(schema=dict.fromkeys(COLUMNS, pl.String()))
    if len(parts) <= _MOST_QUESTIONS:
        frames = [
            lake.bars(part.symbol, resolution, part.start, part.end, source=source, columns=COLUMNS, as_of=as_of)
            for part in parts
        ]
        return pl.concat(frames, how="vertical_relaxed").slice(offset - parts[0].first, limit)
    bounds = pl.DataFrame(
        {
            "symbol": [part.symbol for part in parts],
            "start": [part.start for part in parts],
            "end": [part.end for part in parts],
        }
    )
    frame = lake.bars(
        [part.symbol for part in parts],
        resolution,
        min(part.start for part in parts),
        max(part.end for part in parts),
        source=source,
        columns=COLUMNS,
        as_of=as_of,
    )
    inside = (pl.col("timestamp") >= pl.col("start")) & (pl.col("timestamp") < pl.col("end"))
    ours = frame.join(bounds, on="symbol", maintain_order="left").filter(inside).select(COLUMNS)
    return ours.slice(offset - parts[0].first, limit)
