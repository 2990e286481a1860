"""This module finds the incidents.yaml of a project, and reads it again whenever it has changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gb_pipeline.config.environment import Environment
from gb_pipeline.config.incidents import Incident, read_incidents
from gb_pipeline.config.places import incidents_of, read_config
from gb_pipeline.config.source_facts import SourceFacts, read_facts

_Stat = tuple[int, int, int] | None


@dataclass(frozen=True)
class Incidents:
    """The incidents of a project, and what has to be known of its sources to apply them.

    Attributes:
        items: in the order of the file; of several that cover a bar the first one explains it.
        facts: of each source: its calendar, and where its bars start.
        exchanges: where series are listed, by source and symbol; only what gb.yaml or the vendor says.
    """

    items: tuple[Incident, ...] = ()
    facts: Mapping[str, SourceFacts] = field(default_factory=dict)
    exchanges: Mapping[tuple[str, str], str] = field(default_factory=dict)


NO_INCIDENTS = Incidents()


class ProjectIncidents:
    """The incidents of a project, as its files say them now.

    Example:
        >>> ProjectIncidents(Path("gb.yaml"))().items
        ()
    """

    def __init__(self, config: Path) -> None:
        """Nothing is read yet.

        Args:
            config: the gb.yaml.
        """
        self._config = config
        self._read: tuple[tuple[_Stat, _Stat], Incidents] | None = None
        self._file: tuple[_Stat, Path | None] | None = None

    @property
    def file(self) -> Path | None:
        """Where they are; None where there is none."""
        stat = _identify(self._config)
        # A file that was not there may be there now.
        if self._file is None or self._file[0] != stat or self._file[1] is None:
            content = read_config(self._config)
            self._file = stat, incidents_of(content, self._config, Environment(self._config))
        return self._file[1]

    def __call__(self) -> Incidents:
        """Read them, unless nothing has changed.

        Raises:
            ConfigError: gb.yaml or the file cannot be used; the message says where.
        """
        file = self.file
        state = _identify(self._config), _identify(file) if file else None
        if self._read is None or self._read[0] != state:
            self._read = state, self._load(file)
        return self._read[1]

    def _load(self, file: Path | None) -> Incidents:
        items = read_incidents(file) if file is not None and file.is_file() else ()
        if not items:
            return Incidents()
        facts = {item.name: item for item in read_facts(self._config)}
        return Incidents(items, facts, self._exchanges(items))

    def _exchanges(self, items: tuple[Incident, ...]) -> dict[tuple[str, str], str]:
        """Where series are listed; looked up only where an incident names an exchange."""
        if not any(item.exchanges for item in items):
            return {}
        from gb_pipeline.config.settings import Settings

        sources = Settings.load(self._config).sources.values()
        return {(source.name, symbol.code): symbol.exchange for source in sources for symbol in source.instruments}


def _identify(file: Path) -> _Stat:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
