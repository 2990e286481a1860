"""Bars of a series as parts that are written one after the other: whole sessions, of so many rows that memory stays flat."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from gb_pipeline.errors import FormatRefused
from gb_pipeline.formats.archive import CHUNK_ROWS, ArchiveSeries
from gb_pipeline.lake.put import bar_span
from gb_pipeline.market.moments import instant_literal
from gb_pipeline.market.window import Window
from gb_pipeline.quality.rules import BarRules


@dataclass(frozen=True, slots=True)
class Part:
    """Some sessions of a series.

    Attributes:
        series: whose they are.
        window: what the rows are complete for: from the end of the part before to the end of the last bar.
        rows: with the column `symbol`.
    """

    series: ArchiveSeries
    window: Window
    rows: pl.DataFrame


def split_into_parts(
    series: ArchiveSeries, rules: BarRules, window: Window | None, *, most: int = CHUNK_ROWS
) -> Iterator[Part]:
    """All bars of a series that begin in a window, whole sessions together, lazily.

    Args:
        series: what is read.
        rules: whose calendar says what a session is.
        window: None for all.
        most: rows of a part, about; a session that has more stays whole.

    Raises:
        FormatRefused: the file is not what it should be, or its times go back.
    """
    waiting: list[pl.DataFrame] = []
    cut: datetime | None = None
    broken: FormatRefused | None = None
    chunks = series.read()
    while True:
        try:
            rows = _within(next(chunks), window)
        except StopIteration:
            break
        except FormatRefused as error:
            # What lies before is whole, and comes first.
            broken = error
            break
        if rows.is_empty():
            continue
        first = rows["timestamp"].min()
        if cut is not None and isinstance(first, datetime) and first < cut:
            broken = FormatRefused(
                f"{series.origin}: its times go back, to {first.isoformat()} behind {cut.isoformat()}",
                fix="sort the file by time, or get it again",
            )
            break
        waiting.append(rows)
        if sum(frame.height for frame in waiting) < most:
            continue
        rows = pl.concat(waiting, how="diagonal")
        sessions = rules.calendar.session_of(rows["timestamp"], rules.resolution).fill_null(strategy="forward")
        newest = sessions.drop_nulls().max()
        is_before = sessions.is_null() if newest is None else (sessions < newest).fill_null(True)
        whole, rest = rows.filter(is_before), rows.filter(~is_before)
        waiting = [rest]
        if whole.height:
            # Up to the first row of the session that is to come; rows of no session at all are a part by themselves.
            part = _part(series, rules, whole, start=cut, end=_first(rest) if rest.height else None)
            cut = part.window.end
            yield part
    if waiting and (rows := pl.concat(waiting, how="diagonal")).height:
        yield _part(series, rules, rows, start=cut, end=None)
    if broken is not None:
        raise broken


def _within(chunk: pl.DataFrame, window: Window | None) -> pl.DataFrame:
    rows = (
        chunk
        if chunk["timestamp"].is_sorted(nulls_last=True)
        else chunk.sort("timestamp", nulls_last=True, maintain_order=True)
    )
    if window is None:
        return rows
    stamp = pl.col("timestamp")
    inside = (stamp >= instant_literal(window.start)) & (stamp < instant_literal(window.end))
    return rows.filter(inside.fill_null(False))


def _first(rows: pl.DataFrame) -> datetime:
    first = rows["timestamp"].min()
    assert isinstance(first, datetime)
    return first


def _part(
    series: ArchiveSeries, rules: BarRules, rows: pl.DataFrame, *, start: datetime | None, end: datetime | None
) -> Part:
    first, last = rows["timestamp"].min(), rows["timestamp"].max()
    if not isinstance(first, datetime) or not isinstance(last, datetime):
        raise FormatRefused(
            f"{series.origin}: none of its times can be read", fix="check the format, or get the file again"
        )
    span = bar_span(first, last, rules)
    return Part(
        series,
        Window(start or span.start, end or span.end),
        rows.with_columns(pl.lit(series.symbol.code).alias("symbol")),
    )
