"""Definitions of a whole project, taken apart: which of them belong to which source.

Assets and checks say it by the first part of their key, schedules and sensors by their name, which begins with the source's.
"""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg


def split_definitions(definitions: dg.Definitions, names: Sequence[str]) -> dict[str, dg.Definitions]:
    """The definitions of each source under its name, and under an empty one all others, with resources and executor.

    Together they are what was given.

    Args:
        definitions: of all sources of a project.
        names: of the sources that are wanted apart.

    Example:
        >>> sorted(split_definitions(build_definitions(settings), ["coinbase"]))
        ['', 'coinbase']
    """
    # Of `coin` and `coin_base`, `coin_base_bars_1m_daily` belongs to the longer one.
    longest_first = sorted(names, key=len, reverse=True)

    def owner_of_name(name: str) -> str:
        return next((source for source in longest_first if name.startswith(f"{source}_")), "")

    def owner_of_key(keys: Sequence[dg.AssetKey]) -> str:
        sources = {key.path[0] for key in keys if len(key.path) > 1}
        return next(iter(sources)) if len(sources) == 1 and sources <= set(names) else ""

    assets = [(owner_of_key(_list_keys(item)), item) for item in definitions.assets or ()]
    checks = [
        (owner_of_key([key.asset_key for key in item.check_keys]), item) for item in definitions.asset_checks or ()
    ]
    schedules = [(owner_of_name(item.name), item) for item in definitions.schedules or ()]
    sensors = [(owner_of_name(item.name), item) for item in definitions.sensors or ()]
    parts = {
        name: dg.Definitions(
            assets=[item for owner, item in assets if owner == name],
            asset_checks=[item for owner, item in checks if owner == name],
            schedules=[item for owner, item in schedules if owner == name],
            sensors=[item for owner, item in sensors if owner == name],
        )
        for name in names
    }
    parts[""] = dg.Definitions(
        assets=[item for owner, item in assets if not owner],
        asset_checks=[item for owner, item in checks if not owner],
        schedules=[item for owner, item in schedules if not owner],
        sensors=[item for owner, item in sensors if not owner],
        jobs=definitions.jobs,
        resources=definitions.resources,
        executor=definitions.executor,
    )
    return parts


def _list_keys(asset: object) -> list[dg.AssetKey]:
    return (
        list(asset.keys)
        if isinstance(asset, dg.AssetsDefinition)
        else [asset.key]
        if isinstance(asset, dg.AssetSpec)
        else []
    )
