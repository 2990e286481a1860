"""Where the components of a project of `dg` stand: its folder, its `defs.yaml` files, and the lines in them.

Only files are read, as Dagster finds them; nothing of the project is imported, and components of other packages are left alone.
`datasets` says what the ones of this package mean.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from gb_pipeline.config import strict_yaml
from gb_pipeline.errors import ConfigError

# As Dagster looks for them; the first that is there counts.
_FILES = ("defs.yaml", "defs.yml", "component.yaml")
_DOCUMENT = re.compile(r"^---(?=\s|$)", re.MULTILINE)
_OURS = re.compile(r"gb_pipeline\.components\.(?:\w+\.)?(MarketDataset|MarketLake)")
# What may be one of ours is parsed, and nothing else: a comment is none, and a text within another component is told by its parse.
_MENTION = re.compile(rf"^[^#\n]*\btype[\"']?\s*:\s*[\"']?{_OURS.pattern}\b", re.MULTILINE)
# Its folder is searched further; that of any other component is its own.
_FOLDER_COMPONENT = "DefsFolderComponent"


@dataclass(frozen=True, slots=True)
class DgProject:
    """A project of `dg`.

    Attributes:
        root: the folder of its pyproject.toml or dg.toml.
        defs: the folder of its components; it need not be there.
    """

    root: Path
    defs: Path


@dataclass(frozen=True, slots=True)
class WrittenComponent:
    """A component of this package, as it stands in a file; nothing is filled in.

    Attributes:
        file: a `defs.yaml`.
        kind: `MarketDataset` or `MarketLake`.
        text: the document, with as many empty lines before it as others take, so that its lines are those of the file.
        attributes: what it says under `attributes`.
    """

    file: Path
    kind: str
    text: str
    attributes: Any

    def at(self, keys: Sequence[str | int]) -> str:
        """File and line of an attribute, or of the nearest thing around it: `defs/coinbase/defs.yaml:7`."""
        node = strict_yaml.compose(self.text, str(self.file))
        line = 0 if node is None else node.start_mark.line
        for key in ("attributes", *keys):
            found = _step(node, key)
            if found is None:
                break
            line, node = found
        return f"{self.file}:{line + 1}"


def find_project(folder: Path) -> DgProject | None:
    """The project of `dg` that a folder lies in, the nearest one; None outside of one.

    Raises:
        ConfigError: a pyproject.toml with settings of `dg` cannot be read.
    """
    for place in (folder, *folder.parents):
        for name in ("dg.toml", "pyproject.toml"):
            if (file := place / name).is_file():
                settings = _read_settings(file)
                if settings.get("directory_type") == "project":
                    return DgProject(place, _find_defs(place, settings.get("project") or {}))
    return None


def read_components(project: DgProject) -> list[WrittenComponent]:
    """The components of this package in a project, in the order of their paths.

    Raises:
        ConfigError: a file with one of them cannot be read; the message names file and line.
    """
    return [component for file in _find_files(project.defs) for component in _read_file(file)]


def _read_settings(file: Path) -> dict[str, Any]:
    try:
        text = file.read_text(encoding="utf-8")
        if file.name != "dg.toml" and "tool.dg" not in text:
            return {}
        document = tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{file} cannot be read: {error}", fix="correct it; it says where `defs.yaml` files lie"
        ) from None
    settings = document if file.name == "dg.toml" else document.get("tool", {}).get("dg", {})
    return settings if isinstance(settings, dict) else {}


def _find_defs(root: Path, settings: dict[str, Any]) -> Path:
    module = settings.get("defs_module") or f"{settings.get('root_module') or root.name}.defs"
    parts = str(module).split(".")
    places = [root.joinpath("src", *parts), root.joinpath(*parts)]
    return next((place for place in places if place.is_dir()), places[0])


def _find_files(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        return
    file = next((folder / name for name in _FILES if (folder / name).is_file()), None)
    if file is not None:
        yield file
        if _FOLDER_COMPONENT not in file.read_text(encoding="utf-8", errors="replace"):
            return
    for inner in sorted(folder.iterdir()):
        if inner.is_dir() and not inner.name.startswith(".") and inner.name != "__pycache__":
            yield from _find_files(inner)


def _read_file(file: Path) -> Iterator[WrittenComponent]:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        # Dagster says so; whether it is one of ours nobody knows.
        return
    starts = [0, *(match.end() for match in _DOCUMENT.finditer(text))]
    ends = [*(match.start() for match in _DOCUMENT.finditer(text)), len(text)]
    for start, end in zip(starts, ends, strict=True):
        if _MENTION.search(text, start, end) is None:
            continue
        document = "\n" * text.count("\n", 0, start) + text[start:end]
        content = strict_yaml.parse(document, str(file))
        ours = _OURS.fullmatch(str(content.get("type"))) if isinstance(content, dict) else None
        if ours is not None:
            yield WrittenComponent(file, ours[1], document, content.get("attributes"))


def _step(node: yaml.Node | None, key: str | int) -> tuple[int, yaml.Node] | None:
    """The line and the value of a key, or of an item."""
    if isinstance(node, yaml.MappingNode):
        return next(((name.start_mark.line, value) for name, value in node.value if name.value == str(key)), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
        item = node.value[key]
        return item.start_mark.line, item
    return None
