"""Sources that the components of a project of `dg` describe, a `MarketDataset` each, beside those of its gb.yaml.

Whoever asks for the settings of a project gets both (`Settings.load`): what is written in `defs.yaml` files is read here without
Dagster, and Dagster hands over the datasets that it has loaded itself.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gb_pipeline.config.dg_project import WrittenComponent, find_project, read_components
from gb_pipeline.config.environment import Environment
from gb_pipeline.config.places import CONFIG_FILE
from gb_pipeline.config.source_settings import SourceSettings
from gb_pipeline.config.suggestions import describe_problems
from gb_pipeline.config.symbols.spec import SymbolsSpec
from gb_pipeline.errors import ConfigError, GbError

# Dagster's two ways to name a variable: they stand for the `${NAME}` of gb.yaml, which is looked up where it is used.
_ENV = re.compile(r"\{\{\s*env(?:\.(\w+)|\(\s*['\"](\w+)['\"]\s*(?:,\s*['\"]([^'\"}]*)['\"]\s*)?\))\s*\}\}")
_SCAFFOLD = "dg scaffold defs gb_pipeline.components.MarketLake lake"


@dataclass(frozen=True)
class Dataset:
    """What a component says of a source, not validated yet.

    Attributes:
        name: of the source.
        settings: its attributes, with variables as `${NAME}`.
        folder: what relative paths in it start from; None for the folder of gb.yaml.
        at: file and line of an attribute, by the keys that lead to it.
        file: in which it is written; None for one that was made in code.
    """

    name: str
    settings: Mapping[str, Any]
    folder: Path | None
    at: Callable[[Sequence[str | int]], str]
    file: Path | None = None

    def build_source(self, config: Path, home: Path) -> SourceSettings:
        """The settings of the source, validated.

        Args:
            config: gb.yaml of the project, beside which the `.env` lies.
            home: the folder of what vendors list (`config.symbols.discovered.universe_home`).

        Raises:
            ConfigError: a setting that cannot be used; the message names file and line.
        """
        filled = self._fill(config)
        try:
            context = {"folder": self.folder or config.parent, "home": home}
            return SourceSettings.model_validate(filled, context=context)
        except ValidationError as error:
            problems = describe_problems(error, SourceSettings, mappings={"symbols": SymbolsSpec})
            raise self.wrong(
                list(error.errors()[0]["loc"]), problems, "correct the attributes; docs/sources.md lists all"
            ) from None
        except GbError as error:
            raise self.wrong([], error.what, error.fix) from None

    def _fill(self, config: Path) -> dict[str, Any]:
        variables = Environment(config)
        filled: dict[str, Any] = {"name": self.name}
        for key, value in self.settings.items():
            variables.who = f"{self.at([key])}: {key}"
            filled |= variables.fill_sources({self.name: {key: value}})[self.name]
        return filled

    def wrong(self, keys: Sequence[str | int], what: str, fix: str) -> ConfigError:
        """An error that begins with the place."""
        return ConfigError(f"{self.at(keys)}: {what}", fix=fix)


def read_datasets(config: Path) -> list[Dataset]:
    """The datasets in the `defs.yaml` files of the project that a gb.yaml belongs to, in the order of their paths.

    It belongs to one whose MarketLake names it, and one without a name means the gb.yaml in the folder of the project, or the
    one of GB_CONFIG. Nothing of the project is imported, so datasets that are made in Python are not among them.

    Args:
        config: the gb.yaml.

    Raises:
        ConfigError: two lakes, datasets without one, a template that only Dagster renders, or a file that cannot be read; the
            message names file and line.
    """
    project = find_project(config.parent)
    components = [] if project is None else read_components(project)
    lakes = [component for component in components if component.kind == "MarketLake"]
    datasets = [component for component in components if component.kind == "MarketDataset"]
    if project is None or not datasets:
        return []
    if not lakes:
        if config.parent == project.root:
            raise no_lake(datasets[0].at([]), _name_of(datasets[0]))
        return []
    if len(lakes) > 1:
        raise second_lake(lakes[1].at([]), lakes[0].at([]))
    if not _names(lakes[0], config, project.root):
        return []
    return [_read_dataset(dataset) for dataset in datasets]


def no_lake(place: str, name: str) -> ConfigError:
    """The error of a dataset that has none."""
    return ConfigError(f"{place}: the dataset {name} has no lake", fix=f"add one to the project: {_SCAFFOLD}")


def second_lake(place: str, first: str) -> ConfigError:
    """The error of a second one."""
    return ConfigError(f"{place}: there is a MarketLake already, in {first}", fix="keep one; a project has one lake")


def name_variables(value: Any) -> Any:
    """A value in which `{{ env.NAME }}` and `{{ env('NAME', 'default') }}` became `${NAME}` and `${NAME:-default}`."""
    if isinstance(value, Mapping):
        return {key: name_variables(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [name_variables(item) for item in value]
    return _ENV.sub(_to_shell, value) if isinstance(value, str) else value


def _to_shell(match: re.Match[str]) -> str:
    default = "" if match[3] is None else f":-{match[3]}"
    return f"${{{match[1] or match[2]}{default}}}"


def _read_dataset(component: WrittenComponent) -> Dataset:
    settings = name_variables(_attributes(component))
    _refuse_templates(component, settings, [])
    named = {key: value for key, value in settings.items() if key != "name"}
    return Dataset(_name_of(component), named, component.file.parent, component.at, component.file)


def _attributes(component: WrittenComponent) -> dict[str, Any]:
    given = component.attributes
    if given is None:
        return {}
    if not isinstance(given, dict):
        kind = "a list" if isinstance(given, list) else repr(given)[:40]
        raise ConfigError(
            f"{component.at([])}: attributes is {kind}, and no settings with their names",
            fix="write a setting a line below it, such as `provider: ccxt`",
        )
    return given


def _name_of(component: WrittenComponent) -> str:
    given = component.attributes if isinstance(component.attributes, dict) else {}
    return str(given.get("name") or component.file.parent.name)


def _refuse_templates(component: WrittenComponent, value: Any, keys: list[str | int]) -> None:
    items: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        _refuse_templates(component, item, [*keys, key])
    if isinstance(value, str) and "{{" in value:
        raise ConfigError(
            f"{component.at(keys)}: {'.'.join(map(str, keys))} is a template that only Dagster can render",
            fix="write the value, {{ env.NAME }} or ${NAME}, which `gb` reads as well",
        )


def _names(lake: WrittenComponent, config: Path, root: Path) -> bool:
    """Whether it is this gb.yaml that a lake means."""
    given = _attributes(lake).get("config")
    if not given:
        return config.parent == root or config == _resolve(os.environ.get("GB_CONFIG") or CONFIG_FILE, root)
    try:
        return config == _resolve(Environment(config).fill(name_variables(str(given))), root)
    except GbError as error:
        raise ConfigError(f"{lake.at(['config'])}: {error.what}", fix=error.fix) from None


def _resolve(named: str, root: Path) -> Path:
    place = (root / Path(named).expanduser()).resolve()
    return place / CONFIG_FILE if place.is_dir() else place
