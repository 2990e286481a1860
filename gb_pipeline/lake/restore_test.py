"""This module proves that a backup can be restored: it restores it, or a sample of it, into a temporary folder and verifies that.

The result is remembered in a small file beside the lake's tables, as a verification is.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

import polars as pl

from gb_pipeline.errors import ConfigError
from gb_pipeline.lake import ledger
from gb_pipeline.lake.backup import Copy, plan_copy
from gb_pipeline.lake.copy_places import RESTORE_RECORD
from gb_pipeline.lake.datasets import parse_bar_table
from gb_pipeline.lake.result_files import read_result, write_result
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.lake.verification import VerifyReport, verify
from gb_pipeline.market.moments import from_microseconds
from gb_pipeline.storage.address import Storage
from gb_pipeline.storage.snapshot import Snapshot

_FOLDER = "restore-test"
_LISTED = 20
Series = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class RestoreRecord:
    """What a test of a backup found.

    Attributes:
        at: when it ended, in UTC.
        place: of the backup.
        newest: what the backup knew last, in UTC: it is as old as that.
        series: how many were restored; `of_series`: how many the backup has.
        files, bytes: restored and read.
        sessions: whose fingerprints were compared.
        fingerprint: of everything that the backup says of sessions; the restored lake said the same. Empty where it was damaged.
        problems: how many there were; `damages` are the first of them.
    """

    at: datetime
    place: str
    newest: datetime
    series: int
    of_series: int
    files: int
    bytes: int
    sessions: int
    fingerprint: str
    problems: int
    damages: tuple[str, ...]


def try_restore(store: LakeStore, backup: LakeStore, *, most_bytes: int, seed: str) -> RestoreRecord:
    """Restore a backup, or series of it by chance where it is larger than a limit, into a temporary folder, and verify that.

    Args:
        store: of the lake; its clock is the present, and its state's folder has room for what is restored. Nothing else of it
            is touched.
        backup: a copy of the lake.
        most_bytes: of data files of bars; less where the disk has less room.
        seed: of the choice: another one every week comes round to all series.

    Raises:
        ConfigError: there is no backup at this place.
        LakeError: the backup cannot be read, or what was restored is not what the backup says.
    """
    if not backup.storage.exists:
        raise ConfigError(f"there is no backup at {backup.storage.root}", fix="make one: `gb backup`")
    folder = store.storage.state / _FOLDER
    # One that was killed has left what it had.
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        room = shutil.disk_usage(folder).free // 2
        restored = LakeStore.at(folder / "data", state=folder / "state", clock=store.clock)
        copy = plan_copy(backup, restored, restore=True)
        series = _list_series(backup)
        sample = _choose(copy, series, min(most_bytes, room), seed)
        report = (copy if sample is None else _only(copy, sample)).run()
        reports = _verify(LakeStore.at(folder / "data", state=folder / "state", clock=store.clock), sample)
        found = [*report.damaged, *(f"{one.table}: {one.problem}" for each in reports for one in each.damages)]
        chosen = series.height if sample is None else sum(map(len, sample.values()))
        return RestoreRecord(
            at=store.clock(),
            place=str(backup.storage.root),
            newest=from_microseconds(max((snapshot.clock for snapshot in copy.snapshots), default=0)),
            series=chosen,
            of_series=series.height,
            files=report.files,
            bytes=report.bytes,
            sessions=sum(each.sessions for each in reports),
            fingerprint=report.fingerprint,
            problems=len(found),
            damages=tuple(found[:_LISTED]),
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def record_restore(storage: Storage, record: RestoreRecord) -> None:
    """Remember a test beside the lake; a place that cannot be written keeps what it had."""
    content = asdict(record) | {"at": record.at.isoformat(), "newest": record.newest.isoformat()}
    write_result(storage, RESTORE_RECORD, content)


def read_restore(storage: Storage) -> RestoreRecord | None:
    """The last test; None where there was none.

    Raises:
        LakeError: the record cannot be read.
    """
    return read_result(
        storage,
        RESTORE_RECORD,
        _parse,
        what="the last test of a backup",
        fix="materialise `restore_test`, which writes a new one",
    )


def _parse(content: dict[str, Any]) -> RestoreRecord:
    moments = {name: datetime.fromisoformat(content[name]) for name in ("at", "newest")}
    return RestoreRecord(**{**content, **moments, "damages": tuple(content["damages"])})


def _list_series(backup: LakeStore) -> pl.DataFrame:
    return ledger.current(backup.tables).select("source", "symbol").unique().sort("source", "symbol")


def _choose(copy: Copy, series: pl.DataFrame, most_bytes: int, seed: str) -> Series | None:
    """Series by chance whose files are no larger than a limit, one at least; None where all of them are."""
    sizes = pl.concat(
        [pl.Series([0]), *(item.files["size"] for item in copy.snapshots if _has_bars(item.dataset.name))]
    )
    if sizes.sum() <= most_bytes or series.is_empty():
        return None
    order = series.rows()
    random.Random(seed).shuffle(order)
    chosen: dict[str, list[str]] = {}
    room = most_bytes
    for source, symbol in order:
        room -= sum(size for item in copy.snapshots for _, size in _files_of(item, {source: [symbol]}))
        if room < 0 and chosen:
            break
        chosen.setdefault(source, []).append(symbol)
    return chosen


def _only(copy: Copy, sample: Series) -> Copy:
    """The same copy with the files of bars of some series only; the ledger and all small tables are whole."""
    kept = {place for item in copy.snapshots for place, _ in _files_of(item, sample)}
    plans = tuple(
        replace(plan, data=[item for item in plan.data if item[0] in kept]) if _has_bars(plan.table) else plan
        for plan in copy.plans
    )
    return replace(copy, plans=plans, beside=())


def _files_of(snapshot: Snapshot, sample: Series) -> list[tuple[str, int]]:
    if not _has_bars(snapshot.dataset.name):
        return []
    root = Storage.table_name(snapshot.dataset.name)
    files = [snapshot.select({"source": source}, holding={"symbol": list(codes)}) for source, codes in sample.items()]
    return [(f"{root}/{path}", size) for item in files for path, size in item.select("path", "size").iter_rows()]


def _has_bars(table: str) -> bool:
    return parse_bar_table(table) is not None


def _verify(restored: LakeStore, sample: Series | None) -> list[VerifyReport]:
    if sample is None:
        return [verify(restored)]
    return [verify(restored, source, list(codes)) for source, codes in sample.items()]
