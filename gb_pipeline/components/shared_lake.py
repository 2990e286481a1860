"""What a dataset knows of the lake of its project: that it has a part of the definitions for each of them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import dagster as dg


class SharedLake(dg.Component):
    """The lake of a project, once."""

    @abstractmethod
    def build_parts(self, context: dg.ComponentLoadContext) -> Mapping[str, dg.Definitions]:
        """The definitions of the whole project: those of each dataset under its name, and the rest under an empty one.

        Raises:
            ConfigError: a setting that cannot be used, two lakes, or two datasets of one name; the message names file and line.
        """
