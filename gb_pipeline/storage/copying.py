"""This module copies tables to another place, a folder or a bucket: only what is not there yet, and readable at every moment.

A table is copied at one version. Its data files go first, each compared with the checksums in its name, then the entries of the
log, the newest first: a reader follows the log entry by entry, so the last one that is copied makes all of them count at once. What
is there is a table at this version or at the one before, whoever ends the copy in between; the same again goes on there. Where
others may write, the entries are copied in their order, so that one of theirs is met before anything counts. Which tables belong
together is known to `gb_pipeline.lake.backup`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from gb_pipeline.errors import LakeError
from gb_pipeline.storage import parquet
from gb_pipeline.storage.address import Storage
from gb_pipeline.storage.fault_points import reach
from gb_pipeline.storage.files import Files
from gb_pipeline.storage.log import entry_name, folder, is_intact, pointer_name
from gb_pipeline.storage.snapshot import Snapshot
from gb_pipeline.storage.table import Table

# Files that are on their way at once; most of the time is spent waiting.
_AT_ONCE = 8
OnFile = Callable[[str, int], None]


class CopyRefused(LakeError):
    """What is at the destination is not an earlier state of what is copied."""


@dataclass
class Plan:
    """What a copy has to do.

    Attributes:
        table: its name.
        version: that is copied.
        data: data files that are not there yet, with their sizes.
        log: files of the log, in the order in which they become valid.
        surplus: files at the destination that the source does not have any more.
        replaced: files that the destination had; one that is copied all the same takes the place of what is there.
        is_proved: whether the newest entry of the destination was compared with the source's, or there is none.
    """

    table: str
    version: int
    data: list[tuple[str, int]] = field(default_factory=list)
    log: list[tuple[str, int]] = field(default_factory=list)
    surplus: list[tuple[str, int]] = field(default_factory=list)
    replaced: frozenset[str] = frozenset()
    is_proved: bool = True

    @property
    def bytes(self) -> int:
        """Of all files that are copied."""
        return sum(size for _, size in (*self.data, *self.log))


def plan_table(
    table: Table,
    snapshot: Snapshot,
    destination: Storage,
    named_elsewhere: Iterable[str],
    *,
    every_byte: bool = False,
) -> Plan:
    """Look at both places.

    Args:
        table: of the source.
        snapshot: the version of it that is copied.
        named_elsewhere: data files that entries of other tables name.
        every_byte: read what is there already, instead of comparing sizes only.

    Raises:
        CopyRefused: the destination holds another table of this name, or one that is ahead.
        DamagedLog: entries are missing.
    """
    name, source_files, target_files = table.name, table.files, destination.files
    root = Storage.table_name(name)
    there = {place: size for place, size, _ in target_files.list(root)}
    there |= {place: size for place, size, _ in target_files.list(f"log/{name}")}
    here = {place: size for place, size, _ in source_files.list(root)}
    here |= {place: size for place, size, _ in source_files.list(f"log/{name}")}
    replaced = frozenset(there)
    plan = Plan(name, snapshot.version, replaced=replaced)
    plan.is_proved, damaged = _refuse_another(table, snapshot.version, there, target_files)
    for place in damaged:
        del there[place]
    paths = [*snapshot.files["path"].to_list(), *named_elsewhere]
    needed = {f"{root}/{path}" for path in paths}
    sizes = dict(zip(snapshot.files["path"].to_list(), snapshot.files["size"].to_list(), strict=True))
    data = [(place := f"{root}/{path}", sizes.get(path, here.get(place, 0))) for path in dict.fromkeys(paths)]
    log = _log_files(table, snapshot.version, here)

    def is_there(item: tuple[str, int]) -> bool:
        place, size = item
        if there.get(place) != size:
            return False
        if not every_byte:
            return True
        if place.endswith(".parquet") and "/_delta_log/" not in place:
            return parquet.bytes_if_intact(target_files, place, size) is not None
        return _read(target_files, place) == _read(source_files, place)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        plan.data = [item for item, is_done in zip(data, pool.map(is_there, data), strict=True) if not is_done]
        entries = [(place, here[place]) for place in log]
        plan.log = [
            item
            for item, is_done in zip(entries, pool.map(is_there, entries), strict=True)
            if _is_mutable(item[0]) or not is_done
        ]
    kept = needed | set(log)
    plan.surplus = [(place, size) for place, size in there.items() if place not in kept]
    return plan


def copy_data(
    plan: Plan, source: Storage, destination: Storage, on_file: OnFile, *, keep_damaged: bool = False
) -> list[str]:
    """Copy the data files of a plan.

    Args:
        keep_damaged: copy a damaged file as it is, so that what can be read of it is not lost, and go on where one is missing.

    Returns:
        The damaged and missing files.

    Raises:
        LakeError: one cannot be read or written, or is damaged: it is not copied.
    """
    damaged: list[str] = []

    def copy(place: str, size: int) -> None:
        if not _copy_data_file(source.files, destination.files, place, size, keep_damaged=keep_damaged):
            damaged.append(place)

    _each(plan.data, copy, on_file)
    destination.files.flush([place for place, _ in plan.data if destination.files.size(place) is not None])
    reach("data_copied")
    return sorted(damaged)


def copy_log(plan: Plan, source: Storage, destination: Storage, on_file: OnFile, *, at_once: bool) -> None:
    """Copy the log of a plan, after its data.

    Args:
        at_once: nothing counts before the last entry is there; for a place to which nobody else writes.

    Raises:
        CopyRefused: somebody else made an entry meanwhile.
        LakeError: a file cannot be read or written.
    """
    destination.announce_table(plan.table)
    for place, size in _newest_first(plan) if at_once else plan.log:
        if _is_mutable(place) or place in plan.replaced:
            _copy_small(source.files, destination.files, place)
        elif not _copy_new(source.files, destination.files, place):
            raise CopyRefused(
                f"table {plan.table} was written at the destination while it was copied there",
                fix="let nobody write there, then run it again",
            )
        on_file(place, size)
        reach("entry_copied")


def _newest_first(plan: Plan) -> list[tuple[str, int]]:
    """The log of a plan: what no reader looks for yet, entries with their mirrors from the newest on, and what says of them."""
    numbered = [item for item in plan.log if _number(item[0]) is not None]
    checkpoints = [item for item in plan.log if item[0].endswith(".parquet")]
    rest = [item for item in plan.log if item not in {*numbered, *checkpoints}]
    # Sorting is stable: an entry stays before its mirror.
    return [*checkpoints, *sorted(numbered, key=lambda item: -(_number(item[0]) or 0)), *rest]


def copy_names(places: Sequence[tuple[str, int]], source: Storage, destination: Storage, on_file: OnFile) -> None:
    """Copy files that no table names, such as kept responses."""
    _each(places, lambda place, _: _copy_small(source.files, destination.files, place), on_file)


def remove_surplus(places: Iterable[tuple[str, int]], destination: Storage, on_file: OnFile) -> None:
    """Remove what the source does not have any more."""
    for place, size in places:
        destination.files.delete(place)
        on_file(place, size)


def _refuse_another(table: Table, version: int, there: dict[str, int], files: Files) -> tuple[bool, list[str]]:
    """Compare the newest intact entry of the destination with the source's.

    Returns:
        Whether that could be done, and later entries, which are damaged at the destination and have to be copied again.
    """
    log = folder(table.name)
    numbers = [_number(place) for place in there if place.startswith(f"{log}/") and place.endswith(".json")]
    newest = max((number for number in numbers if number is not None), default=None)
    if newest is None:
        return True, []
    is_proved, damaged = False, list[str]()
    for number in range(min(newest, version), -1, -1):
        common = entry_name(table.name, number)
        here, other = _read(table.files, common), _read(files, common)
        if here is None or other is None:
            break
        if here == other:
            is_proved = True
            break
        if newest > version or not is_intact(table.name, number, here) or is_intact(table.name, number, other):
            raise CopyRefused(
                f"the destination holds another table {table.name}: its entry {number} is not the one here",
                fix="name an empty place, or the one that this lake was copied to before",
            )
        damaged.append(common)
    if newest > version:
        raise CopyRefused(
            f"table {table.name} is at version {newest} at the destination, and at {version} here",
            fix="the destination is ahead: copy from there, or name an empty place",
        )
    return is_proved, damaged


def _log_files(table: Table, version: int, here: dict[str, int]) -> list[str]:
    """Files of the log up to a version, in the order in which they may become valid."""
    seal = table.checkpoints.seal()
    log, mirrors = folder(table.name), f"log/{table.name}"
    entries = sorted(
        (number, place)
        for place in here
        if place.startswith(f"{log}/") and place.endswith(".json") and (number := _number(place)) is not None
    )
    ordered: list[str] = []
    if seal is not None and seal.version <= version:
        checkpoint = f"{log}/{seal.version:020}.checkpoint.parquet"
        ordered += [checkpoint, *table.checkpoints.seal_names, pointer_name(table.name)]
    first = next((number for number, _ in entries), 0)
    if seal is not None and seal.version > version and first > 0:
        raise LakeError(
            f"table {table.name} went on to version {seal.version} while it was copied at {version}",
            fix="run it again: what was copied stays",
        )
    # As a writer leaves them: an entry, and then its mirror.
    for number, place in entries:
        if number <= version:
            ordered += [place, f"{mirrors}/{number:020}.json"]
    ordered.append(f"{mirrors}/lost.json")
    return [place for place in ordered if place in here]


def _is_mutable(place: str) -> bool:
    return place.endswith(("checkpoint.json", "_checkpoint.seal", "_last_checkpoint", "lost.json"))


def _number(place: str) -> int | None:
    name = place.rsplit("/", 1)[-1].removesuffix(".json")
    return int(name) if name.isdigit() else None


def _copy_data_file(source: Files, destination: Files, place: str, size: int, *, keep_damaged: bool) -> bool:
    """Whether it is intact."""
    data = parquet.bytes_if_intact(source, place, size)
    is_intact_file = data is not None
    if data is None:
        if not keep_damaged:
            raise LakeError(
                f"{place} is damaged or missing, so it was not copied", fix="run `gb verify --repair`, then copy again"
            )
        data = _read(source, place)
    # What is there is replaced as a whole: it was cut off, or is damaged.
    if data is not None and destination.size(place) is None:
        destination.write(place, data)
    elif data is not None:
        destination.put(place, data)
    return is_intact_file


def _read(files: Files, place: str) -> bytes | None:
    try:
        return files.read(place)
    except FileNotFoundError:
        return None


def _copy_small(source: Files, destination: Files, place: str) -> None:
    data = source.read(place)
    if _read(destination, place) != data:
        destination.put(place, data, private=place.startswith("raw/"))


def _copy_new(source: Files, destination: Files, place: str) -> bool:
    """Copy a file that was not there; whether what is there now is it."""
    data = source.read(place)
    return destination.put_if_absent(place, data) or _read(destination, place) == data


def _each(places: Sequence[tuple[str, int]], act: Callable[[str, int], None], on_file: OnFile) -> None:
    def one(item: tuple[str, int]) -> None:
        act(*item)
        on_file(*item)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        tasks = [pool.submit(one, item) for item in places]
        try:
            for task in tasks:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
