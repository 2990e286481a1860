"""Kept responses: the bytes that came, once, under their own hash, and never other bytes under that name."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gb_pipeline.errors import LakeError
from gb_pipeline.storage.address import Storage
from gb_pipeline.storage.raw_responses import RawStore

BODY = b'[[1704153600000,"1.50","2","1","1","0.10"]]' * 500


@pytest.fixture
def store(tmp_path: Path) -> RawStore:
    return RawStore(Storage.at(tmp_path))


def files(root: Path) -> list[Path]:
    return [path for path in (root / "raw").rglob("*") if path.is_file()]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=3000))
def test_a_body_comes_back_as_it_came(store: RawStore, body: bytes) -> None:
    name = store.put(body)
    assert name == hashlib.sha256(body).hexdigest()
    assert store.get(name) == body
    assert store.inspect(name).bytes == len(body)


def test_the_same_body_is_kept_once_and_not_written_again(store: RawStore, tmp_path: Path) -> None:
    name = store.put(BODY)
    (file,) = files(tmp_path)
    assert file == Path(store.address(name)) == tmp_path / "raw" / name[:2] / f"{name}.zst"
    before = file.stat()
    assert store.put(BODY) == name
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert file.stat().st_size < len(BODY) / 20


@pytest.mark.skipif(shutil.which("zstd") is None, reason="no zstd on this machine")
def test_other_tools_read_it(store: RawStore) -> None:
    path = Path(store.address(store.put(BODY)))
    assert subprocess.run(["zstd", "-dc", path], capture_output=True, check=True).stdout == BODY


@pytest.mark.parametrize("harm", ["cut", "flipped", "empty", "longer", "another"])
def test_damage_is_found_on_reading_and_healed_by_the_next_fetch(store: RawStore, harm: str) -> None:
    name = store.put(BODY)
    path = Path(store.address(name))
    whole = path.read_bytes()
    other = Path(store.address(store.put(b"another"))).read_bytes()
    flipped = whole[:20] + bytes([whole[20] ^ 1]) + whole[21:]
    path.write_bytes(
        {"cut": whole[:-3], "flipped": flipped, "empty": b"", "longer": whole + b"x", "another": other}[harm]
    )
    assert store.inspect(name).state == "damaged"
    with pytest.raises(LakeError, match="damaged"):
        store.get(name)
    assert store.put(BODY) == name
    assert store.get(name) == BODY


def test_what_is_not_there_is_missing(store: RawStore) -> None:
    name = hashlib.sha256(b"never").hexdigest()
    assert store.inspect(name).state == "missing"
    with pytest.raises(LakeError, match="not there"):
        store.get(name)
    for outside in ("../../etc/passwd", "", name.upper(), name + "/"):
        with pytest.raises(LakeError, match="not a SHA-256"):
            store.get(outside)


def _put_all(root: str, bodies: list[bytes]) -> None:
    store = RawStore(Storage.at(root))
    for body in bodies:
        store.put(body)


def test_writers_of_the_same_bodies_do_no_harm_to_each_other(tmp_path: Path) -> None:
    bodies = [BODY + str(number).encode() for number in range(20)]
    start = multiprocessing.get_context("spawn")
    writers = [start.Process(target=_put_all, args=(str(tmp_path), bodies)) for _ in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    store = RawStore(Storage.at(tmp_path))
    assert {store.get(path.stem) for path in files(tmp_path)} == set(bodies)


def test_a_folder_that_cannot_be_written_is_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "raw").write_text("in the way")
    with pytest.raises(LakeError, match="could not be kept") as caught:
        RawStore(Storage.at(tmp_path)).put(BODY)
    assert "keep_raw" in caught.value.fix


def test_a_full_disk_leaves_nothing_behind(store: RawStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(LakeError, match="No space left"):
            store.put(BODY)
    assert files(tmp_path) == []
    assert store.get(store.put(BODY)) == BODY
