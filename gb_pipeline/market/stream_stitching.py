"""This module stitches what several collectors heard side by side into one stream, each event once.

Trades are recognised by the venue's id, or by what they say where there is none. Books and quotes are not united row by row: one
collector is read at a time, and the next one where its evidence ends. Everything is pure, and in columns.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from gb_pipeline.market.tick_schema import Origin

SERIES = ("source", "symbol")
# What two accounts of one trade have in common. The exchange's time is not among them: REST often has fewer digits of it.
_SAME = [*SERIES, "trade_id", "price", "size"]
_CONTENT = [*SERIES, "exchange_time", "side", "price", "size"]
# Some venues number trades anew every day, or at each exchange: the same id, price and size further apart is another trade.
APART, APART_UNTIMED = 1_000_000_000, 60_000_000_000
ORIGIN_RANKS = {Origin.STREAM.value: 0, Origin.REST.value: 1, Origin.FILE.value: 2}
_EARLIEST = -(2**63)
# The same id within so long is the same trade, whatever digits of its time are told.
_ANEW = 43_200_000_000_000
TURNS = pl.Schema(
    {**dict.fromkeys((*SERIES, "collector"), pl.String()), "from_time": pl.Int64(), "covers": pl.Boolean()}
)


def unite_trades(rows: pl.DataFrame, turns: pl.DataFrame) -> pl.DataFrame:
    """Each trade once, whoever heard it.

    Args:
        rows: columns of trades, and `event_time` (Int64 ns).
        turns: as `take_turns` returns them, for trades with neither an id nor a time of the exchange.

    Returns:
        Rows of `rows`, in their order. Of accounts of one trade that with the earliest `receive_time` stays; what was heard live
        comes before what was fetched afterwards, and that before what a file says. Trades without an id are the same where all
        that they say is; one collector that heard two alike heard two.
    """
    if rows.height < 2 or all_differ(rows):
        return rows
    numbered = rows.with_row_index("_place")
    with_id = numbered.filter(pl.col("trade_id").is_not_null())
    without = numbered.filter(pl.col("trade_id").is_null())
    kept = [_unite_by_id(with_id)]
    if without.height:
        timed = without.filter(pl.col("exchange_time").is_not_null())
        kept += [_unite_by_content(timed), one_at_a_time(without.filter(pl.col("exchange_time").is_null()), turns)]
    places = pl.concat([part.get_column("_place") for part in kept])
    return rows if len(places) == rows.height else rows[places.sort()]


def find_untold(trades: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """Trades of one series that are not among those that are known.

    Args:
        trades, known: columns `trade_id`, `exchange_time` (Int64 ns), `side`, `price`, `size`; `known` has `event_time` (Int64 ns)
            too. Trades have an id or a time of the exchange.

    Returns:
        Rows of `trades`, those with an id first. A trade is known by its id within half a day, for some venues number anew every
        day; without an id by all that it says, as often as that is said.

    Example:
        >>> said = {"side": "buy", "price": 2, "size": 1}
        >>> day = 86_400 * 10**9
        >>> known = pl.DataFrame([said | {"trade_id": "1", "exchange_time": 5, "event_time": 5}])
        >>> again = pl.DataFrame([said | {"trade_id": "1", "exchange_time": time} for time in (5, 5 + day)])
        >>> find_untold(again, known)["exchange_time"].to_list() == [5 + day]
        True
    """
    content = ["exchange_time", "side", "price", "size"]
    with_id = trades.filter(pl.col("trade_id").is_not_null()).with_row_index("_place")
    near = (pl.col("exchange_time") - pl.col("event_time")).abs() < _ANEW
    told = with_id.join(known.select("trade_id", "event_time"), on="trade_id", how="inner").filter(near)
    new = with_id.join(told.select("_place"), on="_place", how="anti", maintain_order="left").drop("_place")
    times = pl.int_range(pl.len()).over(*content).alias("_time")
    without = trades.filter(pl.col("trade_id").is_null()).with_columns(times)
    left = without.join(
        known.with_columns(times).select(*content, "_time"), on=[*content, "_time"], how="anti", nulls_equal=True,
        maintain_order="left",
    )  # fmt: skip
    return pl.concat([new, left.drop("_time")])


def all_differ(rows: pl.DataFrame) -> bool:
    """Whether nothing is told twice, as far as a quick look tells: ids of one series are whole numbers, all of them different.

    Args:
        rows: with `trade_id`, and `source, symbol` where they may be of several series.
    """
    ids = rows.get_column("trade_id")
    if ids.null_count() or any(not _is_constant(rows.get_column(name)) for name in SERIES if name in rows.columns):
        return False
    numbers = ids.cast(pl.Int64, strict=False)
    if numbers.null_count():
        return False
    # They rise but for trades of one moment: nearly sorted, which takes no time to sort.
    steps = np.diff(numbers.to_numpy())
    return bool((steps > 0).all() or (np.diff(np.sort(numbers.to_numpy(), kind="stable")) > 0).all())


def _unite_by_id(rows: pl.DataFrame) -> pl.DataFrame:
    again = rows.select(pl.struct(_SAME).is_duplicated()).to_series()
    if not again.any():
        return rows
    told = rows.filter(again).with_columns(
        pl.col("origin").replace_strict(ORIGIN_RANKS, default=len(ORIGIN_RANKS), return_dtype=pl.Int8).alias("_rank")
    )
    ordered = told.sort(*_SAME, "event_time", maintain_order=True)
    apart = pl.when(pl.col("exchange_time").is_null()).then(APART_UNTIMED).otherwise(APART)
    begins = (pl.col("event_time").diff() > apart).over(_SAME).fill_null(True)
    grouped = ordered.with_columns(begins.cum_sum().alias("_trade"))
    first = grouped.sort("_trade", "_rank", "receive_time", "_place", nulls_last=True).unique(
        "_trade", keep="first", maintain_order=True
    )
    return pl.concat([rows.filter(~again), first.select(rows.columns)])


def _unite_by_content(rows: pl.DataFrame) -> pl.DataFrame:
    if rows.is_empty():
        return rows
    ranked = rows.with_columns(
        pl.col("origin").replace_strict(ORIGIN_RANKS, default=len(ORIGIN_RANKS), return_dtype=pl.Int8).alias("_rank"),
        pl.col("collector").fill_null("").alias("_who"),
    )
    # The how many-eth of its kind, as each of them counts.
    counted = ranked.with_columns(pl.int_range(pl.len()).over(*_CONTENT, "_who", "origin").alias("_count"))
    first = counted.sort("_rank", "receive_time", "_place", nulls_last=True).unique(
        [*_CONTENT, "_count"], keep="first", maintain_order=True
    )
    return first.select(rows.columns)


def take_turns(stretches: pl.DataFrame) -> pl.DataFrame:
    """Who is read from when on: one collector as long as it covers the stream, then the one that covers most from there.

    Args:
        stretches: of one dataset, as `covered_stretches(by_collector=True)` returns them.

    Returns:
        `source, symbol, collector` (String), `from_time` (Int64 ns), `covers` (Boolean: false from where on nobody does; the
        collector is then the one that was read last), sorted by series and time; the first turn of a series has no beginning.

    Example:
        >>> own = {"source": "k", "symbol": "A", "dataset": "trades"}
        >>> rows = [own | {"collector": "one", "start_time": 0, "end_time": 5}]
        >>> rows.append(own | {"collector": "two", "start_time": 3, "end_time": 9})
        >>> take_turns(pl.DataFrame(rows)).select("collector", "from_time", "covers").rows()[1:]
        [('one', 0, True), ('two', 5, True), ('two', 9, False)]
    """
    rows: list[tuple[str, str, str, int, bool]] = []
    for (source, symbol), own in stretches.sort(*SERIES, "start_time").group_by(SERIES, maintain_order=True):
        spans = list(own.select("start_time", "end_time", "collector").iter_rows())
        rows.append((source, symbol, spans[0][2], _EARLIEST, False))
        rows += [(source, symbol, *turn) for turn in _turns(spans)]
    return (
        pl.DataFrame(rows, schema=[*SERIES, "collector", "from_time", "covers"], orient="row").cast(TURNS)
        if rows
        else (pl.DataFrame(schema=TURNS))
    )


def _turns(spans: Sequence[tuple[int, int, str]]) -> list[tuple[str, int, bool]]:
    """Of stretches by their start; few, so one after the other."""
    turns: list[tuple[str, int, bool]] = []
    place, reached, reader = 0, spans[0][0], ""
    while place < len(spans) or reader:
        # Of those that begin before the end of what is read, the one that lasts longest.
        best: tuple[int, str] | None = None
        while place < len(spans) and spans[place][0] <= reached:
            end, name = spans[place][1:]
            if end > reached and (best is None or end > best[0]):
                best = end, name
            place += 1
        if best is not None:
            turns.append((best[1], reached, True))
            reached, reader = best
        elif place < len(spans):
            if reader:
                turns.append((reader, reached, False))
            reached = spans[place][0]
        else:
            turns.append((reader, reached, False))
            break
    return turns


def one_at_a_time(rows: pl.DataFrame, turns: pl.DataFrame) -> pl.DataFrame:
    """Rows of the collector whose turn it is; those of files stay where no collector covers.

    Args:
        rows: with `source, symbol, collector` and `event_time` (Int64 ns).
        turns: as `take_turns` returns them. Of a series without turns, the collector with most rows is read.

    Returns:
        Rows of `rows`, in their order.
    """
    if rows.is_empty() or _one_voice(rows):
        return rows
    placed = (
        rows.select(*SERIES, "collector", "event_time").with_row_index("_place").sort("event_time", maintain_order=True)
    )
    told = turns.rename({"collector": "_reader"}).sort("from_time", maintain_order=True)
    joined = placed.join_asof(told, left_on="event_time", right_on="from_time", by=list(SERIES), check_sortedness=False)
    most = (
        rows.filter(pl.col("collector").is_not_null())
        .group_by(*SERIES, "collector")
        .agg(pl.len())
        .sort("len", "collector", descending=[True, False])
        .unique(SERIES, keep="first", maintain_order=True)
        .rename({"collector": "_most"})
    )
    joined = joined.join(most, on=list(SERIES), how="left", maintain_order="left")
    heard = pl.col("collector") == pl.coalesce("_reader", "_most")
    kept = joined.filter(
        pl.when(pl.col("collector").is_null()).then(~pl.col("covers").fill_null(False)).otherwise(heard)
    )
    return rows if kept.height == rows.height else rows[kept.get_column("_place").sort()]


def _one_voice(rows: pl.DataFrame) -> bool:
    """Whether there is nothing to choose from."""
    return _is_constant(rows.get_column("collector"))


def _is_constant(names: pl.Series) -> bool:
    nulls = names.null_count()
    return nulls == len(names) or (not nulls and bool((names == names[0]).all()))
