"""This module tells `gb doctor` whether a source could be fetched from now, with every reason that speaks against it.

It sends no request to a vendor and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gb_pipeline.cli.symbols import advise_adding_symbols
from gb_pipeline.errors import ConfigError, GbError, UnknownSymbol
from gb_pipeline.market.spelling import format_count

if TYPE_CHECKING:
    from gb_pipeline.config.settings import SourceSettings
    from gb_pipeline.providers.base import Provider


@dataclass
class Readiness:
    """Whether one source could be fetched from, and why not.

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
        fixes = (error.fix for error in self.problems or self.waits or self.remarks)
        return "; ".join(dict.fromkeys(fix for fix in fixes if fix))


def assess_readiness(source: SourceSettings, state: Path) -> Readiness:
    """Everything that can be known about a source without asking its vendor.

    Args:
        source: of gb.yaml.
        state: the folder in which all processes on this machine count their requests; it need not be there.
    """
    readiness = Readiness()
    readiness.problems += _check_provider(source, state, readiness)
    try:
        readiness.facts.append(_describe_calendar(source))
    except GbError as error:
        readiness.problems.append(error)
    _check_credentials(source, readiness)
    if source.provider == "csv" and not readiness.problems:
        _look_into_files(source, readiness)
    return readiness


def _look_into_files(source: SourceSettings, readiness: Readiness) -> None:
    """Of files that lie on this machine more is known than of a vendor: whether they are there, and whether they read."""
    from gb_pipeline.providers.csv.inspect import inspect

    for error in inspect(source):
        # Symbols without files do not keep those of the others from being read.
        found = readiness.remarks if isinstance(error, UnknownSymbol) else readiness.problems
        found.append(_without_source_name(source, error))
    if not readiness.problems:
        readiness.facts.append("its files can be read")


def _without_source_name(source: SourceSettings, error: GbError) -> GbError:
    what = error.what
    for prefix in (f"source {source.name}: ", f"source {source.name} ", "has "):
        what = what.removeprefix(prefix)
    return ConfigError(what, fix=error.fix)


def _unset_credentials(source: SourceSettings) -> Iterator[GbError]:
    """Credentials that gb.yaml names and nobody set, where no provider could be built that says what it needs."""
    for option in source.variables:
        try:
            source.credential(option)
        except ConfigError as error:
            yield error


def _check_provider(source: SourceSettings, state: Path, readiness: Readiness) -> list[GbError]:
    import asyncio

    from gb_pipeline.providers.registry import build_provider, missing_credentials

    # Building a provider creates the folder of its counts; where there is none, nothing is used up.
    state_dir = state if (state / "rate_limits").is_dir() else None
    try:
        if missing := missing_credentials(source):
            return [_without_source_name(source, error) for error in missing]
        provider = build_provider(source, state_dir=state_dir)
    except GbError as error:
        return [
            _without_source_name(source, error),
            *(_without_source_name(source, error) for error in _unset_credentials(source)),
        ]
    try:
        unsupported = [
            f"{symbol.code} {resolution}"
            for symbol in source.instruments
            for resolution in source.resolutions
            if not provider.supports(symbol, resolution)
        ]
        resolutions = ", ".join(str(resolution) for resolution in source.resolutions)
        readiness.facts.append(f"{source.provider}, {format_count(len(source.symbols), 'symbol')} of {resolutions}")
        _check_quota(source, provider, readiness)
    except GbError as error:
        return [error]
    finally:
        asyncio.run(provider.aclose())
    if unsupported:
        examples = ", ".join(unsupported[:5]) + (f" and {len(unsupported) - 5} more" if len(unsupported) > 5 else "")
        return [ConfigError(f"{source.provider} does not have {examples}", fix="correct symbols or resolutions")]
    if not source.symbols:
        readiness.remarks.append(ConfigError("it has no symbols yet", fix=advise_adding_symbols(source)))
    return []


def _check_quota(source: SourceSettings, provider: Provider, readiness: Readiness) -> None:
    """How many calls of the daily quota are left; not every vendor has one, and not every provider knows."""
    from datetime import UTC, datetime

    from gb_pipeline.providers.http.quota import QuotaBook
    from gb_pipeline.providers.registry import daily_quota

    quota = daily_quota(source)
    calls_left = provider.quota_left() if quota is not None else None
    if quota is None or calls_left is None:
        return
    if calls_left:
        readiness.facts.append(f"{calls_left} of {quota.calls} calls left today")
        return
    until = QuotaBook(source.name, quota, None).until(datetime.now(UTC))
    readiness.waits.append(
        ConfigError(
            f"all {quota.calls} calls of today are used ({quota.zone})",
            fix=f"it goes on after {until:%Y-%m-%d %H:%M}Z; with a larger plan, raise `daily_quota`",
        )
    )


def _describe_calendar(source: SourceSettings) -> str:
    from datetime import UTC, datetime

    from gb_pipeline.market.calendar import get_calendar

    calendar = get_calendar(source.calendar, extended_hours=source.extended_hours)
    today = datetime.now(UTC).date()
    until = today if source.end is None else min(today, source.end)
    sessions = calendar.sessions(source.start, until) if source.start < until else []
    newest = f", the last {sessions[-1]}" if sessions else ""
    return f"calendar {calendar.name} with {format_count(len(sessions), 'session')} since {source.start}{newest}"


def _check_credentials(source: SourceSettings, readiness: Readiness) -> None:
    credential_sources = [f"{option} from {', '.join(names)}" for option, names in source.variables.items() if names]
    if credential_sources:
        readiness.facts.append("; ".join(credential_sources))
    for option in (option for option, names in source.variables.items() if not names):
        variable = f"{source.name}_{option}".upper().replace(".", "_").replace("-", "_")
        readiness.remarks.append(
            ConfigError(
                f"but {option!r} is written out in gb.yaml",
                fix=f'write "${{{variable}}}" there and {variable}=... into the .env beside it',
            )
        )
