"""Which lake `Lake.open` opens, and what the lake says of itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from gb_pipeline import ConfigError, Lake
from gb_pipeline.config.cache import CacheOptions
from gb_pipeline_tests.bars import at


@pytest.fixture(autouse=True)
def nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("GB_CONFIG", "GB_LAKE", "GB_STATE"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def project(tmp_path: Path, lake: Lake, write) -> Path:
    """A project whose lake is `data`, the folder of the fixture `lake`."""
    write("sim", "BTC-USD", "2024-01-02", ["1", "2"])
    (tmp_path / "gb.yaml").write_text("lake: data\nsources: {}\n", encoding="utf-8")
    (tmp_path / "notebooks" / "deep").mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize("folder", [".", "notebooks", "notebooks/deep", "data"])
def test_without_a_path_it_is_the_project_around_the_working_directory(project, folder, monkeypatch):
    monkeypatch.chdir(project / folder)
    assert Lake.open().store.storage.root == project / "data"


@pytest.mark.parametrize("path", [".", "gb.yaml", "data"])
def test_a_project_its_gb_yaml_and_the_folder_of_the_lake_are_the_same(project, path):
    assert Lake.open(project / path).bars("BTC-USD", "1m").height == 2
    assert Lake.open(str(project / path)).store.storage.root == project / "data"


def test_variables_name_a_project_or_a_lake(project, tmp_path_factory, monkeypatch):
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    with pytest.raises(ConfigError, match=r"no lake was named, and there is no .*gb.yaml") as caught:
        Lake.open()
    assert "GB_LAKE" in caught.value.fix
    for name, path in (("GB_LAKE", "data"), ("GB_CONFIG", "gb.yaml"), ("GB_CONFIG", ".")):
        with monkeypatch.context() as scope:
            scope.setenv(name, str(project / path))
            assert Lake.open().store.storage.root == project / "data"


def test_the_state_of_the_project_is_used(project):
    (project / "gb.yaml").write_text("lake: data\nstate: locks\nsources: {}\n", encoding="utf-8")
    assert Lake.open(project).store.storage.state == project / "locks"
    assert Lake.open(project / "data").store.storage.state == project / "data" / "state"


def test_a_project_that_cannot_fetch_can_be_read(project):
    """A credential that is not set, and a source that is no source, are no business of a reader."""
    text = "lake: data\nsources:\n  sim: {provider: x, calendar: XNYS, options: {key: '${NOT_SET_KEY}'}}\n  odd: 3\n"
    (project / "gb.yaml").write_text(text, encoding="utf-8")
    lake = Lake.open(project)
    assert lake.bars("BTC-USD", "1m").height == 2
    assert [source.calendar for source in lake._context.facts()] == ["XNYS", "24/7"]


def test_it_shows_what_it_holds(lake, write):
    assert "nothing is stored yet" in repr(lake)
    assert "nothing is stored yet" in lake._repr_html_()
    write("sim", "BTC-USD", "2024-01-02", ["1", "2"], now=at("2024-03-01"))
    write("sim", "ETH-USD", "2024-01-03", ["1"])
    write("other", "BTC-USD", "2024-01-02", ["1"], resolution="1d")
    assert repr(lake).splitlines() == [
        f"Lake {lake.store.storage.root}",
        "  1m   2 series of sim, 2024-01-02 00:00 to 2024-01-03 00:00",
        "  1d   1 series of other, 2024-01-02 to 2024-01-02",
    ]
    assert "<td>2024-01-03 00:00</td>" in lake._repr_html_()


def test_it_shows_what_it_holds_without_opening_a_file_of_bars_and_whatever_is_damaged(lake, write):
    write("sim", "BTC-USD", "2024-01-02", ["1"])
    write("sim", "BTC-USD", "2024-01-02", ["1"], resolution="1h")
    root = lake.store.storage.root
    for file in root.glob("lake/bars_*/**/*.parquet"):
        file.unlink()
    assert "1 series of sim" in repr(Lake.open(root))
    for entry in root.glob("lake/bars_1h/_delta_log/*.json"):
        entry.write_bytes(b"{")
    shown = repr(Lake.open(root))
    assert "1m" in shown
    assert "damaged: " in shown
    assert "damaged: " in Lake.open(root)._repr_html_()


def test_a_cache_that_cannot_be_used_is_told_and_stops_no_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("GB_CONFIG", raising=False)
    (tmp_path / "gb.yaml").write_text("lake: data\ncache: {disc: true}\nsources: {}\n", encoding="utf-8")
    (tmp_path / "data").mkdir()
    assert Lake.open(tmp_path).cache.options == CacheOptions()
    assert "did you mean disk" in caplog.text and "correct gb.yaml" in caplog.text
    caplog.clear()
    (tmp_path / "gb.yaml").write_text("lake: data\ncache: {disk: true, max_size_mb: 9}\nsources: {}\n", "utf-8")
    assert Lake.open(tmp_path).cache.options == CacheOptions(9, disk=True)
    monkeypatch.setenv("GB_CACHE", "off")
    assert not Lake.open(tmp_path).cache.keeps_anything
    assert Lake.open(tmp_path, cache=True).cache.keeps_anything
    assert caplog.text == ""
