"""This module verifies a lake: every log, every file and every row of every table, and bars against the ledger of sessions.

It changes nothing. Damage is described in `damages`, and bytes are read in `storage.scrub`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta

import polars as pl

from gb_pipeline.errors import LakeError
from gb_pipeline.lake import ledger, ledger_notes
from gb_pipeline.lake.damages import Damage, describe_broken_file, find_row_damages
from gb_pipeline.lake.datasets import RUNS, SESSIONS
from gb_pipeline.lake.result_rows import ARTIFACTS, PARTS, damaged_artifacts, find_orphans
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.storage import scrub
from gb_pipeline.storage.losses import read_losses
from gb_pipeline.storage.snapshot import Snapshot, index_files
from gb_pipeline.storage.table import Table

_DAY = timedelta(days=1)


@dataclass(frozen=True)
class VerifyReport:
    """What a verification looked at and found.

    Attributes:
        tables, files, bytes, sessions: how much was looked at; sessions are those of bars that were compared with the ledger.
        damages: in the order of tables.
        lost: versions that an earlier repair could not keep, as sentences; they are no damage any more, and stay lost.
        left_over: rows that no run of a backtest names, by table: of saves and purges that were cut off; `gb results sweep` removes
            them.
    """

    tables: int
    files: int
    bytes: int
    sessions: int
    damages: tuple[Damage, ...]
    lost: tuple[str, ...] = ()
    left_over: Mapping[str, int] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether everything is as it was written."""
        return not self.damages


def verify(store: LakeStore, source: str | None = None, symbols: str | Sequence[str] | None = None) -> VerifyReport:
    """Recompute every checksum and every fingerprint.

    Args:
        store: the lake; what killed writers left in the ledger is finished first.
        source, symbols: only files that may hold these series of one source; everything by default.

    Returns:
        What was looked at, and every damage. Nothing is changed.

    Example:
        >>> verify(LakeStore.at("data"), "binance", "BTC-USDT").ok
        True
    """
    codes = [symbols] if isinstance(symbols, str) else symbols
    damages: list[Damage] = []
    lost: list[str] = []
    counts = {"tables": 0, "files": 0, "bytes": 0, "sessions": 0}
    sound: list[tuple[Table, Snapshot, pl.DataFrame]] = []
    for dataset in store.tables.datasets:
        table = store.tables[dataset.name]
        problems = list(scrub.find_log_problems(table))
        damages += [Damage(dataset.name, problem) for problem in problems]
        try:
            snapshot = table.newest()
        except LakeError:
            continue
        if snapshot.version < 0 and not (dataset.name == SESSIONS.name and _waiting(store).height):
            continue
        try:
            lost += [f"{dataset.name}: {loss}" for loss in read_losses(table)]
        except LakeError as error:
            damages.append(Damage(dataset.name, error.what))
        files = _files(snapshot, source, codes)
        if dataset.name == SESSIONS.name:
            files = pl.concat([files, _waiting(store)])
        counts["tables"] += 1
        counts["files"] += files.height
        counts["bytes"] += int(files["size"].sum())
        broken = list(scrub.find_broken_files(table, snapshot, files))
        damages += [describe_broken_file(store, snapshot, broken_file) for broken_file in broken]
        broken_paths = [broken_file.row["path"] for broken_file in broken]
        sound.append((table, snapshot, files.filter(~pl.col("path").is_in(broken_paths))))
    if not any(damage.table == SESSIONS.name for damage in damages):
        with suppress(LakeError):
            # A lake that cannot be written can be verified as well.
            ledger.take_over_all(store.tables, clock=store.clock)
        for table, snapshot, files in sound:
            try:
                row_damages, sessions = find_row_damages(store, table, snapshot, files, source, codes)
            except LakeError as error:
                # The log of a table that is needed to compare them is damaged, which has been named.
                damages += [] if damages else [Damage(table.name, error.what)]
                continue
            # Rows of a damaged file are missing beside the ledger as well, and have been named.
            damages += (
                row_damages if not any(damage.table == table.name and damage.broken for damage in damages) else []
            )
            counts["sessions"] += sessions
    left_over = {} if source is not None else _verify_results(store, damages)
    return VerifyReport(**counts, damages=tuple(damages), lost=tuple(lost), left_over=left_over)


def _verify_results(store: LakeStore, damages: list[Damage]) -> dict[str, int]:
    """Add what is wrong with artifacts of runs, and count the rows that no run names; neither where their tables are damaged."""
    tables = {RUNS.name, *(dataset.name for dataset in PARTS)}
    if any(damage.table in tables for damage in damages):
        return {}
    damages += [
        Damage(ARTIFACTS, f"the artifact {name} of a run is damaged: {problem}", file=name)
        for name, problem in damaged_artifacts(store.tables)
    ]
    return {name: count for name, count in find_orphans(store.tables).items() if count}


def _waiting(store: LakeStore) -> pl.DataFrame:
    """Files of the ledger that wait to be taken over; none where a log is damaged, which is named as well."""
    try:
        return ledger_notes.pending_files(store.tables)
    except LakeError:
        return index_files(SESSIONS, [])


def _files(snapshot: Snapshot, source: str | None, codes: Sequence[str] | None) -> pl.DataFrame:
    names = snapshot.dataset.schema.names
    by_source = source is not None and "source" in snapshot.dataset.partitions
    indexed = "symbol" in snapshot.dataset.partitions or "symbol" in snapshot.dataset.indexed
    return snapshot.select(
        {"source": source} if by_source else None,
        holding={"symbol": codes} if codes is not None and indexed and "symbol" in names else None,
    )
