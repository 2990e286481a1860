"""A real recording of Kraken's books in a lake: decoded, made columns and committed as a collector does it."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from gb_pipeline.collectors import MessageRows, Subscription
from gb_pipeline.collectors.columns import Columns, to_columns
from gb_pipeline.collectors.registry import venue_class
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.event_time import event_time
from gb_pipeline.market.recorded_messages import Direction, read_recording
from gb_pipeline.market.tick_schema import StreamDataset
from gb_pipeline.storage.append import append
from gb_pipeline_tests.streams import commit_interval, commit_watermark

SYMBOLS = (
    "WAVES-EUR", "XMR-USD", "KSM-BTC", "GRT-ETH", "SC-EUR", "ETH-CHF", "OCEAN-BTC", "OMG-USD", "BTC-CHF", "ADA-BTC",
)  # fmt: skip


def decode_recording(
    path: Path, venue_name: str, source: str, symbols: tuple[str, ...], dataset: StreamDataset
) -> Columns:
    """What a collector makes of a recording."""
    venue = venue_class(venue_name).from_options("test", {})
    (connection,) = venue.connections(
        [Subscription(dataset, symbol, venue.venue_symbol(symbol), None) for symbol in symbols]
    )
    decoder, rows, last = venue.decoder(connection), MessageRows(), 0
    for message in read_recording(path):
        if message.direction is Direction.RECEIVED:
            # As a collector stamps them: no two at the same time.
            last = max(message.receive_time, last + 1)
            decoder.decode(message.data, last, rows)
    return to_columns(rows, source, venue.time_unit, "one")


def commit_columns(store: LakeStore, columns: Columns, dataset: StreamDataset) -> pl.DataFrame:
    """Commit rows with evidence that covers them; the stretches, by symbol: `symbol, start, end` (ns)."""
    for name, rows in columns.tables.items():
        append(store.tables[name], rows, clock=store.clock)
    moments = pl.concat([rows.select("symbol", event_time().alias("at")) for rows in columns.tables.values()])
    spans = moments.group_by("symbol").agg(pl.col("at").min().alias("start"), (pl.col("at").max() + 1).alias("end"))
    source = next(iter(columns.tables.values()))["source"][0]
    for symbol, start, end in spans.iter_rows():
        commit_interval(store, start, end, source=source, symbol=symbol, dataset=dataset.value)
    commit_watermark(store, int(spans["end"].max()), source=source, dataset=dataset.value)  # type: ignore[arg-type]
    return spans.sort("symbol")
