"""This module holds what standing checks look at: a project, its lake, and what several of them need of its ledger."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from gb_pipeline.config.health import HealthSettings
from gb_pipeline.config.settings import Settings, SourceSettings
from gb_pipeline.errors import GbError
from gb_pipeline.ingest.backlog import Backlog, find_backlog
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution


@dataclass(frozen=True)
class Backlogs:
    """What is missing of each source and resolution.

    Attributes:
        found: by source and resolution.
        errors: why it is not known of others, by `source resolution`.
    """

    found: tuple[Backlog, ...]
    errors: Mapping[str, GbError]


class ProjectState:
    """A project and its lake at one moment.

    Args:
        settings: of the project.
        store: its lake, whose clock is the present.
    """

    def __init__(self, settings: Settings, store: LakeStore) -> None:
        """Nothing is looked at yet."""
        self.settings = settings
        self.store = store

    @cached_property
    def now(self) -> datetime:
        """The present, in UTC."""
        return self.store.clock()

    @property
    def limits(self) -> HealthSettings:
        """What the checks put up with."""
        return self.settings.health

    @property
    def groups(self) -> Iterator[tuple[SourceSettings, Resolution]]:
        """Every source and resolution of gb.yaml that has symbols."""
        for source in self.settings.sources.values():
            for resolution in source.resolutions if source.symbols else ():
                yield source, resolution

    @cached_property
    def stores_something(self) -> bool:
        """Whether anything was ever written to the lake."""
        return self.store.storage.exists and any(True for _ in self.store.tables.existing(damaged=[]))

    @cached_property
    def backlogs(self) -> Backlogs:
        """What the calendar expects and the ledger does not have; looked at once."""
        found, errors = [], {}
        for source, resolution in self.groups:
            try:
                found.append(find_backlog(self.store, source, resolution, source.instruments, source.start, source.end))
            except GbError as error:
                errors[f"{source.name} {resolution}"] = error
        return Backlogs(tuple(found), errors)
