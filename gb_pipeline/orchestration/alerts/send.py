"""This module tells people: one message for all that is news, and the heartbeat of a Dagster that works."""

from __future__ import annotations

from collections.abc import Sequence

from gb_pipeline.config.alerts import AlertSettings
from gb_pipeline.config.environment import Environment
from gb_pipeline.config.settings import Settings
from gb_pipeline.errors import GbError
from gb_pipeline.orchestration.alerts.state import News

_SECONDS = 10.0


class AlertError(GbError):
    """A message could not be delivered."""


def send(settings: Settings, news: Sequence[News]) -> None:
    """Deliver one message to every address.

    Raises:
        ConfigError: an environment variable of an address is not set.
        AlertError: an address takes no message; which one is told by its place in gb.yaml, as it may be secret.
    """
    import apprise

    alerts = settings.alerts
    failed = [item for item in news if item.failed]
    kind = apprise.NotifyType.FAILURE if failed else apprise.NotifyType.SUCCESS
    refused = []
    for place, address in enumerate(alerts.open_addresses(Environment(settings.path).get), 1):
        receiver = apprise.Apprise()
        if not receiver.add(address) or not receiver.notify(
            title=title(news), body=body(alerts, news), notify_type=kind
        ):
            refused.append(place)
    if refused:
        raise AlertError(
            f"no message could be delivered to address {', '.join(map(str, refused))} of `alerts.to`",
            fix="check it with `gb alerts test`; https://appriseit.com/services lists how addresses are written",
        )


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
        answer = httpx.get(address, timeout=_SECONDS, follow_redirects=True)
        problem = "" if answer.is_success else f"HTTP {answer.status_code}"
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        # The error's own text may hold the address.
        problem = type(error).__name__
    if problem:
        raise AlertError(
            f"the heartbeat's address does not answer: {problem}", fix="check `alerts.heartbeat` in gb.yaml"
        )


def title(news: Sequence[News]) -> str:
    """`gb_pipeline: 2 failed, 1 works again`."""
    failed = sum(item.failed for item in news)
    well = len(news) - failed
    parts = [f"{failed} failed"] if failed else []
    parts += [f"{well} {'works' if well == 1 else 'work'} again"] if well else []
    return f"gb_pipeline: {', '.join(parts) or 'a test'}"


def body(alerts: AlertSettings, news: Sequence[News]) -> str:
    """What happened, each with a link."""
    lines = [f"{item.subject}: {item.text}\n{alerts.page}{item.path}" for item in news]
    return "\n\n".join(lines) or f"Whoever reads this is told of failures.\n{alerts.page}"
