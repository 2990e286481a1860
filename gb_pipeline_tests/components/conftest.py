"""Projects of components, laid out as `create-dagster` and `dg` make them."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

DATASET = "gb_pipeline.components.MarketDataset"
LAKE = "gb_pipeline.components.MarketLake"
_COUNT = itertools.count()


@dataclass
class Project:
    """A folder with a pyproject.toml and a package with `definitions.py` and `defs/`."""

    root: Path
    package: str

    @property
    def defs(self) -> Path:
        return self.root / "src" / self.package / "defs"

    def write(self, folder: str, kind: str, attributes: dict[str, Any] | str) -> Path:
        """A component's defs.yaml; attributes as a mapping, or as the text below `attributes:`."""
        file = self.defs / folder / "defs.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        body = attributes if isinstance(attributes, str) else yaml.safe_dump({"attributes": attributes})
        file.write_text(f"type: {kind}\n{body}", encoding="utf-8")
        return file

    def load(self) -> dg.Definitions:
        return dg.load_from_defs_folder(path_within_project=self.root)

    def asset_keys(self) -> set[str]:
        """Of all assets, `coin/bars_1m/BTC-USDT`."""
        specs = [spec for asset in self.load().assets or () for spec in getattr(asset, "specs", [asset])]
        return {spec.key.to_user_string() for spec in specs}

    def refusal(self) -> str:
        """What the loading of this project fails with, in our words."""
        with pytest.raises(Exception) as caught:
            self.load()
        error: BaseException | None = caught.value
        while error is not None and error.__cause__ is not None:
            error = error.__cause__
        return str(error)


@pytest.fixture
def make_project(tmp_path: Path) -> Iterator[Callable[[], Project]]:
    """A project without a component, whose package can be imported."""
    before, modules = list(sys.path), set(sys.modules)

    def make() -> Project:
        package = f"firm_{next(_COUNT)}"
        project = Project(tmp_path / package, package)
        project.defs.mkdir(parents=True)
        for folder in (project.defs, project.defs.parent):
            (folder / "__init__.py").touch()
        (project.root / "pyproject.toml").write_text(
            f'[project]\nname = "{package}"\nversion = "0.1.0"\n\n'
            f'[tool.dg]\ndirectory_type = "project"\n\n[tool.dg.project]\nroot_module = "{package}"\n',
            encoding="utf-8",
        )
        (project.defs.parent / "definitions.py").write_text(
            "from pathlib import Path\n\nimport dagster as dg\n\n\n@dg.definitions\ndef defs() -> dg.Definitions:\n"
            "    return dg.load_from_defs_folder(path_within_project=Path(__file__).parent)\n",
            encoding="utf-8",
        )
        sys.path.insert(0, str(project.root / "src"))
        return project

    yield make
    sys.path[:] = before
    for name in set(sys.modules) - modules:
        if name.startswith("firm_"):
            del sys.modules[name]


@pytest.fixture
def project(make_project: Callable[[], Project]) -> Project:
    return make_project()


@pytest.fixture
def lake_project(project: Project) -> Project:
    """One that has a lake, and no dataset yet."""
    (project.root / "gb.yaml").write_text("lake: data\n", encoding="utf-8")
    project.write("lake", LAKE, {})
    return project
