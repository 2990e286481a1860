"""This module fills Dagster's own cache with what its pages show of an asset's partitions, before anybody looks.

What Dagster has kept of an asset counts as long as its definition stays the same. After that the first page that shows it reads all
of its days anew: a hundredth of a second for each asset, which are seconds for hundreds of them.
"""

from __future__ import annotations

from collections.abc import Iterable

import dagster as dg

from gb_pipeline.dagster_runtime.private import get_and_update_asset_status_cache_value


def keep_status_warm(
    instance: dg.DagsterInstance, keys: Iterable[dg.AssetKey], partitions: dg.PartitionsDefinition
) -> None:
    """Bring the cached status of some assets up to what the event log holds; what is known already costs a few milliseconds.

    Args:
        instance: whose event log.
        keys: assets that share the partitions.

    Example:
        >>> keep_status_warm(context.instance, context.selected_asset_keys, group.partitions)
    """
    for key in keys:
        get_and_update_asset_status_cache_value(instance, key, partitions)
