"""This module prints what `gb status --plot` and `--scorecard` show: a heat map as text, and how good each source is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gb_pipeline.cli.output import layout_width, note, print_json, print_table

if TYPE_CHECKING:
    from gb_pipeline.reading.heat_map import HeatMap
    from gb_pipeline.reading.lake import Lake

# One sign per kind of cell, in the order of `heat_map.Cell`; they can be told apart without colours.
_SIGNS = ("·", " ", "█", "▓", "▒", "X")
_MEANINGS = (
    "· never fetched",
    "",
    "█ complete",
    "▓ missing for a reason",
    "▒ missing, unexplained",
    "X failed or refused",
)
_LONGEST_NAME = 16
_FEWEST_COLUMNS, _MOST_ROWS = 10, 50


def print_heat_maps(lake: Lake, chosen: Mapping[str, Sequence[str]], *, as_json: bool) -> None:
    """One heat map per source and resolution, as wide as the terminal.

    Args:
        chosen: symbols by source.
    """
    from gb_pipeline.reading.heat_map import read_heat_map

    held = lake.symbols().select("source", "resolution").unique().sort("source", "resolution").rows()
    found = []
    for source, resolution in held:
        if source not in chosen:
            continue
        symbols = list(chosen[source])
        label = min(_LONGEST_NAME, max(map(len, symbols), default=0))
        columns = max(_FEWEST_COLUMNS, layout_width() - label - 1)
        if (picture := read_heat_map(lake, source, resolution, symbols, columns=columns, rows=_MOST_ROWS)) is not None:
            found.append((source, resolution, label, picture))
    if as_json:
        print_json([_as_record(source, resolution, picture) for source, resolution, _, picture in found])
        return
    for source, resolution, label, picture in found:
        _print_one(f"{source} {resolution}", label, picture)
    note("  ".join(filter(None, _MEANINGS)) if found else "nothing is stored yet")


def _print_one(title: str, label: int, picture: HeatMap) -> None:
    import typer

    first, last = picture.sessions[0], picture.sessions[-1]
    room = len(picture.rows[0]) - len(first) - len(last)
    typer.echo(title)
    for symbol, row in zip(picture.symbols, picture.rows, strict=True):
        name = symbol if len(symbol) <= label else f"{symbol[: label - 1]}…"
        typer.echo(f"{name:{label}} {''.join(_SIGNS[cell] for cell in row)}".rstrip())
    # The axis: both ends where there is room, else the first.
    typer.echo(f"{'':{label}} {first}{' ' * room + last if room > 0 else ''}".rstrip())


def _as_record(source: str, resolution: str, picture: HeatMap) -> dict[str, Any]:
    from gb_pipeline.reading.heat_map import Cell

    return {
        "source": source,
        "resolution": resolution,
        "symbols": list(picture.symbols),
        "sessions": list(picture.sessions),
        "cells": [[Cell(cell).name.lower() for cell in row] for row in picture.rows],
        "counts": {cell.name.lower(): count for cell, count in picture.counts.items()},
    }


def print_scorecard(lake: Lake, sources: Sequence[str], *, as_json: bool) -> None:
    """One line per source and resolution."""
    import polars as pl

    from gb_pipeline.reading.scorecard import read_scorecard

    card = read_scorecard(lake).filter(pl.col("source").is_in(list(sources)))
    if as_json:
        print_json(card.to_dicts())
    elif card.is_empty():
        note("nothing is stored yet")
    else:
        body = [
            (
                row["source"], row["resolution"], row["series"], _percent(row["complete"]), row["open"], row["not_stored"],
                row["last"], row["behind"], _percent(row["restated"]), _percent(row["disagreement"]),
                None if row["latency_ms"] is None else f"{row['latency_ms']:,.0f} ms", row["calls"],
            )
            for row in card.to_dicts()
        ]  # fmt: skip
        print_table(_CARD, body, optional=["series", "last", "calls", "latency"])


_CARD = (
    "source", "", "series", "complete", "open", "not stored", "last", "behind", "restated", "disagrees", "latency", "calls",
)  # fmt: skip


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.2%}"
