"""What is private to Dagster: imported in one file, with its reason, and looked at again with every new version."""

from __future__ import annotations

import ast
from pathlib import Path

import dagster as dg

from gb_pipeline.dagster_runtime import private
from gb_pipeline_tests.source import imports, sources

HOME = "dagster_runtime/private.py"


def test_one_file_imports_from_inside_dagster() -> None:
    private_imports = {
        file: names
        for file, tree in sources().items()
        if (names := [name for name, _ in imports(tree) if name.startswith("dagster") and "._" in name])
    }
    assert set(private_imports) == {HOME}
    assert len(private_imports[HOME]) == len(private.__all__) - 1, "each is used under a name of ours"


def test_every_private_import_has_its_reason() -> None:
    lines = Path(private.__file__).read_text(encoding="utf-8").splitlines()
    for node in sources()[HOME].body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dagster."):
            assert lines[node.lineno - 2].startswith("# "), node.module


def test_each_was_looked_at_with_the_version_that_is_installed() -> None:
    assert dg.__version__ == private.CHECKED_WITH
