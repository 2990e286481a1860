"""Where something stands in the YAML files of a project, and what is wrong there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from gb_pipeline.errors import ConfigError


@dataclass(frozen=True)
class Written:
    """The place of a component in a project.

    Attributes:
        context: as Dagster loads it; None for a component that was made in code and is not loaded yet.
    """

    context: dg.ComponentDeclLoadContext | None = None

    def at(self, *keys: str | int) -> str:
        """File and line of an attribute, or of the nearest thing around it: `defs/coinbase/defs.yaml:7`."""
        tree = self.context.resolution_context.source_position_tree if self.context else None
        if tree is not None:
            position, _ = tree.lookup_closest_and_path(["attributes", *keys], None)
            return str(position)
        return str(self.context.component_path.file_path) if self.context else "a component that was made in code"

    @property
    def file(self) -> Path | None:
        """The `defs.yaml` that it stands in; None for a component that was made in code."""
        if self.context is None:
            return None
        folder: Path = self.context.component_path.file_path
        names = ("defs.yaml", "defs.yml", "component.yaml") if folder.is_dir() else ()
        return next((folder / name for name in names if (folder / name).is_file()), None)

    def wrong(self, keys: Sequence[str | int], what: str, fix: str) -> ConfigError:
        """An error that begins with the place."""
        return ConfigError(f"{self.at(*keys)}: {what}", fix=fix)
