"""Whether a source could be fetched from now, for `gb doctor`.

Belongs here: one finding per source, with every reason that speaks against it. Does not belong here: asking a vendor: no
request is sent, and nothing is changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gb_pipeline.cli.output import count
from gb_pipeline.cli.symbols import no_symbols
from gb_pipeline.errors import ConfigError, GbError

if TYPE_CHECKING:
    from gb_pipeline.config.settings import SourceSettings


@dataclass
class Readiness:
    """What was found out about one source.

    Attributes:
        facts: what is in order.
        problems: why nothing can be fetched, each with what to do; some need a change, some need patience.
        waits: why nothing can be fetched before some moment.
        remarks: what should be better.
    """

    facts: list[str] = field(default_factory=list)
    problems: list[GbError] = field(default_factory=list)
    waits: list[GbError] = field(default_factory=list)
    remarks: list[GbError] = field(default_factory=list)

    @property
    def sentence(self) -> str:
        """`ready: ...` or `not ready: ...`."""
        against = self.problems or self.waits
        if against:
            return "not ready: " + "; ".join(error.what for error in against)
        return "; ".join(["ready: " + ", ".join(self.facts), *(error.what for error in self.remarks)])

    @property
    def fix(self) -> str:
        """What to do, each thing once."""
        said = (error.fix for error in self.problems or self.waits or self.remarks)
        return "; ".join(dict.fromkeys(fix for fix in said if fix))


def readiness(source: SourceSettings, state: Path) -> Readiness:
    """Everything that can be known about a source without asking its vendor.

    Args:
        source: of gb.yaml.
        state: the folder in which all processes on this machine count their requests; it need not be there.
    """
    found = Readiness()
    found.problems += _provider(source, state, found)
    try:
        found.facts.append(_calendar(source))
    except GbError as error:
        found.problems.append(error)
    _credentials(source, found)
    return found


def _told(source: SourceSettings, error: GbError) -> GbError:
    what = error.what
    for known in (f"source {source.name}: ", f"source {source.name} ", "has "):
        what = what.removeprefix(known)
    return ConfigError(what, fix=error.fix)


def _unset(source: SourceSettings) -> Iterator[GbError]:
    """What gb.yaml names and nobody set, where there is no provider that could say what it needs."""
    for option in source.variables:
        try:
            source.credential(option)
        except ConfigError as error:
            yield error


def _provider(source: SourceSettings, state: Path, found: Readiness) -> list[GbError]:
    import asyncio

    from gb_pipeline.providers.registry import build_provider, missing_credentials

    # Whoever builds a provider over a folder of counts makes the folder; where there is none, nothing is used up.
    counted = state if (state / "rate_limits").is_dir() else None
    try:
        if missing := missing_credentials(source):
            return [_told(source, error) for error in missing]
        provider = build_provider(source, state_dir=counted)
    except GbError as error:
        return [_told(source, error), *(_told(source, error) for error in _unset(source))]
    try:
        lacking = [
            f"{symbol.code} {resolution}"
            for symbol in source.instruments
            for resolution in source.resolutions
            if not provider.supports(symbol, resolution)
        ]
        words = ", ".join(str(resolution) for resolution in source.resolutions)
        found.facts.append(f"{source.provider}, {count(len(source.symbols), 'symbol')} of {words}")
        _quota(source, provider, found)
    except GbError as error:
        return [error]
    finally:
        asyncio.run(provider.aclose())
    if lacking:
        shown = ", ".join(lacking[:5]) + (f" and {len(lacking) - 5} more" if len(lacking) > 5 else "")
        return [ConfigError(f"{source.provider} does not have {shown}", fix="correct symbols or resolutions")]
    if not source.symbols:
        found.remarks.append(ConfigError("it has no symbols yet", fix=no_symbols(source)))
    return []


def _quota(source: SourceSettings, provider: Any, found: Readiness) -> None:
    """What is left of the vendor's day, where it has one; not every provider tells."""
    from datetime import UTC, datetime

    from gb_pipeline.providers.http.quota import QuotaBook
    from gb_pipeline.providers.registry import daily_quota

    quota = daily_quota(source)
    left = provider.quota_left() if quota is not None and hasattr(provider, "quota_left") else None
    if quota is None or left is None:
        return
    if left:
        found.facts.append(f"{left} of {quota.calls} calls left today")
        return
    until = QuotaBook(source.name, quota, None).until(datetime.now(UTC))
    found.waits.append(
        ConfigError(
            f"all {quota.calls} calls of today are used ({quota.zone})",
            fix=f"it goes on after {until:%Y-%m-%d %H:%M}Z; with a larger plan, raise `daily_quota`",
        )
    )


def _calendar(source: SourceSettings) -> str:
    from datetime import UTC, datetime, timedelta

    from gb_pipeline.market.calendar import get_calendar

    calendar = get_calendar(source.calendar, extended_hours=source.extended_hours)
    today = datetime.now(UTC).date()
    sessions = calendar.sessions(min(source.start, today - timedelta(days=14)), today)
    last = f", the last {sessions[-1]}" if sessions else ""
    return f"calendar {calendar.name} with {count(len(sessions), 'session')} since {source.start}{last}"


def _credentials(source: SourceSettings, found: Readiness) -> None:
    named = [f"{option} from {', '.join(names)}" for option, names in source.variables.items() if names]
    if named:
        found.facts.append("; ".join(named))
    for option in (option for option, names in source.variables.items() if not names):
        variable = f"{source.name}_{option}".upper().replace(".", "_").replace("-", "_")
        found.remarks.append(
            ConfigError(
                f"but {option!r} is written out in gb.yaml",
                fix=f'write "${{{variable}}}" there and {variable}=... into the .env beside it',
            )
        )
