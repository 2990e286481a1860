"""The section `collect` of gb.yaml."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gb_pipeline.config.collect import CollectSettings, _name_of_machine
from gb_pipeline.config.credentials import Credential
from gb_pipeline.config.settings import Settings
from gb_pipeline.errors import ConfigError
from gb_pipeline.market.symbol import source_name

STREAM = {"venue": "kraken", "symbols": ["BTC-USD"]}


def load(folder: Path, **collect: object) -> Settings:
    (folder / "gb.yaml").write_text(yaml.safe_dump({"lake": "data", "collect": collect}), encoding="utf-8")
    return Settings.load(folder)


@given(st.text() | st.sampled_from(["file", "rest", "REST.local"]))
def test_every_machine_has_a_name_that_a_lake_can_hold(host: str) -> None:
    name = _name_of_machine(host)
    assert source_name(name) == CollectSettings(collector=name).collector


def test_a_project_may_collect_and_fetch_nothing(tmp_path: Path) -> None:
    settings = load(tmp_path, collector="one", streams={"kraken": STREAM}, flush={"every": "15m"})
    assert settings.sources == {}
    assert settings.collect.flush.every == timedelta(minutes=15)
    assert settings.spool == tmp_path / "data" / "state" / "spool" / "one"
    assert load(tmp_path, collector="two", spool="waiting").spool == tmp_path / "waiting" / "two"


def test_nothing_is_heard_by_default(tmp_path: Path) -> None:
    (tmp_path / "gb.yaml").write_text("lake: data\n", encoding="utf-8")
    assert Settings.load(tmp_path).collect.streams == {}


def test_credentials_of_a_stream_are_sealed_and_may_be_unset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KALSHI_KEY", "very-secret")
    options = {"api_key": "${KALSHI_KEY}", "private_key": "${NOT_SET}", "base_url": "${PLACE:-wss://somewhere}"}
    settings = load(tmp_path, streams={"kalshi": STREAM | {"options": options}})
    own = settings.collect.streams["kalshi"].options
    assert isinstance(own["api_key"], Credential)
    assert own["api_key"].get_secret_value() == "very-secret"
    assert own["private_key"].get_secret_value() == ""
    assert own["base_url"] == "wss://somewhere"
    assert "very-secret" not in repr(settings)
    written_out = CollectSettings(streams={"kalshi": STREAM | {"options": {"api_key": "very-secret"}}})
    assert "very-secret" not in repr(written_out)


@pytest.mark.parametrize(
    ("collect", "says"),
    [
        ({"stream": {}}, "collect.stream is no setting"),
        ({"streams": {"kraken": {"venue": "kraken"}}}, "it names no instrument"),
        ({"streams": {"kraken": STREAM | {"datasets": ["trade"]}}}, "trades"),
        ({"streams": {"Kraken!": STREAM}}, "not a name of a source"),
        ({"fsync_seconds": 0}, "fsync_seconds"),
        ({"collector": "file"}, "a collector cannot be called file"),
        ({"collector": "rest"}, "give it another name"),
        ({"streams": {"kalshi": STREAM | {"discover_every": "0s"}}}, "discover_every"),
        ({"flush": {"every": "soon"}}, "collect.flush.every"),
        (["kraken"], "collect"),
        ({"streams": ["kraken"]}, "collect.streams"),
    ],
)
def test_what_cannot_be_used_is_told_with_its_place(tmp_path: Path, collect: object, says: str) -> None:
    (tmp_path / "gb.yaml").write_text(yaml.safe_dump({"collect": collect}), encoding="utf-8")
    with pytest.raises(ConfigError, match=says):
        Settings.load(tmp_path)
