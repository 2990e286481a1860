"""What `dg scaffold defs` writes: files that load as they are, in which every further setting is explained.

A project needs one lake; scaffolding the first dataset makes it as well.
"""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import dagster as dg
from pydantic import BaseModel, Field

from gb_pipeline.config.places import CONFIG_FILE

LAKE = "gb_pipeline.components.MarketLake"
_FOLDER_OF_LAKE = "lake"
_CONFIG = """\
# Where the lake is, and what is said of it as a whole: state, iceberg, incidents, s3, alerts (see the README). What is fetched is
# in the defs.yaml files of this project; sources may stand here as well.
lake: data
"""
_LAKE_BODY = """\
type: {type}

# One for the whole project. `config` names another gb.yaml than the one in the project's folder.
attributes: {{}}
"""
_DATASET_BODY = """\
type: {type}

# The settings of a source: `dg docs serve` and docs/sources.md explain them all.
attributes:
  name: {name}
  provider: {provider}
  # The provider's own settings. Credentials name variables, which only runs look up; they are listed under `requirements`.
  options: {options}
  asset_class: {asset_class}
  calendar: {calendar}
  start: "{start}"
  symbols: [{symbols}]
  resolutions: [{resolutions}]

requirements:
  env: [{variables}]
"""
# What a vendor's account consists of: option to variable.
CREDENTIALS = {
    "alpaca": {"key": "ALPACA_API_KEY", "secret": "ALPACA_SECRET_KEY"},
    "alpha_vantage": {"key": "ALPHA_VANTAGE_API_KEY"},
    "massive": {"key": "MASSIVE_API_KEY"},
}


class DatasetParameters(BaseModel):
    """Options of `dg scaffold defs gb_pipeline.components.MarketDataset`."""

    provider: str = Field(default="ccxt", description="who delivers: ccxt, alpaca, massive, alpha_vantage, yahoo, csv")
    exchange: str = Field(default="coinbase", description="of ccxt: the exchange behind it")
    asset_class: str = Field(default="crypto", description="equity, crypto, forex, future, option or prediction")
    calendar: str = Field(default="24/7", description="24/7, 24/5, FX, or a code such as XNYS")
    start: str = Field(default="2024-01-01", description="first session")
    symbols: str = Field(default="BTC-USD", description="canonical codes, separated by commas")
    resolutions: str = Field(default="1m", description="such as 1m,1d")


class DatasetScaffolder(dg.Scaffolder[DatasetParameters]):
    """Writes a dataset, and the lake of the project where it has none."""

    @classmethod
    def get_scaffold_params(cls) -> type[DatasetParameters]:
        """Options of the command."""
        return DatasetParameters

    def scaffold(self, request: dg.ScaffoldRequest[DatasetParameters]) -> None:
        """Write `defs.yaml`, or append to the one that is named."""
        if request.scaffold_format == "python":
            _write_python(request)
        else:
            _write(request, _describe_dataset(request))
        if request.project_root is not None and not _has_lake(request):
            _write_lake(_find_free(request.target_path.parent / _FOLDER_OF_LAKE))
            _write_config(request.project_root)


class LakeScaffolder(dg.Scaffolder[BaseModel]):
    """Writes the lake of a project, and a gb.yaml where it has none."""

    def scaffold(self, request: dg.ScaffoldRequest[BaseModel]) -> None:
        """Write `defs.yaml`, or append to the one that is named."""
        if request.scaffold_format == "python":
            _write_python(request)
        else:
            _write(request, _LAKE_BODY.format(type=request.type_name))
        if request.project_root is not None:
            _write_config(request.project_root)


def _describe_dataset(request: dg.ScaffoldRequest[DatasetParameters]) -> str:
    given = request.params
    variables = CREDENTIALS.get(given.provider, {})
    options = {name: f'"{{{{ env.{variable} }}}}"' for name, variable in variables.items()}
    if given.provider == "ccxt":
        options["exchange"] = given.exchange
    return _DATASET_BODY.format(
        type=request.type_name,
        name=re.sub(r"\W", "_", request.target_path.stem if request.append else request.target_path.name).lower(),
        provider=given.provider,
        options="{" + ", ".join(f"{name}: {value}" for name, value in options.items()) + "}",
        variables=", ".join(variables.values()),
        asset_class=given.asset_class,
        calendar=given.calendar,
        start=given.start,
        symbols=", ".join(_quote(item) for item in given.symbols.split(",") if item.strip()),
        resolutions=", ".join(item.strip() for item in given.resolutions.split(",")),
    )


def _quote(code: str) -> str:
    # ON is a truth in YAML, and 0700 is 448.
    return json.dumps(code.strip())


def _write(request: dg.ScaffoldRequest[DatasetParameters] | dg.ScaffoldRequest[BaseModel], text: str) -> None:
    if request.append:
        with request.target_path.open("a", encoding="utf-8") as file:
            file.write(f"---\n{text}")
    else:
        (request.target_path / "defs.yaml").write_text(text, encoding="utf-8")


def _write_python(request: dg.ScaffoldRequest[DatasetParameters] | dg.ScaffoldRequest[BaseModel]) -> None:
    from dagster.components.component_scaffolding import scaffold_component

    scaffold_component(request)


def _has_lake(request: dg.ScaffoldRequest[DatasetParameters]) -> bool:
    """Whether some defs.yaml of the project names a MarketLake."""
    root = request.project_root or request.target_path
    files = [file for pattern in ("defs.y*ml", "component.py") for file in _find(root, pattern)]
    return any("MarketLake" in file.read_text(encoding="utf-8", errors="replace") for file in files)


def _find(root: Path, pattern: str) -> list[Path]:
    hidden = {".venv", ".git", "node_modules"}
    return [file for file in root.rglob(pattern) if not hidden & set(file.relative_to(root).parts)]


def _find_free(folder: Path) -> Path:
    """The folder, or the first of `lake_2`, `lake_3` ... where something else has that name already."""
    names = itertools.chain([folder], (folder.with_name(f"{folder.name}_{count}") for count in itertools.count(2)))
    return next(place for place in names if not place.exists())


def _write_lake(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "defs.yaml").write_text(_LAKE_BODY.format(type=LAKE), encoding="utf-8")


def _write_config(root: Path) -> None:
    if not (root / CONFIG_FILE).exists():
        (root / CONFIG_FILE).write_text(_CONFIG, encoding="utf-8")
