"""What assets are given to work with.

Belongs here: resources with documented settings that hand out plain objects of the domain. Does not belong here: work.
"""

from functools import cached_property
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from gb_pipeline.lake.store import LakeStore

if TYPE_CHECKING:
    from gb_pipeline.reading.lake import Lake


class LakeResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The lake, for reading and for writing."""

    root: str = Field(description="folder of the lake; `lake` of gb.yaml, or GB_LAKE")

    @cached_property
    def store(self) -> LakeStore:
        """The write side: ingestion and compaction."""
        return LakeStore.at(self.root)

    @cached_property
    def reader(self) -> "Lake":
        """The read side: everything downstream."""
        from gb_pipeline.reading.lake import Lake

        return Lake.open(self.root)
