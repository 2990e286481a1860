"""What reading a lake needs to know of its sources: which one is asked first, its calendar, and when its bars settle.

gb.yaml says it, and the catalog remembers it for a lake that is opened alone. Nothing else of a source is looked at here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gb_pipeline.config.environment import Environment
from gb_pipeline.config.finality import MOST_SETTLE_DAYS, SETTLE_DAYS
from gb_pipeline.config.places import read_config
from gb_pipeline.errors import ConfigError
from gb_pipeline.market.calendar import Calendar, get_calendar
from gb_pipeline.quality.rules import Alignment

if TYPE_CHECKING:
    from gb_pipeline.config.settings import SourceSettings


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """One source, as a reader knows it.

    Attributes:
        name: of the source.
        calendar, extended_hours, alignment, settle_days: as in gb.yaml.
    """

    name: str
    calendar: str = "24/7"
    extended_hours: bool = False
    alignment: str = Alignment.CLOCK.value
    settle_days: int = SETTLE_DAYS

    @property
    def trading_calendar(self) -> Calendar:
        """Its sessions.

        Raises:
            ConfigError: there is no such calendar.
        """
        return get_calendar(self.calendar, extended_hours=self.extended_hours)


def facts_of(sources: Mapping[str, SourceSettings]) -> tuple[SourceFacts, ...]:
    """Of validated settings, the one that is asked first at the beginning."""
    return _by_priority(
        (
            SourceFacts(name, source.calendar, source.extended_hours, source.alignment.value, source.settle_days),
            source.priority,
        )
        for name, source in sources.items()
    )


def read_facts(file: Path) -> tuple[SourceFacts, ...]:
    """Of a gb.yaml and the datasets beside it, the source that is asked first at the beginning.

    A source that cannot be used for fetching, for want of a credential for example, can be read all the same: what is no
    setting of that kind counts as left out.

    Raises:
        ConfigError: the file cannot be read, or a variable in one of these settings is not set.
    """
    listed = read_config(file).get("sources")
    sources: dict[str, Any] = {str(name): body for name, body in listed.items()} if isinstance(listed, dict) else {}
    # Pydantic is not imported by who only reads a lake.
    from gb_pipeline.config.datasets import read_datasets

    for dataset in read_datasets(file):
        sources.setdefault(dataset.name, dataset.settings)
    if not sources:
        return ()
    variables = Environment(file)
    return _by_priority(_read_source(name, body, variables) for name, body in sources.items())


def _read_source(name: str, body: Any, variables: Environment) -> tuple[SourceFacts, int]:
    given = body if isinstance(body, Mapping) else {}
    keys = ("calendar", "extended_hours", "alignment", "priority", "settle_days")
    kept = {key: variables.fill(given.get(key)) for key in keys}
    facts = SourceFacts(
        name,
        str(kept["calendar"] or "24/7"),
        str(kept["extended_hours"]).lower() in {"true", "yes", "on", "1"},
        str(kept["alignment"] or Alignment.CLOCK.value),
        min(max(0, _whole_number(name, "settle_days", kept["settle_days"], SETTLE_DAYS)), MOST_SETTLE_DAYS),
    )
    priority = _whole_number(name, "priority", kept["priority"], 0)
    return facts, priority


def _whole_number(source: str, key: str, value: Any, default: int) -> int:
    try:
        return default if value is None or value == "" else int(value)
    except (TypeError, ValueError):
        raise ConfigError(f"source {source}: {key} is not a number", fix="write a whole number") from None


def _by_priority(sources: Iterable[tuple[SourceFacts, int]]) -> tuple[SourceFacts, ...]:
    """The highest number first; of equal ones, the order of the file."""
    return tuple(facts for facts, _ in sorted(sources, key=lambda item: -item[1]))
