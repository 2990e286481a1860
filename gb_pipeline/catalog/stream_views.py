"""This module writes the SQL of streams as a reader sees them: up to what is settled, and each event once, whoever heard it.

`raw_trades` has every row as it is stored, `trades` what `Lake.trades` returns, and the same of quotes and books. What is settled
and who is read when is looked up once, and stands in the SQL as values. Which rows are one event: `market.stream_stitching`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from gb_pipeline.lake.datasets import STREAM_TABLES, stream_dataset
from gb_pipeline.lake.settled_streams import settled_series
from gb_pipeline.lake.stream_evidence import STREAM_OF_TABLE, read_intervals, read_watermarks
from gb_pipeline.market.event_time import MOST_APART
from gb_pipeline.market.schema import Precision
from gb_pipeline.market.stream_coverage import covered_stretches
from gb_pipeline.market.stream_stitching import APART, APART_UNTIMED, ORIGIN_RANKS, TURNS, take_turns
from gb_pipeline.storage.table import Tables

RAW = "raw_"
_SERIES = ["source", "symbol"]
_MOMENT = (
    f"case when abs(exchange_time::hugeint - receive_time) > {MOST_APART} then receive_time"
    " else coalesce(exchange_time, receive_time) end"
)
_RANKS = " ".join(f"when '{name}' then {rank}" for name, rank in ORIGIN_RANKS.items())
_RANK = f"case origin {_RANKS} else {len(ORIGIN_RANKS)} end"
_ID = "source, symbol, trade_id, price, size"
_CONTENT = "source, symbol, exchange_time, side, price, size"


@dataclass(frozen=True)
class StreamView:
    """What the view of one table of streams has to know.

    Attributes:
        table: a name of `STREAM_TABLES`.
        until: `source, symbol, until` (Int64 ns, exclusive); `symbol` is null where it is one moment for all of a source.
        several: sources that more than one collector heard.
        turns: who is read when, of these; see `take_turns`.
    """

    table: str
    until: pl.DataFrame
    several: Sequence[str]
    turns: pl.DataFrame

    def select(self, rows: str) -> str:
        """The query of what a reader sees of some rows: a name, or a query in parentheses."""
        settled = self._settled(rows)
        if self.table == "trades":
            return self._unite(settled)
        if not self.several:
            return f"select * exclude (_moment) from ({settled})"
        return self._one_at_a_time(settled)

    def _settled(self, rows: str) -> str:
        body = f"select *, {_MOMENT} as _moment from {rows} as stored"
        if self.until.is_empty():
            return body
        whole = self.until.filter(pl.col("symbol").is_null())
        cases = " ".join(f"when {_text(source)} then {until}::bigint" for source, _, until in whole.rows())
        limit = f"case heard.source {cases} end" if cases else "null"
        each = self.until.filter(pl.col("symbol").is_not_null())
        if each.is_empty():
            return f"select heard.* from ({body}) as heard where heard._moment < {limit} or {limit} is null"
        values = ", ".join(
            f"({_text(source)}, {_text(symbol)}, {until}::bigint)" for source, symbol, until in each.rows()
        )
        limit = f"coalesce(settled.until, {limit})"
        return (
            f"select heard.* from ({body}) as heard left join (values {values}) as settled(source, symbol, until)"
            " on settled.source = heard.source and settled.symbol = heard.symbol"
            f" where heard._moment < {limit} or {limit} is null"
        )

    def _unite(self, settled: str) -> str:
        """Trades, each once. Of one collector alone, two that are one have one moment, by which files are left out."""
        alone_only = self._is_alone("told")
        alone = f"""
            select * exclude (_moment) from ({settled}) as told where {alone_only}
            qualify trade_id is null or row_number() over (
                partition by source, symbol, timestamp, trade_id, price, size order by {_RANK}, receive_time nulls last, ordinal
            ) = 1
        """
        if not self.several:
            return alone
        ranked = f"""
            select *, {_RANK} as _rank, case when exchange_time is null then {APART_UNTIMED} else {APART} end as _apart
            from ({settled}) as told where not ({alone_only})
        """
        by_id = f"""
            select * exclude (_moment, _rank, _apart, _before, _trade) from (
                select *, sum(case when _before is null or _moment - _before > _apart then 1 else 0 end) over (
                    partition by {_ID} order by _moment rows unbounded preceding
                ) as _trade
                from (select *, lag(_moment) over (partition by {_ID} order by _moment) as _before from ({ranked})
                      where trade_id is not null)
            )
            qualify row_number() over (partition by {_ID}, _trade order by _rank, receive_time nulls last, ordinal) = 1
        """
        by_content = f"""
            select * exclude (_moment, _rank, _apart, _count) from (
                select *, row_number() over (
                    partition by {_CONTENT}, coalesce(collector, ''), origin order by receive_time nulls last, ordinal
                ) as _count
                from ({ranked}) where trade_id is null and exchange_time is not null
            )
            qualify row_number() over (partition by {_CONTENT}, _count order by _rank, receive_time nulls last, ordinal) = 1
        """
        nameless = f"select * exclude (_rank, _apart) from ({ranked}) where trade_id is null and exchange_time is null"
        return " union all by name ".join((alone, by_id, by_content, self._one_at_a_time(nameless)))

    def _is_alone(self, rows: str) -> str:
        if not self.several:
            return "true"
        return f"{rows}.source not in ({', '.join(map(_text, self.several))})"

    def _one_at_a_time(self, settled: str) -> str:
        """Rows of the collector whose turn it is; those without one where nobody covers. Rows of sources without turns stay."""
        if self.turns.is_empty():
            return f"select * exclude (_moment) from ({settled})"
        values = ", ".join(
            f"({_text(source)}, {_text(symbol)}, {_text(collector)}, '{start}'::bigint, {str(covers).lower()})"
            for source, symbol, collector, start, covers in self.turns.rows()
        )
        return f"""
            select told.* exclude (_moment) from ({settled}) as told
            asof left join (values {values}) as turns(source, symbol, reader, from_time, covers)
                on turns.source = told.source and turns.symbol = told.symbol and turns.from_time <= told._moment
            where turns.reader is null
                or case when told.collector is null then not turns.covers else told.collector = turns.reader end
        """


def describe_views(tables: Tables, names: Sequence[str] = STREAM_TABLES) -> dict[str, StreamView]:
    """What the views of some tables have to know, by name of the table; only the evidence is read.

    Raises:
        LakeError: the evidence is damaged.
    """
    return {name: _describe(tables, name) for name in names}


def _describe(tables: Tables, name: str) -> StreamView:
    dataset = STREAM_OF_TABLE[name].value
    series = pl.concat(
        [tables.newest(stream_dataset(name, precision).name).files.select(_SERIES) for precision in Precision]
    ).unique()
    until = settled_series(tables, name, series.sort(_SERIES)).drop_nulls("until")
    even = until.group_by("source").agg(pl.col("until").n_unique().alias("count"), pl.col("until").first().alias("one"))
    for_all = even.filter(pl.col("count") == 1).select(
        "source", pl.lit(None, pl.String).alias("symbol"), pl.col("one").alias("until")
    )
    each = until.join(for_all, on="source", how="anti")
    intervals = read_intervals(tables, dataset=dataset)
    marks = read_watermarks(tables).filter(pl.col("dataset") == dataset)
    heard = pl.concat([frame.select("source", "collector") for frame in (intervals, marks)]).unique()
    # What was fetched afterwards, and what a person removed, are no voices beside the collector's.
    voices = heard.filter(~pl.col("collector").is_in(["rest", "removal"])).group_by("source").len()
    several = voices.filter(pl.col("len") > 1)["source"].sort().to_list()
    turns = pl.DataFrame(schema=TURNS)
    if several:
        own = intervals.filter(pl.col("source").is_in(several))
        turns = take_turns(covered_stretches(own, by_collector=True))
    return StreamView(name, pl.concat([for_all, each.select(for_all.columns)]).sort(_SERIES), several, turns)


def _text(value: str | None) -> str:
    return "null::varchar" if value is None else "'" + value.replace("'", "''") + "'"
