"""This module copies lakes: a backup, a restore and a destination that is kept equal are the same copy, looked at afterwards.

The ledger is copied at a version that was read first, so it never describes bars that the copy lacks; what it has not taken over
stands in the log of the bars. Locks, limits and the catalog stay behind: a machine has its own, and a catalog is made again.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from gb_pipeline.errors import LakeError
from gb_pipeline.lake import copy_places, ledger
from gb_pipeline.lake.datasets import SESSIONS
from gb_pipeline.lake.fingerprints import combine_series, combine_sessions, recorded_sessions
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.lake.stream_fingerprints import combine_streams, describe_streams
from gb_pipeline.storage import copying
from gb_pipeline.storage.address import COPY_MARK, Storage
from gb_pipeline.storage.copying import CopyRefused, OnFile, Plan
from gb_pipeline.storage.snapshot import Snapshot
from gb_pipeline.storage.table import Tables
from gb_pipeline.storage.vacuum import Needed


def _count_files(plans: Sequence[Plan], beside: Sequence[tuple[str, int]]) -> int:
    return sum(len(plan.data) + len(plan.log) for plan in plans) + len(beside)


def _ignore(_name: str, _size: int) -> None:
    """Nobody wants to know which file was copied."""


@dataclass(frozen=True)
class CopyReport:
    """What was copied, or would be.

    Attributes:
        plans: by table, what had to be done.
        beside: files of no table that had to be copied.
        removed: files that were removed at the destination, of tables and beside them.
        fingerprint: of all bars that the copy holds, compared with that of the source; empty for a dry run, and where
            something is damaged.
        streams: the same of trades, quotes, books and their evidence, see `lake.stream_fingerprints`.
        damaged: data files that a restore found damaged, and brought along as they are, or missing.
    """

    plans: tuple[Plan, ...]
    beside: tuple[tuple[str, int], ...]
    removed: tuple[tuple[str, int], ...]
    fingerprint: str
    damaged: tuple[str, ...] = ()
    streams: str = ""

    @property
    def files(self) -> int:
        """How many files."""
        return _count_files(self.plans, self.beside)

    @property
    def bytes(self) -> int:
        """Of these files."""
        return sum(plan.bytes for plan in self.plans) + sum(size for _, size in self.beside)


@dataclass(frozen=True)
class Copy:
    """A copy that was planned and not begun.

    Attributes:
        plans, beside: what is copied.
        surplus: what the destination has besides.
        restore: whether a lake is made that others write to, of what can be read of a copy.
        claim: what the mark of the destination says while nobody else copies there; None where there is no mark.
    """

    source: LakeStore
    destination: LakeStore
    snapshots: tuple[Snapshot, ...]
    plans: tuple[Plan, ...]
    beside: tuple[tuple[str, int], ...]
    surplus: tuple[tuple[str, int], ...]
    restore: bool
    claim: bytes | None

    @property
    def files(self) -> int:
        """How many files have to be copied."""
        return _count_files(self.plans, self.beside)

    def run(self, *, remove: bool = False, on_file: OnFile = _ignore) -> CopyReport:
        """Copy, and compare what both places say of every session.

        Args:
            remove: also remove what the source does not have any more.

        Raises:
            LakeError: a file cannot be read or written, or is damaged (which does not stop a restore), or the copy is not what
                was copied.
        """
        with _explained(self.destination):
            if self.restore:
                copy_places.begin_restore(self.destination)
            damaged = self._copy(on_file)
            # What is damaged may be of the ledger; a repair compares everything.
            fingerprint, streams = ("", "") if damaged else self._compare()
            removed = self.surplus if remove else ()
            for item in removed:
                self._refuse_overtaken()
                copying.remove_surplus([item], self.destination.storage, on_file)
            if self.restore:
                copy_places.end_restore(self.destination)
        return CopyReport(self.plans, self.beside, removed, fingerprint, damaged, streams)

    def _copy(self, on_file: OnFile) -> tuple[str, ...]:
        source, destination = self.source.storage, self.destination.storage
        copying.copy_names(self.beside, source, destination, on_file)
        damaged: list[str] = []
        for plan in self.plans:
            damaged += copying.copy_data(plan, source, destination, on_file, keep_damaged=self.restore)
        # Of the ledger last: what it has taken over is no longer looked for in the logs of the bars.
        for plan in sorted(self.plans, key=lambda plan: plan.table == SESSIONS.name):
            self._refuse_overtaken()
            copying.copy_log(plan, source, destination, on_file, at_once=not self.restore)
        return tuple(damaged)

    def _refuse_overtaken(self) -> None:
        """Raise CopyRefused where another copy to this place has begun: what this one would do was decided before."""
        if self.claim is not None and self.destination.storage.files.read(COPY_MARK) != self.claim:
            raise CopyRefused(
                f"another copy to {self.destination.storage.root} has begun, so this one ends",
                fix="run it again when the other one is done: what was copied stays",
            )

    def _compare(self) -> tuple[str, str]:
        """The fingerprints of the copy's bars and streams.

        Raises:
            LakeError: they are not those of the source.
        """
        there = LakeStore(self.destination.storage, clock=self.destination.clock)
        for snapshot in self.snapshots:
            copied = there.tables.newest(snapshot.dataset.name)
            if (copied.version, copied.table_id) != (snapshot.version, snapshot.table_id):
                self._refuse_overtaken()
                raise LakeError(
                    f"table {snapshot.dataset.name} of the copy is at version {copied.version}, not {snapshot.version}",
                    fix="somebody else wrote to the destination: copy to a place of its own",
                )
        ours, theirs = self.source.tables.view(*self.snapshots), there.tables.view()
        wanted, found = _fingerprint(ours), _fingerprint(theirs)
        if wanted != found:
            self._refuse_overtaken()
            raise LakeError(
                "the copy says something else of some sessions", fix="run `gb verify` on both, then copy again"
            )
        streams, copied_streams = describe_streams(ours), describe_streams(theirs)
        if not streams.equals(copied_streams):
            self._refuse_overtaken()
            (first, *_) = streams.join(copied_streams, on=streams.columns, how="anti", nulls_equal=True).rows() or [
                ("",)
            ]
            raise LakeError(
                f"the copy holds something else of {' '.join(map(str, first[:-1]))}".rstrip(),
                fix="run `gb verify` on both, then copy again",
            )
        return found, combine_streams(copied_streams)


def plan_copy(
    source: LakeStore,
    destination: LakeStore,
    *,
    restore: bool = False,
    every_byte: bool = False,
    dry_run: bool = False,
) -> Copy:
    """Look at two lakes.

    Args:
        source: what is copied.
        destination: an empty place, or one that this lake, or an earlier state of it, was copied to.
        restore: to a place that is written by others afterwards, or was before, instead of one that only copies write to.
        every_byte: read all that the destination has, to copy again what is damaged there.
        dry_run: leave no mark at the destination, which ends other copies to it; what is planned is not run then.

    Raises:
        CopyRefused: the destination holds something else, another lake, or is ahead.
        LakeError: what one of them holds is not known.
    """
    try:
        return _plan(source, destination, restore=restore, every_byte=every_byte, dry_run=dry_run)
    except OSError as error:
        raise LakeError(
            f"one of both places cannot be looked at: {error.strerror or error}"
            + (f" ({error.filename})" if error.filename else ""),
            fix="check permissions, the disk and the network, then run it again",
        ) from error


def _plan(source: LakeStore, destination: LakeStore, *, restore: bool, every_byte: bool, dry_run: bool) -> Copy:
    copy_places.refuse_overlap(source, destination)
    source.storage.refuse_other_format()
    destination.storage.refuse_other_format()
    if not restore:
        copy_places.refuse_foreign(destination)
    claim = None
    if not restore and not dry_run:
        claim = copy_places.claim(destination)
    # The ledger first: tables that are looked at later may only know more.
    view = source.tables.view()
    view.newest(SESSIONS.name)
    snapshots = tuple(view.newest(item.dataset.name) for item in source.tables.existing())
    needed = ledger.find_needed(view)
    copy_places.refuse_strangers(destination, snapshots)
    plans = tuple(
        copying.plan_table(
            source.tables[snapshot.dataset.name],
            snapshot,
            destination.storage,
            sorted(needed.files.get(snapshot.dataset.name, frozenset())),
            every_byte=every_byte,
        )
        for snapshot in snapshots
    )
    if not all(plan.is_proved for plan in plans):
        copy_places.refuse_diverged(view, destination)
    beside, surplus = _beside(source, destination, every_byte=every_byte)
    if all(snapshot.dataset.name != SESSIONS.name for snapshot in snapshots):
        beside += _pending_files(source, destination, needed)
    for plan in plans:
        surplus += plan.surplus
    return Copy(source, destination, snapshots, plans, tuple(beside), tuple(surplus), restore, claim)


@contextmanager
def _explained(destination: LakeStore) -> Iterator[None]:
    """Say of what goes wrong with a place that it cut the copy off, and what to do."""
    place = destination.storage.root
    try:
        yield
    except OSError as error:
        fix = "run it again: what was copied stays, and the rest follows"
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            fix = f"make room at {place}, then {fix}"
        raise LakeError(f"the copy to {place} was cut off: {error.strerror or error}", fix=fix) from error


def _beside(
    source: LakeStore, destination: LakeStore, *, every_byte: bool
) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """Files of no table: those that differ or are missing at the destination, and those that only it has."""
    missing, surplus = list[tuple[str, int]](), list[tuple[str, int]]()
    for folder in copy_places.BESIDE:
        here = {name: size for name, size, _ in source.storage.files.list(folder)}
        there = {name: size for name, size, _ in destination.storage.files.list(folder)}
        for name, size in here.items():
            # Those of one size may differ, but for responses and artifacts, which are named by what they hold.
            same = there.get(name) == size and (
                (folder in {"raw", "artifacts"} and not every_byte)
                or source.storage.files.read(name) == destination.storage.files.read(name)
            )
            missing += [] if same else [(name, size)]
        surplus += [(name, size) for name, size in there.items() if name not in here]
    return missing, surplus


def _pending_files(source: LakeStore, destination: LakeStore, needed: Needed) -> list[tuple[str, int]]:
    """Files of a ledger that has no table yet: only entries of bars name them, since a first write of years of sessions."""
    root = Storage.table_name(SESSIONS.name)
    here = {name: size for name, size, _ in source.storage.files.list(root)}
    there = {name: size for name, size, _ in destination.storage.files.list(root)}
    names = sorted(f"{root}/{path}" for path in needed.files.get(SESSIONS.name, frozenset()))
    return [(name, here.get(name, 0)) for name in names if name not in here or there.get(name) != here[name]]


def _fingerprint(tables: Tables) -> str:
    return combine_series(combine_sessions(recorded_sessions(tables)))
