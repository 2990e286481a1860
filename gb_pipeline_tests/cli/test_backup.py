"""`gb backup`, `gb restore` and `gb sync` as a person meets them: what they print, how they end, and what they refuse."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gb_pipeline.lake.restore_test import read_restore, record_restore, try_restore
from gb_pipeline.lake.store import LakeStore
from gb_pipeline_tests.cli.console import PROJECT, Gb
from gb_pipeline_tests.faults.test_surroundings import in_namespace
from gb_pipeline_tests.s3.store import Store, running_store

SECRET = "a-secret-of-somebody"


@pytest.fixture(scope="module")
def server() -> Iterator[Store]:
    with running_store() as store:
        yield store


@pytest.fixture
def lake(stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a lake, and the working directory in it."""
    project = tmp_path / "project"
    shutil.copytree(stored, project)
    monkeypatch.chdir(project)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "states"))
    return project / "data"


@pytest.fixture
def reached(server: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The server, as the variables of AWS say that it is reached."""
    reach(monkeypatch.setenv, server)
    return server


def reach(setenv: Callable[[str, str], None], server: Store) -> None:
    for name, value in server.access.items():
        setenv({"endpoint": "AWS_ENDPOINT_URL"}.get(name, f"AWS_{name.upper()}"), value)


@pytest.mark.parametrize("kind", ["folder", "bucket"])
def test_a_backup_says_what_it_copied_and_a_restore_brings_it_back(
    gb: Gb, lake: Path, reached: Store, kind: str
) -> None:
    place = str(reached.bucket()) if kind == "bucket" else str(lake.parent.parent / "copy")
    planned = gb("backup", place, "--dry-run")
    assert (planned.code, "would be copied" in planned.err, "bars_1m" in planned.out) == (0, True, True)
    assert gb("status", "--lake", place).code == 2
    told = gb("backup", place)
    assert told.code == 0
    assert told.out == planned.out
    assert "both hold the same" in told.err
    assert all(len(line) <= 80 for line in told.out.splitlines())
    assert told.err.splitlines()[-1].strip() == gb("fingerprint", "--json").json["fingerprint"]
    again = gb("sync", place, "--verify", "--json")
    assert again.json == {**again.json, "place": place, "dry_run": False, "files": 0, "bytes": 0, "removed": 0}
    assert again.json["verified"] is True and again.json["damaged"] == []
    (lake.parent / "data").rename(lake.parent / "broken")
    back = gb("restore", place, "--json")
    assert (back.code, back.json["fingerprint"]) == (0, again.json["fingerprint"])
    assert sum(table["data_files"] + table["log_files"] for table in back.json["tables"]) <= back.json["files"]
    assert gb("verify").code == 0
    # It is a lake again, which can be written.
    assert gb("fetch", "sim", "BTC-USDT", "--end", "2024-01-02").code == 0


def test_two_places_are_synced_each_by_itself_and_hold_the_same(gb: Gb, lake: Path) -> None:
    near, far = (str(lake.parent.parent / place) for place in ("frankfurt", "singapore"))
    assert [gb("sync", place).code for place in (near, far)] == [0, 0]
    assert gb("fetch", "sim", "BTC-USDT", "--end", "2024-01-02").code == 0
    # That one place is behind, or away, says nothing about the other.
    assert gb("sync", near).code == 0
    prints = {
        place: gb("fingerprint", "--json", "--lake", place).json["fingerprint"] for place in (str(lake), near, far)
    }
    assert prints[near] == prints[str(lake)] != prints[far]
    shutil.rmtree(near)
    assert gb("sync", far).code == 0
    assert gb("fingerprint", "--json", "--lake", far).json["fingerprint"] == prints[str(lake)]
    assert gb("verify", "--lake", far).code == 0


def test_a_backup_in_a_bucket_is_restored_to_see_whether_it_can_be(gb: Gb, lake: Path, reached: Store) -> None:
    place = str(reached.bucket())
    assert gb("backup", place).code == 0
    store = LakeStore.at(lake)
    record = try_restore(store, LakeStore.at(place), most_bytes=10**9, seed="any")
    assert (record.place, record.problems) == (place, 0)
    assert record.sessions > 0
    assert record.fingerprint == gb("fingerprint", "--json").json["fingerprint"]
    record_restore(store.storage, record)
    assert read_restore(store.storage) == record


def test_what_a_copy_would_harm_is_refused(gb: Gb, lake: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note.txt").write_text("mine", encoding="utf-8")
    (tmp_path / "link").symlink_to(lake)
    other = tmp_path / "other"
    other.mkdir()
    (other / "gb.yaml").write_text(PROJECT, encoding="utf-8")
    assert gb("fetch", "sim", "BTC-USDT", "--end", "2024-01-02", "--config", other).code == 0
    assert gb("backup", tmp_path / "of-other", "--config", other).code == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for command in ("backup", "sync"):
        for place, says in (
            ("data", "onto itself"),
            (tmp_path / "link", "onto itself"),
            ("data/copy", "in one another"),
            (".", "in one another"),
            (tmp_path / "full", "note.txt"),
            (other / "data", "a lake that others write to"),
            (tmp_path / "of-other", "another table"),
        ):
            told = gb(command, place)
            assert (told.code, says in told.err, "\n  -> " in told.err) == (1, True, True), told
    for place, says in ((tmp_path / "of-other", "another table"), (tmp_path / "nothing", "there is no lake")):
        told = gb("restore", place)
        assert (told.code in {1, 2}, says in told.err) == (True, True), told
    told = gb("backup", "gs://somewhere/else")
    assert (told.code, "gs://" in told.err) == (2, True)
    copy_mark = tmp_path / "of-other" / "copy.json"
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert {path for path in before | after if before.get(path) != after.get(path)} <= {copy_mark}


def test_a_place_that_cannot_be_reached_is_said_without_a_secret(
    gb: Gb, lake: Path, reached: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = reached.bucket()
    assert gb("backup", bucket).code == 0
    for command, place in (("backup", f"s3://{bucket.name}-none/x"), ("sync", f"s3://{bucket.name}-none/x")):
        told = gb(command, place)
        assert (told.code, f"there is no bucket {bucket.name}-none" in told.err) == (1, True), told
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("gb_pipeline.storage.bucket_files.ATTEMPTS", 1)
    for command in ("backup", "sync", "restore"):
        told = gb(command, bucket)
        assert (told.code, str(bucket) in told.err, "endpoint" in told.err) == (1, True, True), told
        assert SECRET not in told.out + told.err


def test_credentials_that_are_refused_are_said_and_not_shown(
    gb: Gb, lake: Path, reached: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = reached.bucket()
    assert gb("backup", bucket).code == 0
    body = b"<Error><Code>SignatureDoesNotMatch</Code><Message>Check your secret access key.</Message></Error>"
    reached.says = lambda _: ("403 Forbidden", body, len(body))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    try:
        for command in ("backup", "sync", "restore"):
            told = gb(command, bucket)
            assert (told.code, "refuses it" in told.err, "credentials" in told.err) == (1, True, True), told
            assert SECRET not in told.out + told.err
    finally:
        reached.heal()


def test_a_folder_that_must_not_be_written_is_said(gb: Gb, lake: Path, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    assert gb("backup", place).code == 0
    script = "import sys; from gb_pipeline.cli.app import run; sys.exit(run(sys.argv[1:]) - 1)"
    said = in_namespace(
        place, 'exec 2>&1; mount --bind "$0" "$0" && mount -o remount,ro,bind "$0"', "-c", script, "backup",
        str(place), "--config", str(lake.parent),
    )  # fmt: skip
    assert "cannot be written" in said and "another place" in said


def test_without_a_place_it_goes_where_gb_yaml_says(gb: Gb, lake: Path) -> None:
    told = gb("backup")
    assert told.code == 2
    assert "`gb backup PLACE`, or `backup: PLACE` in gb.yaml" in told.err
    with (lake.parent / "gb.yaml").open("a", encoding="utf-8") as file:
        file.write("\nbackup: copies/lake\n")
    assert gb("backup").code == 0
    assert gb("status", "--lake", "copies/lake").code == 0
