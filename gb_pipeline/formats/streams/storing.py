"""Where the chunks of an import go: into the tables of a lake, each row once, or nowhere, to see what would become of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property

import polars as pl

from gb_pipeline.formats.streams.archive import StreamChunk
from gb_pipeline.formats.streams.report import WORST, ImportedStream
from gb_pipeline.lake import quarantine
from gb_pipeline.lake.datasets import stream_dataset
from gb_pipeline.lake.row_counts import RowCounts
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.moments import EPOCH, INSTANT, MICROSECOND
from gb_pipeline.market.schema import Precision, polars_schema
from gb_pipeline.market.tick_schema import FILE_COLLECTOR, Origin
from gb_pipeline.market.window import Window
from gb_pipeline.quality.reasons import BROKEN_LINE, CONFLICT, UNNAMED_LINE
from gb_pipeline.quality.ticks import place_rows
from gb_pipeline.storage import reading
from gb_pipeline.storage.append import sort_rows
from gb_pipeline.storage.commit import Draft, commit, with_known_at
from gb_pipeline.storage.fault_points import reach


@dataclass
class Storing:
    """Takes chunks, and counts what became of their rows.

    Attributes:
        store: the lake.
        source: under which.
        run_id: names the import in quarantine.
        negative_prices: whether prices of zero and less are good.
        dry_run: whether nothing is written.
        streams: what became of the rows, by symbol and table.
    """

    store: LakeStore
    source: str
    run_id: str
    negative_prices: bool
    dry_run: bool
    streams: dict[tuple[str, str], ImportedStream] = field(default_factory=dict)

    @cached_property
    def _present(self) -> datetime:
        return self.store.clock()

    def take(self, chunk: StreamChunk, place: str) -> None:
        """Store a chunk, or see what would become of it."""
        if chunk.refused is not None and chunk.refused.height:
            kept = pl.concat_str(pl.lit(f'{{"file":{json.dumps(place)},"row":'), "row", pl.lit("}")).alias("row")
            self._quarantine(chunk.table, chunk.refused.select("symbol", "timestamp", "reasons", kept))
        if chunk.rows.is_empty() and not chunk.broken and chunk.unnamed is None:
            return
        placed = place_rows(self._complete(chunk), chunk.table, negative_prices=self.negative_prices)
        stored: list[pl.DataFrame] = []
        for rows, precision in ((placed.standard, Precision.STANDARD), (placed.wide, Precision.WIDE)):
            if rows.height:
                stored.append(self._store(chunk, rows, precision))
        refused = pl.concat([placed.refused, *stored], how="diagonal_relaxed") if stored else placed.refused
        self._refuse(chunk, refused, place)
        if chunk.broken:
            self._refuse_lines(
                chunk, pl.DataFrame({"line": list(chunk.broken)}), chunk.broken_symbol, BROKEN_LINE, place
            )
        if chunk.unnamed is not None:
            self._refuse_lines(chunk, chunk.unnamed.select(pl.all().cast(pl.String)), "*", UNNAMED_LINE, place)

    def _refuse_lines(self, chunk: StreamChunk, lines: pl.DataFrame, symbol: str, code: str, place: str) -> None:
        """Into quarantine, records that could not be read at all."""
        rows = lines.select(
            pl.lit(symbol).alias("symbol"), pl.lit([code]).alias("reasons"), pl.lit(None, INSTANT).alias("timestamp"),
            pl.concat_str(
                pl.lit(f'{{"file":{json.dumps(place)},"behind":{chunk.first},"row":'),
                pl.struct(pl.all()).struct.json_encode(), pl.lit("}"),
            ).alias("row"),
        )  # fmt: skip
        if rows.height:
            self._quarantine(chunk.table, rows)

    def _complete(self, chunk: StreamChunk) -> pl.DataFrame:
        """The rows with every column of the table; what the file does not have is null."""
        dataset = stream_dataset(chunk.table)
        kinds = polars_schema(dataset.columns)
        fixed = {"source": self.source, "collector": FILE_COLLECTOR, "origin": Origin.FILE.value}
        rows = chunk.rows
        names = [name for name in kinds if name not in rows.columns and name != "timestamp"]
        return rows.with_columns(
            pl.lit(fixed.get(name), kinds[name] if name not in fixed else pl.String()).alias(name) for name in names
        )

    def _store(self, chunk: StreamChunk, rows: pl.DataFrame, precision: Precision) -> pl.DataFrame:
        """Append rows that are not there yet; those that contradict one that is there come back with their reason."""
        dataset = stream_dataset(chunk.table, precision)
        names = list(polars_schema(dataset.columns))
        rows = rows.with_columns(pl.col(name).cast(kind) for name, kind in polars_schema(dataset.columns).items())
        rows = _with_identity(rows, names)
        key = [*(name for name in dataset.key if name != "ordinal"), "_place"]
        is_first = rows.select(pl.struct(key).is_first_distinct()).to_series()
        again = rows.filter(~is_first)
        first = rows.filter(is_first)
        known = first.select(*key, pl.col("_content").alias("_known"))
        again = again.join(known, on=key, how="left", nulls_equal=True, maintain_order="left")
        differs = pl.col("_known") != pl.col("_content")
        conflicts, repeated = again.filter(differs), again.filter(~differs)

        def decide(draft: Draft) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
            stored = _with_identity(self._stored(draft, first, names), names)
            matched = first.join(
                stored.select(*key, pl.col("_content").alias("_known")), on=key, how="left", nulls_equal=True,
                maintain_order="left",
            )  # fmt: skip
            new = matched.filter(pl.col("_known").is_null())
            if new.height:
                draft.add(sort_rows(draft.table, with_known_at(new.select(names), draft.stamp, history=False)))
            return (
                new,
                matched.filter(pl.col("_known") == pl.col("_content")),
                matched.filter(pl.col("_known") != pl.col("_content")),
            )

        if self.dry_run:
            new, unchanged, contradicted = first, first.clear(), first.clear()
        else:
            new, unchanged, contradicted = commit(self.store.tables[dataset.name], decide, clock=self.store.clock)
            reach("import_written")
        for symbol, count in _by_symbol(new):
            item = self._stream(symbol, chunk.table)
            item.counts += RowCounts(received=count, stored=count)
            item.wide += count if precision is Precision.WIDE else 0
        for frame, what in ((unchanged, "unchanged"), (repeated, "duplicates")):
            for symbol, count in _by_symbol(frame):
                self._stream(symbol, chunk.table).counts += RowCounts(**{"received": count, what: count})
        kept = first if self.dry_run else pl.concat([new, unchanged], how="diagonal")
        if kept.height:
            moment = _time_axis()
            ends = kept.group_by("symbol").agg(moment.min().alias("first"), moment.max().alias("last"))
            for symbol, low, high in ends.iter_rows():
                self._stream(symbol, chunk.table).saw(low, high)
        bad = pl.concat([conflicts, contradicted], how="diagonal")
        return bad.drop("_known", "_content", "_place").with_columns(
            pl.lit([CONFLICT], pl.List(pl.String())).alias("reasons"),
            # Refused rows of both tables stand together.
            *(pl.col(name).cast(pl.String) for name, kind in bad.schema.items() if kind.is_decimal()),
        )

    def _stored(self, draft: Draft, rows: pl.DataFrame, names: list[str]) -> pl.DataFrame:
        """What the table holds of the symbols in the rows' time."""
        first, last = rows["timestamp"].min(), rows["timestamp"].max()
        assert isinstance(first, datetime) and isinstance(last, datetime)
        span = first, last + MICROSECOND
        files = draft.base.select(
            {"source": self.source}, between={"timestamp": span}, holding={"symbol": rows["symbol"].unique().to_list()}
        )
        return reading.read(self.store.storage, draft.table.dataset, files, names, between=("timestamp", *span))

    def _refuse(self, chunk: StreamChunk, refused: pl.DataFrame, place: str) -> None:
        """Into quarantine, as the records were read."""
        if refused.is_empty():
            return
        raw = chunk.raw[refused["record"]].select(pl.all().cast(pl.String))
        numbers = refused.select((pl.col("record") + chunk.first).cast(pl.Int64)).to_series()
        texts = raw.select(
            pl.concat_str(
                pl.lit(f'{{"file":{json.dumps(place)},"record":'), pl.lit(numbers).cast(pl.String), pl.lit(',"row":'),
                pl.struct(pl.all()).struct.json_encode(), pl.lit("}"),
            )
        ).to_series()  # fmt: skip
        moments = pl.coalesce("exchange_time", "receive_time")
        in_range = pl.when(moments.is_between(0, 7_258_118_400 * 10**9)).then(moments // 1000)
        rows = refused.select("symbol", "reasons", in_range.cast(INSTANT).alias("timestamp"))
        self._quarantine(chunk.table, rows.with_columns(texts.alias("row")))

    def _quarantine(self, table: str, bad: pl.DataFrame) -> None:
        for symbol, count in _by_symbol(bad):
            item = self._stream(symbol, table)
            item.counts += RowCounts(received=count, quarantined=count)
            own = bad.filter(pl.col("symbol") == symbol)
            item.reasons += Counter(own["reasons"].explode().to_list())
            item.worst += [
                {"why": ", ".join(row["reasons"]), "row": row["row"][:300]}
                for row in own.head(WORST - len(item.worst)).to_dicts()
            ]
        if self.dry_run:
            return
        stamps = bad["timestamp"].drop_nulls()
        first = stamps.min() if len(stamps) else EPOCH
        last = stamps.max() if len(stamps) else first
        assert isinstance(first, datetime) and isinstance(last, datetime)
        quarantine.record(
            self.store.tables, self.source, table, Window(first, last + timedelta(microseconds=1)),
            bad.with_columns(pl.lit(None, pl.Date()).alias("session")),
            quarantined_at=self._present, run_id=self.run_id, clock=self.store.clock,
        )  # fmt: skip

    def _stream(self, symbol: str, table: str) -> ImportedStream:
        return self.streams.setdefault((symbol, table), ImportedStream(symbol, table))


def _with_identity(rows: pl.DataFrame, names: list[str]) -> pl.DataFrame:
    """Add `_place` and `_content`: a trade with an id is the same one wherever it stands; others are told apart by their place."""
    ordinal = pl.col("ordinal")
    place = pl.when(pl.col("trade_id").is_null()).then(ordinal) if "trade_id" in names else ordinal
    rows = rows.with_columns(place.alias("_place"))
    content = [*(name for name in names if name != "ordinal"), "_place"]
    return rows.with_columns(pl.struct(content).hash(0x6762).alias("_content"))


def _by_symbol(rows: pl.DataFrame) -> Iterator[tuple[str, int]]:
    if rows.height:
        yield from rows.group_by("symbol", maintain_order=True).len().iter_rows()


def _time_axis() -> pl.Expr:
    """ns of `timestamp`, with the digits that it drops."""
    exchange, ours = pl.col("exchange_time"), pl.col("receive_time")
    micros = pl.col("timestamp").dt.epoch("us")
    return (
        pl.when(exchange // 1000 == micros)
        .then(exchange)
        .when(ours // 1000 == micros)
        .then(ours)
        .otherwise(micros * 1000)
    )
