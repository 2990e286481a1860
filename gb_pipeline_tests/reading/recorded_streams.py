"""Real recordings in a lake: decoded, made columns and committed as a collector does it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from gb_pipeline.collectors import Connection, MessageRows, Subscription
from gb_pipeline.collectors.columns import Columns, to_columns
from gb_pipeline.collectors.registry import venue_class
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.event_time import event_time
from gb_pipeline.market.recorded_messages import Direction, read_recording
from gb_pipeline.market.tick_schema import StreamDataset
from gb_pipeline.storage.append import append
from gb_pipeline_tests.streams import commit_interval, commit_watermark

KRAKEN_SYMBOLS = (
    "WAVES-EUR", "XMR-USD", "KSM-BTC", "GRT-ETH", "SC-EUR", "ETH-CHF", "OCEAN-BTC", "OMG-USD", "BTC-CHF", "ADA-BTC",
)  # fmt: skip


def decode_recording(
    paths: Path | Sequence[Path],
    venue_name: str,
    source: str,
    symbols: Sequence[str],
    *datasets: StreamDataset,
    options: dict[str, Any] | None = None,
) -> Columns:
    """What a collector makes of recordings; one reader of everything, as a recording has no connections of its own."""
    venue = venue_class(venue_name).from_options("test", options or {})
    wanted = [
        Subscription(dataset, symbol, venue.venue_symbol(symbol), None)
        for symbol in symbols
        for dataset in datasets or venue.datasets
    ]
    url = venue.connections(wanted)[0].url
    decoder, rows, last = venue.decoder(Connection("all", url, tuple(wanted))), MessageRows(), 0
    books = {item.venue_symbol: item for item in wanted if item.dataset is StreamDataset.BOOK_UPDATES}
    messages = [item for path in ([paths] if isinstance(paths, Path) else paths) for item in read_recording(path)]
    for message in sorted(messages, key=lambda item: item.receive_time):
        # As a collector stamps them: no two at the same time.
        last = max(message.receive_time, last + 1)
        if message.direction is Direction.RECEIVED:
            decoder.decode(message.data, last, rows)
        elif message.direction is Direction.ANSWERED:
            named = message.connection.partition("symbol=")[2].partition("&")[0] or next(iter(books))
            decoder.apply_snapshot(books[named], message.data, last, rows)
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


def decode_futures(market_data: Callable[[str], Path]) -> Columns:
    """Five minutes of BTCUSDT perpetuals at Binance: 10,701 trades, 52,260 quotes, 400,859 changed levels."""
    names = ("20240718", "20240719")
    paths = [market_data(f"order-book/hftbacktest-binance-usdm-btcusdt_{name}.gz") for name in names]
    return decode_recording(paths, "binance", "binance", ["BTC-USDT-PERP"], options={"trades": "trade"})
