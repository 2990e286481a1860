"""A vendor's day: counted before anything is sent, by everybody, and over at the vendor's own midnight."""

from __future__ import annotations

import multiprocessing
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gb_pipeline.config.settings import DailyQuota
from gb_pipeline.errors import ConfigError, QuotaExhausted, RateLimited, TransientVendorError
from gb_pipeline.providers.http.client import HttpClient
from gb_pipeline.providers.http.policy import Policy
from gb_pipeline.providers.http.quota import QuotaBook
from gb_pipeline.providers.http.transport import Transport

NEW_YORK = DailyQuota(calls=3, zone="America/New_York")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize("shared", [True, False])
def test_the_call_after_the_last_is_refused_and_says_until_when(tmp_path: Path, shared: bool) -> None:
    book = QuotaBook("vendor", NEW_YORK, tmp_path if shared else None)
    now = at("2026-11-20T15:00")
    for left in (2, 1, 0):
        book.take(now)
        assert book.left(now) == left
    with pytest.raises(QuotaExhausted, match="3 of 3 calls used") as refused:
        book.take(now)
    assert refused.value.until == at("2026-11-21T05:00")
    assert refused.value.retry_after == 14 * 3600
    assert "2026-11-21 05:00Z" in refused.value.fix


@pytest.mark.parametrize(
    ("now", "until"),
    [
        # 23 and 25 hours: the clocks of New York change on these days.
        ("2026-03-08T05:00", "2026-03-09T04:00"),
        ("2026-11-01T04:00", "2026-11-02T05:00"),
        ("2026-11-02T04:59", "2026-11-02T05:00"),
        ("2026-12-31T23:00", "2027-01-01T05:00"),
    ],
)
def test_a_day_ends_at_the_vendors_own_midnight(now: str, until: str) -> None:
    assert QuotaBook("vendor", NEW_YORK, None).until(at(now)) == at(until)


@pytest.mark.parametrize("shared", [True, False])
async def test_what_finds_no_connection_costs_nothing(tmp_path: Path, shared: bool) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        policy = Policy(retries=2, shortest_wait=0.001, quota=NEW_YORK, state_dir=tmp_path if shared else None)
        transport = Transport("vendor", policy)
        client = HttpClient("vendor", transport, base_url=url)
        for _ in range(3):
            with pytest.raises(TransientVendorError, match="cannot be reached"):
                await transport.call(lambda: client.get("https://api.example.com/bars"))
        await client.aclose()
    assert transport.quota_left() == 3


@pytest.mark.parametrize("shared", [True, False])
def test_the_next_day_begins_anew(tmp_path: Path, shared: bool) -> None:
    book = QuotaBook("vendor", NEW_YORK, tmp_path if shared else None)
    book.spend(at("2026-11-20T15:00"))
    assert book.left(at("2026-11-21T04:59")) == 0
    assert book.left(at("2026-11-21T05:00")) == 3
    book.take(at("2026-11-21T05:00"))


@pytest.mark.parametrize("shared", [True, False])
def test_the_vendors_own_word_ends_the_day_for_everybody(tmp_path: Path, shared: bool) -> None:
    first = QuotaBook("vendor", NEW_YORK, tmp_path if shared else None)
    now = at("2026-11-20T15:00")
    first.take(now)
    assert "1 of 3 calls counted here" in first.spend(now).what
    other = QuotaBook("vendor", NEW_YORK, tmp_path) if shared else first
    assert other.left(now) == 0
    with pytest.raises(QuotaExhausted, match="the vendor refused more calls today; 1 of 3"):
        other.take(now)
    assert QuotaBook("another key", NEW_YORK, tmp_path).left(now) == 3


def _take_all(state_dir: str, calls: int) -> int:
    book = QuotaBook("vendor", DailyQuota(calls=calls), Path(state_dir))
    taken = 0
    while True:
        try:
            book.take(at("2026-11-20T15:00"))
        except QuotaExhausted:
            return taken
        taken += 1


def test_processes_together_take_exactly_the_quota(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        taken = pool.starmap(_take_all, [(str(tmp_path), 200)] * 3, chunksize=1)
        pool.close()
        pool.join()
    assert sum(taken) == 200


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    book = QuotaBook("vendor", NEW_YORK, tmp_path)
    (tmp_path / "rate_limits" / "vendor.quota.sqlite").write_bytes(b"not a database" * 100)
    for ask in (book.left, book.take, book.spend):
        with pytest.raises(ConfigError, match=r"vendor\.quota\.sqlite"):
            ask()


@given(
    st.datetimes(datetime(2000, 1, 1), datetime(2037, 1, 1)), st.sampled_from(["UTC", "America/New_York", "Asia/Tokyo"])
)
def test_the_next_day_begins_after_now_and_is_another_day(moment: datetime, zone: str) -> None:
    book = QuotaBook("vendor", DailyQuota(calls=1, zone=zone), None)
    now = moment.replace(tzinfo=UTC)
    until = book.until(now)
    assert timedelta(0) < until - now <= timedelta(hours=25)
    assert book.day(until) == book.day(now) + timedelta(days=1)
    assert book.day(until - timedelta(microseconds=1)) == book.day(now)


async def test_nothing_is_sent_and_nothing_repeated_once_the_day_is_used_up(tmp_path: Path) -> None:
    transport = Transport("vendor", Policy(quota=DailyQuota(calls=2), state_dir=tmp_path, retries=5))
    sent = 0

    async def ask() -> None:
        nonlocal sent
        await transport.admit()
        sent += 1

    await transport.call(ask)
    assert transport.quota_left() == 1
    await transport.call(ask)
    with pytest.raises(QuotaExhausted) as refused:
        await transport.call(ask)
    assert (sent, transport.quota_left()) == (2, 0)
    assert "tried" not in refused.value.what
    # Nobody is told to wait until tomorrow in place of what remains of a pause.
    assert not (tmp_path / "rate_limits" / "vendor.hold").exists()


async def test_every_repeat_counts(tmp_path: Path) -> None:
    policy = Policy(quota=DailyQuota(calls=3), state_dir=tmp_path, retries=9, shortest_wait=0.001, longest_wait=0.001)
    transport = Transport("vendor", policy)
    sent = 0

    async def ask() -> None:
        nonlocal sent
        await transport.admit()
        sent += 1
        raise RateLimited("busy")

    with pytest.raises(QuotaExhausted):
        await transport.call(ask)
    assert sent == 3


async def test_what_the_vendor_says_is_known_to_the_next_process(tmp_path: Path) -> None:
    policy = Policy(quota=DailyQuota(calls=25), state_dir=tmp_path)
    transport = Transport("vendor", policy)

    async def ask() -> None:
        await transport.admit()
        raise transport.exhausted("25 requests per day")

    with pytest.raises(QuotaExhausted, match="refuses more calls today; 1 of 25"):
        await transport.call(ask)
    with pytest.raises(QuotaExhausted, match="refused more calls today; 1 of 25"):
        await Transport("vendor", policy).admit()


async def test_without_a_quota_nothing_is_counted(tmp_path: Path) -> None:
    transport = Transport("vendor", Policy(state_dir=tmp_path))
    await transport.admit()
    assert transport.quota_left() is None
    assert not (tmp_path / "rate_limits" / "vendor.quota.sqlite").exists()
    assert not isinstance(transport.exhausted("no more today"), QuotaExhausted)
