"""Comparing stored bars with what the ledger recorded of them, without a calendar.

Belongs here: placing bars in the sessions that the ledger knows, by their first and last bar, and comparing counts and
fingerprints. Compaction and verification ask this before they believe what they have read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

import polars as pl

from gb_pipeline.errors import CompactionRefused
from gb_pipeline.lake import ledger
from gb_pipeline.lake.datasets import bars, bars_of
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import CONTENT, Precision
from gb_pipeline.quality.fingerprint import session_fingerprints
from gb_pipeline.storage import reading
from gb_pipeline.storage.compaction import Proof
from gb_pipeline.storage.dataset import IS_CURRENT, Dataset
from gb_pipeline.storage.table import Tables

# Sessions may begin up to a day before and end up to a day after their date, in UTC; a label may stand for a month.
_MARGIN = timedelta(days=32)
_SESSION = ["symbol", "session"]
_DIFFERING = pl.Schema(
    {"symbol": pl.String(), "session": pl.Date(), "rows": pl.Int64(), "actual": pl.Int64(), "problem": pl.String()}
)


def proof(tables: Tables) -> Proof:
    """What compaction asks before it rewrites a partition.

    The returned function raises `CompactionRefused` where current bars are not those that the ledger recorded.
    """

    def prove(dataset: Dataset, partitions: Sequence[tuple[Mapping[str, Any], pl.DataFrame]]) -> None:
        kind = bars_of(dataset.name)
        if kind is None:
            return
        by_source: dict[str, list[pl.DataFrame]] = {}
        for values, rows in partitions:
            if values[IS_CURRENT]:
                named = (
                    rows if "symbol" in rows.columns else rows.with_columns(pl.lit(values["symbol"]).alias("symbol"))
                )
                by_source.setdefault(values["source"], []).append(named.select("symbol", "timestamp", *CONTENT))
        for source, parts in by_source.items():
            wrong = differing(tables, source, *kind, _by_symbol(parts))
            if wrong.height:
                symbol, session, problem = wrong.select("symbol", "session", "problem").row(0)
                raise CompactionRefused(
                    f"{dataset.name} {source} {symbol}, session {session}: {problem}"
                    f" ({wrong.height} such session{'s' if wrong.height > 1 else ''}); nothing was changed",
                    fix=f"`gb verify {source}:{symbol} --repair` fetches it again",
                )

    return prove


def _by_symbol(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Rows sorted by symbol and timestamp; of sorted parts only their order has to be found."""
    firsts = [
        (frame["symbol"][0], frame["symbol"][-1], frame["timestamp"][0], number) for number, frame in enumerate(parts)
    ]
    rows = pl.concat([parts[number] for *_, number in sorted(firsts)])
    if all(first == last for first, last, *_ in firsts):
        return rows
    return rows.sort("symbol", "timestamp")


def differing(
    tables: Tables, source: str, resolution: Resolution, precision: Precision, rows: pl.DataFrame
) -> pl.DataFrame:
    """Sessions whose stored bars are not those that the ledger recorded.

    Args:
        rows: current bars of whole partitions, `symbol`, `timestamp` and content, sorted by symbol and timestamp.

    Returns:
        `symbol`, `session`, `rows`, `actual` (what the ledger counts), `problem`; empty where all is as recorded. Sessions of which
        `rows` may hold a part only are not compared.
    """
    if rows.is_empty():
        return pl.DataFrame(schema=_DIFFERING)
    first, last = rows["timestamp"].min(), rows["timestamp"].max()
    assert isinstance(first, datetime) and isinstance(last, datetime)
    symbols = rows["symbol"].unique().to_list()
    days = _from(first.date()), _until(last.date())
    recorded = ledger.current(tables, source, resolution, symbols, days).select(
        "symbol",
        "session",
        "actual",
        "precision",
        "first_timestamp",
        "last_timestamp",
        pl.col("fingerprint").alias("recorded"),
    )
    placed = _placed(rows, recorded, resolution)
    lost = placed.filter(pl.col("session").is_null())
    known = placed.drop_nulls("session").select("symbol", "session", "timestamp", *CONTENT)
    mine = recorded.filter(pl.col("precision") == precision.value)
    whole = _whole(bars(resolution, precision), rows, mine)
    if precision is Precision.WIDE:
        known = _with_standard(tables, source, resolution, known, mine.join(whole, on=_SESSION, how="semi"))
    found = session_fingerprints(known, source, resolution, precision)
    both = found.join(mine, on=_SESSION).join(whole.with_columns(pl.lit(True).alias("whole")), on=_SESSION, how="left")
    wrong = both.with_columns(
        pl.when((pl.col("rows") > pl.col("actual")) | ((pl.col("rows") < pl.col("actual")) & pl.col("whole")))
        .then(pl.format("{} bars are stored where {} were recorded", "rows", "actual"))
        .when((pl.col("rows") == pl.col("actual")) & pl.col("fingerprint").ne_missing(pl.col("recorded")))
        .then(pl.lit("its bars are not those that were recorded"))
        .alias("problem")
    ).drop_nulls("problem")
    unknown = lost.group_by("symbol", pl.col("timestamp").dt.date().alias("session")).agg(
        pl.len().cast(pl.Int64).alias("rows")
    )
    strange = unknown.with_columns(
        pl.lit(0, pl.Int64).alias("actual"), pl.format("{} bars lie in no recorded session", "rows").alias("problem")
    )
    parts = [part.select(_DIFFERING.names()).cast(_DIFFERING) for part in (wrong, strange)]
    return pl.concat(parts).sort(_SESSION)


def _whole(dataset: Dataset, rows: pl.DataFrame, recorded: pl.DataFrame) -> pl.DataFrame:
    """`symbol` and `session` of recorded sessions whose partitions are all among those of the rows."""
    own = ["symbol"] if "symbol" in dataset.partition_by else []
    period = str(dataset.period)
    # Far fewer days than rows have to be written as text.
    days = rows.select(*own, pl.col("timestamp").dt.date().alias("day")).unique()
    given = days.select(*own, pl.col("day").dt.strftime(period).alias("given")).unique()
    edges = recorded.drop_nulls("first_timestamp").select(
        *_SESSION, *(pl.col(f"{edge}_timestamp").dt.strftime(period).alias(edge) for edge in ("first", "last"))
    )
    for edge in ("first", "last"):
        edges = edges.join(given, left_on=[*own, edge], right_on=[*own, "given"], how="semi")
    return edges.select(_SESSION)


def _with_standard(
    tables: Tables, source: str, resolution: Resolution, wide: pl.DataFrame, recorded: pl.DataFrame
) -> pl.DataFrame:
    """Wide rows, and what the standard table holds of their sessions: a session may share its bars between both.

    Args:
        wide: `symbol`, `session`, `timestamp` and content, of sessions that are whole or are left as they are.
        recorded: rows of the ledger about sessions that are whole.
    """
    counts = wide.group_by(_SESSION).len()
    lacking = recorded.join(counts, on=_SESSION).filter(pl.col("len") < pl.col("actual"))
    if lacking.is_empty():
        return wide
    sibling = tables.newest(bars(resolution).name)
    between = lacking["first_timestamp"].min(), lacking["last_timestamp"].max()
    end = pl.select(pl.lit(between[1]) + pl.duration(microseconds=1)).item()
    symbols = lacking["symbol"].unique().to_list()
    files = sibling.select({"source": source}, between={"timestamp": (between[0], end)}, holding={"symbol": symbols})
    names = ["symbol", "timestamp", *CONTENT]
    held = reading.read(
        tables.storage,
        sibling.dataset,
        reading.current_files(sibling, files),
        names,
        between=("timestamp", between[0], end),
    ).filter(pl.col("symbol").is_in(symbols))
    placed = _placed(held.sort("symbol", "timestamp"), lacking, resolution).drop_nulls("session")
    rest = placed.select(wide.columns).cast(wide.schema).join(wide, on=["symbol", "timestamp"], how="anti")
    return pl.concat([wide, rest]).sort("symbol", "timestamp")


def _placed(rows: pl.DataFrame, recorded: pl.DataFrame, resolution: Resolution) -> pl.DataFrame:
    """Rows with their session, null where none that is recorded has them between its first and last bar."""
    if not resolution.intraday:
        known = recorded.select("symbol", "session", pl.lit(True).alias("known"))
        labelled = rows.with_columns(pl.col("timestamp").dt.date().alias("session"))
        return labelled.join(known, on=["symbol", "session"], how="left", maintain_order="left").with_columns(
            pl.when("known").then("session").alias("session")
        )
    edges = recorded.drop_nulls("first_timestamp").select("symbol", "session", "first_timestamp", "last_timestamp")
    placed = rows.join_asof(
        edges.sort("symbol", "first_timestamp"),
        left_on="timestamp",
        right_on="first_timestamp",
        by="symbol",
        strategy="backward",
        check_sortedness=False,
    )
    inside = pl.col("timestamp") <= pl.col("last_timestamp")
    return placed.with_columns(pl.when(inside).then("session").alias("session"))


def _from(day: date) -> date:
    return day - min(_MARGIN, day - date.min)


def _until(day: date) -> date:
    return day + min(_MARGIN, date.max - day)
