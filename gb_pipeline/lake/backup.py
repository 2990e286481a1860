"""This module copies lakes: a backup, a restore and a destination that is kept equal are the same copy, looked at afterwards.

The ledger is copied at a version that was read first, so it never describes bars that the copy lacks; what it has not taken over
stands in the log of the bars. Locks, limits and the catalog stay behind: a machine has its own, and a catalog is made again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gb_pipeline.errors import LakeError
from gb_pipeline.lake import ledger
from gb_pipeline.lake.datasets import SESSIONS
from gb_pipeline.lake.fingerprints import combine_series, combine_sessions, recorded_sessions
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.storage import copying
from gb_pipeline.storage.address import COPY_MARK
from gb_pipeline.storage.copying import CopyRefused, OnFile, Plan
from gb_pipeline.storage.snapshot import Snapshot
from gb_pipeline.storage.table import Tables

# Beside the tables: kept responses, universes, pins.
_BESIDE = ("raw", "universe", "pins")


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
        fingerprint: of everything that the copy holds, compared with that of the source; empty for a dry run.
    """

    plans: tuple[Plan, ...]
    beside: tuple[tuple[str, int], ...]
    removed: tuple[tuple[str, int], ...]
    fingerprint: str

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
    """

    source: LakeStore
    destination: LakeStore
    snapshots: tuple[Snapshot, ...]
    plans: tuple[Plan, ...]
    beside: tuple[tuple[str, int], ...]
    surplus: tuple[tuple[str, int], ...]

    @property
    def files(self) -> int:
        """How many files have to be copied."""
        return _count_files(self.plans, self.beside)

    def run(self, *, remove: bool = False, mark: bool = True, on_file: OnFile = _ignore) -> CopyReport:
        """Copy, and compare what both places say of every session.

        Args:
            remove: also remove what the source does not have any more.
            mark: keep others from writing to the copy, which could not be continued then.

        Raises:
            LakeError: a file cannot be read or written, or is damaged, or the copy is not what was copied.
        """
        try:
            if mark:
                # It names no place: either lake may be moved.
                self.destination.storage.files.put(COPY_MARK, b"{}\n")
            self._copy(on_file)
            fingerprint = self._compare()
            removed = self.surplus if remove else ()
            copying.remove_surplus(removed, self.destination.storage, on_file)
        except OSError as error:
            raise LakeError(
                f"the copy was cut off: {error.strerror or error}",
                fix="run it again: what was copied stays, and the rest follows",
            ) from error
        return CopyReport(self.plans, self.beside, removed, fingerprint)

    def _copy(self, on_file: OnFile) -> None:
        source, destination = self.source.storage, self.destination.storage
        copying.copy_names(self.beside, source, destination, on_file)
        for plan in self.plans:
            copying.copy_data(plan, source, destination, on_file)
        # Of the ledger last: what it has taken over is no longer looked for in the logs of the bars.
        for plan in sorted(self.plans, key=lambda plan: plan.table == SESSIONS.name):
            copying.copy_log(plan, source, destination, on_file)

    def _compare(self) -> str:
        """The fingerprint of the copy.

        Raises:
            LakeError: it is not that of the source.
        """
        there = LakeStore(self.destination.storage, clock=self.destination.clock)
        for snapshot in self.snapshots:
            copied = there.tables.newest(snapshot.dataset.name)
            if (copied.version, copied.table_id) != (snapshot.version, snapshot.table_id):
                raise LakeError(
                    f"table {snapshot.dataset.name} of the copy is at version {copied.version}, not {snapshot.version}",
                    fix="somebody else wrote to the destination: copy to a place of its own",
                )
        wanted = _fingerprint(self.source.tables.view(*self.snapshots))
        found = _fingerprint(there.tables.view())
        if wanted != found:
            raise LakeError(
                "the copy says something else of some sessions", fix="run `gb verify` on both, then copy again"
            )
        return found


def plan_copy(source: LakeStore, destination: LakeStore) -> Copy:
    """Look at two lakes; nothing is written.

    Args:
        source: what is copied.
        destination: an empty place, or one that this lake, or an earlier state of it, was copied to.

    Raises:
        CopyRefused: the destination holds another lake, or is ahead.
        LakeError: what one of them holds is not known.
    """
    if str(source.storage.root) == str(destination.storage.root):
        raise CopyRefused(f"{source.storage.root} cannot be copied onto itself", fix="name another place")
    source.storage.refuse_other_format()
    destination.storage.refuse_other_format()
    # The ledger first: tables that are looked at later may only know more.
    view = source.tables.view()
    view.newest(SESSIONS.name)
    snapshots = tuple(view.newest(item.dataset.name) for item in source.tables.existing())
    needed = ledger.find_needed(view)
    _refuse_strangers(destination, snapshots)
    plans = tuple(
        copying.plan_table(
            source.tables[snapshot.dataset.name],
            snapshot,
            destination.storage,
            sorted(needed.files.get(snapshot.dataset.name, frozenset())),
        )
        for snapshot in snapshots
    )
    beside, surplus = _beside(source, destination)
    for plan in plans:
        surplus += plan.surplus
    return Copy(source, destination, snapshots, plans, tuple(beside), tuple(surplus))


def _refuse_strangers(destination: LakeStore, snapshots: tuple[Snapshot, ...]) -> None:
    known = {snapshot.dataset.name: snapshot.table_id for snapshot in snapshots}
    for found in destination.tables.existing(damaged=[]):
        name = found.dataset.name
        if name not in known:
            raise CopyRefused(
                f"the destination has a table {name}, which this lake has not",
                fix="it holds another lake, or a newer state of this one: name an empty place, or copy from there",
            )
        if found.table_id != known[name]:
            raise CopyRefused(
                f"the destination holds another table {name}",
                fix="name an empty place, or the one that this lake was copied to before",
            )


def _beside(source: LakeStore, destination: LakeStore) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """Files of no table: those that differ or are missing at the destination, and those that only it has."""
    missing, surplus = list[tuple[str, int]](), list[tuple[str, int]]()
    for folder in _BESIDE:
        here = {name: size for name, size, _ in source.storage.files.list(folder)}
        there = {name: size for name, size, _ in destination.storage.files.list(folder)}
        for name, size in here.items():
            # Those of one size may differ, but for responses, which are named by what they hold.
            same = there.get(name) == size and (
                folder == "raw" or source.storage.files.read(name) == destination.storage.files.read(name)
            )
            missing += [] if same else [(name, size)]
        surplus += [(name, size) for name, size in there.items() if name not in here]
    return missing, surplus


def _fingerprint(tables: Tables) -> str:
    return combine_series(combine_sessions(recorded_sessions(tables)))
