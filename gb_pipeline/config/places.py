"""Where gb.yaml is, and which folders it names.

Belongs here: finding the file, the lake's root and the folder of its state. Does not belong here: all else that it says
(`settings`), and what lies in those folders.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from gb_pipeline.config import strict_yaml
from gb_pipeline.config.environment import Environment
from gb_pipeline.errors import ConfigError

CONFIG_FILE = "gb.yaml"
# A drive of Windows is one letter.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")


def find(path: Path | str | None) -> Path:
    """The gb.yaml that a path means: the file, or the one in a folder; GB_CONFIG or the working directory's by default.

    Raises:
        ConfigError: there is none.
    """
    chosen = Path(path or os.environ.get("GB_CONFIG") or CONFIG_FILE).expanduser().resolve()
    file = chosen / CONFIG_FILE if chosen.is_dir() else chosen
    if not file.is_file():
        raise ConfigError(
            f"there is no {file}", fix="run `gb init` to write one, or name it with --config or GB_CONFIG"
        )
    return file


def content(file: Path) -> dict[str, Any]:
    """What a gb.yaml says, variables not filled in.

    Raises:
        ConfigError: it is no YAML, or holds no settings.
    """
    raw = strict_yaml.read(file)
    if not isinstance(raw, dict):
        raise ConfigError(f"{file} holds no settings", fix="run `gb init` in an empty folder to see an example")
    return dict(raw)


def lake(said: dict[str, Any], file: Path, variables: Environment) -> Path:
    """The root of the lake, absolute; GB_LAKE wins over what the file says.

    Raises:
        ConfigError: it is no local folder.
    """
    return _local("lake", variables.get("GB_LAKE") or variables.fill(said.get("lake")) or "data", file)


def state(said: dict[str, Any], file: Path, variables: Environment) -> Path:
    """The folder of locks and limits, absolute: `<lake>/state` by default; GB_STATE wins over what the file says.

    Raises:
        ConfigError: it is no local folder.
    """
    chosen = variables.get("GB_STATE") or variables.fill(said.get("state"))
    return _local("state", chosen, file) if chosen else lake(said, file, variables) / "state"


def _local(name: str, value: Any, file: Path) -> Path:
    """A local folder of gb.yaml.

    Raises:
        ConfigError: it is an address of something else; as a path it would be a folder that is called `s3:`.
    """
    if isinstance(value, dict | list):
        raise ConfigError(f"{file}: {name} is no path", fix="write a folder")
    text = str(value)
    scheme = _SCHEME.match(text.strip())
    if scheme is not None:
        raise ConfigError(
            f"{file}: {name} cannot lie at {scheme[1]}:// yet",
            fix=f"name a local folder, such as `{name}: /srv/market-data` (or GB_{name.upper()})",
        )
    if "\0" in text:
        raise ConfigError(f"{file}: {name} is no path", fix="write a folder")
    folder = Path(text).expanduser()
    return folder if folder.is_absolute() else (file.parent / folder).resolve()
