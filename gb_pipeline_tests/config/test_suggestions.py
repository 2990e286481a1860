"""A refused setting says where it stands and which spelling was probably meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from gb_pipeline.config.settings import Settings
from gb_pipeline.errors import ConfigError
from gb_pipeline.providers.registry import build_provider

SOURCE: dict[str, Any] = {
    "provider": "csv",
    "options": {"path": "{symbol}.csv"},
    "start": "2024-01-01",
    "symbols": ["AAA"],
    "resolutions": ["1d"],
}


def refusal(folder: Path, source: dict[str, Any], document: dict[str, Any] | None = None) -> str:
    text = yaml.safe_dump(document or {"lake": "data", "sources": {"mine": source}})
    (folder / "gb.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        build_provider(Settings.load(folder).source("mine"))
    return str(refused.value)


@pytest.mark.parametrize(
    ("change", "place", "meant"),
    [
        ({"calender": "XNYS"}, "sources.mine.calender", "calendar"),
        ({"rate_limt": {"calls": 1}}, "sources.mine.rate_limt", "rate_limit"),
        ({"rate_limit": {"cals": 1}}, "sources.mine.rate_limit.cals", "calls"),
        ({"daily_quota": {"calls": 1, "zon": "UTC"}}, "sources.mine.daily_quota.zon", "zone"),
        ({"daily_quota": {"calls": 1, "zone": "America/New_Yrok"}}, "daily_quota.zone", "America/New_York"),
        ({"asset_class": "crytpo"}, "sources.mine.asset_class", "crypto"),
        ({"alignment": "clok"}, "sources.mine.alignment", "clock"),
        ({"gap_policy": "notrade"}, "sources.mine.gap_policy", "no_trade"),
        ({"grain": "days"}, "sources.mine.grain", "day"),
        ({"resolutions": ["1mn"]}, "sources.mine.resolutions", "1m"),
        (
            {"symbols": [{"code": "AAA", "listd_from": "2024-01-01"}]},
            "sources.mine.symbols.0.listd_from",
            "listed_from",
        ),
        ({"symbols": [{"code": "A", "asset_class": "equty"}]}, "sources.mine.symbols.0.asset_class", "equity"),
        ({"symbols": {"fil": "a.csv"}}, "sources.mine.symbols.fil", "file"),
        ({"symbols": {"discover": {"qote": "USD"}}}, "sources.mine.symbols.discover.qote", "quote"),
        ({"symbols": {"members": {"file": "a.csv", "form": "x"}}}, "sources.mine.symbols.members.form", "from"),
        ({"symbols": {"list": [{"code": "A", "vender": "x"}]}}, "sources.mine.symbols.list.0.vender", "vendor"),
        ({"options": {"pth": "a.csv"}}, "pth", "path"),
        ({"options": {"path": "a.csv", "stamp": "clsoe"}}, "stamp", "close"),
        ({"options": {"path": "a.csv", "timezone": "America/NewYork"}}, "timezone", "America/New_York"),
        ({"options": {"path": "a.csv", "columns": {"opne": 1}}}, "columns", "open"),
        ({"provider": "cvs"}, "mine", "csv"),
        ({"provider": "ccxt", "options": {"exchang": "binance"}}, "mine", "exchange"),
    ],
)
def test_the_right_spelling_is_suggested(tmp_path: Path, change: dict[str, Any], place: str, meant: str) -> None:
    message = refusal(tmp_path, SOURCE | change)
    assert place in message
    assert f"did you mean {meant}" in message


@pytest.mark.parametrize(("key", "meant"), [("lak", "lake"), ("source", "sources"), ("stat", "state")])
def test_the_right_spelling_is_suggested_at_the_top(tmp_path: Path, key: str, meant: str) -> None:
    message = refusal(tmp_path, {}, {"lake": "data", "sources": {"mine": SOURCE}, key: "x"})
    assert f"did you mean {meant}" in message


def test_a_source_that_is_called_like_a_setting_is_a_source(tmp_path: Path) -> None:
    document = {"lake": "data", "sources": {"options": SOURCE | {"calender": "XNYS"}}}
    message = refusal(tmp_path, {}, document)
    assert "sources.options.calender is no setting (did you mean calendar?)" in message


def test_an_unknown_source_names_those_that_are_like_it(tmp_path: Path) -> None:
    (tmp_path / "gb.yaml").write_text(yaml.safe_dump({"lake": "d", "sources": {"mine": SOURCE}}), encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        Settings.load(tmp_path).source("mien")
    assert refused.value.fix == "did you mean mine? its sources are mine"


def test_no_value_is_shown(tmp_path: Path) -> None:
    message = refusal(
        tmp_path, SOURCE | {"asset_class": "hunter2", "grain": "hunter2", "start": "hunter2", "retries": "hunter2"}
    )
    assert "hunter2" not in message
    assert message.count("sources.mine.") == 4


def test_much_that_is_wrong_is_counted(tmp_path: Path) -> None:
    message = refusal(tmp_path, SOURCE | {f"wrong{number}": 1 for number in range(9)})
    assert "and 4 more" in message
