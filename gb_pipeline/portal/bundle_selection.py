"""This module says what a bundle names now: symbols, range and source, from gb.yaml where there is one, else from the lake."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from gb_pipeline.config.settings import Settings, SourceSettings
from gb_pipeline.config.source_facts import SourceFacts
from gb_pipeline.errors import ConfigError
from gb_pipeline.lake.bundles import Bundle
from gb_pipeline.market.spelling import did_you_mean, list_some, near_names
from gb_pipeline.market.window import Window, instant
from gb_pipeline.reading.arguments import LATEST
from gb_pipeline.reading.lake import Lake


class Selections:
    """What the bundles of a lake name."""

    def __init__(self, lake: Lake, settings: Settings | None) -> None:
        """Nothing is looked at.

        Args:
            settings: of the lake's project, where it has one.
        """
        self._lake = lake
        self._settings = settings

    def symbols(self, bundle: Bundle) -> Sequence[str]:
        """Its codes as they are now.

        Raises:
            ConfigError: they are known to gb.yaml only, and there is none.
        """
        if bundle.symbols is not None:
            return bundle.symbols
        source = None if self._settings is None else self._settings.sources.get(bundle.source)
        if source is not None and bundle.members:
            return _members(source, bundle)
        if source is not None:
            return [symbol.code for symbol in source.instruments]
        if bundle.members:
            raise ConfigError(
                f"the members of bundle {bundle.name!r} are known to the project of its lake only",
                fix="name the project: --config",
            )
        return sorted(self._lake.symbols(bundle.source, bundle.resolution)["symbol"].unique())

    def window(self, bundle: Bundle) -> Window:
        """The opens of the bars of its sessions."""
        facts, end = self.facts(bundle.source), bundle.end
        if facts is None:
            return Window(instant(bundle.start), LATEST if end is None else instant(end))
        calendar = facts.trading_calendar
        first = max(bundle.start, calendar.first or bundle.start)
        last = max(first, min(end or date.max, calendar.end or date.max))
        whole = calendar.window(first, last, bundle.resolution)
        return whole if end is not None else Window(whole.start, LATEST)

    def facts(self, source: str) -> SourceFacts | None:
        """What is known of a source's market."""
        return next((facts for facts in self._lake.source_facts if facts.name == source), None)

    def source(self, bundle: Bundle) -> SourceSettings:
        """Its source, as it is fetched.

        Raises:
            ConfigError: there is no project.
        """
        if self._settings is None:
            raise ConfigError(
                f"a lake alone does not say how {bundle.source} is reached", fix="name its project: --config"
            )
        return self._settings.source(bundle.source)

    def refuse_unknown(self, bundle: Bundle) -> None:
        """Raise for a source or a symbol that neither gb.yaml nor the lake has."""
        stored = set(self._lake.symbols(bundle.source)["symbol"])
        known = set(stored)
        if self._settings is not None and (bundle.source in self._settings.sources or not stored):
            source = self._settings.source(bundle.source)
            known |= {symbol.code for symbol in source.instruments}
            if bundle.members and source.universe.kind not in {"members", "discover"}:
                raise ConfigError(
                    f"source {bundle.source} has no universe that changes over time",
                    fix="give its `symbols` a `members` or `discover` in gb.yaml, or leave --members out",
                )
        elif not stored:
            raise ConfigError(f"nothing of a source {bundle.source!r:.40} is stored", fix="see `gb status`")
        unknown = [code for code in bundle.symbols or () if code not in known]
        if unknown:
            near = did_you_mean(near_names(unknown[0], known), f"add it: gb symbols add {bundle.source} {unknown[0]}")
            raise ConfigError(f"{bundle.source} has no {list_some(unknown)}", fix=near)


def _members(source: SourceSettings, bundle: Bundle) -> Sequence[str]:
    """Members of the universe at some time in the range; whoever has no interval counts by its listing."""
    intervals = source.universe.intervals
    return [
        symbol.code
        for symbol in source.instruments
        if symbol.code not in intervals
        or any(interval.touches(bundle.start, bundle.end) for interval in intervals[symbol.code])
    ]
