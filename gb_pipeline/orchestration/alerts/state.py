"""This module decides what is news: the first failure of something, that a warning became one, and that it works again.

Nothing is sent here, and nothing is asked of Dagster.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

# How the text of what only warns begins.
WARNING = "warning: "


@dataclass(frozen=True)
class Sighting:
    """How something was found, such as a dataset's newest run.

    Attributes:
        subject: what it is, in a few words.
        problem: what is wrong; empty where it works, and beginning with `WARNING` where nothing has failed yet.
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
        The first failure of each subject, a failure of one that was only warned of, and the end of one that was told; and the
        subjects that are broken now.

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
            before = now.get(seen.subject, broken.get(seen.subject))
            is_news = before is None or _is_worse(before, seen.problem)
            now[seen.subject] = seen.problem if before is None or is_news else before
            if is_news:
                news[seen.subject] = News(seen.subject, seen.problem, seen.path, failed=True)
        elif seen.subject in now:
            told = now.pop(seen.subject)
            # What failed and works again between two looks was told to nobody.
            news.pop(seen.subject, None)
            if was:
                news[seen.subject] = News(seen.subject, f"works again; before: {told}", seen.path, failed=False)
    # One that failed, was well and failed again is still what was told.
    return [item for item in news.values() if item.failed or item.subject not in now], now


def _is_worse(before: str, problem: str) -> bool:
    """Whether what was only warned of has failed."""
    return before.startswith(WARNING) and not problem.startswith(WARNING)
