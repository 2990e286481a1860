"""Raw recordings of cryptofeed and of hftbacktest's collector: the very decoders read them that read a live stream.

Which venue it is, and what was subscribed to, is told by the recording: by the address and the requests that cryptofeed notes, and
by the names of streams that hftbacktest's messages carry. Whole books by REST are laid where a decoder asks for one. Messages that
cannot be read go to quarantine. Covered is only what a venue's own numbers or checksums prove.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import polars as pl

from gb_pipeline.collectors.columns import REFUSED, to_columns
from gb_pipeline.collectors.evidence import Evidence
from gb_pipeline.collectors.messages import MessageRows, Signal
from gb_pipeline.collectors.registry import venue_class
from gb_pipeline.collectors.venue import Connection, Decoder, Subscription, Venue
from gb_pipeline.errors import FormatRefused, GbError
from gb_pipeline.formats.streams.archive import (
    CHUNK_ROWS,
    INTERVALS,
    StreamArchive,
    StreamChunk,
    StreamFile,
    StreamOptions,
)
from gb_pipeline.formats.streams.text_files import place_of
from gb_pipeline.market.recorded_messages import Direction, RecordedMessage, read_recording
from gb_pipeline.market.spelling import list_some
from gb_pipeline.market.symbol import AssetClass
from gb_pipeline.market.tick_schema import FILE_COLLECTOR, ConnectionEventKind, IntervalKind, StreamDataset

_TRADES, _BOOK, _QUOTES = StreamDataset.TRADES, StreamDataset.BOOK_UPDATES, StreamDataset.QUOTES
# Venues by the address that was recorded.
_HOSTS = {
    "ws.kraken.com": "kraken_v1", "ws-feed.pro.coinbase.com": "coinbase_exchange",
    "ws-feed.exchange.coinbase.com": "coinbase_exchange", "advanced-trade-ws.coinbase.com": "coinbase",
    "stream.binance.com": "binance", "fstream.binance.com": "binance",
}  # fmt: skip
_CHANNELS = {
    "trade": _TRADES, "matches": _TRADES, "market_trades": _TRADES, "aggTrade": _TRADES,
    "book": _BOOK, "level2": _BOOK, "level2_batch": _BOOK, "depth": _BOOK,
    "ticker": _QUOTES, "spread": _QUOTES, "bookTicker": _QUOTES,
}  # fmt: skip
# What a venue proves by numbers or checksums; nothing else is said to be covered.
_PROVEN = {
    "binance": {_TRADES, _BOOK}, "kraken": {_TRADES, _BOOK}, "kraken_v1": {_BOOK}, "coinbase": {_TRADES, _BOOK, _QUOTES},
    "coinbase_exchange": {_TRADES},
}  # fmt: skip
_OLD_NAMES = {"XBT": "BTC", "XDG": "DOGE"}
_STREAM = re.compile(rb'\{"stream":"([^"]+)"')
_ROUND = 10 * 10**9
_STALLED_AFTER = 600 * 10**9
_MESSAGE = re.compile(rb'"pu":')
_NOTES = (
    "Messages are read by the decoders that read a live stream; what nobody subscribed to in them is not kept.",
    "Covered is only what numbers or checksums of the venue prove, up to the last row of each stream.",
)


@dataclass(frozen=True, slots=True)
class _Recording:
    path: Path
    venue: str
    subscriptions: tuple[Subscription, ...]
    answers: tuple[Path, ...] = ()
    trades: str = "trade"


def open_files(path: Path, options: StreamOptions) -> StreamArchive:
    """A recording, or all recordings of a folder; see `archive.StreamReader`."""
    found = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    skipped: dict[str, str] = {}
    answers: dict[str, list[Path]] = {}
    recordings: list[_Recording] = []
    for file in found:
        if ".http." in file.name:
            answers.setdefault(file.name.partition(".")[0], []).append(file)
    for file in found:
        if ".http." in file.name:
            continue
        try:
            recording = _inspect(file, options, skipped, place_of(file, path))
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
                _Recording(file, recording.venue, recording.subscriptions, tuple(beside), recording.trades)
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


def _inspect(file: Path, options: StreamOptions, skipped: dict[str, str], place: str) -> _Recording | None:
    """Whose recording it is, and what was subscribed to."""
    hosts: dict[str, None] = {}
    wanted: dict[tuple[StreamDataset, str], int | None] = {}
    names: set[bytes] = set()
    futures = False
    for message in _whole_part(file):
        if message.direction is Direction.CONNECTED:
            address = urlsplit(message.connection)
            hosts[_venue_at(address.hostname or "", address.path)] = None
            futures |= (address.hostname or "").startswith("fstream.")
            names |= {name.encode() for text in parse_qs(address.query).get("streams", []) for name in text.split("/")}
        elif message.direction is Direction.SENT:
            wanted |= _requested(message.data)
        elif message.direction is Direction.RECEIVED and (named := _STREAM.match(message.data)) is not None:
            if named[1] not in names:
                names.add(named[1])
            futures = futures or (b"@depth" in named[1] and _MESSAGE.search(message.data) is not None)
    for name in names:
        symbol, _, channel = name.decode().partition("@")
        dataset = _CHANNELS.get(channel.partition("@")[0])
        if dataset is not None:
            wanted.setdefault((dataset, symbol.upper()), None)
    venue = next(iter(hosts), "binance" if names else "")
    if venue not in _PROVEN or not wanted:
        skipped[place] = "it has no messages of a venue whose decoder this package has: Binance, Coinbase, Kraken"
        return None
    kinds = {name.decode().partition("@")[2] for name in names}
    trades = "trade" if "trade" in kinds or "aggTrade" not in kinds else "aggTrade"
    subscriptions = []
    for (dataset, theirs), depth in wanted.items():
        try:
            code = _canonical(options, theirs, suffix="-PERP" if futures else "")
        except GbError as error:
            skipped[f"{place} {theirs}"] = error.what
            continue
        subscriptions.append(Subscription(dataset, code, theirs, depth))
    return _Recording(file, venue, tuple(subscriptions), trades=trades)


def _whole_part(file: Path) -> Iterator[RecordedMessage]:
    """The messages before a damage, which is told when they are imported; a file that has none is refused now."""
    found = False
    try:
        for message in read_recording(file):
            found = True
            yield message
    except FormatRefused:
        if not found:
            raise


def _venue_at(host: str, path: str) -> str:
    name = _HOSTS.get(host, host)
    return "kraken" if name == "kraken_v1" and "v2" in path else name


def _requested(data: bytes) -> dict[tuple[StreamDataset, str], int | None]:
    """Subscriptions of a request, by what Kraken and Coinbase call datasets and instruments, and their depth."""
    try:
        request = msgspec.json.decode(data)
    except msgspec.MsgspecError:
        return {}
    if not isinstance(request, dict) or "unsubscribe" in (
        request.get("event"),
        request.get("method"),
        request.get("type"),
    ):
        return {}
    params = request.get("params")
    params = params if isinstance(params, dict) else {}
    subscription = request.get("subscription")
    subscription = subscription if isinstance(subscription, dict) else params
    pairs = request.get("pair") or params.get("symbol") or request.get("product_ids") or []
    channels = request.get("channels") or [request.get("channel") or subscription.get("name") or params.get("channel")]
    found: dict[tuple[StreamDataset, str], int | None] = {}
    for channel in channels:
        # Coinbase may name instruments for a channel of their own.
        named = channel if isinstance(channel, dict) else {"name": channel}
        own = named.get("product_ids") or pairs
        dataset = _CHANNELS.get(str(named.get("name")))
        if dataset is not None:
            found |= {(dataset, str(pair)): subscription.get("depth") for pair in own}
    return found


def _canonical(options: StreamOptions, name: str, *, suffix: str) -> str:
    if name in options.names:
        return options.canonical(name, AssetClass.CRYPTO)
    parts = re.split(r"[/-]", name)
    text = "-".join(_OLD_NAMES.get(part, part) for part in parts) if len(parts) > 1 else name
    return options.canonical(text, AssetClass.CRYPTO, suffix=suffix)


@dataclass
class _State:
    """What is remembered from one recording to the next."""

    found: list[pl.DataFrame] = field(default_factory=list)

    def read(self, recording: _Recording) -> Iterator[StreamChunk]:
        """The chunks of a recording."""
        venue = venue_class(recording.venue).from_options(FILE_COLLECTOR, _options(recording))
        connection = Connection(recording.path.name, "wss://recorded", recording.subscriptions)
        evidence = Evidence("", connection, FILE_COLLECTOR, stalled_after=_STALLED_AFTER)
        proven = _PROVEN[recording.venue]
        tables: dict[str, list[pl.DataFrame]] = {}
        refused: list[pl.DataFrame] = []
        ends: list[pl.DataFrame] = []
        intervals: list[pl.DataFrame] = []
        waiting = 0
        broken: FormatRefused | None = None
        try:
            for rows, now in _rounds(_merged(recording), venue, connection):
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


def _options(recording: _Recording) -> Mapping[str, Any]:
    return {"trades": recording.trades} if recording.venue == "binance" else {}


def _merged(recording: _Recording) -> Iterable[RecordedMessage]:
    """Messages in the order of reception, with answers of the files beside."""
    streams = [read_recording(file) for file in (recording.path, *recording.answers)]
    return heapq.merge(*streams, key=lambda message: message.receive_time) if len(streams) > 1 else streams[0]


def _rounds(
    messages: Iterable[RecordedMessage], venue: Venue, connection: Connection
) -> Iterator[tuple[MessageRows, int]]:
    """What was heard in ten seconds each, and the moment behind it; what lies before a damage is handed over first."""
    rows, last, begun = MessageRows(), 0, 0
    decoder: Decoder | None = None
    books = _Books(connection.subscriptions)
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


class _Books:
    """Whole books that were answered by REST, and the decoders that wait for them."""

    def __init__(self, subscriptions: Sequence[Subscription]) -> None:
        self._by_name = {item.venue_symbol.upper(): item for item in subscriptions if item.dataset is _BOOK}
        self._answers: dict[str, bytes] = {}
        self._needed: dict[str, Subscription] = {}

    def answered(self, message: RecordedMessage) -> None:
        """Keep an answer that is a book: that of the symbol in its address, or of the only one that there is."""
        query = parse_qs(urlsplit(message.connection).query)
        name = query.get("symbol", [""])[0].upper()
        if not name and len(self._by_name) == 1:
            name = next(iter(self._by_name))
        if name in self._by_name:
            self._answers[name] = message.data

    def lay(self, decoder: Decoder, now: int, rows: MessageRows) -> int:
        """Hand over the answers that are waited for; the last moment that was used."""
        if not self._answers:
            return now
        self._needed |= {item.venue_symbol.upper(): item for item in decoder.snapshot_needed()}
        for name in [name for name in self._answers if name in self._needed]:
            now += 1
            decoder.apply_snapshot(self._needed.pop(name), self._answers.pop(name), now, rows)
            rows.last_receive = now
        return now


def _ends(table: str, frame: pl.DataFrame) -> pl.DataFrame:
    """The last moment of each stream, ns on the time axis."""
    name = table.removesuffix("_wide")
    dataset = _BOOK.value if name == "book_snapshots" else name
    return frame.group_by("symbol").agg((pl.col("timestamp").max().dt.epoch("us") * 1000).alias("last")).select(
        pl.lit(dataset).alias("dataset"), "symbol", "last"
    )  # fmt: skip


def _unreadable(rows: MessageRows, recording: _Recording) -> pl.DataFrame:
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
