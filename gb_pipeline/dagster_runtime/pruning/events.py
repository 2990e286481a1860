"""This module removes old events from the tables of an event log, a few hundred in one transaction: others write beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import sqlalchemy as sa

from gb_pipeline.dagster_runtime.private import CHECKS, EVENT_TAGS, EVENTS, SqlEventLogStorage

_AT_ONCE = 500
_COMPLETED = ("SUCCEEDED", "FAILED")


def list_assets(log: SqlEventLogStorage) -> list[dg.AssetKey]:
    """Every asset that the log has an event of, wiped ones included."""
    with log.index_connection() as connection:
        texts = connection.execute(sa.select(EVENTS.c.asset_key).distinct().where(EVENTS.c.asset_key.is_not(None)))
        keys = [dg.AssetKey.from_db_string(text) for text in texts.scalars()]
    return [key for key in keys if key is not None]


def prune_events(
    log: SqlEventLogStorage, keys: Sequence[dg.AssetKey], protected: set[str], before: datetime, *, dry_run: bool
) -> int:
    """Remove events that are older than a moment, but for those of protected runs and the latest of each kind, asset and partition.

    The newest event of all stays too: SQLite would give its number away again, and who remembers numbers would miss an event.

    Returns:
        How many.
    """
    with log.index_connection() as connection:
        newest = connection.execute(sa.select(sa.func.max(EVENTS.c.id))).scalar() or 0
    old = sa.and_(EVENTS.c.timestamp < _utc(before), EVENTS.c.id < newest)
    removed = 0
    for condition in (EVENTS.c.asset_key.is_(None), *map(_superseded, keys)):
        with log.index_connection() as connection:
            found = connection.execute(sa.select(EVENTS.c.id, EVENTS.c.run_id).where(old, condition)).all()
        numbers = [number for number, run_id in found if run_id not in protected]
        removed += len(numbers)
        if not dry_run:
            _delete_events(log, numbers)
    return removed


def prune_checks(log: SqlEventLogStorage, protected: set[str], before: datetime, *, dry_run: bool) -> int:
    """Remove evaluations of checks that are older than a moment, but for the latest of each check and partition, and the latest
    that came to an end.

    Returns:
        How many.
    """
    of = (CHECKS.c.asset_key, CHECKS.c.check_name, CHECKS.c.partition)
    latest = sa.select(sa.func.max(CHECKS.c.id)).group_by(*of)
    completed = latest.where(CHECKS.c.execution_status.in_(_COMPLETED))
    with log.index_connection() as connection:
        old = CHECKS.c.evaluation_event_timestamp < _utc(before)
        stay = CHECKS.c.id.in_(latest), CHECKS.c.id.in_(completed)
        found = connection.execute(sa.select(CHECKS.c.id, CHECKS.c.run_id).where(old, *(~one for one in stay))).all()
    numbers = [number for number, run_id in found if run_id not in protected]
    for some in [] if dry_run else _groups(numbers):
        with log.index_transaction() as connection:
            connection.execute(sa.delete(CHECKS).where(CHECKS.c.id.in_(some)))
    return len(numbers)


def delete_run_events(connection: Any, before: datetime) -> int:
    """Remove the events of a run's own file that are older than a moment, but for the newest."""
    newest = sa.select(sa.func.max(EVENTS.c.id)).scalar_subquery()
    old = sa.and_(EVENTS.c.timestamp < _utc(before), EVENTS.c.id < newest)
    number = connection.execute(sa.select(sa.func.count()).select_from(EVENTS).where(old)).scalar()
    connection.execute(sa.delete(EVENTS).where(old))
    return int(number)


def _superseded(key: dg.AssetKey) -> Any:
    """Events of an asset that are not the latest of their kind and partition."""
    latest = (
        sa.select(sa.func.max(EVENTS.c.id))
        .where(EVENTS.c.asset_key == key.to_string())
        .group_by(EVENTS.c.dagster_event_type, EVENTS.c.partition)
    )
    return sa.and_(EVENTS.c.asset_key == key.to_string(), EVENTS.c.id.not_in(latest))


def _delete_events(log: SqlEventLogStorage, numbers: Sequence[int]) -> None:
    for some in _groups(numbers):
        with log.index_transaction() as connection:
            connection.execute(sa.delete(EVENT_TAGS).where(EVENT_TAGS.c.event_id.in_(some)))
            connection.execute(sa.delete(EVENTS).where(EVENTS.c.id.in_(some)))


def _groups(numbers: Sequence[int]) -> Iterator[Sequence[int]]:
    for begin in range(0, len(numbers), _AT_ONCE):
        yield numbers[begin : begin + _AT_ONCE]


def _utc(moment: datetime) -> datetime:
    """As the tables have it: universal time without a zone."""
    return moment.astimezone(UTC).replace(tzinfo=None)
