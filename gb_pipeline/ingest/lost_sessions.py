"""This module fetches again what a damaged lake has lost: from lost sessions to jobs, and running them.

Finding and taking out what is damaged is in `lake.verification` and `lake.mending`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from itertools import groupby

from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.errors import ConfigError, GbError
from gb_pipeline.ingest.bars import ingest
from gb_pipeline.ingest.job import Job, Outcome
from gb_pipeline.lake.mending import LostSessions
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.calendar import Calendar
from gb_pipeline.market.symbol import Symbol

_DAY = timedelta(days=1)


def fetch_again(
    store: LakeStore,
    sources: Mapping[str, SourceSettings],
    lost: Sequence[LostSessions],
    *,
    on_outcome: Callable[[Outcome], None] | None = None,
) -> tuple[list[Outcome], list[GbError]]:
    """Fetch just these sessions.

    Args:
        store: the lake.
        sources: settings by name.
        lost: as `lake.verification.mend` returns them.
        on_outcome: called for each job that is stored.

    Returns:
        The outcomes, and why whole sources could not be asked.

    Example:
        >>> done, lost = mend(store, verify(store))
        >>> outcomes, errors = fetch_again(store, settings.sources, lost)
    """
    outcomes: list[Outcome] = []
    errors: list[GbError] = []
    ordered = sorted(lost, key=lambda item: (item.source, item.resolution.value, item.symbol))
    for (name, resolution), group in groupby(ordered, key=lambda item: (item.source, item.resolution)):
        own = list(group)
        source = sources.get(name)
        if source is None:
            errors.append(
                ConfigError(
                    f"{len(own)} series of source {name} have lost sessions, and gb.yaml has no such source",
                    fix=f"write source {name} into gb.yaml and run it again",
                )
            )
            continue
        try:
            outcomes += ingest(store, source, resolution, list(_jobs(source, own)), on_outcome=on_outcome)
        except GbError as error:
            errors.append(error)
    return outcomes, errors


def _jobs(source: SourceSettings, lost: Sequence[LostSessions]) -> Iterator[Job]:
    known = {symbol.code: symbol for symbol in source.instruments}
    for item in lost:
        symbol = known.get(item.symbol) or Symbol.of(item.symbol, source.asset_class)
        calendar = source.rules(item.resolution).calendar
        for start, end in _stretches(item.sessions, calendar):
            yield Job(symbol, start, end)


def _stretches(sessions: Sequence[date], calendar: Calendar) -> Iterator[tuple[date, date]]:
    """Half-open ranges of days that hold these sessions and no other."""
    first = previous = sessions[0]
    for session in sessions[1:]:
        if calendar.sessions(previous + _DAY, session):
            yield first, previous + _DAY
            first = session
        previous = session
    yield first, previous + _DAY
