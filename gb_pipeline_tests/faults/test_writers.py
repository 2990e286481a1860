"""Writers that die at any moment, and writers that get in each other's way: no row is lost, no row is there twice."""

from __future__ import annotations

import random
import signal
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

import polars as pl

from gb_pipeline.lake import ledger, versions
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import Precision
from gb_pipeline.quality.fingerprint import session_fingerprints
from gb_pipeline_tests.faults.forked import Forked
from gb_pipeline_tests.faults.writing_days import SYMBOL, bars, write, write_and_say_so

FIRST = date(2024, 1, 1)


def days(count: int, start: int = 0) -> list[date]:
    return [FIRST + timedelta(days=start + number) for number in range(count)]


def start(root: Path, edition: int, chosen: Sequence[date]) -> Forked:
    return Forked(root.parent / "writers.log", write_and_say_so, root, edition, chosen)


def finish(process: Forked) -> None:
    process.hears("done")
    assert process.wait() == 0
    process.connection.close()


def stored(store: LakeStore) -> pl.DataFrame:
    return pl.scan_delta(store.storage.table("bars_1m")).filter("is_current").collect().sort("timestamp")


def volumes(chosen: Sequence[date], edition: int) -> list[str]:
    return pl.concat([bars(day, edition) for day in chosen])["volume"].to_list()


def expect_whole(store: LakeStore, chosen: Sequence[date], edition: int) -> None:
    """The lake holds exactly this edition of these days, and its ledger describes exactly that."""
    rows = stored(store)
    assert rows["timestamp"].is_unique().all()
    wanted = pl.Series(volumes(chosen, edition)).str.to_decimal(scale=8).to_list()
    assert rows["volume"].to_list() == wanted
    described = ledger.current(store.tables)
    assert described["status"].unique().to_list() == ["complete"]
    by_session = rows.with_columns(pl.col("timestamp").dt.date().alias("session"))
    prints = session_fingerprints(by_session, "sim", Resolution.MINUTE, Precision.STANDARD)
    assert dict(described.select("session", "fingerprint").iter_rows()) == dict(
        prints.select("session", "fingerprint").iter_rows()
    )


def expect_unbroken_history(store: LakeStore) -> None:
    """What replaced a bar's content is the next content known of it: no moment is without an answer, none has two."""
    history = versions.restatements(store.tables).select("timestamp", "first_known", "replaced_at")
    now = stored(store).select("timestamp", pl.col("known_at").alias("first_known"))
    chain = pl.concat([history, now.with_columns(pl.lit(None, pl.Datetime("us", "UTC")).alias("replaced_at"))])
    chain = chain.sort("timestamp", "first_known")
    following = pl.col("first_known").shift(-1).over("timestamp")
    assert chain.filter(following.is_not_null() & (pl.col("replaced_at") != following)).is_empty()
    assert chain.select(pl.struct("timestamp", "first_known").is_unique().all()).item()


def test_a_writer_killed_ten_times_at_random_moments_loses_and_doubles_nothing(tmp_path: Path) -> None:
    chance = random.Random(20240101)
    store = LakeStore.at(tmp_path)
    chosen = days(6)
    write(tmp_path, 0, chosen)
    killed = 0
    for edition in range(1, 11):
        process = start(tmp_path, edition, chosen)
        process.hears("ready")
        # Somewhere in its work: a commit takes some 20 ms, and the whole edition less than a second.
        process.wait(chance.uniform(0.02, 0.8))
        killed += process.kill() == -signal.SIGKILL
        rows = stored(store)
        assert (rows.height, rows["timestamp"].is_unique().all()) == (6 * 1440, True)
        if edition % 3 == 0:
            write(tmp_path, edition, chosen)
            expect_whole(store, chosen, edition)
    assert killed >= 3, "the kills came too late to mean anything"
    write(tmp_path, 11, chosen)
    expect_whole(store, chosen, 11)
    expect_unbroken_history(store)


def test_eight_processes_write_different_days_of_one_symbol_at_once(tmp_path: Path) -> None:
    processes = [start(tmp_path, 1, days(4, start=4 * number)) for number in range(8)]
    for process in processes:
        process.hears("ready")
    for process in processes:
        finish(process)
    expect_whole(LakeStore.at(tmp_path), days(32), 1)


def test_four_processes_write_the_same_days_at_once(tmp_path: Path) -> None:
    store = LakeStore.at(tmp_path)
    write(tmp_path, 1, days(3))
    processes = [start(tmp_path, 2, days(3)) for _ in range(4)]
    for process in processes:
        process.hears("ready")
    for process in processes:
        finish(process)
    expect_whole(store, days(3), 2)
    expect_unbroken_history(store)
    assert versions.restatements(store.tables).height == 3 * 1440
    assert versions.restatements(store.tables)["symbol"].unique().to_list() == [SYMBOL]


def test_compaction_and_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    store = LakeStore.at(tmp_path)
    write(tmp_path, 1, days(10))
    process = start(tmp_path, 1, days(10, start=10))
    process.hears("ready")
    compacted = 0
    while process.poll() is None:
        crowded = [item for item in store.compaction_candidates(min_files=2) if item.table == "bars_1m"]
        compacted += sum(report.version is not None for report in store.compact(*crowded))
    finish(process)
    expect_whole(store, days(20), 1)
    assert compacted
