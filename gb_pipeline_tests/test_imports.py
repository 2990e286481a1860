"""What importing costs."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import packages_distributions
from pathlib import Path

import polars as pl
import pytest

import gb_pipeline
from gb_pipeline.market.schema import PRICES
from gb_pipeline_tests.test_dependencies import OPTIONAL, canonical

HEAVY = {
    "aiohttp", "ccxt", "dagster", "deltalake", "duckdb", "exchange_calendars", "httpx", "matplotlib", "numpy", "pandas",
    "pandera", "polars", "pyarrow", "yfinance",
}  # fmt: skip


def modules_after(code: str, *, whole: bool = False) -> set[str]:
    """Names of the modules that a fresh interpreter has loaded after running some code: the top-level ones, or all."""
    name = "name" if whole else "name.partition('.')[0]"
    script = f"import sys\n{code}\nprint('\\n'.join(sorted({{{name} for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_package_imports_nothing_heavy() -> None:
    assert modules_after("import gb_pipeline") & HEAVY == set()


def test_a_read_in_a_fresh_process_imports_what_it_needs_and_not_much_more(tmp_path: Path) -> None:
    """How many modules are loaded is what a first read costs, on any machine; pandas alone would double it."""
    frame = pl.DataFrame(
        {"timestamp": [datetime(2024, 1, 2, tzinfo=UTC)], **{name: ["1.5"] for name in (*PRICES, "volume")}}
    )
    window = (datetime(2024, 1, 2, tzinfo=UTC), datetime(2024, 1, 3, tzinfo=UTC))
    gb_pipeline.Lake.open(tmp_path, create=True).write_bars("mine", "A", "1m", window, frame)
    read = "lake.bars('A', '1m', '2024-01-02', '2024-01-03', as_float=True)"
    code = f"from gb_pipeline import Lake\nlake = Lake.open({str(tmp_path)!r})\nassert {read}.height == 1"
    loaded = modules_after(code, whole=True)
    own = {name for name in loaded if name.partition(".")[0] == "gb_pipeline"}

    assert {name.partition(".")[0] for name in loaded} & (HEAVY | {"pydantic"}) == {"numpy", "polars", "pyarrow"}
    assert not loaded & {"pyarrow.compute", "pyarrow.dataset"}
    assert len(own) <= 215
    assert len(loaded) <= 800


@pytest.mark.parametrize("arguments", [["--help"], ["fetch", "--help"], ["--version"], ["nope"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    loaded = modules_after(f"from gb_pipeline.cli.app import run\nrun({arguments!r})")
    assert loaded & HEAVY == set()


def test_a_project_is_begun_without_dagster(tmp_path: Path) -> None:
    loaded = modules_after(f"from gb_pipeline.cli.app import run\nassert run(['init', {str(tmp_path)!r}]) == 0")
    assert "dagster" not in loaded


def test_definitions_load_without_an_extra() -> None:
    """As in an environment that has the package alone."""
    extras = {
        module
        for name in OPTIONAL
        for module, owners in packages_distributions().items()
        if name in map(canonical, owners)
    }
    assert "picows" in extras
    modules_after(f"sys.modules.update(dict.fromkeys({sorted(extras)!r}))\nimport gb_pipeline.definitions")


def test_every_public_name_is_there() -> None:
    for name in gb_pipeline.__all__:
        assert getattr(gb_pipeline, name) is not None
    assert set(gb_pipeline.__all__) <= set(dir(gb_pipeline))
