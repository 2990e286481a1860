"""CONTRIBUTING.md describes the package that is there: its folders, and the layers that import-linter holds."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_every_folder_of_the_package_has_a_line_in_the_table() -> None:
    described = {name for row in re.findall(r"^\| (`.*?) \|", TEXT, re.M) for name in re.findall(r"`(\w+)/`", row)}
    folders = {path.parent.name for path in ROOT.glob("gb_pipeline/*/__init__.py")}
    assert described == folders


def test_the_layers_are_those_that_are_held() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    held = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    shown = re.search(r"```text\n(cli > .*?)```", TEXT, re.S)
    assert shown is not None
    assert [level(text) for text in shown[1].split(">")] == [level(text) for text in held]


def level(text: str) -> set[str]:
    """The packages that stand side by side in a layer."""
    return set(re.findall(r"\w+", text))
