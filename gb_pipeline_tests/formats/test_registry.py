"""Which formats there are, and what is said where one cannot be used."""

from __future__ import annotations

import sys

import pytest

from gb_pipeline.errors import ConfigError, FormatRefused
from gb_pipeline.formats.importing import import_bars
from gb_pipeline.formats.registry import FORMATS, readable


@pytest.mark.parametrize("name", readable())
def test_every_reader_is_there_and_refuses_an_empty_folder(lake, tmp_path, name):
    FORMATS[name].open_reader()
    (tmp_path / "empty").mkdir()
    with pytest.raises((FormatRefused, ConfigError)) as caught:
        import_bars(lake, name, tmp_path / "empty", source="mine")
    assert str(tmp_path) in caught.value.what and caught.value.fix


def test_what_is_not_installed_is_named(lake, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "arcticdb", None)
    (tmp_path / "_arctic_cfg").mkdir()
    with pytest.raises(ConfigError, match="arctic needs the package arcticdb, which is not installed") as caught:
        import_bars(lake, "arctic", tmp_path, source="mine")
    assert caught.value.fix == "install it: uv pip install arcticdb"
    monkeypatch.setitem(sys.modules, "h5py", None)
    (tmp_path / "bars.h5").write_bytes(b"")
    with pytest.raises(ConfigError, match="hdf5 needs the package h5py") as caught:
        import_bars(lake, "hdf5", tmp_path / "bars.h5", source="mine")
    assert "gb_pipeline[formats]" in caught.value.fix
