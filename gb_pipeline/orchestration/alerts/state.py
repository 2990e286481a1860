"""This module decides what is news: the first failure of something, and that it works again.

Nothing is sent here, and nothing is asked of Dagster.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Sighting:
    """How something was found, such as a dataset's newest run.

    Attributes:
        subject: what it is, in a few words.
        problem: what is wrong; empty where it works.
        path: of Dagster's page about it, such as `/runs/<id>`.
    """

    subject: str
    problem: str
    path: str


@dataclass(frozen=True)
class News:
    """What somebody has to know."""

    subject: str
    text: str
    path: str
    failed: bool


def find_news(broken: Mapping[str, str], sightings: Iterable[Sighting]) -> tuple[list[News], dict[str, str]]:
    """What is news, and what is broken from now on.

    Args:
        broken: subjects that were told to be broken, with what was wrong.
        sightings: what was seen since, oldest first.

    Returns:
        The first failure of each subject, and the end of one that was told; and the subjects that are broken now.

    Example:
        >>> news, broken = find_news({}, [Sighting("sim/bars_1m", "no answer", "/runs/1")] * 2)
        >>> len(news), broken
        (1, {'sim/bars_1m': 'no answer'})
    """
    now = dict(broken)
    news: dict[str, News] = {}
    for seen in sightings:
        was = seen.subject in broken
        if seen.problem:
            now.setdefault(seen.subject, seen.problem)
            if not was:
                news.setdefault(seen.subject, News(seen.subject, seen.problem, seen.path, failed=True))
        elif seen.subject in now:
            before = now.pop(seen.subject)
            # What failed and works again between two looks was told to nobody.
            news.pop(seen.subject, None)
            if was:
                news[seen.subject] = News(seen.subject, f"works again; before: {before}", seen.path, failed=False)
    # One that failed, was well and failed again is still what was told.
    return [item for item in news.values() if item.failed or item.subject not in now], now
