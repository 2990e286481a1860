"""Every command that lists or takes sources sees those of gb.yaml and those of components, in one project of `dg`."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from gb_pipeline.simulation import Simulation
from gb_pipeline_tests.cli.console import Gb

COMPONENT = "gb_pipeline.components.MarketDataset"


@pytest.fixture
def firm(tmp_path: Path, exchange: Simulation) -> Path:
    """Two sources of two sessions, one written in each way."""
    return write_project(tmp_path, exchange)


def write_project(folder: Path, exchange: Simulation) -> Path:
    source = {
        "provider": "ccxt",
        "options": {"exchange": "binance", "base_url": exchange.url},
        "asset_class": "crypto",
        "start": "2024-01-02",
        "end": "2024-01-04",
        "symbols": ["BTC-USDT"],
        "resolutions": ["1h"],
    }
    (folder / "pyproject.toml").write_text(
        '[tool.dg]\ndirectory_type = "project"\n\n[tool.dg.project]\nroot_module = "firm"\n', encoding="utf-8"
    )
    (folder / "gb.yaml").write_text(yaml.safe_dump({"lake": "data", "sources": {"own": source}}), encoding="utf-8")
    for name, document in {
        "lake": {"type": COMPONENT.replace("Dataset", "Lake")},
        "coin": {"type": COMPONENT, "attributes": source | {"symbols": ["SOL-USDT"]}},
    }.items():
        (folder / "firm" / "defs" / name).mkdir(parents=True)
        (folder / "firm" / "defs" / name / "defs.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    return folder


def test_what_looks_at_everything_looks_at_both(gb: Gb, firm: Path) -> None:
    doctor = gb("doctor", "--json", "-c", firm)
    assert {item["check"] for item in doctor.json} >= {"source own", "source coin"}
    assert any(item["detail"].endswith("gb.yaml with 1 component: 2 sources, 2 series") for item in doctor.json)
    health = gb("health", "--json", "-c", firm).json
    assert health[0]["repair"] == "gb update coin own"
    assert gb("calendars", "-c", firm).code == gb("healing", "-c", firm).code == 0

    updated = gb("update", "--json", "-c", firm)
    assert [(item["source"], item["changed"]) for item in updated.json] == [("own", 2), ("coin", 2)]
    series = gb("status", "--json", "-c", firm).json
    assert [(row["source"], row["actual"], row["unfetched"]) for row in series] == [("coin", 48, 0), ("own", 48, 0)]
    assert gb("adopt", "--json", "-c", firm).json == {"own 1h": 2, "coin 1h": 2}
    assert gb("sql", "--json", "select source from symbol_data order by 1", "-c", firm).json == [
        {"source": "coin"},
        {"source": "own"},
    ]


def test_what_was_never_fetched_is_in_the_status(gb: Gb, firm: Path) -> None:
    rows = gb("status", "--json", "-c", firm).json
    assert [(row["source"], row["symbol"], row["unfetched"]) for row in rows] == [
        ("coin", "SOL-USDT", 2),
        ("own", "BTC-USDT", 2),
    ]


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("plan coin", "2 never fetched"),
        ("fetch coin:SOL-USDT", "48 stored"),
        ("update coin", "coin 1h: 2 sessions asked for: 2 complete"),
        ("symbols list coin", "SOL-USDT"),
        ("symbols search coin SOL", "SOL/USDT"),
        ("calendars coin", "every stored session"),
    ],
)
def test_a_command_takes_the_name_of_a_component(gb: Gb, firm: Path, command: str, shown: str) -> None:
    told = gb(*command.split(), "-c", firm)
    assert (told.code, shown in told.out + told.err) == (0, True), told


def test_symbols_are_added_and_removed_where_the_source_is_written(gb: Gb, firm: Path) -> None:
    file = firm / "firm" / "defs" / "coin" / "defs.yaml"
    file.write_text("# ours\n" + file.read_text(encoding="utf-8"), encoding="utf-8")
    config, before = (firm / "gb.yaml").read_text(encoding="utf-8"), file.read_text(encoding="utf-8")
    told = gb("symbols", "add", "coin", "ETH-USDT", "-c", firm)
    assert f"changed {file}: attributes.symbols" in told.err
    assert [row["code"] for row in gb("symbols", "list", "coin", "--json", "-c", firm).json] == ["SOL-USDT", "ETH-USDT"]

    assert gb("symbols", "remove", "coin", "ETH-USDT", "-c", firm).code == 0
    assert (file.read_text(encoding="utf-8"), (firm / "gb.yaml").read_text(encoding="utf-8")) == (before, config)
    file.write_text(f"{before}---\ntype: firm.Other\n", encoding="utf-8")
    refused = gb("symbols", "add", "coin", "ETH-USDT", "-c", firm)
    assert (refused.code, f"{file} holds several components" in refused.err) == (2, True)


@pytest.mark.parametrize(
    "command", ["update", "plan own", "fetch own", "status", "health", "doctor", "symbols list own"]
)
def test_a_component_that_cannot_be_used_is_named_with_its_line(gb: Gb, firm: Path, command: str) -> None:
    file = firm / "firm" / "defs" / "coin" / "defs.yaml"
    file.write_text(file.read_text(encoding="utf-8").replace("2024-01-02", "soon"), encoding="utf-8")
    line = next(
        number for number, text in enumerate(file.read_text(encoding="utf-8").splitlines(), 1) if "soon" in text
    )
    told = gb(*command.split(), "-c", firm)
    assert f"{file}:{line}: start" in (told.out + told.err).replace("\n", "")
    assert (told.code == 0) == (command == "status")  # which shows what the lake knows


def test_an_unknown_name_is_compared_with_both(gb: Gb, firm: Path) -> None:
    told = gb("update", "cion", "-c", firm)
    assert told.code == 2
    assert "gb.yaml with 1 component has nothing that is called 'cion'" in told.err
    assert "did you mean coin" in told.err
