"""The component `MarketDataset`: one source of a lake, as a `defs.yaml` says it.

Its attributes are the settings of a source in gb.yaml, and its assets are those that gb.yaml would make. What all datasets of a
project share, among it the lake itself, is made by `MarketLake`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import dagster as dg
from pydantic import BaseModel

from gb_pipeline.components.attributes import attributes_model
from gb_pipeline.components.scaffolding import DatasetScaffolder
from gb_pipeline.components.shared_lake import SharedLake
from gb_pipeline.components.written import Written
from gb_pipeline.config.datasets import Dataset, name_variables, no_lake


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
        """From a `defs.yaml`: templates are rendered, but for variables, which are looked up as those of gb.yaml are."""
        given = {} if attributes is None else attributes.model_dump(exclude_unset=True, by_alias=True)
        rendered = _render(context.resolution_context.at_path("attributes"), name_variables(given))
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

    def describe(self) -> Dataset:
        """What it says of its source, for `Settings.with_datasets`."""
        context = self._written.context
        folder = None
        if context is not None:
            path: Path = context.component_path.file_path
            folder = path if path.is_dir() else path.parent
        settings = {key: value for key, value in self._settings.items() if key != "name"}
        return Dataset(self.name, settings, folder, lambda keys: self._written.at(*keys), self._written.file)

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The assets, checks, schedules and sensors of this source alone."""
        if self._written.context is None:
            self._written = Written(context)
        lakes = context.component_tree.get_all_components(SharedLake)  # type: ignore[type-abstract]
        if not lakes:
            raise no_lake(self._written.at(), self.name)
        return lakes[0].build_parts(context)[self.name]


def _render(context: dg.ResolutionContext, value: Any) -> Any:
    """Values of templates. Other texts stay texts: Dagster's own rendering makes a number of the code "7203"."""
    if isinstance(value, dict):
        return {key: _render(context.at_path(key), item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_render(context.at_path(place), item) for place, item in enumerate(value)]
    return context.resolve_value(value) if isinstance(value, str) and "{{" in value else value
