"""Options that several commands share: `--config`, `--lake`, `--as-of`, `--json` and dates, and opening what they name.

An option that only one command has is declared by that command.
"""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gb_pipeline.errors import ConfigError, GbError

if TYPE_CHECKING:
    from datetime import datetime

    from gb_pipeline.config.bucket import Address
    from gb_pipeline.config.settings import Settings
    from gb_pipeline.lake.store import LakeStore
    from gb_pipeline.reading.lake import Lake

Config = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", help="gb.yaml or its folder; by default GB_CONFIG, else ./gb.yaml.", show_default=False
    ),
]
LakeFolder = Annotated[
    Path | None,
    typer.Option(
        "--lake",
        help="A lake's folder, or s3://bucket/prefix; by default GB_LAKE, else the one of gb.yaml.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print only JSON on stdout.")]
Start = Annotated[
    str | None,
    typer.Option("--start", help="First instant: 2024-01-02 (midnight UTC), 2024-01-02T09:30Z, or --start=-7d."),
]
End = Annotated[str | None, typer.Option("--end", help="End (exclusive), in the same form.")]
AsOf = Annotated[
    str | None,
    typer.Option(
        "--as-of", help="What was known at this moment, such as 2024-01-02T09:30Z; now by default.", show_default=False
    ),
]


def load_settings(config: Path | None) -> Settings:
    """gb.yaml, as `--config`, GB_CONFIG or the working directory name it.

    Raises:
        ConfigError: there is none, or it is unusable.
    """
    from gb_pipeline.config.settings import Settings

    return Settings.load(config)


def open_store(settings: Settings) -> LakeStore:
    """The lake that gb.yaml names, for writing; its folder need not exist yet."""
    from gb_pipeline.lake.store import LakeStore

    return LakeStore.of_project(settings)


def open_lake(config: Path | None, folder: Path | None) -> Lake:
    """The lake to read: `--lake`, else the one of `--config`, else GB_LAKE, else the one of gb.yaml.

    Raises:
        ConfigError: neither a lake nor a gb.yaml was found.
    """
    from gb_pipeline.lake.store import LakeStore
    from gb_pipeline.reading.lake import Lake
    from gb_pipeline.reading.opening import about_lake, cache_options, refuse_no_lake

    root = lake_address_of(config, folder)
    state, facts, incidents = about_lake(root, config)
    store = LakeStore.at(root, state=state, incidents=incidents)
    if not store.storage.exists:
        raise ConfigError(f"there is no lake at {root} yet", fix="fetch something first: gb fetch SOURCE SYMBOL")
    refuse_no_lake(store.storage)
    store.storage.refuse_other_format()
    return Lake(store, facts=facts, cache=cache_options(root, config))


def open_lake_if_any(config: Path | None, folder: Path | None) -> Lake | None:
    """The same for maintenance: None where a project has stored nothing yet.

    Raises:
        ConfigError: neither a lake nor a gb.yaml was found, or the folder is not a lake.
    """
    from gb_pipeline.storage.address import Storage

    if folder is None and not Storage.at(lake_address_of(config, folder)).exists:
        return None
    return open_lake(config, folder)


def project_of(lake: Lake | None, config: Path | None) -> Settings | None:
    """The project that a lake belongs to, for what only gb.yaml knows; None without one, or where it cannot be used.

    Args:
        lake: that is read; None where the project has none yet.
        config: as `--config` names it.
    """
    from gb_pipeline.cli.output import note
    from gb_pipeline.config.bucket import same_place
    from gb_pipeline.config.places import find_config

    try:
        find_config(config)
    except ConfigError:
        return None
    try:
        settings = load_settings(config)
    except GbError as error:
        note(f"gb.yaml cannot be used, and only what the lake knows is shown: {error.what}")
        return None
    same = lake is None or same_place(settings.lake, lake.store.storage.root)
    return settings if same else None


def refresh_catalog(lake: Lake, config: Path | None) -> None:
    """Bring the catalog up to date after a change."""
    from gb_pipeline.catalog.projection import refresh_catalog as refresh

    settings = project_of(lake, config)
    refresh(lake.store, None if settings is None else settings.sources)


def lake_address_of(config: Path | None, folder: Path | None) -> Address:
    """Where the lake is that a command means; nothing need be there."""
    from gb_pipeline.config.places import lake_address, other_address

    if folder is None and config is None and os.environ.get("GB_LAKE"):
        return other_address(os.environ["GB_LAKE"])
    return other_address(str(folder), config) if folder is not None else lake_address(config)


def parse_moment(text: str | None) -> datetime | None:
    """What `--as-of`, `--start` and `--end` name.

    Raises:
        ConfigError, NaiveTimestamp: it is not a moment, or one without a time zone.
    """
    from gb_pipeline.reading.arguments import moment

    return moment(text)


def parse_day(text: str, name: str) -> date:
    """A session, as 2024-01-02.

    Raises:
        ConfigError: it is not a date; the message names the option.
    """
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        raise ConfigError(f"{name}: {text[:40]!r} is not a date", fix="write it as 2024-01-02") from None


def split_series(text: str) -> tuple[str, str]:
    """`SOURCE:SYMBOL` into its two parts.

    Raises:
        ConfigError: there is no colon between two names.

    Example:
        >>> split_series("coinbase:BTC-USD")
        ('coinbase', 'BTC-USD')
    """
    source, _, symbol = text.partition(":")
    if not source or not symbol:
        raise ConfigError(f"{text[:80]!r} names no series", fix="write SOURCE:SYMBOL, such as coinbase:BTC-USD")
    return source, symbol.upper()
