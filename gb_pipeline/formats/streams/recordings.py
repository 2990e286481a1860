"""Raw recordings of cryptofeed and of hftbacktest's collector: the very decoders read them that read a live stream.

Which venue it is, and what was subscribed to, is found out in `recorded_venues`. Whole books by REST are laid where a decoder asks
for one. Messages that cannot be read go to quarantine. Covered is only what a venue's own numbers or checksums prove.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import msgspec
import polars as pl

from gb_pipeline.collectors.columns import REFUSED, to_columns
from gb_pipeline.collectors.evidence import Evidence
from gb_pipeline.collectors.messages import MessageRows, Signal
from gb_pipeline.collectors.registry import venue_class
from gb_pipeline.collectors.venue import Connection, Decoder, Venue
from gb_pipeline.errors import FormatRefused
from gb_pipeline.formats.streams.archive import (
    CHUNK_ROWS,
    INTERVALS,
    StreamArchive,
    StreamChunk,
    StreamFile,
    StreamOptions,
)
from gb_pipeline.formats.streams.bitmex import RecordedBitmex
from gb_pipeline.formats.streams.recorded_venues import (
    PROVEN,
    RecordedBooks,
    Recording,
    inspect_recording,
    merged_messages,
    venue_options,
)
from gb_pipeline.formats.streams.text_files import place_of
from gb_pipeline.market.recorded_messages import Direction, RecordedMessage
from gb_pipeline.market.spelling import list_some
from gb_pipeline.market.symbol import AssetClass
from gb_pipeline.market.tick_schema import FILE_COLLECTOR, ConnectionEventKind, IntervalKind, StreamDataset

_TRADES, _BOOK, _QUOTES = StreamDataset.TRADES, StreamDataset.BOOK_UPDATES, StreamDataset.QUOTES
# Of which only recordings are read.
_RECORDED: Mapping[str, type[Venue]] = {RecordedBitmex.name: RecordedBitmex}
_ROUND = 10 * 10**9
_STALLED_AFTER = 600 * 10**9
_NOTES = (
    "Messages are read by the decoders that read a live stream; what nobody subscribed to in them is not kept.",
    "Covered is only what numbers or checksums of the venue prove, up to the last row of each stream.",
)


def open_files(path: Path, options: StreamOptions) -> StreamArchive:
    """A recording, or all recordings of a folder; see `archive.StreamReader`."""
    found = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    skipped: dict[str, str] = {}
    answers: dict[str, list[Path]] = {}
    recordings: list[Recording] = []
    for file in found:
        if ".http." in file.name:
            answers.setdefault(file.name.partition(".")[0], []).append(file)
    for file in found:
        if ".http." in file.name:
            continue
        try:
            recording = inspect_recording(file, options, skipped, place_of(file, path))
        except FormatRefused as error:
            if file == path:
                raise
            skipped[place_of(file, path)] = error.what
            continue
        if recording is not None:
            beside = answers.get(file.name.partition(".")[0], [])
            if file == path:
                beside = sorted(file.parent.glob(f"{file.name.partition('.')[0]}.http.*"))
            recordings.append(
                Recording(file, recording.venue, recording.subscriptions, tuple(beside), recording.trades)
            )
    venues = sorted({recording.venue for recording in recordings})
    if len(venues) > 1:
        raise FormatRefused(
            f"{path} has recordings of {list_some(venues)}", fix="import them one by one, under a source each"
        )
    state = _State()
    return StreamArchive(
        parts=tuple(StreamFile(place_of(item.path, path), partial(state.read, item)) for item in recordings),
        files=tuple(dict.fromkeys(file for item in recordings for file in (item.path, *item.answers))),
        asset_class=options.asset_class or AssetClass.CRYPTO,
        intervals=state.intervals,
        notes=_NOTES,
        skipped=skipped,
    )


@dataclass
class _State:
    """What is remembered from one recording to the next."""

    found: list[pl.DataFrame] = field(default_factory=list)

    def read(self, recording: Recording) -> Iterator[StreamChunk]:
        """The chunks of a recording."""
        known = _RECORDED.get(recording.venue) or venue_class(recording.venue)
        venue = known.from_options(FILE_COLLECTOR, venue_options(recording))
        connection = Connection(recording.path.name, "wss://recorded", recording.subscriptions)
        evidence = Evidence("", connection, FILE_COLLECTOR, stalled_after=_STALLED_AFTER)
        proven = PROVEN[recording.venue]
        tables: dict[str, list[pl.DataFrame]] = {}
        refused: list[pl.DataFrame] = []
        ends: list[pl.DataFrame] = []
        intervals: list[pl.DataFrame] = []
        waiting = 0
        broken: FormatRefused | None = None
        try:
            for rows, now in _rounds(merged_messages(recording), venue, connection):
                columns = to_columns(rows, "", venue.time_unit, FILE_COLLECTOR)
                told = evidence.tell(rows, columns, now).intervals
                intervals.append(told.filter(pl.col("dataset").is_in([dataset.value for dataset in proven])))
                for name, frame in columns.tables.items():
                    tables.setdefault(name, []).append(frame)
                    ends.append(_ends(name, frame))
                refused += [columns.refused, _unreadable(rows, recording)]
                waiting += columns.rows
                if waiting >= CHUNK_ROWS:
                    yield from _chunks(tables, refused)
                    tables, refused, waiting = {}, [], 0
        except FormatRefused as error:
            # What lies before the damage is whole, and proves what it does.
            broken = error
        self._keep(intervals, ends)
        yield from _chunks(tables, refused)
        if broken is not None:
            raise broken

    def _keep(self, intervals: Sequence[pl.DataFrame], ends: Sequence[pl.DataFrame]) -> None:
        """Stretches end with the last row of their stream: behind it numbers prove nothing."""
        if not intervals or not ends:
            return
        last = pl.concat(ends).group_by("dataset", "symbol").agg(pl.col("last").max())
        cut = pl.concat(intervals).join(last, on=["dataset", "symbol"], how="inner")
        cut = cut.with_columns(pl.min_horizontal("end_time", "last").alias("end_time"))
        self.found.append(_joined(cut.filter(pl.col("start_time") < pl.col("end_time")).select(INTERVALS.names())))

    def intervals(self) -> pl.DataFrame:
        """See `archive.StreamArchive`."""
        return pl.concat(self.found).cast(INTERVALS) if self.found else pl.DataFrame(schema=INTERVALS)


def _joined(intervals: pl.DataFrame) -> pl.DataFrame:
    """Covered stretches that touch each other as one."""
    is_covered = pl.col("kind") == IntervalKind.COVERED.value
    stream = ("dataset", "symbol")
    covered = intervals.filter(is_covered).sort(*stream, "start_time")
    begins = (pl.col("start_time") > pl.col("end_time").shift(1)).over(stream).fill_null(True)
    runs = covered.with_columns(begins.cum_sum().over(stream).alias("run"))
    whole = runs.group_by(*stream, "run", maintain_order=True).agg(
        pl.col("start_time").min(), pl.col("end_time").max(), pl.col("kind", "reason", "missing").first(),
        pl.col("messages", "rows").sum(), pl.col("first_sequence").min(), pl.col("last_sequence").max(),
    )  # fmt: skip
    return pl.concat([whole.select(intervals.columns), intervals.filter(~is_covered)])


def _rounds(
    messages: Iterable[RecordedMessage], venue: Venue, connection: Connection
) -> Iterator[tuple[MessageRows, int]]:
    """What was heard in ten seconds each, and the moment behind it; what lies before a damage is handed over first."""
    rows, last, begun = MessageRows(), 0, 0
    decoder: Decoder | None = None
    books = RecordedBooks(connection.subscriptions)
    broken: FormatRefused | None = None
    source = iter(messages)
    while True:
        try:
            message = next(source)
        except StopIteration:
            break
        except FormatRefused as error:
            broken = error
            break
        if message.direction in {Direction.SENT, Direction.CONFIGURATION}:
            continue
        # Decoders rely on moments that grow; a recorder's clock may stand.
        now = last = max(message.receive_time, last + 1)
        if message.direction is Direction.CONNECTED:
            if decoder is not None:
                rows.signals.append(Signal(ConnectionEventKind.DISCONNECTED, now))
            decoder = venue.decoder(connection)
            continue
        decoder = decoder or venue.decoder(connection)
        begun = begun or now
        if message.direction is Direction.ANSWERED:
            books.answered(message)
        else:
            decoder.decode(message.data, now, rows)
            rows.last_receive = now
        last = books.lay(decoder, now, rows)
        if now - begun >= _ROUND:
            yield rows, last
            rows, begun = MessageRows(), 0
    rows.signals.append(Signal(ConnectionEventKind.DISCONNECTED, last + 1))
    yield rows, last + 1
    if broken is not None:
        raise broken


def _ends(table: str, frame: pl.DataFrame) -> pl.DataFrame:
    """The last moment of each stream, ns on the time axis."""
    name = table.removesuffix("_wide")
    dataset = _BOOK.value if name == "book_snapshots" else name
    return frame.group_by("symbol").agg((pl.col("timestamp").max().dt.epoch("us") * 1000).alias("last")).select(
        pl.lit(dataset).alias("dataset"), "symbol", "last"
    )  # fmt: skip


def _unreadable(rows: MessageRows, recording: Recording) -> pl.DataFrame:
    """Messages that no decoder understood, as refused rows of the first dataset that was subscribed to."""
    symbols = {item.symbol for item in recording.subscriptions}
    default = next(iter(symbols)) if len(symbols) == 1 else "*"
    bad = [
        {
            "source": "", "symbol": signal.symbol or default,
            "table": (signal.dataset or recording.subscriptions[0].dataset).value,
            "timestamp": signal.receive_time // 1000, "reasons": ["broken_line"],
            "row": msgspec.json.encode(signal.detail).decode(),
        }
        for signal in rows.signals
        if signal.kind is ConnectionEventKind.UNREADABLE
    ]  # fmt: skip
    return pl.DataFrame(bad, schema=pl.Schema({**REFUSED, "timestamp": pl.Int64()})).cast(pl.Schema(REFUSED))


def _chunks(tables: Mapping[str, list[pl.DataFrame]], refused: Sequence[pl.DataFrame]) -> Iterator[StreamChunk]:
    """Rows by table, and what was refused of each."""
    bad = pl.concat(refused) if refused else None
    names = dict.fromkeys([*tables, *([] if bad is None else bad["table"].unique().to_list())])
    for name in names:
        table = name.removesuffix("_wide")
        # The first chunk of a table takes what was refused of it.
        own = None if bad is None else bad.filter(pl.col("table") == table)
        if own is not None and bad is not None:
            bad = bad.filter(pl.col("table") != table)
        frames = tables.get(name, [])
        if frames:
            rows = pl.concat(frames).with_row_index("record")
            raw = rows.drop("record").select(pl.all().cast(pl.String))
            rows = rows.drop("source", "collector", "timestamp", "origin", strict=False)
            yield StreamChunk(table, rows, raw, refused=own)
        elif own is not None and own.height:
            yield StreamChunk(table, _EMPTY, pl.DataFrame(), refused=own)


_EMPTY = pl.DataFrame(
    schema={"symbol": pl.String(), "exchange_time": pl.Int64(), "receive_time": pl.Int64(), "record": pl.UInt32()}
)
