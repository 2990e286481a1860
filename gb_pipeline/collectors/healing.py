"""This module closes holes in trades: it asks the venue for what was traded in them, and stores what is not there yet.

A hole is whatever the evidence does not cover, up to the watermark. What a venue answers for a whole hole becomes rows with origin
`rest`, and the hole an interval `healed`. What a venue refuses for good becomes an event `not_healed` with the reason, and only a
person asks for it again. Books cannot be asked for afterwards: their holes end with the next snapshot.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import polars as pl

from gb_pipeline.collectors.events import event_rows
from gb_pipeline.collectors.logs import Log, silent_log
from gb_pipeline.collectors.messages import Signal
from gb_pipeline.collectors.planned import build_venue
from gb_pipeline.collectors.venue import Venue
from gb_pipeline.config.settings import Settings
from gb_pipeline.errors import GbError, PermanentVendorError
from gb_pipeline.lake.datasets import CONNECTION_EVENTS, STREAM_INTERVALS, stream_dataset
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.lake.stream_evidence import find_first_evidence, read_intervals, read_watermarks
from gb_pipeline.market.moments import from_microseconds
from gb_pipeline.market.schema import Precision, polars_schema
from gb_pipeline.market.stream_coverage import STRETCHES, find_holes
from gb_pipeline.market.stream_stitching import find_untold
from gb_pipeline.market.tick_schema import ConnectionEventKind, GapReason, IntervalKind, Origin, StreamDataset
from gb_pipeline.quality.ticks import place_rows
from gb_pipeline.storage import reading
from gb_pipeline.storage.append import append
from gb_pipeline.storage.locks import locked

# Most venues serve their trades of some days; older holes stay.
LOOK_BACK = timedelta(days=7)
_MICROSECOND = 1_000
_SAID = ["trade_id", "exchange_time", "side", "price", "size"]
_INTERVALS = polars_schema(STREAM_INTERVALS.columns)


@dataclass(frozen=True, slots=True)
class Healed:
    """What became of one hole.

    Attributes:
        source, symbol: of the stream.
        start_time, end_time: the hole, half-open, ns since 1970 UTC.
        reason: why it was there, as far as a gap row says so.
        received: trades that the venue has in it; None where it was not healed.
        stored: of them, those that were added; the others were there.
        refused: of them, those that no table can hold; the hole is not healed then.
        error: why it was not healed.
        permanent: asking again is of no use until a person has changed something.
    """

    source: str
    symbol: str
    start_time: int
    end_time: int
    reason: str | None
    received: int | None = None
    stored: int = 0
    refused: int = 0
    error: str | None = None
    permanent: bool = False


def heal_trades(
    settings: Settings,
    *,
    now: int,
    sources: Sequence[str] | None = None,
    look_back: timedelta = LOOK_BACK,
    store: LakeStore | None = None,
    log: Log = silent_log,
    stopped: Callable[[], bool] = lambda: False,
    again: bool = False,
) -> list[Healed]:
    """Ask for the trades of every hole, and store what is not there.

    Args:
        settings: of the project; holes of streams that it does not name are left alone.
        now: ns since 1970 UTC.
        sources: only these.
        look_back: holes that ended earlier are left alone.
        store: the lake; that of the project by default.
        log: told of each hole.
        stopped: asked before each hole; the others are left alone once it says so.
        again: ask for what a venue has refused for good, too.

    Returns:
        What became of each hole, oldest first; none where another process heals at this moment.

    Raises:
        LakeError: the lake cannot be read or written.
        ConfigError: a stream of gb.yaml cannot be heard.
    """
    lake = store or LakeStore.of_project(settings)
    venues = {
        source: build_venue(source, stream)
        for source, stream in settings.collect.streams.items()
        if StreamDataset.TRADES in stream.datasets and (sources is None or source in sources)
    }
    with locked(lake.storage.state, "healing_of_trades", wait=False) as is_held:
        if not is_held:
            return []
        find = find_open_holes if again else find_healable_holes
        holes = find(lake, now - int(look_back.total_seconds()) * 10**9)
        wanted = holes.filter(pl.col("source").is_in(list(venues)))
        return asyncio.run(_heal_all(lake, venues, wanted, now, log, stopped))


def find_open_holes(store: LakeStore, since: int) -> pl.DataFrame:
    """Stretches of trades that nothing covers, between the first evidence of a stream and the watermark.

    Returns:
        Columns of `stream_coverage.HOLES`, those that end after `since` (ns since 1970 UTC), oldest first.
    """
    trades = StreamDataset.TRADES.value
    marks = read_watermarks(store.tables).filter(pl.col("dataset") == trades)
    ends = marks.group_by("source").agg(pl.col("through_time").max().alias("end_time"))
    first = find_first_evidence(store.tables).filter(pl.col("dataset") == trades)
    windows = first.join(ends, on="source").select(STRETCHES.names()).cast(STRETCHES)
    windows = windows.with_columns(pl.max_horizontal("start_time", pl.lit(since)))
    intervals = read_intervals(store.tables, since, dataset=trades)
    # What a person took out is not asked for again.
    is_removed = pl.col("reason").eq_missing(GapReason.REMOVED.value)
    intervals = intervals.with_columns(
        pl.when(is_removed).then(pl.lit(IntervalKind.HEALED.value)).otherwise("kind").alias("kind")
    )
    # What is heard at this moment is no hole: only what something that was heard later lies behind.
    last = (
        intervals.filter(pl.col("kind") == IntervalKind.COVERED.value)
        .group_by("source", "symbol")
        .agg(pl.col("end_time").max().alias("last_time"))
    )
    windows = windows.join(last, on=["source", "symbol"]).with_columns(pl.min_horizontal("end_time", "last_time"))
    return find_holes(intervals, windows.select(STRETCHES.names())).sort("start_time")


def find_healable_holes(store: LakeStore, since: int) -> pl.DataFrame:
    """Of `find_open_holes`, those that lie in none that the venue has refused for good."""
    holes = find_open_holes(store, since)
    if holes.is_empty():
        return holes
    files = store.tables.newest(CONNECTION_EVENTS.name).files
    events = reading.scan(store.tables.storage, CONNECTION_EVENTS, files, ["source", "symbol", "kind", "detail"])
    edges = (
        pl.col("detail").str.json_path_match(f"$.{name}_time").cast(pl.Int64, strict=False).alias(name)
        for name in ("start", "end")
    )
    refused = events.filter(pl.col("kind") == ConnectionEventKind.NOT_HEALED.value).select("source", "symbol", *edges)
    inside = (pl.col("start") <= pl.col("start_time")) & (pl.col("end_time") <= pl.col("end"))
    keys = ["source", "symbol", "start_time", "end_time"]
    known = holes.select(keys).join(refused.collect(), on=keys[:2], how="inner").filter(inside)
    return holes.join(known.select(keys).unique(), on=keys, how="anti", maintain_order="left")


async def _heal_all(
    store: LakeStore,
    venues: dict[str, Venue],
    holes: pl.DataFrame,
    now: int,
    log: Log,
    stopped: Callable[[], bool],
) -> list[Healed]:
    healed: list[Healed] = []
    for row in holes.iter_rows(named=True):
        if stopped():
            break
        hole = Healed(row["source"], row["symbol"], row["start_time"], row["end_time"], row["reason"])
        try:
            done = await _heal(store, venues[hole.source], hole)
        except GbError as error:
            done = replace(hole, error=error.what, permanent=isinstance(error, PermanentVendorError))
        if done.permanent:
            _remember(store, done, now)
        log(
            "healed" if done.error is None else "not_healed",
            source=done.source, symbol=done.symbol, start_time=done.start_time, end_time=done.end_time,
            stored=done.stored, error=done.error, permanent=done.permanent,
        )  # fmt: skip
        healed.append(done)
    return healed


async def _heal(store: LakeStore, venue: Venue, hole: Healed) -> Healed:
    trades = await venue.fetch_trades(hole.symbol, hole.start_time, hole.end_time)
    if trades is None:
        return replace(hole, error=f"venue {venue.name} serves no trades of the past", permanent=True)
    rows = trades.with_columns(
        pl.lit(hole.source).alias("source"), pl.lit(hole.symbol).alias("symbol"),
        pl.lit(None, pl.Int64()).alias("receive_time"), pl.lit(None, pl.Int64()).alias("sequence"),
        pl.int_range(pl.len(), dtype=pl.Int32()).over("exchange_time").alias("ordinal"),
        pl.lit(None, pl.String()).alias("collector"), pl.lit(Origin.REST.value).alias("origin"),
    )  # fmt: skip
    placed = place_rows(rows, "trades")
    stored = 0
    for precision, frame in ((Precision.STANDARD, placed.standard), (Precision.WIDE, placed.wide)):
        dataset = stream_dataset("trades", precision)
        new = _new_trades(store, hole, precision, frame).select(dataset.columns.names)
        append(store.tables[dataset.name], new, clock=store.clock)
        stored += new.height
    if placed.refused.height:
        reasons = sorted(set(placed.refused["reasons"].explode()))
        error = f"{placed.refused.height} trades cannot be stored: {', '.join(reasons)}"
        return replace(
            hole, received=trades.height, stored=stored, refused=placed.refused.height, error=error, permanent=True
        )
    interval = {
        "source": hole.source, "symbol": hole.symbol, "dataset": StreamDataset.TRADES.value,
        "timestamp": from_microseconds(hole.start_time // _MICROSECOND), "start_time": hole.start_time,
        "end_time": hole.end_time, "kind": IntervalKind.HEALED.value, "reason": None, "collector": Origin.REST.value,
        "messages": 0, "rows": trades.height, "missing": None, "first_sequence": None, "last_sequence": None,
    }  # fmt: skip
    append(
        store.tables[STREAM_INTERVALS.name],
        pl.DataFrame([interval], schema=_INTERVALS, orient="row"),
        clock=store.clock,
    )
    return replace(hole, received=trades.height, stored=stored)


def _remember(store: LakeStore, hole: Healed, now: int) -> None:
    detail: dict[str, str | int | float | bool | None] = {
        "start_time": hole.start_time, "end_time": hole.end_time, "error": hole.error,
    }  # fmt: skip
    refused = Signal(ConnectionEventKind.NOT_HEALED, now, StreamDataset.TRADES, hole.symbol, detail=detail)
    events = event_rows([refused], hole.source, Origin.REST.value)
    append(store.tables[CONNECTION_EVENTS.name], events, clock=store.clock)


def _new_trades(store: LakeStore, hole: Healed, precision: Precision, trades: pl.DataFrame) -> pl.DataFrame:
    """Trades that are not stored."""
    if trades.is_empty():
        return trades
    dataset = stream_dataset("trades", precision)
    edges = (from_microseconds(hole.start_time // _MICROSECOND), from_microseconds(hole.end_time // _MICROSECOND + 1))
    files = store.tables.newest(dataset.name).select(
        {"source": hole.source, "symbol": hole.symbol}, between={"timestamp": edges}
    )
    known = reading.read(store.tables.storage, dataset, files, [*_SAID, "timestamp"])
    told = pl.col("timestamp").dt.epoch("us") * _MICROSECOND
    return find_untold(trades, known.select(*_SAID, pl.coalesce("exchange_time", told).alias("event_time")))
