"""The routes whose answers `Lake` gives as more than one table: fingerprints, pins, and where streams were heard whole.

Each part is a table of its own; `client.composed` puts them together again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from gb_pipeline.api import queries
from gb_pipeline.api.downloads import in_slices, refuse_too_many
from gb_pipeline.api.options import ServeOptions
from gb_pipeline.api.tables import TableRoute
from gb_pipeline.errors import LakeError, PinRefused
from gb_pipeline.reading.lake import Lake
from gb_pipeline.reading.sql_stop import QueryStop

_PINS = {"pin": pl.String(), "problem": pl.String(), "fix": pl.String()}


def _fingerprint(
    lake: Lake, question: Mapping[str, Any], options: ServeOptions, _: QueryStop
) -> Iterator[pl.DataFrame]:
    asked = dict(question)
    part = asked.pop("part")
    if part == "sessions":
        # Comparing them takes long, and changes nothing of what was recorded.
        asked["verify"] = False
    found = lake.fingerprint(**asked)
    yield from in_slices(found.sessions if part == "sessions" else found.mismatches, options.piece_rows)


def _valid_mask(lake: Lake, question: Mapping[str, Any], _: ServeOptions, __: QueryStop) -> Iterator[pl.DataFrame]:
    yield lake.valid_mask(**question).rename("valid").to_frame()


def _pins(lake: Lake, question: Mapping[str, Any], _: ServeOptions, __: QueryStop) -> Iterator[pl.DataFrame]:
    damaged: list[LakeError] = []
    chosen = [lake.replay(question["name"], verify=False).pin] if "name" in question else lake.pins(damaged)
    rows = [(pin.to_json(), None, None) for pin in chosen]
    yield pl.DataFrame([*rows, *((None, error.what, error.fix) for error in damaged)], _PINS, orient="row")


def _pin_differences(
    lake: Lake, question: Mapping[str, Any], options: ServeOptions, _: QueryStop
) -> Iterator[pl.DataFrame]:
    try:
        lake.replay(question["pin"])
    except PinRefused as error:
        yield from in_slices(error.differences, options.piece_rows)
    else:
        # Not an empty frame: sessions may be others though no bar is.
        yield pl.DataFrame({"same": [True]})


def _pinned_bars(
    lake: Lake, question: Mapping[str, Any], options: ServeOptions, _: QueryStop
) -> Iterator[pl.DataFrame]:
    asked = {"symbols": None, **question}
    replay = lake.replay(asked.pop("pin"), verify=False)
    series = replay.pin.series
    wanted = series if asked["symbols"] is None else series.filter(pl.col("symbol").is_in(asked["symbols"]))
    refuse_too_many(int(wanted["bars"].sum()), options)
    yield from in_slices(replay.bars(**asked), options.piece_rows)


COMPOSED = (
    TableRoute("/fingerprint", queries.Fingerprints, _fingerprint, "The content of series as hashes"),
    TableRoute("/pins", queries.Pins, _pins, "What was pinned under a name"),
    TableRoute("/pin-differences", queries.Pinned, _pin_differences, "Bars of a pin that are not as they were"),
    TableRoute(
        "/pinned-bars", queries.PinnedBars, _pinned_bars, "Bars that a pin names, as they were known then", "bars"
    ),
    TableRoute("/valid-mask", queries.ValidMask, _valid_mask, "Whether whole windows of streams were heard", "streams"),
)
