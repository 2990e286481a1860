"""This module follows a result back to where its numbers come from: pins, files of bars, fetches and kept responses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from gb_pipeline.errors import GbError
from gb_pipeline.lake import fetches
from gb_pipeline.lake.datasets import bars_dataset
from gb_pipeline.lake.pins import read_pin
from gb_pipeline.market.moments import INSTANT, instant_literal
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import Precision
from gb_pipeline.research.results.run import BacktestRun, PinnedData
from gb_pipeline.storage.raw_responses import RawStore
from gb_pipeline.storage.reading import files_valid_at
from gb_pipeline.storage.table import Tables

_PINS = pl.Schema(
    {
        "pin": pl.String(), "resolution": pl.String(), "start": INSTANT, "end": INSTANT, "as_of": INSTANT,
        "fingerprint": pl.String(), "state": pl.String(),
    }
)  # fmt: skip
_FILES = pl.Schema(
    {
        **dict.fromkeys(("pin", "source", "symbol", "table", "path"), pl.String()),
        **dict.fromkeys(("rows", "bytes"), pl.Int64()),
        **dict.fromkeys(("first_timestamp", "last_timestamp"), INSTANT),
    }
)
_FETCHES = pl.Schema(
    {
        **dict.fromkeys(("pin", "source", "symbol", "fetch_id"), pl.String()),
        **dict.fromkeys(("fetched_at", "window_start", "window_end"), INSTANT),
        "received": pl.Int64(),
        "run_id": pl.String(),
        "raw": pl.List(pl.String()),
    }
)
_RESPONSES = pl.Schema({"sha256": pl.String(), "address": pl.String(), "state": pl.String(), "bytes": pl.Int64()})


@dataclass(frozen=True)
class Lineage:
    """What is behind a result.

    Attributes:
        pins: `pin, resolution, start, end, as_of, fingerprint` and `state`: `as recorded`, `made anew` or `missing`.
        files: `pin, source, symbol, table, path` (relative to the table), `rows, bytes, first_timestamp, last_timestamp`: files of
            which some row may belong to the pin, as the tables are now.
        fetches: `pin, source, symbol, fetch_id, fetched_at, window_start, window_end, received, run_id, raw`: requests that brought
            something of the window, up to the moment of the pin.
        responses: `sha256, address, state` (intact, missing or damaged) and `bytes` of the bodies that they kept.
    """

    pins: pl.DataFrame
    files: pl.DataFrame
    fetches: pl.DataFrame
    responses: pl.DataFrame


def trace(tables: Tables, run: BacktestRun) -> Lineage:
    """Follow a run back; no file of bars is opened, and each kept response is read and hashed.

    Raises:
        LakeError: a table is damaged.
    """
    pins = [_pin(tables, pinned) for pinned in run.data]
    files = [_files(tables, pinned, *series) for pinned in run.data for series in _series(pinned)]
    calls = [
        _fetches(tables, pinned, source, symbols)
        for pinned in run.data
        for source, symbols in _by_source(pinned).items()
    ]
    fetched = pl.concat([pl.DataFrame(schema=_FETCHES), *calls])
    store = RawStore(tables.storage)
    hashes = fetched["raw"].explode(empty_as_null=False, keep_nulls=False).unique().sort().to_list()
    bodies = [store.inspect(name) for name in hashes]
    return Lineage(
        pl.DataFrame(pins, schema=_PINS, orient="row"),
        pl.concat([pl.DataFrame(schema=_FILES), *files]).sort("pin", "source", "symbol", "first_timestamp", "path"),
        fetched.sort("pin", "source", "symbol", "fetched_at"),
        pl.DataFrame(
            [(body.hash, body.address, body.state, body.bytes) for body in bodies], schema=_RESPONSES, orient="row"
        ),
    )


def _pin(tables: Tables, pinned: PinnedData) -> tuple[object, ...]:
    try:
        state = "as recorded" if read_pin(tables.storage, pinned.pin).fingerprint == pinned.fingerprint else "made anew"
    except GbError:
        state = "missing"
    return pinned.pin, pinned.resolution, pinned.start, pinned.end, pinned.as_of, pinned.fingerprint, state


def _series(pinned: PinnedData) -> Sequence[tuple[str, str]]:
    pairs = [name.partition(":") for name in pinned.series]
    return [(source, symbol) for source, _, symbol in pairs]


def _by_source(pinned: PinnedData) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for source, symbol in _series(pinned):
        found.setdefault(source, []).append(symbol)
    return found


def _files(tables: Tables, pinned: PinnedData, source: str, symbol: str) -> pl.DataFrame:
    parts = [pl.DataFrame(schema=_FILES)]
    for precision in Precision:
        dataset = bars_dataset(Resolution(pinned.resolution), precision)
        snapshot = tables.newest(dataset.name)
        between = None if pinned.start is None or pinned.end is None else {"timestamp": (pinned.start, pinned.end)}
        files = snapshot.select({"source": source}, between=between, holding={"symbol": [symbol]})
        files = files_valid_at(files, pinned.as_of)
        if files.height:
            parts.append(
                files.select(
                    pl.lit(pinned.pin).alias("pin"), pl.lit(source).alias("source"), pl.lit(symbol).alias("symbol"),
                    pl.lit(dataset.name).alias("table"), "path", "rows", pl.col("size").alias("bytes"),
                    pl.col("min.timestamp").alias("first_timestamp"), pl.col("max.timestamp").alias("last_timestamp"),
                ).cast(_FILES)
            )  # fmt: skip
    return pl.concat(parts)


def _fetches(tables: Tables, pinned: PinnedData, source: str, symbols: list[str]) -> pl.DataFrame:
    rows = fetches.scan(tables, source, [*symbols, "*"]).filter(
        (pl.col("resolution") == pinned.resolution)
        & (pl.col("kind").is_null() | (pl.col("kind") == "bars"))
        & (pl.col("outcome") == "ok")
        & (pl.col("fetched_at") <= instant_literal(pinned.as_of))
    )
    if pinned.start is not None and pinned.end is not None:
        rows = rows.filter(
            (pl.col("window_start") < instant_literal(pinned.end))
            & (pl.col("window_end") > instant_literal(pinned.start))
        )
    return rows.with_columns(pl.lit(pinned.pin).alias("pin")).select(_FETCHES.names()).collect().cast(_FETCHES)
