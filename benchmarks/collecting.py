"""Messages a second that a collector decodes, turns into columns and makes durable, and what a flush takes: on one core.

Messages are those of real recordings, in the order in which they came, again and again with a new decoder each time. Time is that
of the processor, so that a busy machine and a slow disk change little.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from benchmarks.bytes_per_row import COLLECTION
from benchmarks.measurement import Measurement, new_lake
from gb_pipeline.collectors import MessageRows, Venue
from gb_pipeline.collectors.collector import few_collections
from gb_pipeline.collectors.columns import to_columns
from gb_pipeline.collectors.flush import SPOOLED, flush_segment
from gb_pipeline.collectors.registry import venue_class
from gb_pipeline.collectors.spool import Spool
from gb_pipeline.collectors.venue import Connection
from gb_pipeline.formats.streams.archive import StreamOptions
from gb_pipeline.formats.streams.recorded_venues import RecordedBooks, inspect_recording, merged_messages, venue_options
from gb_pipeline.market.recorded_messages import Direction, RecordedMessage
from gb_pipeline.market.tick_schema import Origin

RECORDINGS = {
    "Kraken, books with checksums and trades": "cryptofeed/KRAKEN.ws.50.0",
    "Coinbase, level 2 and trades": "cryptofeed/COINBASE.ws.28.0",
    "Binance futures, depth, quotes and trades": "hftbacktest-binance-usdm-btcusdt_20240718.gz",
}
TARGET = 150_000
# What half a second brings at that rate.
ROUND = 75_000
FLUSHED_ROWS, FLUSH_SECONDS = 5_000_000, 10


def measure(messages: int = 300_000) -> Iterator[Measurement]:
    """Each recording by itself, and one flush of five million rows."""
    for name, file in RECORDINGS.items():
        path = COLLECTION / "order-book" / file
        if path.exists():
            yield _heard(name, path, messages)
    yield from _flushed()


def _heard(name: str, path: Path, messages: int) -> Measurement:
    recording = inspect_recording(path, StreamOptions(), {}, path.name)
    assert recording is not None
    venue = venue_class(recording.venue).from_options("feed", venue_options(recording))
    connection = Connection(path.name, "wss://recorded", recording.subscriptions)
    recorded = []
    for message in merged_messages(recording):
        if message.direction in {Direction.RECEIVED, Direction.ANSWERED}:
            recorded.append(message)
        if len(recorded) == ROUND:
            break
    with TemporaryDirectory(prefix="gb-benchmark-") as folder, few_collections():
        spool = Spool(Path(folder) / "spool", SPOOLED)
        _rounds(venue, connection, recorded, spool, ROUND)
        began = time.process_time()
        rows, done = _rounds(venue, connection, recorded, spool, messages)
        seconds = time.process_time() - began
        spool.close()
    rate = done / seconds
    return Measurement(
        f"{name}: decoded, in columns, in the spool",
        rate,
        "messages/s",
        f">= {TARGET:,}",
        rate >= TARGET,
        f"{rows / done:.1f} rows a message, {rows / seconds:,.0f} rows/s",
    )


def _rounds(
    venue: Venue, connection: Connection, recorded: Sequence[RecordedMessage], spool: Spool, messages: int
) -> tuple[int, int]:
    """Rows and messages that were kept."""
    kept, done, waiting, rows, now = 0, 0, 0, MessageRows(), recorded[0].receive_time
    while done < messages:
        decoder, books = venue.decoder(connection), RecordedBooks(connection.subscriptions)
        for message in recorded:
            now += 1_000
            if message.direction is Direction.ANSWERED:
                books.answered(message)
            else:
                decoder.decode(message.data, now, rows)
            now = books.lay(decoder, now, rows)
        done, waiting = done + len(recorded), waiting + len(recorded)
        if waiting >= ROUND or done >= messages:
            columns = to_columns(rows, "feed", venue.time_unit, "one")
            spool.append(columns.tables.items())
            kept, waiting, rows = kept + columns.rows, 0, MessageRows()
    return kept, done


def _flushed() -> Iterator[Measurement]:
    """Trades of six instruments and two days, as a spool holds them."""
    start, batches = 1_700_000_000_000_000_000, 100
    with new_lake() as lake, TemporaryDirectory(prefix="gb-benchmark-") as folder:
        spool = Spool(Path(folder) / "spool", SPOOLED)
        for batch in range(batches):
            spool.append([("trades", _trades(start + batch * 36 * 10**9, FLUSHED_ROWS // batches))])
        segment = spool.seal()
        assert segment is not None
        before, wall, began = _peak(), time.perf_counter(), time.process_time()
        flushed = flush_segment(lake.store, segment, "one")
        wall, seconds = time.perf_counter() - wall, time.process_time() - began
        assert flushed.rows == FLUSHED_ROWS
        spool.close()
    yield Measurement(
        "flush of 5 million trades", wall, "s", f"< {FLUSH_SECONDS}", wall < FLUSH_SECONDS,
        f"{seconds:.1f} s of processor time, {max(0, _peak() - before) / 1e6:,.0f} MB more at the most",
    )  # fmt: skip


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _trades(start: int, rows: int) -> pl.DataFrame:
    index = pl.int_range(rows, eager=True).alias("index")
    price = (pl.col("index") % 9_973 * 25 + 6_000_000).cast(pl.Decimal(18, 8)) / 100
    moment = start + pl.col("index") * (36 * 10**9 // rows)
    frame = index.to_frame().select(
        pl.lit("feed").alias("source"),
        pl.concat_str(pl.lit("SYM"), pl.col("index") % 6, pl.lit("-USD")).alias("symbol"),
        (moment // 1000).cast(pl.Datetime("us", "UTC")).alias("timestamp"),
        moment.alias("exchange_time"),
        (moment + 20_000_000).alias("receive_time"),
        pl.when(pl.col("index") % 3 == 0).then(pl.lit("buy")).otherwise(pl.lit("sell")).alias("side"),
        price.cast(pl.Decimal(18, 8)).alias("price"),
        ((pl.col("index") % 997 + 1).cast(pl.Decimal(18, 8)) / 1000).cast(pl.Decimal(18, 8)).alias("size"),
        (pl.lit(start // 10**9 * 1_000_000) + pl.col("index")).cast(pl.String()).alias("trade_id"),
        pl.col("index").alias("sequence"),
        pl.lit(0, pl.Int32()).alias("ordinal"),
        pl.lit("one").alias("collector"),
        pl.lit(Origin.STREAM.value).alias("origin"),
    )
    return frame.select(SPOOLED["trades"].names)
