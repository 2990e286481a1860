"""Where gb.yaml is, and where the lake, its state and the incidents are that it names.

This module finds and reads the file and resolves the two folders. `settings` validates everything else that the file says.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from gb_pipeline.config import strict_yaml
from gb_pipeline.config.bucket import Address, Bucket, is_bucket
from gb_pipeline.config.environment import Environment
from gb_pipeline.errors import ConfigError

CONFIG_FILE = "gb.yaml"
INCIDENTS_FILE = "incidents.yaml"
# A drive of Windows is one letter.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")


def find_config(path: Path | str | None) -> Path:
    """The gb.yaml that a path means: the file, or the one in a folder.

    Args:
        path: by default GB_CONFIG, else the working directory or the nearest folder above it that has one.

    Raises:
        ConfigError: there is none.
    """
    path_or_default = Path(path or os.environ.get("GB_CONFIG") or _nearest()).expanduser().resolve()
    file = path_or_default / CONFIG_FILE if path_or_default.is_dir() else path_or_default
    if not file.is_file():
        raise ConfigError(
            f"there is no {file}", fix="run `gb init` to write one, or name it with --config or GB_CONFIG"
        )
    return file


def _nearest() -> Path:
    """The gb.yaml of the working directory, or of the nearest folder above it; where none has one, its place here."""
    here = Path.cwd() / CONFIG_FILE
    return next((file for folder in here.parents if (file := folder / CONFIG_FILE).is_file()), here)


def read_config(file: Path) -> dict[str, Any]:
    """What a gb.yaml says, variables not filled in.

    Raises:
        ConfigError: it is not YAML, or has no settings.
    """
    document = strict_yaml.read(file)
    if not isinstance(document, dict):
        raise ConfigError(f"{file} has no settings", fix="run `gb init` in an empty folder to see an example")
    return dict(document)


def lake_address(path: Path | str | None = None) -> Address:
    """Where the lake is that a gb.yaml names. Reading needs nothing else: no source and no credential of one is looked at.

    Args:
        path: as for `find_config`.

    Raises:
        ConfigError: no such file, broken YAML, a broken `.env` beside it, or an address that cannot be used.
    """
    file = find_config(path)
    return lake_of(read_config(file), file, Environment(file))


def other_address(place: str, path: Path | str | None = None) -> Address:
    """Another place than the lake of a gb.yaml; a bucket is reached as the file says under `s3`, if there is a file.

    Raises:
        ConfigError: an address that cannot be used, or a gb.yaml that cannot be read.
    """
    if not place.strip():
        raise ConfigError("no place is named", fix="name a folder, or a bucket as s3://bucket/prefix")
    if not is_bucket(place):
        scheme = _SCHEME.match(place)
        if scheme is not None:
            raise ConfigError(
                f"a lake cannot lie at {scheme[1]}://", fix="name a local folder, or a bucket as s3://bucket/prefix"
            )
        return Path(place).expanduser()
    try:
        file = find_config(path)
    except ConfigError:
        return Bucket.parse(place)
    variables = Environment(file)
    settings = variables.fill(read_config(file).get("s3")) or {}
    return Bucket.parse(place, settings if isinstance(settings, dict) else {}, variables.get)


def state_folder(path: Path | str | None = None) -> Path:
    """The folder in which this machine keeps locks and limits of the lake that a gb.yaml names; no source is looked at.

    Raises:
        ConfigError: as `lake_address`.
    """
    file = find_config(path)
    return state_of(read_config(file), file, Environment(file))


def lake_of(content: dict[str, Any], file: Path, variables: Environment) -> Address:
    """Where the lake is: a folder, absolute, or a place in an object store; GB_LAKE wins over what the file says.

    Raises:
        ConfigError: it is neither, or what the file says of the store cannot be used.
    """
    value = variables.get("GB_LAKE") or variables.fill(content.get("lake")) or "data"
    if not isinstance(value, dict | list) and is_bucket(value):
        settings = variables.fill(content.get("s3")) or {}
        try:
            if not isinstance(settings, dict):
                raise ConfigError("s3 is not a list of settings", fix="write `s3:` and below it `endpoint: ...`")
            return Bucket.parse(str(value), settings, variables.get)
        except ConfigError as error:
            raise ConfigError(f"{file}: {error.what}", fix=error.fix) from None
    return _local_folder("lake", value, file)


def state_of(content: dict[str, Any], file: Path, variables: Environment) -> Path:
    """The folder of locks and limits, absolute; GB_STATE wins over what the file says.

    By default it is `<lake>/state`, and for a lake in an object store `Bucket.default_state`.

    Raises:
        ConfigError: it is not a local folder.
    """
    folder = variables.get("GB_STATE") or variables.fill(content.get("state"))
    if folder:
        return _local_folder("state", folder, file)
    lake = lake_of(content, file, variables)
    return lake.default_state if isinstance(lake, Bucket) else lake / "state"


def incidents_of(content: dict[str, Any], file: Path, variables: Environment) -> Path | None:
    """Where the incidents of a gb.yaml are: what `incidents` names, else incidents.yaml beside it; None where there is none.

    Raises:
        ConfigError: the file that is named is not there.
    """
    named = variables.fill(content.get("incidents"))
    if named is not None and not isinstance(named, str):
        raise ConfigError(f"{file}: incidents is not a path", fix="name a file, such as `incidents: incidents.yaml`")
    incidents = file.parent / Path(named or INCIDENTS_FILE).expanduser()
    if incidents.is_file():
        return incidents
    if named:
        raise ConfigError(f"{file}: incidents: there is no {incidents}", fix="correct the path, or leave it out")
    return None


def _local_folder(name: str, value: Any, file: Path) -> Path:
    """A local folder of gb.yaml.

    Raises:
        ConfigError: it is an address of something else; as a path it would be a folder that is called `s3:`.
    """
    if isinstance(value, dict | list):
        raise ConfigError(f"{file}: {name} is not a path", fix="write a folder")
    text = str(value)
    scheme = _SCHEME.match(text.strip())
    if scheme is not None:
        raise ConfigError(
            f"{file}: {name} cannot be at {scheme[1]}://",
            fix=f"name a local folder, such as `{name}: /srv/market-data` (or GB_{name.upper()})"
            + (", or a bucket, as s3://bucket/prefix" if name == "lake" else ""),
        )
    if "\0" in text:
        raise ConfigError(f"{file}: {name} is not a path", fix="write a folder")
    folder = Path(text).expanduser()
    return folder if folder.is_absolute() else (file.parent / folder).resolve()
