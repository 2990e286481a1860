"""A lake at a glance, for the prompt and for notebooks: from the logs' statistics and the ledger, never from a file of bars."""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from gb_pipeline.config.bucket import Address
from gb_pipeline.errors import LakeError
from gb_pipeline.lake import ledger
from gb_pipeline.lake.datasets import REMOVALS, STREAM_TABLES, parse_bar_table
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.moments import INSTANT
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.storage import reading

_KEYS = ["source", "symbol", "resolution"]


@dataclass(frozen=True)
class Overview:
    """What a lake holds.

    Attributes:
        root: its folder, or its place in an object store.
        rows: `resolution, series, sources, first, last`, one row per resolution, and one per table of trades, quotes and books,
            whose name stands as `resolution`; times are Datetime us UTC.
        damage: why something is not known, one sentence for each table.
    """

    root: Address
    rows: pl.DataFrame
    damage: tuple[str, ...]


def summarize(store: LakeStore) -> Overview:
    """Count the series of each resolution, and find its first and last bar."""
    damaged: list[LakeError] = []
    spans = pl.Schema({"resolution": pl.String(), "first": INSTANT, "last": INSTANT})
    parts = [pl.DataFrame(schema=spans)]
    for snapshot in store.tables.existing(damaged):
        kind = parse_bar_table(snapshot.dataset.name)
        files = reading.current_files(snapshot)
        if kind is not None and files.height:
            edges = pl.col("min.timestamp").min().alias("first"), pl.col("max.timestamp").max().alias("last")
            parts.append(files.select(pl.lit(kind[0].value).alias("resolution"), *edges).cast(spans))
    found = pl.concat(parts).group_by("resolution").agg(pl.col("first").min(), pl.col("last").max())
    series = pl.DataFrame(schema=dict.fromkeys(_KEYS, pl.String()))
    try:
        # Where nothing was ever removed, what once had a bar has it still, and no session's newest row is looked for.
        if store.tables.newest(REMOVALS.name).version < 0:
            sessions = ledger.scan(store.tables, columns=[*_KEYS, "actual"])
        else:
            sessions = ledger.current(store.tables).lazy()
        series = sessions.filter(pl.col("actual") > 0).select(_KEYS).unique().collect()
    except LakeError as error:
        damaged.append(error)
    counts = series.group_by("resolution").agg(
        pl.len().alias("series"), pl.col("source").unique().sort().str.join(", ").alias("sources")
    )
    order = {resolution.value: place for place, resolution in enumerate(Resolution)}
    rows = (
        found.join(counts, on="resolution", how="left")
        .sort(pl.col("resolution").replace_strict(order, return_dtype=pl.Int64))
        .select("resolution", "series", "sources", "first", "last")
    )
    rows = pl.concat([rows, _summarize_streams(store, damaged, rows.schema)])
    return Overview(store.storage.root, rows, tuple(dict.fromkeys(error.what for error in damaged)))


def _summarize_streams(store: LakeStore, damaged: list[LakeError], schema: pl.Schema) -> pl.DataFrame:
    """The same of trades, quotes and books."""
    # Only who looks at a lake waits for this.
    from gb_pipeline.lake.stream_files import list_files, summarize_files

    try:
        stored = summarize_files(list_files(store.tables))
    except LakeError as error:
        damaged.append(error)
        return pl.DataFrame(schema=schema)
    counted = stored.group_by("table", maintain_order=True).agg(
        pl.len().alias("series"), pl.col("source").unique().sort().str.join(", ").alias("sources"),
        pl.col("start").min().alias("first"), pl.col("end").max().alias("last"),
    )  # fmt: skip
    return counted.rename({"table": "resolution"}).select(schema.names()).cast(schema).sort("resolution")


def to_text(overview: Overview) -> str:
    """Plain lines."""
    lines = [f"Lake {overview.root}"]
    lines += [
        f"  {resolution:<4} {count} series of {sources}, {first} to {last}"
        for resolution, count, sources, first, last in _cells(overview)
    ]
    if len(lines) == 1 and not overview.damage:
        lines.append("  nothing is stored yet")
    return "\n".join([*lines, *(f"  damaged: {what}" for what in overview.damage)])


def to_html(overview: Overview) -> str:
    """A small table."""
    head = "".join(f"<th>{name}</th>" for name in overview.rows.columns)
    body = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in _cells(overview))
    damage = "".join(f"<p>damaged: {html.escape(what)}</p>" for what in overview.damage)
    empty = "" if body or damage else "<p>nothing is stored yet</p>"
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>" if body else empty
    return f"<p><b>Lake</b> {html.escape(str(overview.root))}</p>{table}{damage}"


def _cells(overview: Overview) -> Iterator[tuple[str, str, str, str, str]]:
    for resolution, count, sources, first, last in overview.rows.rows():
        by_day = resolution not in STREAM_TABLES and not Resolution(resolution).intraday
        day = "%Y-%m-%d" if by_day else "%Y-%m-%d %H:%M"
        known = "?" if count is None else f"{count:,}"
        yield resolution, known, sources or "?", first.strftime(day), last.strftime(day)
