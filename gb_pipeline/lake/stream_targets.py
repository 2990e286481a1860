"""This module says which rows of trades, quotes and books a removal means: the tables, the files in them, and how much that is.

Files that lie in the range as a whole are known by the tables' logs; only those that reach over its edges are opened.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time

import polars as pl

from gb_pipeline.errors import ConfigError, UnknownSeries
from gb_pipeline.lake import stream_evidence
from gb_pipeline.lake.datasets import STREAM_TABLES, stream_dataset
from gb_pipeline.lake.stream_evidence import STREAM_OF_TABLE
from gb_pipeline.market.moments import INSTANT, instant_literal, microseconds
from gb_pipeline.market.schema import Precision
from gb_pipeline.market.spelling import did_you_mean, near_names
from gb_pipeline.market.symbol import Symbol, source_name, symbol_code
from gb_pipeline.market.tick_schema import StreamDataset
from gb_pipeline.market.window import instant
from gb_pipeline.storage import reading
from gb_pipeline.storage.dataset import PERIOD, Dataset
from gb_pipeline.storage.snapshot import Snapshot
from gb_pipeline.storage.table import Tables

FIRST, LAST = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)
_LEAST, _MOST = -(2**63), 2**63 - 1
SELECTED_STREAMS = pl.Schema(
    {
        **dict.fromkeys(("source", "symbol", "table", "precision"), pl.String()),
        **dict.fromkeys(("rows", "days", "bytes"), pl.Int64()),
        **dict.fromkeys(("first", "last"), INSTANT),
    }
)


@dataclass(frozen=True)
class StreamTarget:
    """Rows of one source's streams.

    Attributes:
        symbol: one; None for all of the source.
        datasets: which streams; a book is its updates and its snapshots.
        start, end: half-open, on the time axis `timestamp`, in UTC.
    """

    source: str
    symbol: str | None
    datasets: tuple[StreamDataset, ...] = tuple(StreamDataset)
    start: datetime = FIRST
    end: datetime = LAST

    @classmethod
    def of(
        cls,
        source: str,
        symbol: Symbol | str | None,
        dataset: str | None,
        start: datetime | date | None,
        end: datetime | date | None,
    ) -> StreamTarget:
        """What a person names.

        Raises:
            ConfigError: a name that a lake cannot hold, no such stream, or an empty range.
        """
        code = None if symbol is None else symbol_code(symbol)
        names = [item.value for item in StreamDataset]
        if dataset is not None and dataset not in names:
            fix = f"{did_you_mean(near_names(str(dataset)[:40], names, 2))} use {', '.join(names)}".strip()
            raise ConfigError(f"no stream is called {dataset!r:.40}", fix=fix)
        datasets = tuple(StreamDataset) if dataset is None else (StreamDataset(dataset),)
        first, last = FIRST if start is None else _moment(start), LAST if end is None else _moment(end)
        if first >= last:
            raise ConfigError(
                f"nothing lies from {start} to before {end}", fix="the end is exclusive: name a later one"
            )
        return cls(source_name(source), code, datasets, first, last)

    @property
    def name(self) -> str:
        """As a person writes it."""
        return f"{self.source}:{self.symbol or '*'}"

    @property
    def edges(self) -> tuple[int, int]:
        """The range in ns since 1970 UTC, as evidence has it."""
        start = _LEAST if self.start == FIRST else microseconds(self.start) * 1000
        return start, _MOST if self.end == LAST else microseconds(self.end) * 1000

    @property
    def tables(self) -> Iterator[tuple[str, Dataset, Precision]]:
        """Names as readers know them, and the tables of both precisions."""
        for name in STREAM_TABLES:
            if STREAM_OF_TABLE[name] in self.datasets:
                for precision in Precision:
                    yield name, stream_dataset(name, precision), precision

    def select(self, snapshot: Snapshot) -> pl.DataFrame:
        """The files that may hold such rows."""
        wanted = {"source": self.source} if self.symbol is None else {"source": self.source, "symbol": self.symbol}
        return snapshot.select(wanted, between={"timestamp": (self.start, self.end)})

    def is_whole(self) -> pl.Expr:
        """Whether all rows of a file are such, as far as its statistics tell."""
        low, high = pl.col("min.timestamp"), pl.col("max.timestamp")
        return ((low >= instant_literal(self.start)) & (high < instant_literal(self.end))).fill_null(False)

    def holds(self) -> pl.Expr:
        """Whether a row of a file is one of them."""
        moment = pl.col("timestamp")
        return (moment >= instant_literal(self.start)) & (moment < instant_literal(self.end))

    def is_of(self) -> pl.Expr:
        """Whether a row of evidence is about one of these streams, at whatever time."""
        own = pl.col("source") == self.source
        return own if self.symbol is None else own & (pl.col("symbol") == self.symbol)


def _moment(value: datetime | date) -> datetime:
    return instant(value if isinstance(value, datetime) else datetime.combine(value, time(), UTC))


def select_rows(tables: Tables, target: StreamTarget) -> pl.DataFrame:
    """What is stored of a target.

    Returns:
        Columns of `SELECTED_STREAMS`, a row for each symbol and table; `bytes` is the share of the files.

    Raises:
        LakeError: a table is damaged.
    """
    parts = [pl.DataFrame(schema=SELECTED_STREAMS)]
    for name, dataset, precision in target.tables:
        files = target.select(tables.newest(dataset.name))
        if files.is_empty():
            continue
        counted = _count(tables, dataset, target, files)
        parts.append(
            counted.group_by("source", "symbol")
            .agg(
                pl.lit(name).alias("table"), pl.lit(precision.value).alias("precision"), pl.col("rows").sum(),
                pl.col(PERIOD).n_unique().alias("days"), pl.col("bytes").sum(), pl.col("first").min(), pl.col("last").max(),
            )
            .select(SELECTED_STREAMS.names())
            .cast(SELECTED_STREAMS)
        )  # fmt: skip
    return pl.concat(parts).filter(pl.col("rows") > 0).sort("source", "symbol", "table", "precision")


def _count(tables: Tables, dataset: Dataset, target: StreamTarget, files: pl.DataFrame) -> pl.DataFrame:
    """Rows of a target in each file."""
    keys = ["source", "symbol", PERIOD]
    whole = files.filter(target.is_whole()).select(
        *keys, "rows", pl.col("size").alias("bytes"), pl.col("min.timestamp").alias("first"),
        pl.col("max.timestamp").alias("last"),
    )  # fmt: skip
    parts = [whole]
    for place in range((rest := files.filter(~target.is_whole())).height):
        file = rest[place : place + 1]
        moments = reading.read(tables.storage, dataset, file, ["timestamp"]).filter(target.holds())["timestamp"]
        if len(moments):
            share = file["size"][0] * len(moments) // max(file["rows"][0], 1)
            own = file.select(keys).with_columns(
                pl.lit(len(moments), whole.schema["rows"]).alias("rows"),
                pl.lit(share, whole.schema["bytes"]).alias("bytes"),
                pl.lit(moments.min(), INSTANT).alias("first"),
                pl.lit(moments.max(), INSTANT).alias("last"),
            )
            parts.append(own)
    return pl.concat(parts)


def refuse_nothing(tables: Tables, target: StreamTarget, found: pl.DataFrame) -> None:
    """Raise where neither a row nor evidence is there.

    Raises:
        UnknownSeries: the lake never had anything of it.
        ConfigError: it has, but nothing of these streams in this range.
    """
    start, end = target.edges
    symbols = None if target.symbol is None else [target.symbol]
    datasets = [item.value for item in target.datasets]
    heard = stream_evidence.read_intervals(tables, start, end, source=target.source, symbols=symbols)
    if found.height or heard.filter(pl.col("dataset").is_in(datasets), pl.col("reason").ne_missing("removed")).height:
        return
    known = list_streams(tables)
    series = [f"{source}:{symbol}" for source, symbol in known]
    is_known = any(source == target.source and target.symbol in {None, symbol} for source, symbol in known)
    if is_known:
        kinds = ", ".join(datasets)
        raise ConfigError(f"no {kinds} of {target.name} are stored in this range", fix="`gb status` shows what is")
    near = near_names(target.name, series)
    raise UnknownSeries(
        f"the lake has no streams of {target.name}", near=near, fix=did_you_mean(near, "see `gb status`")
    )


def list_streams(tables: Tables) -> Sequence[tuple[str, str]]:
    """Source and symbol of every stream of which a row is stored, or of which something is known; sorted. Opens no file of rows."""
    pairs = ["source", "symbol"]
    parts = [
        tables.newest(stream_dataset(name, precision).name).files.select(pairs)
        for name in STREAM_TABLES
        for precision in Precision
    ]
    heard = stream_evidence.find_first_evidence(tables).select(pairs)
    return [(source, symbol) for source, symbol in pl.concat([*parts, heard]).unique().sort(pairs).rows()]
