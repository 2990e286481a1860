"""`gb export --iceberg` and `gb vacuum`: what a person sees of Iceberg tables."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gb_pipeline.iceberg import exported
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.storage.fault_points import ICEBERG_POINTS
from gb_pipeline_tests.bars import day, minutes
from gb_pipeline_tests.cli.console import PROJECT, Gb
from gb_pipeline_tests.iceberg.engines import by_lake, by_pyiceberg, data_files


def write(store: LakeStore, date: str = "2024-01-02", base: int = 100) -> None:
    store.write_bars("sim", "BTC-USD", "1m", day(date), minutes(date, 30, base=base))


@pytest.fixture
def store(tmp_path: Path) -> LakeStore:
    store = LakeStore.at(tmp_path / "data")
    write(store)
    return store


@pytest.fixture
def root(store: LakeStore) -> str:
    return str(store.storage.root)


def test_it_says_what_it_did_and_how_engines_open_it(gb: Gb, root: str) -> None:
    done = gb("export", "--iceberg", "--lake", root)
    assert done.code == 0
    assert "bars_1m" in done.out and f"file://{root}/iceberg/bars_1m/metadata/v1.metadata.json" in done.out
    assert "1 table changed" in done.err
    for engine in ("DuckDB", "Spark", "Trino", "pyiceberg"):
        assert engine in done.err
    assert "the newest already" in gb("export", "--iceberg", "--lake", root).err


def test_json_has_a_record_per_table(gb: Gb, root: str) -> None:
    [table] = gb("export", "--iceberg", "--lake", root, "--json").json["tables"]
    assert (table["table"], table["rows"], table["files"], table["added"], table["removed"]) == ("bars_1m", 30, 1, 1, 0)
    assert table["metadata"].startswith(table["location"])


def test_what_says_nothing_of_a_table_of_all_bars_is_refused(gb: Gb, root: str) -> None:
    done = gb("export", "--iceberg", "BTC-USD", "bars.csv", "--float", "--lake", root)
    assert done.code == 2
    assert "NAME, --float" in done.err
    assert not (Path(root) / "iceberg").exists()
    assert gb("export", "--lake", root).code == gb("export", "BTC-USD", "--lake", root).code == 2


def test_without_pyiceberg_it_says_how_to_install_it_and_no_vacuum_breaks_a_table(
    gb: Gb, root: str, store: LakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert gb("export", "--iceberg", "--lake", root).code == 0
    write(store, base=200)
    expire(store)
    files = data_files(store)
    monkeypatch.setattr(exported, "find_spec", lambda name: None)
    for command in (["export", "--iceberg"], ["vacuum", "--delete"]):
        done = gb(*command, "--lake", root)
        assert done.code == 2
        assert "pip install 'gb_pipeline[iceberg]'" in done.err
    assert files.items() <= data_files(store).items()
    assert gb("vacuum", "--lake", root).code == 0  # which only counts


def test_the_doctor_says_whether_the_setting_can_work(gb: Gb, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def found() -> list[tuple[str, str]]:
        findings = gb("doctor", "--json", "--config", project).json
        return [(item["verdict"], item["fix"]) for item in findings if item["check"] == "iceberg"]

    assert found() == []
    (project / "gb.yaml").write_text(f"iceberg: true\n{PROJECT}", encoding="utf-8")
    assert found() == [("ok", "")]
    monkeypatch.setattr(exported, "find_spec", lambda name: None)
    [(verdict, fix)] = found()
    assert (verdict, "gb_pipeline[iceberg]" in fix) == ("fail", True)


def test_a_vacuum_takes_iceberg_tables_along(gb: Gb, root: str, store: LakeStore) -> None:
    gb("export", "--iceberg", "--lake", root)
    write(store, base=200)
    expire(store)
    done = gb("vacuum", "--delete", "--retention", "1h", "--lake", root)
    assert (done.code, "bars_1m" in done.out) == (0, True)
    assert by_pyiceberg(store, "bars_1m").equals(by_lake(store, "1m"))


def expire(store: LakeStore) -> None:
    """Everything of the lake was there, and was replaced, two hours ago."""
    root = store.storage.root
    assert isinstance(root, Path)
    for file in (root / "lake").rglob("*"):
        os.utime(file, (file.stat().st_mtime - 7200,) * 2)
    # A file that no version ever named is of no use by its age alone.
    [data] = (file for file in (root / "lake" / "bars_1m").rglob("is_current=false/*.parquet"))
    left = data.with_name("left-behind.parquet")
    left.write_bytes(b"x")
    os.utime(left, (left.stat().st_mtime - 7200,) * 2)


def test_a_refresh_that_is_killed_changes_nothing_or_all_and_goes_on(root: str, store: LakeStore, gb: Gb) -> None:
    expected_rows = []
    for number, point in enumerate(ICEBERG_POINTS):
        gb("export", "--iceberg", "--lake", root)
        before = by_pyiceberg(store, "bars_1m")
        write(store, f"2024-01-0{number + 3}")
        command = [sys.executable, "-m", "gb_pipeline.cli", "export", "--iceberg", "--lake", root]
        environment = os.environ | {"GB_FAULT_POINT": point}
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert ended.returncode == -signal.SIGKILL, ended.stderr
        # Who reads by the hint sees the one from before, whole.
        assert by_pyiceberg(store, "bars_1m").equals(before)
        assert gb("export", "--iceberg", "--lake", root).code == 0
        assert by_pyiceberg(store, "bars_1m").equals(by_lake(store, "1m"))
        expected_rows.append(before.height + 30)
    assert expected_rows == [60, 90]


def test_a_damaged_table_is_named_and_made_anew_once_it_is_removed(gb: Gb, root: str, store: LakeStore) -> None:
    gb("export", "--iceberg", "--lake", root)
    metadata = Path(root) / "iceberg" / "bars_1m" / "metadata" / "v1.metadata.json"
    metadata.write_bytes(metadata.read_bytes()[:100])
    done = gb("export", "--iceberg", "--lake", root)
    assert done.code == 1
    assert "iceberg/bars_1m/metadata/v1.metadata.json" in done.err and "remove the folder iceberg/bars_1m" in done.err
    shutil.rmtree(metadata.parent)
    assert gb("export", "--iceberg", "--lake", root).code == 0
    [manifest] = metadata.parent.glob("*-m0.avro")
    manifest.unlink()
    write(store, base=200)
    done = gb("export", "--iceberg", "--lake", root)
    assert (done.code, f"{manifest.name} is missing" in done.err) == (1, True)
    shutil.rmtree(metadata.parent)
    assert gb("export", "--iceberg", "--lake", root).code == 0
    assert by_pyiceberg(store, "bars_1m").equals(by_lake(store, "1m"))


def test_copies_leave_it_behind(gb: Gb, root: str, store: LakeStore, tmp_path: Path) -> None:
    gb("export", "--iceberg", "--lake", root)
    copy = tmp_path / "copy"
    assert gb("backup", str(copy), "--lake", root).code == 0
    assert not (copy / "iceberg").exists()
    assert gb("export", "--iceberg", "--lake", str(copy)).code == 0
    assert gb("sync", str(copy), "--lake", root).code == 0
    there = LakeStore.at(copy)
    assert by_pyiceberg(there, "bars_1m").equals(by_lake(store, "1m"))
    assert gb("verify", "--lake", str(copy)).code == 0
    assert json.loads(gb("verify", "--lake", root, "--json").out)
