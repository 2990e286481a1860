"""Verifying a lake, and mending what can be mended.

Belongs here: going through logs, files and rows of every table and comparing bars with the ledger of sessions; saying of each
damage which file, series, sessions and rows it concerns; taking damaged files out and telling which sessions have to be fetched
again. Does not belong here: reading bytes (`storage.scrub`), fetching (`ingest`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import polars as pl

from gb_pipeline.errors import GbError, LakeError
from gb_pipeline.lake import ledger, proofs
from gb_pipeline.lake.datasets import SESSIONS, bars, bars_of
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import Precision
from gb_pipeline.storage import reading, repair, scrub
from gb_pipeline.storage.dataset import IS_CURRENT, KNOWN_AT, SUPERSEDED_AT
from gb_pipeline.storage.losses import losses
from gb_pipeline.storage.parquet import DamagedFile
from gb_pipeline.storage.snapshot import Snapshot, index_of
from gb_pipeline.storage.table import Table

_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Damage:
    """One thing that is not as it was written.

    Attributes:
        table: where.
        problem: what was seen, one sentence.
        file: relative to the table; empty where it is the log, or rows of several files.
        source, symbols, resolution: the series that it concerns; empty or None where it concerns all of the table.
        sessions: of these series, in order; of each it may concern one, some or all symbols.
        rows: which rows, in words.
        broken: the file with what can be read of it; None where no file is to be taken out.
    """

    table: str
    problem: str
    file: str = ""
    source: str = ""
    symbols: tuple[str, ...] = ()
    resolution: Resolution | None = None
    sessions: tuple[date, ...] = ()
    rows: str = ""
    broken: scrub.BrokenFile | None = field(default=None, repr=False)

    @property
    def current(self) -> bool:
        """Whether newest versions are concerned, which can be fetched again; superseded ones cannot."""
        return self.broken is None or self.broken.row.get(IS_CURRENT) is not False


@dataclass(frozen=True)
class VerifyReport:
    """What a verification looked at and found.

    Attributes:
        tables, files, bytes, sessions: how much was looked at; sessions are those of bars that were compared with the ledger.
        damages: in the order of tables.
        lost: versions that an earlier repair could not keep, as sentences; they are no damage any more, and stay lost.
    """

    tables: int
    files: int
    bytes: int
    sessions: int
    damages: tuple[Damage, ...]
    lost: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether everything is as it was written."""
        return not self.damages


@dataclass(frozen=True)
class Lost:
    """Sessions of one series whose bars are to be fetched again."""

    source: str
    symbol: str
    resolution: Resolution
    sessions: tuple[date, ...]


def verify(store: LakeStore, source: str | None = None, symbol: str | None = None) -> VerifyReport:
    """Recompute every checksum and every fingerprint.

    Args:
        store: the lake; what killed writers left in the ledger is finished first.
        source, symbol: only files that may hold this series; everything by default.

    Returns:
        What was looked at, and every damage. Nothing is changed.

    Example:
        >>> verify(LakeStore.at("data"), "binance", "BTC-USDT").ok
        True
    """
    damages: list[Damage] = []
    lost: list[str] = []
    looked = {"tables": 0, "files": 0, "bytes": 0, "sessions": 0}
    sound: list[tuple[Table, Snapshot, pl.DataFrame]] = []
    for dataset in store.tables.datasets:
        table = store.tables[dataset.name]
        problems = list(scrub.log_problems(table))
        damages += [Damage(dataset.name, problem) for problem in problems]
        try:
            snapshot = table.newest()
        except LakeError:
            continue
        if snapshot.version < 0 and not (dataset.name == SESSIONS.name and _waiting(store).height):
            continue
        try:
            lost += [f"{dataset.name}: {loss}" for loss in losses(table)]
        except LakeError as error:
            damages.append(Damage(dataset.name, error.what))
        files = _files(snapshot, source, symbol)
        if dataset.name == SESSIONS.name:
            files = pl.concat([files, _waiting(store)])
        looked["tables"] += 1
        looked["files"] += files.height
        looked["bytes"] += int(files["size"].sum())
        broken = list(scrub.broken_files(table, snapshot, files))
        damages += [_of_file(store, snapshot, item) for item in broken]
        gone = [item.row["path"] for item in broken]
        sound.append((table, snapshot, files.filter(~pl.col("path").is_in(gone))))
    if not any(damage.table == SESSIONS.name for damage in damages):
        with suppress(LakeError):
            # A lake that cannot be written can be verified as well.
            ledger.take_over_all(store.tables, clock=store.clock)
        for table, snapshot, files in sound:
            try:
                found, sessions = _rows_damages(store, table, snapshot, files, source, symbol)
            except LakeError as error:
                # The log of a table that is needed to compare them is damaged, which has been named.
                damages += [] if damages else [Damage(table.name, error.what)]
                continue
            # Rows of a damaged file are missing beside the ledger as well, and have been named.
            damages += found if not any(item.table == table.name and item.broken for item in damages) else []
            looked["sessions"] += sessions
    return VerifyReport(**looked, damages=tuple(damages), lost=tuple(lost))


def mend(store: LakeStore, report: VerifyReport) -> tuple[list[str], list[Lost]]:
    """Put logs together again and take damaged files out; what was done, and what has to be fetched again.

    Whole row groups of a damaged file stay with the history they had. The lost sessions are `failed` in the ledger until they are
    fetched again.

    Raises:
        LakeError: a log can be put together neither from its entries nor from their mirrors.
    """
    done: list[str] = []
    for name in dict.fromkeys(damage.table for damage in report.damages if not damage.file and not damage.sessions):
        done += repair.restore_log(store.tables[name])
    lost: dict[tuple[str, str, Resolution], set[date]] = {}
    # What can be read and is not what was recorded: nothing of it is believed before it is fetched again.
    doubted: dict[tuple[str, str, Resolution], set[date]] = {}
    for name in dict.fromkeys(damage.table for damage in report.damages if damage.broken is not None):
        mine = [damage for damage in report.damages if damage.table == name and damage.broken is not None]
        broken = [damage.broken for damage in mine if damage.broken is not None]
        if name == SESSIONS.name:
            # What the ledger has not taken over yet is left out of it; the rest is taken out below.
            without = frozenset(str(item.row["path"]) for item in broken)
            ledger.take_over_all(store.tables, without=without, clock=store.clock)
        kept = repair.take_out(store.tables[name], broken, clock=store.clock)
        rows = sum(int(item.row["rows"] or 0) for item in broken)
        files = "1 damaged file was" if len(broken) == 1 else f"{len(broken):,} damaged files were"
        done.append(f"{files} taken out of {name}; {kept:,} of their {rows:,} rows were kept")
    for damage in report.damages:
        if damage.resolution is not None and damage.current:
            for symbol in damage.symbols:
                key = damage.source, symbol, damage.resolution
                lost.setdefault(key, set()).update(damage.sessions)
                if damage.broken is None:
                    doubted.setdefault(key, set()).update(damage.sessions)
    found = [Lost(*key, tuple(sorted(days))) for key, days in sorted(lost.items()) if days]
    for item in found:
        _mark_failed(store, item, doubted.get((item.source, item.symbol, item.resolution), set()))
    return done, found


def _waiting(store: LakeStore) -> pl.DataFrame:
    """Files of the ledger that wait to be taken over; none where a log is damaged, which is named as well."""
    try:
        return ledger.waiting_files(store.tables)
    except LakeError:
        return index_of(SESSIONS, [])


def _files(snapshot: Snapshot, source: str | None, symbol: str | None) -> pl.DataFrame:
    names = snapshot.dataset.schema.names
    by_source = source is not None and "source" in snapshot.dataset.partitions
    indexed = "symbol" in snapshot.dataset.partitions or "symbol" in snapshot.dataset.indexed
    return snapshot.select(
        {"source": source} if by_source else None,
        holding={"symbol": [symbol]} if symbol is not None and indexed and "symbol" in names else None,
    )


def _of_file(store: LakeStore, snapshot: Snapshot, item: scrub.BrokenFile) -> Damage:
    """What a damaged file holds, by the log and the ledger."""
    row, kind = item.row, bars_of(snapshot.dataset.name)
    said = _parts(item)
    if kind is None:
        return Damage(
            snapshot.dataset.name, item.error.reason, row["path"], str(row.get("source") or ""), rows=said, broken=item
        )
    symbols, sessions = _sessions_of(store, row, kind[0])
    return Damage(
        table=snapshot.dataset.name,
        problem=item.error.reason,
        file=row["path"],
        source=str(row["source"]),
        symbols=symbols,
        resolution=kind[0],
        sessions=sessions,
        rows=said,
        broken=item,
    )


def _sessions_of(
    store: LakeStore, row: Mapping[str, Any], resolution: Resolution
) -> tuple[tuple[str, ...], tuple[date, ...]]:
    first, last = row["min.timestamp"], row["max.timestamp"]
    own = row.get("symbol")
    try:
        known = ledger.current(
            store.tables, row["source"], resolution, None if own is None else [own],
            (first.date() - 32 * _DAY, last.date() + 2 * _DAY),
        )  # fmt: skip
    except GbError:
        return (() if own is None else (own,)), ()
    inside = known.filter((pl.col("first_timestamp") <= last) & (pl.col("last_timestamp") >= first))
    if own is None:
        inside = inside.filter(pl.col("symbol").is_between(pl.lit(row["min.symbol"]), pl.lit(row["max.symbol"])))
    symbols = tuple(inside["symbol"].unique().sort().to_list()) or (() if own is None else (own,))
    return symbols, tuple(inside["session"].unique().sort().to_list())


def _parts(item: scrub.BrokenFile) -> str:
    rows = item.row["rows"]
    if item.parts is None:
        return f"all {rows:,} rows" if rows is not None else "all rows"
    said = [
        f"rows {first + 1:,} to {first + count:,} ({', '.join(columns)})" for _, first, count, columns in item.parts
    ]
    return "; ".join(said) or "no row: what is damaged is never decoded"


def _rows_damages(
    store: LakeStore,
    table: Table,
    snapshot: Snapshot,
    files: pl.DataFrame,
    source: str | None,
    symbol: str | None,
) -> tuple[list[Damage], int]:
    """Bars against the ledger, and versions against each other."""
    kind = bars_of(snapshot.dataset.name)
    if kind is None or files.is_empty():
        return [], 0
    damages: list[Damage] = []
    sessions = 0
    groups = [name for name in ("source", "symbol") if name in snapshot.dataset.partitions]
    for values, group in files.group_by(groups, maintain_order=True):
        try:
            rows = reading.read(store.storage, snapshot.dataset, group).sort("symbol", "timestamp", KNOWN_AT)
        except DamagedFile as error:
            damages.append(Damage(table.name, error.reason, error.name, str(values[0])))
            continue
        damages += _history_damages(table.name, kind[0], str(values[0]), rows)
        current = rows.filter(IS_CURRENT)
        wrong = proofs.differing(store.tables, str(values[0]), *kind, current)
        damages += _differing(table.name, kind[0], str(values[0]), wrong)
        sessions += current.select("symbol", pl.col("timestamp").dt.date()).unique().height
    damages += _vanished(store, table.name, kind, files, source, symbol)
    return damages, sessions


def _differing(table: str, resolution: Resolution, source: str, wrong: pl.DataFrame) -> Iterator[Damage]:
    for (code,), rows in wrong.group_by("symbol", maintain_order=True):
        days = tuple(rows["session"].to_list())
        said = "; ".join(f"{row['session']}: {row['problem']}" for row in rows.head(5).iter_rows(named=True))
        yield Damage(
            table, "what is stored is not what the ledger recorded", "", source, (str(code),), resolution, days, said
        )


def _history_damages(table: str, resolution: Resolution, source: str, rows: pl.DataFrame) -> Iterator[Damage]:
    """Versions of one bar follow each other: no two hold at once."""
    key = ["symbol", "timestamp"]
    after = pl.col(KNOWN_AT).shift(-1).over(key)
    # A version that was lost leaves a hole between its neighbours; two that hold at once are a fault.
    overlap = pl.col(SUPERSEDED_AT).is_null() | (pl.col(SUPERSEDED_AT) > pl.col("after"))
    wrong = rows.with_columns(after.alias("after")).filter(pl.col("after").is_not_null() & overlap)
    for (code,), mine in wrong.group_by("symbol", maintain_order=True):
        stamps = mine["timestamp"]
        yield Damage(
            table,
            "two versions of a bar hold at once",
            "",
            source,
            (str(code),),
            resolution,
            tuple(stamps.dt.date().unique().sort().to_list()),
            f"{mine.height} bars, the first at {stamps[0]}",
        )


def _vanished(
    store: LakeStore,
    table: str,
    kind: tuple[Resolution, Precision],
    files: pl.DataFrame,
    source: str | None,
    symbol: str | None,
) -> Iterator[Damage]:
    """Sessions of which the ledger counts bars, and of which no file may hold one."""
    resolution, precision = kind
    known = ledger.current(store.tables, source, resolution, None if symbol is None else [symbol])
    known = known.filter((pl.col("actual") > 0) & (pl.col("precision") == precision.value))
    current = files.filter(IS_CURRENT)
    own = "symbol" in current.columns
    spans = current.select(
        "source",
        *(["symbol"] if own else []),
        pl.col("min.timestamp").alias("low"),
        pl.col("max.timestamp").alias("high"),
    )
    keys = ["source", "symbol"] if own else ["source"]
    touched = (
        known.select("source", "symbol", "session", "first_timestamp", "last_timestamp")
        .join(spans, on=keys, how="inner")
        .filter((pl.col("low") <= pl.col("last_timestamp")) & (pl.col("high") >= pl.col("first_timestamp")))
    )
    lost = known.join(touched, on=["source", "symbol", "session"], how="anti")
    for (name, code), rows in lost.group_by("source", "symbol", maintain_order=True):
        days = tuple(rows["session"].sort().to_list())
        yield Damage(
            table, "the ledger counts bars that are not stored", "", str(name), (str(code),), resolution, days,
            f"{int(rows['actual'].sum())} bars",
        )  # fmt: skip


def _mark_failed(store: LakeStore, lost: Lost, doubted: Set[date]) -> None:
    """Say in the ledger what is left of the sessions, so that they count as gaps until they are fetched again.

    Without its fingerprint a session is compared bar by bar then.
    """
    first, last = lost.sessions[0], lost.sessions[-1]
    known = ledger.current(store.tables, lost.source, lost.resolution, [lost.symbol], (first, last + _DAY)).filter(
        pl.col("session").is_in(list(lost.sessions))
    )
    if known.is_empty():
        return
    left = _left(store, lost, known)
    gap = pl.struct(
        pl.coalesce("first_timestamp", pl.col("session").cast(pl.Datetime("us", "UTC"))).alias("start"),
        pl.coalesce("last_timestamp", pl.col("session").cast(pl.Datetime("us", "UTC"))).alias("end"),
        (pl.col("actual") - pl.col("left")).alias("missing"),
        pl.lit("fetch_failed").alias("reason"),
    )
    fewer = pl.col("left") < pl.col("actual")
    said = (
        known.join(left, on="session", how="left")
        .with_columns(pl.col("left").fill_null(0))
        .filter(fewer | pl.col("session").is_in(list(doubted)))
    )
    said = said.with_columns(
        pl.when(fewer).then(pl.concat_list(gap)).otherwise("gaps").alias("gaps"),
        pl.when(fewer)
        .then(pl.col("missing") + pl.col("actual") - pl.col("left"))
        .otherwise("missing")
        .alias("missing"),
        pl.col("left").alias("actual"),
        pl.lit("failed").alias("status"),
        pl.lit(None, pl.Int64).alias("fingerprint"),
        pl.lit(-1, pl.Int64).alias("table_version"),
    )
    ledger.append_changed(store.tables, said.select(SESSIONS.columns.names), clock=store.clock)


def _left(store: LakeStore, lost: Lost, known: pl.DataFrame) -> pl.DataFrame:
    """How many bars of each session can still be read."""
    counts = []
    for precision in Precision:
        snapshot = store.tables.newest(bars(lost.resolution, precision).name)
        files = reading.current(snapshot, snapshot.select({"source": lost.source}, holding={"symbol": [lost.symbol]}))
        rows = reading.read(store.storage, snapshot.dataset, files, ["symbol", "timestamp"])
        mine = rows.filter(pl.col("symbol") == lost.symbol).select("timestamp")
        edges = known.drop_nulls("first_timestamp").select("session", "first_timestamp", "last_timestamp")
        counts.append(
            mine.join_where(
                edges,
                pl.col("timestamp") >= pl.col("first_timestamp"),
                pl.col("timestamp") <= pl.col("last_timestamp"),
            ).select("session")
        )
    return pl.concat(counts).group_by("session").agg(pl.len().cast(pl.Int64).alias("left"))
