"""This module finds the lake that a path or the working directory means, and says which folder was probably meant.

It opens no table.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from gb_pipeline.config.bucket import Address, Bucket, is_bucket, same_place
from gb_pipeline.config.cache import CacheOptions, with_variables
from gb_pipeline.config.environment import Environment
from gb_pipeline.config.places import (
    CONFIG_FILE,
    find_config,
    lake_address,
    other_address,
    read_config,
    state_folder,
)
from gb_pipeline.config.project_incidents import ProjectIncidents
from gb_pipeline.config.source_facts import SourceFacts, read_facts
from gb_pipeline.errors import ConfigError
from gb_pipeline.storage.address import Storage

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Location:
    """Where a lake is.

    Attributes:
        root: its folder, or its place in an object store.
        state: folder of locks and limits; None for the default.
        facts: what the project's gb.yaml says of the sources; None without a project, for what the catalog remembers.
        incidents: what the project says explains gaps; likewise.
        config: the gb.yaml that was named; None for the one that is found, if it is of this lake.
    """

    root: Address
    state: Path | None = None
    facts: tuple[SourceFacts, ...] | None = None
    incidents: ProjectIncidents | None = None
    config: Path | None = None

    def cache(self) -> CacheOptions:
        """Where answers of this lake are kept."""
        return cache_options(self.root, self.config)


def locate(path: Path | str | None) -> Location:
    """The lake that is meant.

    Args:
        path: its folder or `s3://bucket/prefix`, a gb.yaml, or a folder with one. By default GB_LAKE, else the project of
            GB_CONFIG, of the working directory or of the nearest folder above it.

    Raises:
        ConfigError: no project was found, or its gb.yaml cannot be read.
    """
    if path is None:
        named = os.environ.get("GB_LAKE")
        if not named:
            try:
                file = find_config(None)
            except ConfigError as error:
                raise ConfigError(
                    f"no lake was named, and {error.what}, nor one above it",
                    fix='name one: Lake.open("data"), or start in a folder of the project, or set GB_CONFIG or GB_LAKE',
                ) from None
            return _of_project(file)
        root = other_address(named)
        return Location(root, *about_lake(root, None))
    if is_bucket(path):
        root = as_address(path)
        return Location(root, *about_lake(root, None))
    given = Path(path).expanduser()
    if given.is_file() and given.suffix in {".yaml", ".yml"}:
        return _of_project(given)
    if (given / CONFIG_FILE).is_file() and not (given / "lake").is_dir():
        return _of_project(given / CONFIG_FILE)
    told = (None, *about_lake(given, given)[1:], given) if (given / CONFIG_FILE).is_file() else ()
    return Location(given, *told)


def as_address(text: Path | str) -> Address:
    """A folder, or a place in an object store as the environment says that it is reached.

    Raises:
        ConfigError: the address cannot be used.
    """
    return Bucket.parse(str(text)) if is_bucket(text) else Path(text)


def about_lake(
    root: Address, config: Path | None
) -> tuple[Path | None, tuple[SourceFacts, ...] | None, ProjectIncidents | None]:
    """What a project says of its lake: the folder of state, facts of the sources, and incidents; nothing of another one's lake.

    Args:
        root: of the lake.
        config: gb.yaml or its folder; as `find_config` finds it by default.
    """
    default_state = Path(os.environ["GB_STATE"]) if os.environ.get("GB_STATE") else None
    try:
        if not same_place(lake_address(config), root):
            return default_state, None, None
        state = state_folder(config)
    except ConfigError:
        # A lake can be read without a usable project.
        return default_state, None, None
    try:
        file = find_config(config)
        return state, read_facts(file), ProjectIncidents(file)
    except ConfigError:
        return state, None, None


def _of_project(file: Path) -> Location:
    root = lake_address(file)
    return Location(root, *about_lake(root, file), config=file)


def cache_options(root: Address, config: Path | None) -> CacheOptions:
    """Where answers of a lake are kept: as its project's gb.yaml and variables say. What cannot be used is told and left out.

    Args:
        root: of the lake.
        config: gb.yaml or its folder; as `find_config` finds it by default.
    """
    try:
        file = find_config(config)
        is_its_project = same_place(lake_address(file), root)
    except ConfigError:
        # A lake can be read without a usable project.
        is_its_project = False
    try:
        if not is_its_project:
            return with_variables(CacheOptions())
        get, section = Environment(file).get, read_config(file).get("cache")
        if section is None:
            return with_variables(CacheOptions(), get)
        # With Pydantic, which whoever only reads a lake does not need.
        from gb_pipeline.config.cache_settings import read_section

        return read_section(section, file, get)
    except ConfigError as error:
        log.warning("%s; answers are kept in memory alone until you %s", error.what, error.fix)
        return CacheOptions()


def refuse_no_lake(storage: Storage) -> None:
    """Let the root of a lake pass, and a folder in which there is nothing yet.

    Raises:
        ConfigError: there is no such folder, or it is not a lake.
        LakeError: the object store cannot be asked.
    """
    root = storage.root
    if isinstance(root, Bucket):
        if not storage.exists:
            raise ConfigError(f"there is no lake at {root}", fix="fetch some data first, or correct bucket and prefix")
        return
    if not root.is_dir():
        raise ConfigError(f"there is no lake at {root}", fix="fetch some data first, or open it with create=True")
    if (root / "lake").is_dir() or not any(entry for entry in root.iterdir() if not entry.name.startswith(".")):
        return
    fix = "name the folder that holds `lake/`"
    if root.name == "lake" and (any(root.glob("*/_delta_log"))):
        fix = f"name its parent: {root.parent}"
    elif (root / "gb.yaml").is_file():
        fix = "name the folder that `lake:` in its gb.yaml says"
    elif {entry.name for entry in root.iterdir()} <= {"state", "log", "catalog.duckdb", "bundles"}:
        return
    raise ConfigError(f"{root} is not a lake", fix=fix)
