"""`Bundles`: named selections of bars that are registered, fetched, checked, pinned, and loaded again as they were pinned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from gb_pipeline.config.settings import Settings
from gb_pipeline.config.source_facts import facts_of
from gb_pipeline.errors import ConfigError, LakeError, NoDataInRange, PinRefused
from gb_pipeline.lake import bundles, pins
from gb_pipeline.lake.bundles import Bundle
from gb_pipeline.lake.pins import Pin
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.spelling import did_you_mean, list_some, near_names
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.market.window import Window, instant
from gb_pipeline.portal.bundle_coverage import BundleReport, closed_sessions, find_holes
from gb_pipeline.portal.bundle_selection import Selections
from gb_pipeline.portal.clock import SimulationClock
from gb_pipeline.portal.loading import known_until
from gb_pipeline.portal.portal import DataPortal
from gb_pipeline.reading.arguments import EARLIEST, LATEST, Moment, Symbols, named_symbols, required_moment
from gb_pipeline.reading.lake import Lake
from gb_pipeline.reading.pins import Replay

if TYPE_CHECKING:
    from gb_pipeline.ingest.backlog import Backlog
    from gb_pipeline.ingest.job import Outcome


@dataclass(frozen=True)
class BundleInfo:
    """A bundle and what was pinned of it.

    Attributes:
        bundle: what was registered.
        pins: names of its pins, the oldest one first.
    """

    bundle: Bundle
    pins: tuple[str, ...]


class Bundles:
    """The bundles of a lake: named selections of bars, not copies of them.

    A bundle names series of one source over a range of sessions. `ingest` fetches what the ledger lacks of it, `validate` says what
    is missing and why, `pin` names what is known of it now, and `load` gives a `DataPortal` over such a pin: a backtest replays to
    the same numbers, whatever a vendor restates later. Bundles are files of the lake, seen by every process, backed up with it.

    Attributes:
        lake: where they are kept.

    Example:
        >>> bundles = Bundles.open()
        >>> bundles.register("momentum", "coinbase", ["BTC-USD", "ETH-USD"], "2024-01-01", "2024-02-01", "1m")
        >>> bundles.ingest("momentum", n_workers=8)
        >>> bundles.pin("momentum")
        >>> portal = bundles.load("momentum", SimulationClock("2024-01-02T00:00Z"))
    """

    def __init__(self, lake: Lake, settings: Settings | None = None) -> None:
        """Of an open lake.

        Args:
            lake: where they are kept.
            settings: of its project; without, nothing can be fetched, and all of a source is what is stored of it.
        """
        self.lake = lake
        self._settings = settings
        self._selections = Selections(lake, settings)
        self._storage = lake.store.storage

    @classmethod
    def open(cls, config: Path | str | None = None) -> Bundles:
        """Open those of a project.

        Args:
            config: its gb.yaml or folder; as `gb` finds it by default.

        Raises:
            ConfigError: there is no project, or a setting cannot be used.
        """
        settings = Settings.load(config)
        return cls(Lake(LakeStore.of_project(settings), facts=facts_of(settings.sources)), settings)

    def register(
        self,
        name: str,
        source: str,
        symbols: Symbols | None,
        start: Moment,
        end: Moment | None = None,
        resolution: Resolution | str = "1d",
        *,
        members: bool = False,
    ) -> Bundle:
        """Give a selection of bars a name. Nothing is fetched.

        Args:
            name: up to 57 letters, digits and `. - _`.
            source: of gb.yaml, or stored.
            symbols: codes; None for all of the source, whichever those are when the bundle is looked at.
            start, end: half-open range of sessions, as days; everything until now without an `end`.
            resolution: of the bars.
            members: with `symbols=None`, only those that were members of the source's point-in-time universe at some time in the
                range, whether or not they are listed today.

        Returns:
            The bundle; the registered one if it says the same already.

        Raises:
            ConfigError: a name that is taken, by something else; a source or symbol that there is not; or no range.
            InvalidResolution: it is none.
        """
        first, last = _day(start), None if end is None else _day(end)
        if last is not None and last <= first:
            raise ConfigError(f"the end {last} is not after the start {first}", fix="the end is exclusive")
        codes = named_symbols(symbols)
        if members and codes is not None:
            raise ConfigError("members of a universe, or symbols that are named", fix="leave one of them out")
        bundle = Bundle(
            bundles.check_bundle_name(name),
            source,
            None if codes is None else tuple(code.removeprefix(f"{source}:") for code in codes),
            Resolution.parse(resolution),
            first,
            last,
            members,
            self.lake.store.clock(),
            version("gb_pipeline"),
        )
        self._selections.refuse_unknown(bundle)
        return bundles.store_bundle(self._storage, bundle)

    def list(self) -> Sequence[Bundle]:
        """All bundles, by name.

        Raises:
            LakeError: one of them is damaged.
        """
        return [bundles.read_bundle(self._storage, name) for name in bundles.bundle_names(self._storage)]

    def info(self, name: str) -> BundleInfo:
        """A bundle and its pins.

        Raises:
            ConfigError: there is no such bundle.
        """
        bundle = bundles.read_bundle(self._storage, name)
        return BundleInfo(bundle, tuple(bundles.pins_of(self._storage, name)))

    def symbols(self, name: str) -> Sequence[str]:
        """The codes that a bundle names now.

        Raises:
            ConfigError: there is no such bundle; or its universe is known to gb.yaml only.
        """
        return self._selections.symbols(bundles.read_bundle(self._storage, name))

    def backlog(self, name: str, *, n_workers: int | None = None, again: bool = False) -> Backlog:
        """What of a bundle is not stored, as `ingest` fetches it; see `ingest`."""
        from gb_pipeline.ingest.backlog import find_backlog

        bundle = bundles.read_bundle(self._storage, name)
        source = self._selections.source(bundle)
        if n_workers is not None and n_workers < 1:
            raise ConfigError(f"{n_workers} workers", fix="ask for 1 or more")
        if n_workers is not None:
            source = source.model_copy(update={"max_concurrency": n_workers})
        known = {symbol.code: symbol for symbol in source.instruments}
        chosen = [known.get(code) or Symbol.of(code, source.asset_class) for code in self._selections.symbols(bundle)]
        end = bundle.end or source.end
        return find_backlog(self.lake.store, source, bundle.resolution, chosen, bundle.start, end, again=again)

    def ingest(
        self,
        name: str,
        n_workers: int | None = None,
        *,
        again: bool = False,
        on_outcome: Callable[[Outcome], None] | None = None,
    ) -> Sequence[Outcome]:
        """Fetch what the ledger lacks of a bundle, by the code of `gb fetch`.

        Args:
            name: of the bundle.
            n_workers: how many symbols are fetched at the same time; `max_concurrency` of the source by default. The vendor's pace
                and quota hold for all of them together.
            again: ask for stored sessions as well, and compare.
            on_outcome: called with each outcome as it is stored.

        Returns:
            One outcome per range of sessions that was asked for; none where nothing is missing. Trouble of a vendor is said
            there and does not raise.

        Raises:
            ConfigError: there is no such bundle, or no project that says how its source is reached.
            LakeError: the lake cannot be written.
        """
        from gb_pipeline.catalog.projection import refresh_catalog
        from gb_pipeline.ingest.bars import ingest

        backlog = self.backlog(name, n_workers=n_workers, again=again)
        jobs = backlog.jobs()
        if not jobs:
            return []
        outcomes = ingest(self.lake.store, backlog.source, backlog.resolution, jobs, on_outcome=on_outcome, again=again)
        assert self._settings is not None
        refresh_catalog(self.lake.store, self._settings.sources)
        return outcomes

    def validate(self, name: str, *, pin: str | None = None) -> BundleReport:
        """Say what of a bundle is missing and why, and whether its pin still gives the same numbers.

        Args:
            name: of the bundle.
            pin: one of its pins; the newest one by default. Every bar of it is read.

        Raises:
            ConfigError: there is no such bundle or pin.
            LakeError: the pin's file is damaged.
        """
        bundle = bundles.read_bundle(self._storage, name)
        report = self._look(bundle)
        if pin is None and not bundles.pins_of(self._storage, name):
            return report
        found = self._pin(bundle, pin)
        refused: PinRefused | None = None
        try:
            self.lake.replay(found)
        except PinRefused as error:
            refused = error
        window = found.window or Window(EARLIEST, LATEST)
        codes = found.series["symbol"].to_list()
        changes = self.lake.changes(found.as_of, bundle.source, codes, found.resolution, window.start, window.end)
        changed = changes.select("symbol", "timestamp").n_unique()
        return BundleReport(bundle, report.symbols, report.sessions, report.holes, found, refused, changed)

    def pin(self, name: str, *, partial: bool = False) -> Pin:
        """Name what is known of a bundle now. Earlier pins stay, and replay as before.

        The pin is one of the lake (`Lake.pins`), called `<bundle>.<moment>`. Where nothing became known since the newest one, that
        is what is returned.

        Args:
            name: of the bundle.
            partial: pin it although sessions were never fetched, failed or were refused.

        Returns:
            The pin. A symbol of which there is no bar in the range is not part of it.

        Raises:
            LakeError: sessions are not stored; nothing was pinned.
            NoDataInRange: there is no bar at all.
        """
        bundle = bundles.read_bundle(self._storage, name)
        moment = known_until(self.lake, bundle.resolution)
        report = self._look(bundle)
        unstored = report.unstored
        if unstored.height and not partial:
            worst = unstored.row(0, named=True)
            raise LakeError(
                f"{unstored.height:,} sessions of bundle {name!r} are not stored, the first is"
                f" {bundle.source}:{worst['symbol']} {worst['session']}: {worst['reason'].replace('_', ' ')}",
                fix=f"fetch them: gb bundle ingest {name}; or pin what there is: --partial",
            )
        window = self._selections.window(bundle)
        known = set(self.lake.symbols(bundle.source, bundle.resolution)["symbol"])
        codes = [code for code in report.symbols if code in known]
        there: set[str] = set()
        if codes:
            found = self.lake.fingerprint(
                bundle.source, codes, bundle.resolution, window.start, window.end, as_of=moment
            )
            there = set(found.series.filter(pl.col("bars") > 0)["symbol"])
        if not there:
            raise NoDataInRange(f"there is no bar of bundle {name!r}", fix=f"fetch some: gb bundle ingest {name}")
        return self.lake.pin(
            bundle.pin_name(moment),
            [code for code in codes if code in there],
            bundle.resolution,
            None if window.start == EARLIEST else window.start,
            None if window.end == LATEST else window.end,
            source=bundle.source,
            as_of=moment,
        )

    def replay(self, name: str, pin: str | None = None) -> Replay:
        """A reader of what was pinned of a bundle; see `Lake.replay`.

        Args:
            name: of the bundle.
            pin: one of its pins; the newest one by default.

        Raises:
            ConfigError: there is no such bundle, or no pin of it.
            PinRefused: bars are not as they were.
        """
        return self.lake.replay(self._pin(bundles.read_bundle(self._storage, name), pin))

    def load(self, name: str, clock: SimulationClock, pin: str | None = None, **options: Any) -> DataPortal:
        """A `DataPortal` over what was pinned of a bundle, so that a backtest replays.

        Args:
            name: of the bundle.
            clock: of the simulation.
            pin: one of its pins; the newest one by default.
            options: of `DataPortal`; with `strict` or `adjustment` the lake is read as it was known at the pin's moment, also
                before its range.

        Raises:
            ConfigError: there is no such bundle, or no pin of it.
            PinRefused: bars are not as they were.
        """
        replay = self.replay(name, pin)
        found = replay.pin
        symbols, source = found.series["symbol"].to_list(), found.series["source"][0]
        if options.get("strict") or options.get("adjustment"):
            return DataPortal(self.lake, clock, symbols, found.resolution, source=source, as_of=found.as_of, **options)
        return DataPortal(replay, clock, symbols, found.resolution, source=source, **options)

    def drop(self, name: str, *, with_pins: bool = False) -> None:
        """Forget a bundle. No bar of the lake is touched.

        Args:
            name: of the bundle.
            with_pins: and its pins with it.

        Raises:
            ConfigError: there is no such bundle, or it has pins.
        """
        # One that is damaged can be dropped as well.
        with suppress(LakeError):
            bundles.read_bundle(self._storage, name)
        mine = bundles.pins_of(self._storage, name)
        if mine and not with_pins:
            raise ConfigError(
                f"bundle {name!r} has {len(mine):,} pin{'s' if len(mine) > 1 else ''}, which may be the data of a backtest",
                fix="drop them as well: --with-pins",
            )
        for pin in mine:
            pins.remove_pin(self._storage, pin)
        bundles.remove_bundle(self._storage, name)

    def _look(self, bundle: Bundle) -> BundleReport:
        codes = tuple(self._selections.symbols(bundle))
        sessions = closed_sessions(bundle, self._selections.facts(bundle.source), self.lake.store.clock())
        holes = find_holes(self.lake, bundle, codes, sessions)
        return BundleReport(bundle, codes, None if sessions is None else len(sessions), holes)

    def _pin(self, bundle: Bundle, name: str | None) -> Pin:
        mine = bundles.pins_of(self._storage, bundle.name)
        if not mine:
            raise ConfigError(f"bundle {bundle.name!r} has no pin yet", fix=f"make one: gb bundle pin {bundle.name}")
        if name is not None and name not in mine:
            near = did_you_mean(near_names(name, mine), f"its pins are {list_some(mine[::-1], 3)}")
            raise ConfigError(f"bundle {bundle.name!r} has no pin {name!r:.80}", fix=near)
        return pins.read_pin(self._storage, name or mine[-1])


def _day(value: Moment) -> date:
    found = required_moment(value)
    if found != instant(found.date()):
        raise ConfigError(f"{found.isoformat()} is no day", fix="a bundle has whole sessions: write 2024-01-02")
    return found.date()
