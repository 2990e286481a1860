"""What a machine keeps for a lake, and what vendors answered, is read by its owner alone, whatever the umask says."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gb_pipeline.config.private_files import private_file, private_folder
from gb_pipeline.config.settings import DailyQuota, RateLimit
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.providers.http.quota import QuotaBook
from gb_pipeline.providers.http.rate_limit import Cooldown, RateLimiter
from gb_pipeline.storage.raw_responses import RAW, RawStore

pytestmark = pytest.mark.skipif(os.name != "posix", reason="no such permissions here")


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def modes(folder: Path) -> dict[str, int]:
    places = [folder, *folder.rglob("*")]
    return {str(path.relative_to(folder)): stat.S_IMODE(path.stat().st_mode) for path in places}


def expect_private(folder: Path, *, files: int) -> None:
    found = modes(folder)
    wrong = {
        name: f"{mode:o}" for name, mode in found.items() if mode != (0o700 if (folder / name).is_dir() else 0o600)
    }
    assert not wrong
    assert sum((folder / name).is_file() for name in found) == files


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077, 0o277])
async def test_state_is_private(tmp_path: Path, mask: int) -> None:
    state = tmp_path / "lake" / "state"
    with umask(mask):
        pace = RateLimiter("the key", RateLimit(calls=5, seconds=1), state)
        await pace.acquire()
        Cooldown("the key", state).extend(60)
        QuotaBook("the key", DailyQuota(calls=5), state).take(datetime(2026, 1, 1, tzinfo=UTC))
        # With what SQLite has beside its file while it is open: the log, its index, and the lock.
        expect_private(state, files=6)
        pace.close()
    expect_private(state, files=4)
    assert stat.S_IMODE(state.parent.stat().st_mode) == 0o777 & ~mask


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077, 0o277])
def test_kept_answers_are_private(tmp_path: Path, mask: int) -> None:
    storage = LakeStore.at(tmp_path).storage
    with umask(mask):
        name = RawStore(storage).put(b"what was paid for")
    expect_private(tmp_path / RAW, files=1)
    assert RawStore(storage).get(name) == b"what was paid for"


async def test_what_was_open_to_others_is_closed(tmp_path: Path) -> None:
    old = tmp_path / "state" / "rate_limits"
    old.mkdir(parents=True)
    for folder in (old, old.parent):
        folder.chmod(0o777)
    (old / "x.quota.sqlite").touch()
    (old / "x.quota.sqlite").chmod(0o666)
    QuotaBook("x", DailyQuota(calls=5), tmp_path / "state").take()
    expect_private(tmp_path / "state", files=1)


def test_making_what_is_there_keeps_what_it_holds(tmp_path: Path) -> None:
    path = private_file(private_folder(tmp_path / "a" / "b") / "c")
    path.write_text("x")
    assert private_file(path).read_text() == "x"
    assert private_folder(path.parent) == path.parent
