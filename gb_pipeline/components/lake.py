"""The component `MarketLake`: the lake that all datasets of a project share, and what is made once for all of them.

gb.yaml stays the home of what is said of the lake, so that `gb` works in a project of components as in any other; the sources that
it lists are made as well.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Self

import dagster as dg
from pydantic import BaseModel, Field, PrivateAttr

from gb_pipeline.components.dataset import MarketDataset
from gb_pipeline.components.scaffolding import LakeScaffolder
from gb_pipeline.components.shared_lake import SharedLake
from gb_pipeline.components.split import split_definitions
from gb_pipeline.components.written import Written
from gb_pipeline.config.datasets import second_lake
from gb_pipeline.config.places import CONFIG_FILE
from gb_pipeline.config.settings import Settings
from gb_pipeline.errors import GbError
from gb_pipeline.orchestration.build import build_definitions


@dg.scaffold_with(LakeScaffolder)
class MarketLake(SharedLake, dg.Model, dg.Resolvable):
    """The lake of a project, once: its resources, catalog, compaction and care, and the sources of its gb.yaml.

    Every `MarketDataset` of the project is stored in it.
    """

    config: Annotated[
        str | None,
        Field(
            description="gb.yaml that says where the lake is, relative to the project's folder; GB_CONFIG, else gb.yaml in the"
            " project's folder",
        ),
    ] = None
    _written: Written = PrivateAttr(default_factory=Written)
    _parts: Mapping[str, dg.Definitions] | None = PrivateAttr(default=None)

    @classmethod
    def get_spec(cls) -> dg.ComponentTypeSpec:
        """What `dg list components` says."""
        return dg.ComponentTypeSpec(
            description="The lake that all MarketDatasets of a project share, as its gb.yaml describes it: resources `lake`"
            " and `duckdb`, the catalog, compaction, and the sources of gb.yaml.",
            produces=["asset", "asset_check", "schedule", "sensor", "resource"],
        )

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> Self:
        """From a `defs.yaml`; its place is kept for messages."""
        component = super().load(attributes, context)
        component._written = Written(context)
        return component

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """What belongs to no dataset of the project."""
        return self.build_parts(context)[""]

    def build_parts(self, context: dg.ComponentLoadContext) -> Mapping[str, dg.Definitions]:
        """As `SharedLake`."""
        # Every component of the project asks for its part.
        if self._parts is None:
            lakes = context.component_tree.get_all_components(MarketLake)
            if len(lakes) > 1:
                raise second_lake(lakes[1]._written.at(), lakes[0]._written.at())
            datasets = context.component_tree.get_all_components(MarketDataset)
            settings = self.load_settings(context.project_root, datasets)
            self._parts = split_definitions(build_definitions(settings), [dataset.name for dataset in datasets])
        return self._parts

    def load_settings(self, project: Path, datasets: Sequence[MarketDataset]) -> Settings:
        """gb.yaml, with some datasets among its sources.

        Args:
            project: the folder of the project.
            datasets: all of its datasets.

        Raises:
            ConfigError: as `build_parts`.
        """
        named = self.config or os.environ.get("GB_CONFIG") or CONFIG_FILE
        try:
            settings = Settings.load_file(project / Path(named).expanduser())
        except GbError as error:
            raise self._written.wrong(["config"], error.what, error.fix) from None
        return settings.with_datasets(dataset.describe() for dataset in datasets)
