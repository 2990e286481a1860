"""Memory of a collector over a day: two gigabytes of real messages through decoder, evidence, spool and 24 commits, at full speed.

Messages are those of a recording, again and again with a new decoder each time; their times go on with the simulated clock.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.bytes_per_row import COLLECTION
from benchmarks.measurement import Measurement, new_lake
from gb_pipeline.collectors import MessageRows
from gb_pipeline.collectors.collector import few_collections
from gb_pipeline.collectors.columns import to_columns
from gb_pipeline.collectors.evidence import Evidence
from gb_pipeline.collectors.flush import SPOOLED, flush_segment
from gb_pipeline.collectors.registry import venue_class
from gb_pipeline.collectors.resident import resident_bytes
from gb_pipeline.collectors.spool import Spool
from gb_pipeline.collectors.venue import Connection
from gb_pipeline.formats.streams.archive import StreamOptions
from gb_pipeline.formats.streams.recorded_venues import inspect_recording, merged_messages, venue_options
from gb_pipeline.market.recorded_messages import Direction

RECORDING = "cryptofeed/COINBASE.ws.28.0"
LIMIT = 1_000
ROUND = 5_000
HOUR = 3_600 * 10**9


def measure(hours: int = 24, megabytes: int = 2_000) -> Iterator[Measurement]:
    """The most memory after the first hour, and by how much it grew from the third to the last."""
    path = COLLECTION / "order-book" / RECORDING
    if not path.exists():
        return
    recording = inspect_recording(path, StreamOptions(), {}, path.name)
    assert recording is not None
    venue = venue_class(recording.venue).from_options("feed", venue_options(recording))
    connection = Connection(path.name, "wss://recorded", recording.subscriptions)
    texts = [message.data for message in merged_messages(recording) if message.direction is Direction.RECEIVED]
    size = sum(map(len, texts))
    turns = max(1, round(megabytes * 1e6 / 24 / size))
    evidence = Evidence("feed", connection, "one", stalled_after=HOUR)
    now, sizes, rows_kept = 1_700_000_000 * 10**9, list[int](), 0
    with new_lake() as lake, TemporaryDirectory(prefix="gb-benchmark-") as folder, few_collections():
        spool = Spool(Path(folder) / "spool", SPOOLED)
        for hour in range(hours):
            peak = 0
            for _ in range(turns):
                decoder = venue.decoder(connection)
                for begin in range(0, len(texts), ROUND):
                    rows = MessageRows()
                    for text in texts[begin : begin + ROUND]:
                        now += HOUR // (turns * len(texts))
                        decoder.decode(text, now, rows)
                    rows.last_receive = now
                    columns = to_columns(rows, "feed", venue.time_unit, "one")
                    told = evidence.tell(rows, columns, now)
                    spool.append([*columns.tables.items(), ("stream_intervals", told.intervals)])
                    rows_kept += columns.rows
                    peak = max(peak, resident_bytes() or 0)
            segment = spool.seal()
            assert segment is not None
            flush_segment(lake.store, segment, "one")
            sizes.append(max(peak, resident_bytes() or 0))
            print(f"    hour {hour + 1}: {sizes[-1] / 1e6:,.0f} MB, {rows_kept:,} rows", file=sys.stderr, flush=True)
        spool.close()
    most, growth = max(sizes) / 1e6, (sizes[-1] - sizes[min(2, len(sizes) - 1)]) / 1e6
    raw = hours * turns * size / 1e6
    yield Measurement(
        f"memory of {hours} simulated hours, {raw:,.0f} MB of messages", most, "MB", f"< {LIMIT:,}", most < LIMIT,
        f"{growth:+,.0f} MB from the third hour to the last; {rows_kept:,} rows",
    )  # fmt: skip
