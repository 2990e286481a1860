"""All of Dagster's definitions out of one Settings object.

Belongs here: putting the parts together. Does not belong here: the parts, and reading gb.yaml.
"""

from __future__ import annotations

from datetime import date

import dagster as dg

from gb_pipeline.orchestration.assets.bars import bars_asset
from gb_pipeline.orchestration.dataset import datasets
from gb_pipeline.orchestration.partitions import warn_if_many
from gb_pipeline.orchestration.resources import LakeResource
from gb_pipeline.settings import Settings


def build_definitions(settings: Settings) -> dg.Definitions:
    """Everything that gb.yaml asks for.

    Raises:
        ConfigError: something in gb.yaml cannot work; the message says what.
    """
    parts = list(datasets(settings))
    for dataset in parts:
        warn_if_many(dataset.name, dataset.partitioning, len(dataset.symbols), date.today())
    return dg.Definitions(
        assets=[bars_asset(dataset) for dataset in parts],
        resources={"lake": LakeResource(root=str(settings.lake))},
        executor=dg.in_process_executor,
    )
