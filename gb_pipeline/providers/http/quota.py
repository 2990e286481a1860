"""This module counts how many requests of a vendor's day are used, by all processes on this machine.

The pace of requests within a day is kept by `rate_limit`; what becomes of a deferred job is decided by `ingest`.

The count is taken before a request is sent, in one transaction: a process that dies in between has used a request that the
vendor never saw, and none is ever sent that was not counted. What found no connection is given back: a day without a network
costs nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import TypeVar
from zoneinfo import ZoneInfo

from gb_pipeline.config.private_files import private_file
from gb_pipeline.config.settings import DailyQuota
from gb_pipeline.errors import ConfigError, QuotaExhausted
from gb_pipeline.providers.http.rate_limit import state_file

T = TypeVar("T")

_TABLE = (
    "create table if not exists days (day text primary key, used integer not null, spent integer not null default 0)"
)
# Others hold the file for a millisecond each.
_PATIENCE_SECONDS = 30.0
_KEPT_DAYS = 30


class QuotaBook:
    """The count of one vendor key.

    Args:
        key: whose quota it is.
        quota: requests of a day, and the zone in which the day begins at midnight.
        state_dir: folder that all processes on this machine share; the count holds in this object only where it is None.

    Example:
        >>> book = QuotaBook("example", DailyQuota(calls=25, zone="America/New_York"), None)
        >>> book.take()
        >>> book.left()
        24
    """

    def __init__(self, key: str, quota: DailyQuota, state_dir: Path | None) -> None:
        """Nothing is opened before the first count."""
        self.quota = quota
        self._key = key
        self._file = None if state_dir is None else state_file(state_dir, key, "quota.sqlite")
        self._own: dict[str, tuple[int, int]] = {}
        self._over: date | None = None

    def take(self, now: datetime | None = None) -> None:
        """Count one request that is about to be sent.

        Raises:
            QuotaExhausted: the day's are used up; nothing was counted.
            ConfigError: the shared file cannot be used.
        """
        moment = now or datetime.now(UTC)
        if not self._count_one(self.day(moment).isoformat()):
            raise self._exhausted(moment)

    def give_back(self, now: datetime | None = None) -> None:
        """One request that was counted was never sent.

        Raises:
            ConfigError: the shared file cannot be used.
        """
        day = self.day(now or datetime.now(UTC)).isoformat()
        self._over = None
        if self._file is None:
            used, spent = self._own.get(day, (0, 0))
            self._own[day] = (max(0, used - 1), spent)
            return
        self._with_file(lambda db: db.execute("update days set used = used - 1 where day = ? and used > 0", (day,)))

    def check(self, now: datetime | None = None) -> None:
        """Count nothing.

        Raises:
            QuotaExhausted: the day's are used up.
            ConfigError: the shared file cannot be used.
        """
        moment = now or datetime.now(UTC)
        # A long backfill asks thousands of times; a day becomes less used by `give_back` only.
        if self._over == self.day(moment) or self.left(moment) == 0:
            self._over = self.day(moment)
            raise self._exhausted(moment)

    def left(self, now: datetime | None = None) -> int:
        """Requests that can still be sent in the vendor's day.

        Raises:
            ConfigError: the shared file cannot be used.
        """
        used, spent = self._row(self.day(now or datetime.now(UTC)).isoformat())
        return 0 if spent else max(0, self.quota.calls - used)

    def spend(self, now: datetime | None = None) -> QuotaExhausted:
        """The vendor itself says that the day's requests are used up: remember it for everybody, until the day is over.

        Returns:
            The error to raise.

        Raises:
            ConfigError: the shared file cannot be used.
        """
        moment = now or datetime.now(UTC)
        day = self.day(moment).isoformat()
        used, _ = self._row(day)
        self._mark(day)
        return self._error(
            moment, f"the vendor refuses more calls today; {used} of {self.quota.calls} calls counted here"
        )

    def day(self, now: datetime) -> date:
        """The vendor's day."""
        return now.astimezone(ZoneInfo(self.quota.zone)).date()

    def until(self, now: datetime) -> datetime:
        """When the vendor's next day begins, in UTC."""
        midnight = datetime.combine(self.day(now) + timedelta(days=1), time(), ZoneInfo(self.quota.zone))
        return midnight.astimezone(UTC)

    def _exhausted(self, now: datetime) -> QuotaExhausted:
        used, spent = self._row(self.day(now).isoformat())
        if spent and used < self.quota.calls:
            return self._error(now, f"the vendor refused more calls today; {used} of {self.quota.calls} counted here")
        return self._error(now, f"{self.quota.calls} of {self.quota.calls} calls used")

    def _error(self, now: datetime, what: str) -> QuotaExhausted:
        until = self.until(now)
        return QuotaExhausted(
            f"{what} ({self._key}, the day of {self.quota.zone})",
            until=until,
            retry_after=(until - now).total_seconds(),
            fix=f"it goes on after {until:%Y-%m-%d %H:%M}Z; with a larger plan, raise `daily_quota` of the source",
        )

    # --- where it is kept ----------------------------------------------------------------------------------------------

    def _row(self, day: str) -> tuple[int, int]:
        if self._file is None:
            return self._own.get(day, (0, 0))

        def read(db: sqlite3.Connection) -> tuple[int, int]:
            row = db.execute("select used, spent from days where day = ?", (day,)).fetchone()
            return (0, 0) if row is None else (int(row[0]), int(row[1]))

        return self._with_file(read)

    def _count_one(self, day: str) -> bool:
        if self._file is None:
            used, spent = self._own.get(day, (0, 0))
            if spent or used >= self.quota.calls:
                return False
            self._own = {day: (used + 1, 0)}
            return True

        def count(db: sqlite3.Connection) -> bool:
            # The lock comes first: two who read the same count would both send.
            db.execute("begin immediate")
            db.execute("insert or ignore into days (day, used) values (?, 0)", (day,))
            taken = db.execute(
                "update days set used = used + 1 where day = ? and spent = 0 and used < ?", (day, self.quota.calls)
            ).rowcount
            db.execute("delete from days where day < ?", (str(date.fromisoformat(day) - timedelta(days=_KEPT_DAYS)),))
            db.execute("commit")
            return taken == 1

        return self._with_file(count)

    def _mark(self, day: str) -> None:
        if self._file is None:
            self._own[day] = (self._own.get(day, (0, 0))[0], 1)
            return

        def mark(db: sqlite3.Connection) -> None:
            db.execute("insert into days values (?, 0, 1) on conflict (day) do update set spent = 1", (day,))

        self._with_file(mark)

    def _with_file(self, work: Callable[[sqlite3.Connection], T]) -> T:
        assert self._file is not None, "only asked where there is one"
        try:
            private_file(self._file)
            with closing(sqlite3.connect(self._file, timeout=_PATIENCE_SECONDS, isolation_level=None)) as db:
                db.execute(_TABLE)
                return work(db)
        except (sqlite3.Error, OSError) as error:
            raise ConfigError(
                f"the calls of {self._key} cannot be counted in {self._file}: {error}",
                fix="delete that file if it is broken; today's calls are counted from nothing then",
            ) from None
