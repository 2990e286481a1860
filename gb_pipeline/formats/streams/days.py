"""What one collector kept of an instrument, day by day, as an export reads it: settled rows in the order they were heard in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from gb_pipeline.errors import ConfigError, NoDataInRange, UnknownSeries
from gb_pipeline.lake.datasets import WATERMARKS, stream_dataset
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.moments import MICROSECOND, from_microseconds
from gb_pipeline.market.schema import Precision, polars_schema
from gb_pipeline.market.spelling import list_some
from gb_pipeline.storage import reading
from gb_pipeline.storage.dataset import Dataset

_DAY = timedelta(days=1)
# Snapshots are settled with the updates that follow them.
_WATERMARK_OF = {"book_snapshots": "book_updates"}
_NUMBERS = ("price", "size", "bid_price", "bid_size", "ask_price", "ask_size")


@dataclass(frozen=True, slots=True)
class Stream:
    """An instrument of a source, as one collector heard it.

    Attributes:
        source, symbol: of its rows.
        collector: whose rows are read: those of several are not put together here.
        start, end: half-open, on the time axis `timestamp`; nothing that is not settled lies in it.
    """

    source: str
    symbol: str
    collector: str
    start: datetime
    end: datetime

    @property
    def name(self) -> str:
        """`source:symbol`, for messages."""
        return f"{self.source}:{self.symbol}"

    @property
    def days(self) -> list[tuple[datetime, datetime]]:
        """Half-open ranges of one day of UTC at most."""
        midnight = self.start.replace(hour=0, minute=0, second=0, microsecond=0)
        count = -(-(self.end - midnight) // _DAY)
        edges = [midnight + number * _DAY for number in range(count + 1)]
        starts = [max(edge, self.start) for edge in edges[:-1]]
        return list(zip(starts, [*starts[1:], self.end], strict=True))


def describe(
    store: LakeStore,
    source: str,
    symbol: str,
    tables: Sequence[str],
    *,
    start: datetime | None,
    end: datetime | None,
    collector: str | None,
) -> Stream:
    """What there is of an instrument in some tables.

    Raises:
        UnknownSeries: nothing.
        NoDataInRange: nothing that is settled and in the range.
        ConfigError: several collectors heard it, and nobody said whose rows are meant.
    """
    stamps: list[datetime] = []
    collectors: set[str] = set()
    present: set[str] = set()
    for name in tables:
        for dataset, files in _files(store, name, source, symbol):
            if files.height:
                present.add(_WATERMARK_OF.get(name, name))
                stamps += [files["min.timestamp"].min(), files["max.timestamp"].max()]  # type: ignore[list-item]
                # Few files of a stream have more than one, but any may.
                rows = reading.scan(store.storage, dataset, files).select("collector").unique().collect()
                collectors |= set(rows["collector"].drop_nulls())
    if not stamps:
        raise UnknownSeries(f"{source}:{symbol} has no {' or '.join(tables)}", fix="`gb status` lists what there is")
    if collector is None and len(collectors) > 1:
        raise ConfigError(
            f"{source}:{symbol} was heard by {list_some(sorted(collectors))}",
            fix=f"say whose rows are written, such as --collector {min(collectors)}",
        )
    chosen = collector or next(iter(collectors))
    if chosen not in collectors:
        raise ConfigError(
            f"{source}:{symbol} has no rows of collector {chosen}", fix=f"there is {list_some(sorted(collectors))}"
        )
    first = max(filter(None, (start, min(stamps))))
    last = min(filter(None, (end, max(stamps) + MICROSECOND)))
    settled = _settled(store, source, chosen, present)
    stream = Stream(source, symbol, chosen, first, min(last, settled))
    if stream.start >= stream.end:
        raise NoDataInRange(
            f"{stream.name} has nothing that is settled in the range",
            fix=f"everything before {settled.isoformat()} is settled",
        )
    return stream


def read_day(store: LakeStore, stream: Stream, table: str, start: datetime, end: datetime) -> pl.DataFrame:
    """Rows of a table in a range, those of both precisions, in the order of `receive_time` (else `exchange_time`) and `ordinal`.

    Returns:
        The columns of the table; numbers are `Decimal(18,8)` where all of them are, else `Decimal(38,18)`.
    """
    frames = []
    for dataset, files in _files(store, table, stream.source, stream.symbol, (start, end)):
        rows = reading.read(
            store.storage, dataset, files, [*dataset.columns.names], between=("timestamp", start, end)
        ).filter(_is_heard(stream, table) & (pl.col("symbol") == stream.symbol))
        if rows.height:
            frames.append(rows)
    if not frames:
        dataset = stream_dataset(table)
        return pl.DataFrame(schema=polars_schema(dataset.columns))
    if len(frames) > 1:
        frames = [
            frame.with_columns(pl.col(*(n for n in _NUMBERS if n in frame.columns)).cast(pl.Decimal(38, 18)))
            for frame in frames
        ]
    return pl.concat(frames).sort(pl.coalesce("receive_time", "exchange_time"), "ordinal", maintain_order=True)


def _is_heard(stream: Stream, table: str) -> pl.Expr:
    """Rows of the collector, and trades that were fetched afterwards to close a hole: they are nobody's."""
    own = pl.col("collector") == stream.collector
    return own | pl.col("collector").is_null() if table == "trades" else own


def _files(
    store: LakeStore, table: str, source: str, symbol: str, span: tuple[datetime, datetime] | None = None
) -> Iterator[tuple[Dataset, pl.DataFrame]]:
    for precision in Precision:
        dataset = stream_dataset(table, precision)
        snapshot = store.tables.newest(dataset.name)
        yield (
            dataset,
            snapshot.select(
                {"source": source, "symbol": symbol}, between=None if span is None else {"timestamp": span}
            ),
        )


def _settled(store: LakeStore, source: str, collector: str, datasets: set[str]) -> datetime:
    """Before this moment everything of the datasets that the collector heard is committed."""
    files = store.tables.newest(WATERMARKS.name).select({"source": source})
    marks = reading.read(store.storage, WATERMARKS, files).filter(pl.col("collector") == collector)
    through = dict(marks.group_by("dataset").agg(pl.col("through_time").max()).iter_rows())
    return from_microseconds(min(through.get(name, 0) for name in datasets) // 1000)
