"""This module tells what became known of bars between two moments, so that who computed something of them computes only what moved.

Every version of a bar that became known in between is one change, beside the version that it replaced. Applied in their order to
what held at the first moment, the changes give what held at the second. Files are chosen by the moments of their versions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum

import polars as pl

from gb_pipeline.errors import ConfigError, LakeError
from gb_pipeline.lake import overrides, removals
from gb_pipeline.lake.datasets import bars_dataset
from gb_pipeline.lake.version_rows import BAR_KEY, NUMBERS, VERSIONS, WIDE, Between, VersionQuery, by_resolution
from gb_pipeline.market.moments import from_microseconds, instant_literal
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import CONTENT, Precision
from gb_pipeline.market.spelling import list_some
from gb_pipeline.storage import reading
from gb_pipeline.storage.dataset import KNOWN_AT, SUPERSEDED_AT
from gb_pipeline.storage.losses import lost_error, read_losses
from gb_pipeline.storage.snapshot import CLOCK, Snapshot
from gb_pipeline.storage.table import Tables


class ChangeKind(StrEnum):
    """What a change did to a bar."""

    ADDED = "added"
    """It was not stored before."""
    RESTATED = "restated"
    """It has another content."""
    WITHDRAWN = "withdrawn"
    """The vendor no longer returns it; its content stays."""
    RETURNED = "returned"
    """The vendor returns it again, as it was."""
    CORRECTED = "corrected"
    """An override gave it another content, or was taken back."""
    RELEASED = "released"
    """A refused row became this bar."""
    REMOVED = "removed"
    """It was removed on purpose, stands under another symbol since, or its release was taken back; it has no new content."""


CHANGES = pl.Schema(
    {
        **dict.fromkeys(("source", "symbol", "resolution"), pl.String()),
        "timestamp": WIDE["timestamp"],
        "kind": pl.String(),
        **{f"old_{name}": kind for name, kind in NUMBERS.items()},
        **{f"new_{name}": kind for name, kind in NUMBERS.items()},
        "known_at": WIDE["timestamp"],
    }
)
_PRECISE = pl.Schema({**VERSIONS, "precision": pl.String()})
_EVER = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
_ORDER = [KNOWN_AT, "source", "resolution", "symbol", "timestamp"]


def read_changes(
    tables: Tables,
    since: datetime,
    until: datetime | None = None,
    source: str | None = None,
    resolution: Resolution | None = None,
    symbols: Sequence[str] | None = None,
    between: Between | None = None,
) -> pl.DataFrame:
    """What became known after one moment, and up to another.

    Args:
        since, until: moments of becoming known, the first exclusive, the last inclusive; until now by default.
        between: half-open range of bar timestamps.

    Returns:
        Columns of `CHANGES`, in the order in which they became known, then by series and timestamp.

    Raises:
        LakeError: versions of these moments are lost for good.
    """
    tables = tables.view()
    changes = [pl.DataFrame(schema=CHANGES)]
    released: pl.DataFrame | None = None
    for kind, snapshots in by_resolution(tables, resolution):
        _refuse_lost(tables, snapshots, since, until, source, symbols, between or _EVER)
        query = VersionQuery(tables, kind, source, symbols, between)
        new = _read_moments(query, snapshots, KNOWN_AT, since, until)
        if new.height:
            changes.append(_pair(new, _replaced(query.near(new), snapshots, new, since, until)))
        if released is None:
            released = overrides.read(tables, source, symbols).filter(pl.col("row_id").is_not_null())
        if released.height or any(removals.happened(snapshot, since, until) for snapshot in snapshots.values()):
            changes.append(_removed(_read_moments(query, snapshots, SUPERSEDED_AT, since, until), new))
    return _name_corrections(tables, pl.concat(changes).sort(_ORDER), source, symbols)


def _removed(ended: pl.DataFrame, new: pl.DataFrame) -> pl.DataFrame:
    """Versions that ended without another one in their place, columns of `CHANGES`."""
    gone = ended.join(new, left_on=[*BAR_KEY, SUPERSEDED_AT], right_on=[*BAR_KEY, KNOWN_AT], how="anti")
    return (
        gone.select(
            *BAR_KEY,
            pl.lit(ChangeKind.REMOVED.value).alias("kind"),
            *(pl.col(name).alias(f"old_{name}") for name in CONTENT),
            *(pl.lit(None, kind).alias(f"new_{name}") for name, kind in NUMBERS.items()),
            pl.col(SUPERSEDED_AT).alias(KNOWN_AT),
        )
        .select(CHANGES.names())
        .cast(CHANGES)
    )


def _name_corrections(
    tables: Tables, changes: pl.DataFrame, source: str | None, symbols: Sequence[str] | None
) -> pl.DataFrame:
    """The changes, those that came of an override named so."""
    corrections = overrides.read(tables, source, symbols).select(
        *BAR_KEY, KNOWN_AT, pl.lit(True).alias("is_corrected"), pl.col("row_id").is_not_null().alias("is_release")
    )
    if corrections.is_empty() or changes.is_empty():
        return changes
    joined = changes.join(corrections, on=[*BAR_KEY, KNOWN_AT], how="left", maintain_order="left")
    # One that is deleted ends with its correction, and one that is renamed begins with it; so does one that was refused.
    is_new = pl.col("kind") == ChangeKind.ADDED.value
    is_corrected = pl.col("is_corrected") & ~is_new & (pl.col("kind") != ChangeKind.REMOVED.value)
    kind = (
        pl.when(is_corrected)
        .then(pl.lit(ChangeKind.CORRECTED.value))
        .when(is_new & pl.col("is_release"))
        .then(pl.lit(ChangeKind.RELEASED.value))
        .otherwise("kind")
    )
    return joined.with_columns(kind.alias("kind")).select(CHANGES.names())


def moment_of_version(tables: Tables, resolution: Resolution | None, version: int) -> datetime:
    """The newest moment at which bars of a resolution became known, up to a version of their table.

    Raises:
        ConfigError: no resolution, or one that is stored in two tables, each with versions of its own; or no such version.
        LakeError: its entry was vacuumed.
    """
    if resolution is None:
        raise ConfigError("versions are counted by table", fix="name a resolution, such as 1m, or a moment")
    names = [bars_dataset(resolution, precision).name for precision in Precision]
    there = [name for name in names if tables.newest(name).version >= 0]
    if len(there) != 1:
        problem = f"{resolution} bars are stored in {list_some(there)}" if there else f"no {resolution} bars are stored"
        raise ConfigError(f"{problem}: version {version} means no moment", fix="name a moment")
    table, newest = tables[there[0]], tables.newest(there[0]).version
    if not 0 <= version <= newest:
        raise ConfigError(
            f"table {table.name} has no version {version}", fix=f"name one from 0 to {newest}, or a moment"
        )
    # A rewrite of files makes a version at which nothing became known.
    for number in range(version, -1, -1):
        entry = table.entry(number)
        if entry is None:
            raise LakeError(
                f"entry {number} of table {table.name} was vacuumed, so the moment of version {version} is not known",
                fix="name a moment",
            )
        if CLOCK in entry.transactions:
            return from_microseconds(entry.transactions[CLOCK])
    raise LakeError(f"no entry of table {table.name} says when version {version} became known", fix="name a moment")


def _refuse_lost(
    tables: Tables,
    snapshots: Mapping[Precision, Snapshot],
    since: datetime,
    until: datetime | None,
    source: str | None,
    symbols: Sequence[str] | None,
    between: Between,
) -> None:
    """Raise where versions that held in between are lost: changes without them would not lead from one state to the other."""
    for snapshot in snapshots.values():
        for loss in read_losses(tables[snapshot.dataset.name]):
            moment = loss.first_moment_after(since)
            if (until is None or moment <= until) and loss.concerns(source, symbols or (), *between, moment):
                raise lost_error(loss, moment)


def _read_moments(
    query: VersionQuery, snapshots: Mapping[Precision, Snapshot], column: str, since: datetime, until: datetime | None
) -> pl.DataFrame:
    """Versions of which a moment lies in between, of files that may hold some."""
    inside = pl.col(column) > instant_literal(since)
    may_hold = pl.col(f"max.{column}") > since
    if until is not None:
        inside &= pl.col(column) <= instant_literal(until)
        may_hold &= pl.col(f"min.{column}") <= until
    parts = [
        query.read(snapshot, query.select(snapshot).filter(may_hold)).with_columns(
            pl.lit(precision.value).alias("precision")
        )
        for precision, snapshot in snapshots.items()
    ]
    return pl.concat([pl.DataFrame(schema=_PRECISE), *parts]).filter(inside)


def _replaced(
    query: VersionQuery,
    snapshots: Mapping[Precision, Snapshot],
    new: pl.DataFrame,
    since: datetime,
    until: datetime | None,
) -> pl.DataFrame:
    """Versions that ended in between, those among them that the first wide version of a bar hides."""
    ended = _read_moments(query, snapshots, SUPERSEDED_AT, since, until)
    standard, wide = snapshots.get(Precision.STANDARD), snapshots.get(Precision.WIDE)
    if standard is None or wide is None or wide.files.is_empty():
        return ended
    first_known = pl.col(KNOWN_AT).min().alias(SUPERSEDED_AT)
    without = new.join(ended, left_on=[*BAR_KEY, KNOWN_AT], right_on=[*BAR_KEY, SUPERSEDED_AT], how="anti")
    begun = without.filter(pl.col("precision") == Precision.WIDE.value).group_by(BAR_KEY).agg(first_known)
    if begun.is_empty():
        return ended
    near = query.near(begun)
    hidden = near.read(standard, reading.current_files(standard, near.select(standard))).drop(SUPERSEDED_AT)
    named = hidden.join(begun, on=BAR_KEY).with_columns(pl.lit(Precision.STANDARD.value).alias("precision"))
    return pl.concat([ended, named.select(_PRECISE.names())])


def _pair(new: pl.DataFrame, replaced: pl.DataFrame) -> pl.DataFrame:
    """New versions beside those that they replaced, columns of `CHANGES`."""
    before = replaced.select(
        *BAR_KEY,
        pl.col(SUPERSEDED_AT).alias(KNOWN_AT),
        *(pl.col(name).alias(f"old_{name}") for name in CONTENT),
        pl.col("withdrawn").fill_null(False).alias("was withdrawn"),
    )
    pairs = new.join(before, on=[*BAR_KEY, KNOWN_AT], how="left", maintain_order="left")
    same = pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"old_{name}")) for name in CONTENT)
    kind = (
        pl.when(pl.col("was withdrawn").is_null())
        .then(pl.lit(ChangeKind.ADDED.value))
        .when(pl.col("withdrawn").fill_null(False) & ~pl.col("was withdrawn"))
        .then(pl.lit(ChangeKind.WITHDRAWN.value))
        .when(same)
        .then(pl.lit(ChangeKind.RETURNED.value))
        .otherwise(pl.lit(ChangeKind.RESTATED.value))
    )
    named = pairs.with_columns(kind.alias("kind"), *(pl.col(name).alias(f"new_{name}") for name in CONTENT))
    return named.select(CHANGES.names()).cast(CHANGES)
