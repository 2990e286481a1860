"""What is private to Dagster: imported in two files, with its reason, and looked at again with every new version."""

from __future__ import annotations

import ast
from pathlib import Path

import dagster as dg
import pytest

from gb_pipeline.dagster_runtime import private, private_daemon
from gb_pipeline_tests.source import imports, sources

HOMES = {"dagster_runtime/private.py": private, "dagster_runtime/private_daemon.py": private_daemon}


def test_two_files_import_from_inside_dagster() -> None:
    private_imports = {
        file: names
        for file, tree in sources().items()
        if (names := [name for name, _ in imports(tree) if name.startswith("dagster") and "._" in name])
    }
    assert set(private_imports) == set(HOMES)
    for file, module in HOMES.items():
        names = set(module.__all__) - {"CHECKED_WITH"}
        assert len(private_imports[file]) == len(names), "each is used under a name of ours"


@pytest.mark.parametrize("file", HOMES)
def test_every_private_import_has_its_reason(file: str) -> None:
    lines = Path(str(HOMES[file].__file__)).read_text(encoding="utf-8").splitlines()
    for node in sources()[file].body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dagster."):
            assert lines[node.lineno - 2].startswith("# "), node.module


def test_only_the_daemon_pays_for_the_import_of_the_daemon() -> None:
    users = {
        file
        for file, tree in sources().items()
        if any(name.startswith("gb_pipeline.dagster_runtime.private_daemon") for name, _ in imports(tree))
    }
    assert users == {"dagster_runtime/daemon.py", "dagster_runtime/retries.py"}


def test_each_was_looked_at_with_the_version_that_is_installed() -> None:
    assert dg.__version__ == private.CHECKED_WITH
