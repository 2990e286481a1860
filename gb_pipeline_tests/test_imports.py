"""What importing costs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import gb_pipeline

HEAVY = {
    "aiohttp", "ccxt", "dagster", "deltalake", "duckdb", "exchange_calendars", "httpx", "matplotlib", "numpy", "pandas",
    "pandera", "polars", "pyarrow", "yfinance",
}  # fmt: skip


def modules_after(code: str) -> set[str]:
    """Names of the top-level modules that a fresh interpreter has loaded after running some code."""
    script = f"import sys\n{code}\nprint('\\n'.join(sorted({{name.partition('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_package_imports_nothing_heavy() -> None:
    assert modules_after("import gb_pipeline") & HEAVY == set()


@pytest.mark.parametrize("arguments", [["--help"], ["fetch", "--help"], ["--version"], ["nope"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    loaded = modules_after(f"from gb_pipeline.cli.app import run\nrun({arguments!r})")
    assert loaded & HEAVY == set()


def test_a_project_is_begun_without_dagster(tmp_path: Path) -> None:
    loaded = modules_after(f"from gb_pipeline.cli.app import run\nassert run(['init', {str(tmp_path)!r}]) == 0")
    assert "dagster" not in loaded


def test_every_public_name_is_there() -> None:
    for name in gb_pipeline.__all__:
        assert getattr(gb_pipeline, name) is not None
    assert set(gb_pipeline.__all__) <= set(dir(gb_pipeline))
