"""What pyproject.toml asks for does its job: it is imported, or it is named here with its reason."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

from gb_pipeline_tests.source import imports, sources

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
OWN = {"gb_pipeline", "gb_pipeline_tests", "benchmarks"}

# Needed, and imported by nothing of ours.
NOT_IMPORTED = {
    "dagster-graphql": "the webserver's API; without a pin of its own a resolver may mix patches",
    "dagster-dg-cli": "the program `dg`, for `dg dev` in a clone",
    "grpcio-health-checking": "Dagster brings it; one of its releases broke the loading of every code location",
}
# Imported, and brought by a dependency that could not do without it.
BROUGHT_ALONG = {
    "anyio": "httpx",
    "botocore": "s3fs",
    "curl-cffi": "yfinance",
    "grpcio": "dagster",
    "pandas": "pandera",
    "pydantic-core": "pydantic",
    "sqlalchemy": "dagster",
    "starlette": "dagster-webserver",
}
# Imported by what looks first whether it is installed, or because a dagster.yaml names it.
OPTIONAL = {
    "dagster-postgres": "postgres",
    "pyiceberg": "iceberg",
    "celery": "celery",
    "dagster-celery": "celery",
    "redis": "celery",
    "numcodecs": "formats",
    "databento-dbn": "formats",
    "h5py": "formats",
    "picows": "collect",
    "msgspec": "collect",
    "uvloop": "collect",
    "structlog": "collect",
    "cryptography": "collect",
    "prometheus-client": "metrics",
    "fastapi": "serve",
    "uvicorn": "serve",
}
# Tools of those who work on the project, started as programs or loaded by pytest and mypy.
TOOLS = {
    "pytest-asyncio": "the plugin behind `asyncio_mode`",
    "ruff": "a program",
    "mypy": "a program",
    "import-linter": "a program",
    "types-pyyaml": "read by mypy",
    "tables": "writes the HDF5 stores of the tests, by way of pandas",
    "flask": "moto's server is made of it",
    "flask-cors": "the same",
    "furo": "the look of the site",
    "myst-parser": "reads the pages of the site",
    "sphinx-copybutton": "copies code of the site",
    "sphinx-external-toc": "reads docs/_toc.yml",
    "hatchling": "builds the package, and the example package without a network",
}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def list_requirements(entries: list[str]) -> set[str]:
    """Canonical names, without extras, versions and markers."""
    return {canonical(re.split(r"[\[<>=!~; ]", entry)[0]) for entry in entries}


def list_imports(*folders: str) -> Iterator[str]:
    """Top-level names that the files of some folders import, anywhere in them."""
    for folder in folders:
        trees: Iterable[ast.Module] = (
            sources().values()
            if folder == "gb_pipeline"
            else (ast.parse(file.read_text(encoding="utf-8")) for file in (ROOT / folder).rglob("*.py"))
        )
        for tree in trees:
            yield from (name.split(".")[0] for name, _ in imports(tree))


@cache
def list_distributions(*folders: str) -> frozenset[str]:
    """Canonical names of the distributions that some folders import."""
    installed = packages_distributions()
    return frozenset(
        canonical(distribution)
        for name in set(list_imports(*folders)) - OWN - set(sys.stdlib_module_names)
        for distribution in installed.get(name, ())
    )


def test_every_dependency_is_imported_or_has_its_reason() -> None:
    unused = list_requirements(PROJECT["project"]["dependencies"]) - list_distributions("gb_pipeline")
    assert unused == set(NOT_IMPORTED)


def test_everything_that_is_imported_is_a_dependency_or_brought_by_one() -> None:
    declared = list_requirements(PROJECT["project"]["dependencies"])
    for name, extra in OPTIONAL.items():
        assert name in list_requirements(PROJECT["project"]["optional-dependencies"][extra])
    assert list_distributions("gb_pipeline") - declared - set(OPTIONAL) == set(BROUGHT_ALONG)
    assert set(BROUGHT_ALONG.values()) <= declared


def test_every_tool_is_imported_by_a_test_or_has_its_reason() -> None:
    tools = {name for group in PROJECT["dependency-groups"].values() for name in list_requirements(group)}
    assert tools - list_distributions("gb_pipeline_tests", "benchmarks") == set(TOOLS)
