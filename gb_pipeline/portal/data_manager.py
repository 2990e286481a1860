"""`DataManager`, bars wherever they are: in memory, in the lake, or still at a vendor, who is asked for what is missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
from pydantic import ValidationError

from gb_pipeline.caching.cache import Cache
from gb_pipeline.catalog.projection import refresh_catalog
from gb_pipeline.config.settings import Settings, SourceSettings
from gb_pipeline.config.source_facts import facts_of
from gb_pipeline.errors import ConfigError, GbError, PermanentVendorError, UnknownSymbol, VendorError
from gb_pipeline.ingest.backlog import find_backlog
from gb_pipeline.ingest.bars import ingest
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.calendar import Calendar
from gb_pipeline.market.moments import INSTANT, MICROSECOND
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.spelling import list_some
from gb_pipeline.market.window import Window
from gb_pipeline.reading.arguments import Moment, Symbols, named_symbols, required_moment
from gb_pipeline.reading.lake import Lake


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar, for engines that want objects.

    Attributes:
        symbol, timestamp: whose, and its open (UTC).
        open, high, low, close, volume: exact.
    """

    symbol: str
    timestamp: datetime
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal


class DataManager:
    """Bars of a project: from memory if they are there, else from the lake, which first fetches what it lacks.

    Whether a range is there is what the ledger says of its sessions, not that some bars of it exist. What is fetched is validated
    and stored by the code of `gb fetch`.

    Attributes:
        lake: where bars are kept.

    Example:
        >>> manager = DataManager.open("my-data")
        >>> manager.load_data("BTC-USD", "2024-01-01", "2024-02-01", "1m").height
        44640
    """

    def __init__(self, settings: Settings, *, cache_megabytes: float | None = None) -> None:
        """Use `DataManager.open`."""
        self._sources = dict(settings.sources)
        self._store = LakeStore.of_project(settings)
        options = settings.cache_options()
        self._options = options if cache_megabytes is None else replace(options, memory_mb=cache_megabytes)
        self.lake = self._read_side()

    @classmethod
    def open(cls, config: Path | str | None = None, *, cache_megabytes: float | None = None) -> DataManager:
        """Open a project.

        Args:
            config: its gb.yaml or folder; as `gb` finds it by default.
            cache_megabytes: how much memory answers may take, 0 for none; as `cache` in gb.yaml says by default.

        Raises:
            ConfigError: there is no project, or a setting cannot be used.
        """
        return cls(Settings.load(config), cache_megabytes=cache_megabytes)

    @property
    def cache(self) -> Cache:
        """Answers that are kept."""
        return self.lake.cache

    def _read_side(self) -> Lake:
        return Lake(self._store, facts=facts_of(self._sources), cache=self._options)

    def add_provider(
        self,
        name: str,
        provider: str,
        symbols: Sequence[str],
        credentials: Mapping[str, str] | None = None,
        **settings: Any,
    ) -> None:
        """Add a source for as long as this object lives; nothing is written to gb.yaml.

        Args:
            name: under which its bars are stored.
            provider: such as `ccxt` or `massive`.
            symbols: that it is asked for.
            credentials: options of the provider that are secret.
            settings: all other settings of a source in gb.yaml.

        Raises:
            ConfigError: a setting that cannot be used, or a name that is taken.

        Example:
            >>> manager.add_provider("massive", "massive", ["AAPL"], {"key": key}, calendar="XNYS", start="2020-01-01")
        """
        if name in self._sources:
            raise ConfigError(f"there is a source {name} already", fix="give it another name")
        options = {**settings.pop("options", {}), **(credentials or {})}
        body = {"name": name, "provider": provider, "symbols": list(symbols), "options": options, **settings}
        try:
            self._sources[name] = SourceSettings.model_validate(body)
        except ValidationError as error:
            # The input of an error may be a credential.
            problems = "; ".join(
                f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors(include_input=False)
            )
            raise ConfigError(f"source {name}: {problems}", fix="the README lists every setting of a source") from None
        self.lake = self._read_side()

    def load_data(
        self,
        symbols: Symbols,
        start: Moment,
        end: Moment,
        resolution: Resolution | str,
        *,
        as_of: Moment | None = None,
        source: str | None = None,
        **options: Any,
    ) -> pl.DataFrame:
        """Bars, fetched first where they were not.

        Args:
            symbols, start, end, resolution: as in `Lake.bars`.
            as_of: what was known at this moment; nothing is fetched for it.
            source: the only one to ask; by default every source that has the symbol in gb.yaml, by priority, until one has it.
            options: further keywords of `Lake.bars`.

        Returns:
            As `Lake.bars`.

        Raises:
            ConfigError: no source has the symbol.
            VendorError: what is missing could not be fetched. What had come is stored, and the next call goes on.
            NoDataInRange: nothing was traded in the range.
        """
        names, kind, window = self._covered(symbols, start, end, resolution, as_of, source)
        return self.lake.bars(names, kind, window.start, window.end, source=source, as_of=as_of, **options)

    def load_arrow(
        self, symbols: Symbols, start: Moment, end: Moment, resolution: Resolution | str, **options: Any
    ) -> pa.Table:
        """The same as an Arrow table with timestamps `timestamp[ns, UTC]`; see `Lake.arrow`."""
        names, kind, window = self._covered(
            symbols, start, end, resolution, options.get("as_of"), options.get("source")
        )
        return self.lake.arrow(names, kind, window.start, window.end, **options)

    def iter_bars(
        self, symbols: Symbols, start: Moment, end: Moment, resolution: Resolution | str, **options: Any
    ) -> Iterator[Bar]:
        """Bars as objects, in the order of time, then of the symbols' names; a week of them is in memory at a time."""
        columns = ["symbol", "timestamp", "open", "high", "low", "close", "volume"]
        for frame in self.iter_windows(symbols, start, end, resolution, timedelta(days=7), columns=columns, **options):
            for row in frame.sort("timestamp", "symbol").iter_rows():
                yield Bar(*row)

    def iter_windows(
        self,
        symbols: Symbols,
        start: Moment,
        end: Moment,
        resolution: Resolution | str,
        length: timedelta,
        **options: Any,
    ) -> Iterator[pl.DataFrame]:
        """The bars of one stretch of time after the other; memory does not grow with the range.

        Args:
            length: of each stretch, from `start` on; those without a bar are left out.

        Raises:
            ConfigError: a length that is not positive; and what `load_data` raises.
        """
        if length <= timedelta(0):
            raise ConfigError(f"a stretch of {length}", fix="pass a positive length, such as timedelta(days=1)")
        names, kind, whole = self._covered(symbols, start, end, resolution, options.get("as_of"), options.get("source"))
        first = whole.start
        while first < whole.end:
            until = min(first + length, whole.end)
            frame = self.lake.scan_bars(names, kind, first, until, **options).collect()
            if frame.height:
                yield frame
            first = until

    def _covered(
        self,
        symbols: Symbols,
        start: Moment,
        end: Moment,
        resolution: Resolution | str,
        as_of: Moment | None,
        source: str | None,
    ) -> tuple[list[str], Resolution, Window]:
        """What a caller wrote, as values, once the lake has all that can be had of it now; the past is not fetched."""
        names, kind = named_symbols(symbols) or [], Resolution.parse(resolution)
        window = Window(required_moment(start), required_moment(end))
        if as_of is None:
            self._cover(names, kind, window, source)
        return names, kind, window

    def _cover(self, names: Sequence[str], kind: Resolution, window: Window, source: str | None) -> None:
        """Fetch the sessions of a window that the ledger lacks."""
        fetched = False
        waiting, errors = list(names), dict[str, GbError]()
        for settings in self._asked(names, source):
            own = [symbol for symbol in settings.instruments if symbol.code in waiting]
            if not own:
                continue
            first, end = _days(window, settings.rules(kind).calendar)
            backlog = find_backlog(self._store, settings, kind, own, max(first, settings.start), end)
            jobs = backlog.jobs()
            outcomes = ingest(self._store, settings, kind, jobs) if jobs else []
            fetched |= bool(jobs)
            failed = {
                outcome.symbol.code: outcome.error or outcome.deferred or _refused(outcome.symbol.code)
                for outcome in outcomes
                if not outcome.ok
            }
            errors |= {code: error for code, error in failed.items() if error is not None}
            # Whom a vendor does not have, the next one is asked for.
            answered = {symbol.code for symbol in own} - set(failed)
            waiting = [code for code in waiting if code not in answered]
            if not waiting:
                break
        if fetched:
            refresh_catalog(self._store, self._sources)
        for code in waiting:
            if code in errors:
                raise errors[code]

    def _asked(self, names: Sequence[str], source: str | None) -> list[SourceSettings]:
        """The sources of some symbols, the one that is asked first at the beginning."""
        if source is not None and source not in self._sources:
            raise ConfigError(f"there is no source {source}", fix=f"there are {list_some(list(self._sources))}")
        ordered = [self._sources[facts.name] for facts in facts_of(self._sources) if source in {None, facts.name}]
        having = [one for one in ordered if any(symbol.code in names for symbol in one.instruments)]
        known = {symbol.code for one in having for symbol in one.instruments}
        missing = [name for name in names if name not in known]
        if missing:
            # What nobody is asked for any more may be stored.
            stored = set(self.lake.symbols()["symbol"])
            missing = [name for name in missing if name not in stored]
        if missing:
            raise UnknownSymbol(
                f"no source has {list_some(missing)}", fix="add it: gb symbols add SOURCE SYMBOL, or `add_provider`"
            )
        return having


def _refused(code: str) -> VendorError:
    return PermanentVendorError(f"an answer for {code} was refused", fix="see why: gb status, gb quarantine list")


def _days(window: Window, calendar: Calendar) -> tuple[date, date]:
    """The days whose sessions a window touches, half-open."""
    end = window.end - MICROSECOND
    if calendar.first is None:
        return window.start.date(), end.date() + timedelta(days=1)
    # A session may begin in the evening before its day, and end after midnight in UTC.
    stamps = pl.Series([window.start, end], dtype=INSTANT)
    first, last = calendar.session_of(stamps, Resolution.TICK)
    return first or window.start.date(), (last or end.date()) + timedelta(days=1)
