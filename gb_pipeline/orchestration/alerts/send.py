"""This module tells people: one message for all that is news, and the heartbeat of a Dagster that works."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from gb_pipeline.config.alerts import AlertSettings
from gb_pipeline.config.environment import Environment
from gb_pipeline.config.settings import Settings
from gb_pipeline.errors import GbError
from gb_pipeline.orchestration.alerts.state import WARNING, News

_SECONDS = 10.0
_LOGGERS = ("apprise", "httpx", "httpcore", "requests", "urllib3")


class AlertError(GbError):
    """A message could not be delivered."""


def send(settings: Settings, news: Sequence[News]) -> None:
    """Deliver one message to every address.

    Raises:
        ConfigError: an environment variable of an address is not set.
        AlertError: an address takes no message; which one is told by its place in gb.yaml, as it may be secret.
    """
    places = range(1, len(settings.alerts.to) + 1)
    refused = deliver(settings, dict.fromkeys(places, news))
    if refused:
        raise AlertError(
            f"no message could be delivered to {name_places(refused)}",
            fix="check it with `gb alerts --test`; https://appriseit.com/services lists how addresses are written",
        )


def name_places(places: Iterable[int]) -> str:
    """`address 1, 3 of `alerts.to``: an address itself may be secret."""
    return f"address {', '.join(map(str, places))} of `alerts.to`"


def deliver(settings: Settings, waiting: Mapping[int, Sequence[News]]) -> list[int]:
    """Deliver one message to each of some addresses.

    Args:
        settings: of the project.
        waiting: what each address is told, by its place in `alerts.to`, from 1; without news it is a test.

    Returns:
        The places of those that took no message.

    Raises:
        ConfigError: an environment variable of an address is not set.
    """
    import apprise

    addresses = dict(enumerate(settings.alerts.open_addresses(Environment(settings.path).get), 1))
    refused = []
    for place, news in waiting.items():
        failed = [item.text.startswith(WARNING) for item in news if item.failed]
        bad = apprise.NotifyType.WARNING if all(failed) else apprise.NotifyType.FAILURE
        kind = bad if failed else apprise.NotifyType.SUCCESS
        receiver = apprise.Apprise()
        with _silenced():
            taken = receiver.add(addresses[place]) and receiver.notify(
                title=title(news), body=body(settings.alerts, news), notify_type=kind
            )
        if not taken:
            refused.append(place)
    return refused


def beat(settings: Settings) -> None:
    """Call the heartbeat's address, if there is one.

    Raises:
        ConfigError: an environment variable of it is not set.
        AlertError: it does not answer with success.
    """
    import httpx

    if (address := settings.alerts.open_heartbeat(Environment(settings.path).get)) is None:
        return
    try:
        with _silenced():
            answer = httpx.get(address, timeout=_SECONDS, follow_redirects=True)
        problem = "" if answer.is_success else f"HTTP {answer.status_code}"
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        # The error's own text may hold the address.
        problem = type(error).__name__
    if problem:
        raise AlertError(
            f"the heartbeat's address does not answer: {problem}", fix="check `alerts.heartbeat` in gb.yaml"
        )


@contextmanager
def _silenced() -> Iterator[None]:
    """Without the logs of those who send: they name the address that they ask, with its token."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def title(news: Sequence[News]) -> str:
    """`gb_pipeline: 2 failed, 1 warning, 1 works again`."""
    failed = [item for item in news if item.failed]
    warned, well = sum(item.text.startswith(WARNING) for item in failed), len(news) - len(failed)
    parts = [f"{len(failed) - warned} failed"] if len(failed) > warned else []
    parts += [f"{warned} warning{'' if warned == 1 else 's'}"] if warned else []
    parts += [f"{well} {'works' if well == 1 else 'work'} again"] if well else []
    return f"gb_pipeline: {', '.join(parts) or 'a test'}"


def body(alerts: AlertSettings, news: Sequence[News]) -> str:
    """What happened, each with a link."""
    lines = [f"{item.subject}: {item.text}\n{alerts.page}{item.path}" for item in news]
    return "\n\n".join(lines) or f"Whoever reads this is told of failures.\n{alerts.page}"
