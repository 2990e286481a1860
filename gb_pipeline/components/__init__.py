"""Components of Dagster: datasets of a lake in `defs.yaml` files, as `dg` scaffolds and checks them.

`dg list components` finds what this module names, through the entry point `dagster_dg_cli.registry_modules`. A `gb.yaml` alone
makes the same assets; a project that consists of components anyway has its sources beside them.
"""

from gb_pipeline.components.dataset import MarketDataset
from gb_pipeline.components.lake import MarketLake

__all__ = ["MarketDataset", "MarketLake"]
