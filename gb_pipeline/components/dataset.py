"""The component `MarketDataset`: one source of a lake, as a `defs.yaml` says it.

Its attributes are the settings of a source in gb.yaml, and its assets are those that gb.yaml would make. What all datasets of a
project share, among it the lake itself, is made by `MarketLake`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import dagster as dg
from pydantic import BaseModel, ValidationError

from gb_pipeline.components.attributes import attributes_model
from gb_pipeline.components.scaffolding import DatasetScaffolder
from gb_pipeline.components.shared_lake import SharedLake
from gb_pipeline.components.written import Written
from gb_pipeline.config.credentials import is_credential
from gb_pipeline.config.environment import Environment
from gb_pipeline.config.source_settings import SourceSettings
from gb_pipeline.config.suggestions import describe_problems
from gb_pipeline.config.symbols.spec import SymbolsSpec
from gb_pipeline.errors import GbError

# Dagster's two ways to name a variable. A credential is no value here but the name of one, which a run looks up.
_ENV = re.compile(r"\{\{\s*env(?:\.(\w+)|\(\s*['\"](\w+)['\"]\s*(?:,\s*['\"]([^'\"}]*)['\"]\s*)?\))\s*\}\}")


@dg.scaffold_with(DatasetScaffolder)
class MarketDataset(dg.Component):
    """One vendor's feed in the lake: an asset per symbol and resolution, with partitions, a schedule, checks and compaction.

    The attributes are the settings of a source in gb.yaml, with the same names and defaults. Relative paths in them start from the
    folder of the defs.yaml. Credentials name variables, `{{ env.NAME }}` or `${NAME}`; they are looked up by the runs that
    need them, in the environment and in the .env of the project.

    Args:
        settings: the attributes, for a component that is made in code; `name` is required then.

    Example:
        >>> MarketDataset(
        ...     name="coinbase", provider="ccxt", asset_class="crypto", start="2024-01-01", symbols=["BTC-USD"]
        ... )
    """

    def __init__(self, **settings: Any) -> None:
        """Keep the settings; they are validated once the lake is known, which paths and variables depend on."""
        self._settings = settings
        self._written = Written()

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        """What `dg check yaml`, `dg docs` and editors know of the attributes."""
        return attributes_model()

    @classmethod
    def get_spec(cls) -> dg.ComponentTypeSpec:
        """What `dg list components` says."""
        return dg.ComponentTypeSpec(
            description="Market data of one vendor in a lake of gb_pipeline: an asset per symbol and resolution, partitioned by"
            " session, with a schedule, a check and compaction.",
            produces=["asset", "asset_check", "schedule", "sensor"],
        )

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> Self:
        """From a `defs.yaml`: templates are rendered, but for the variables of credentials."""
        given = {} if attributes is None else attributes.model_dump(exclude_unset=True, by_alias=True)
        if isinstance(given.get("options"), dict):
            given["options"] = _name_variables(given["options"])
        rendered = _render(context.resolution_context.at_path("attributes"), given)
        component = cls(**{"name": context.component_path.file_path.name, **rendered})
        component._written = Written(context)
        return component

    @property
    def name(self) -> str:
        """The source's short name, first part of every asset key."""
        return str(self._settings.get("name") or "")

    @property
    def written(self) -> Written:
        """Where it stands."""
        return self._written

    def build_source(self, config: Path, home: Path) -> SourceSettings:
        """The settings of the source, validated.

        Args:
            config: gb.yaml of the project, beside which the `.env` lies.
            home: the folder of what vendors list (`config.symbols.discovered.universe_home`).

        Raises:
            ConfigError: a setting that cannot be used; the message names file and line.
        """
        try:
            filled = Environment(config).fill_sources({self.name: self._settings})[self.name]
            return SourceSettings.model_validate(filled, context={"folder": self._folder(config), "home": home})
        except ValidationError as error:
            problems = describe_problems(error, SourceSettings, mappings={"symbols": SymbolsSpec})
            where = error.errors()[0]["loc"]
            raise self._written.wrong(
                list(where), problems, "correct the attributes; docs/sources.md lists all"
            ) from None
        except GbError as error:
            raise self._written.wrong([], error.what, error.fix) from None

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The assets, checks, schedules and sensors of this source alone."""
        if self._written.context is None:
            self._written = Written(context)
        lakes = context.component_tree.get_all_components(SharedLake)  # type: ignore[type-abstract]
        if not lakes:
            raise self._written.wrong(
                [],
                f"the dataset {self.name} has no lake",
                "add one to the project: dg scaffold defs gb_pipeline.components.MarketLake lake",
            )
        return lakes[0].build_parts(context)[self.name]

    def _folder(self, config: Path) -> Path:
        """What relative paths start from."""
        context = self._written.context
        if context is None:
            return config.parent
        path: Path = context.component_path.file_path
        return path if path.is_dir() else path.parent


def _name_variables(options: Any, credential: bool = False) -> Any:
    """Options in which Dagster's templates of credentials became `${NAME}`: left unrendered, so that no definition holds one."""
    if isinstance(options, Mapping):
        return {key: _name_variables(value, credential or is_credential(str(key))) for key, value in options.items()}
    if isinstance(options, list | tuple):
        return [_name_variables(item, credential) for item in options]
    return _ENV.sub(_to_shell, options) if credential and isinstance(options, str) else options


def _to_shell(match: re.Match[str]) -> str:
    default = "" if match[3] is None else f":-{match[3]}"
    return f"${{{match[1] or match[2]}{default}}}"


def _render(context: dg.ResolutionContext, value: Any) -> Any:
    """Values of templates. Other texts stay texts: Dagster's own rendering makes a number of the code "7203"."""
    if isinstance(value, dict):
        return {key: _render(context.at_path(key), item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_render(context.at_path(place), item) for place, item in enumerate(value)]
    return context.resolve_value(value) if isinstance(value, str) and "{{" in value else value
