"""This module reads bars from delimited text files on disk: any vendor's export, a LEAN data folder, one's own recordings.

It decides which rows of which files answer a request. Options are in `options`, layouts in `presets`, files in `files` and `cache`,
lines in `rows`, time stamps in `stamps`.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl

from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.errors import ConfigError, HistoryNotAvailable, PermanentVendorError, UnknownSymbol
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import Adjustment
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.market.window import Window
from gb_pipeline.providers.base import Fetched, Instrument, InstrumentsProvider, Provider
from gb_pipeline.providers.csv.accounts import FilePart, count_rows, is_inside, refuse_implausible
from gb_pipeline.providers.csv.cache import ParsedFile, ParsedFiles, empty_rows
from gb_pipeline.providers.csv.evenings import mark_evenings
from gb_pipeline.providers.csv.files import CsvFile, base_of, fill, lists, locate
from gb_pipeline.providers.csv.listing import instruments_of
from gb_pipeline.providers.csv.options import CsvOptions
from gb_pipeline.providers.csv.own_rows import names_symbol, own_rows, spelling, spellings
from gb_pipeline.providers.csv.panel import join_fields, wide_fields
from gb_pipeline.providers.csv.presets import LEAN_RESOLUTIONS, fill_preset
from gb_pipeline.providers.csv.rows import Reading
from gb_pipeline.providers.csv.stamp_format import EPOCHS
from gb_pipeline.providers.csv.stamps import plausible_span
from gb_pipeline.providers.csv.unpacked import printable

_DAY, _NOON = timedelta(days=1), datetime.min.time().replace(hour=12)
# Files of other days that are asked whether there is an instrument that a day's file does not name.
_OTHERS = 4


@dataclass(frozen=True, slots=True)
class _Answer:
    """Files that were read, and their rows of one instrument."""

    files: list[ParsedFile]
    parts: list[FilePart]

    def rows(self, options: CsvOptions) -> pl.DataFrame:
        """The rows of all files."""
        return pl.concat([empty_rows(options), *(part.rows for part in self.parts)])


class CsvProvider(Provider, InstrumentsProvider):
    """A `Provider` that reads files.

    Numbers come out as the text in the file; with a `price_scale` as that text divided by a power of ten, exactly.
    Every data line comes out in exactly one of any windows that touch without overlapping and cover the file: a line
    whose stamp cannot be read goes with the readable line before it (the first lines: with the one after them), and in a file
    of several instruments a line that names nobody goes with the one before it.

    Args:
        source: name, vendor spellings, resolutions and, where files carry dates, the calendar of a source.
        options: what the files look like.

    Raises:
        ConfigError: options that cannot work: an unknown LEAN market, one path for several resolutions or symbols.

    Example:
        >>> source = SourceSettings(name="own", provider="csv", start="2024-01-01", symbols=["AAPL"],
        ...                         options={"path": "{symbol}.csv", "timezone": "America/New_York"})
        >>> CsvProvider.from_settings(source).supports(Symbol.equity("AAPL"), Resolution.MINUTE)
        True
    """

    normaliser = "csv/2"

    def __init__(self, source: SourceSettings, options: CsvOptions) -> None:
        """Fill the preset in for every resolution, so that a mistake shows before the first fetch."""
        self.name = source.name
        self.adjustment = source.adjustment or Adjustment.RAW
        self._source = source
        self._options = options
        self._options_of = {resolution: fill_preset(options, resolution) for resolution in source.resolutions}
        self._files = ParsedFiles(source.max_bad_fraction)
        self._known = spellings(source)
        # Instruments that some file of several was seen to name.
        self._seen: set[str] = set()
        self._refuse_shared_paths()

    @classmethod
    def from_settings(cls, source: SourceSettings, *, state_dir: Path | None = None) -> CsvProvider:
        """The provider of a source of gb.yaml; `options.root` is relative to gb.yaml, `state_dir` unused.

        Raises:
            ConfigError: unusable options; the message names source and option.
        """
        del state_dir
        return cls(source, CsvOptions.of_source(source))

    @property
    def stamp_zone(self) -> str | None:
        """The option `timezone`, UTC where it is unset; none where stamps count from 1970 and no zone can move them."""
        options = next(iter(self._options_of.values()), self._options)
        return None if options.timestamp_format in EPOCHS else options.timezone or "UTC"

    def supports(self, symbol: Symbol, resolution: Resolution) -> bool:
        """Everything but ticks; LEAN folders hold seconds, minutes, hours and days."""
        del symbol
        if self._options.preset == "lean":
            return resolution in LEAN_RESOLUTIONS
        return resolution is not Resolution.TICK

    def requests(self, window: Window, resolution: Resolution) -> int:
        """None: files are read, nobody is asked."""
        del window, resolution
        return 0

    async def fetch_bars(self, symbol: Symbol, window: Window, resolution: Resolution) -> Fetched:
        """All rows of the symbol's files whose open lies in the window, sorted by it, equal ones as in the file.

        Returns:
            `timestamp` is null where a stamp cannot be read; such rows stand behind the row that they go with, and `fault`
            says why where that is known. `files` counts the lines of the symbol in these files, and those outside of the window;
            a file of another day that was only looked into is left out.
            `response_hash` is the SHA-256 over the SHA-256 of each file; `bytes` and `calls` count these files,
            whether they were read now or remembered.

        Raises:
            UnknownSymbol: no file matches, no archive has the member, or a file of several instruments does not name it.
            HistoryNotAvailable: the first dated file is younger than the window.
            PermanentVendorError: a session's dated file is missing, a file or archive cannot be read, lacks a column,
                is in another encoding, holds several instruments and was taken for one's, or too few of its stamps can be
                read: it is `whole` unless each day has a file.
            TransientVendorError: a file changed while it was read.
            ConfigError: the options do not fit the symbol or the resolution.
        """
        try:
            return await asyncio.to_thread(self._fetch, symbol, window, resolution)
        except PermanentVendorError as error:
            # Another part of the window would be read from the same file, unless each day has its own.
            error.whole = "{date}" not in (self._options_of.get(resolution, self._options).path or "")
            raise

    def normalise(
        self, symbol: Symbol, window: Window, resolution: Resolution, bodies: Sequence[bytes]
    ) -> pl.DataFrame:
        """Files are their own raw responses: nothing is kept, and fetching again reads them again.

        Raises:
            PermanentVendorError: always.
        """
        del window, resolution, bodies
        raise PermanentVendorError(
            f"{self.name} reads {symbol} from files, of which no copies are kept", fix="fetch again instead"
        )

    async def instruments(self, *, turnover: bool = False) -> list[Instrument]:
        """Everything that has a file, by canonical code; listing dates and turnovers are not known.

        The codes of `{ticker}` names of pairs are guessed by their last letters (btcusdt is BTC-USDT) where the source has
        no symbol of that spelling yet.
        """
        del turnover
        return await asyncio.to_thread(instruments_of, self._source, self._options_of)

    async def aclose(self) -> None:
        """Forget the parsed files."""
        self._files.clear()

    def _fetch(self, symbol: Symbol, window: Window, resolution: Resolution) -> Fetched:
        began = time.perf_counter()
        options = self._options_of.get(resolution) or fill_preset(self._options, resolution)
        # A span per source, so that what was parsed for one window serves all.
        span = plausible_span(self._source.start)
        reading = Reading(options, resolution, self._known, span)
        fields = wide_fields(options)
        answers = [self._read(symbol, window, reading, of) for of in fields]
        parsed = [item for answer in answers for item in answer.files]
        frame = join_fields([(of, answer.rows(options)) for of, answer in zip(fields, answers, strict=True)])
        lines = frame.height
        parts = [part for answer in answers for part in answer.parts]
        files = count_rows(parts, window, options.root.expanduser().absolute(), joined=frame)
        frame = frame.filter(is_inside(window))
        _refuse_unreadable(parsed, window, whole=frame.height == lines)
        for answer in answers:
            refuse_implausible(answer.parts, window, span)
        frame = frame.sort("anchor", maintain_order=True).drop("anchor", "owner")
        if self._options.preset == "lean" and not resolution.intraday:
            frame = mark_evenings(frame, self._source.calendar, options.timezone or "UTC")
        return Fetched(
            frame=frame.drop("fault") if frame["fault"].null_count() == frame.height else frame,
            response_hash=hashlib.sha256(b"".join(item.digest for item in parsed)).hexdigest(),
            bytes=sum(item.bytes for item in parsed),
            calls=len(parsed),
            latency=time.perf_counter() - began,
            rows_read=sum(item.read for item in files),
            files=files,
        )

    def _read(self, symbol: Symbol, window: Window, reading: Reading, of: str | None) -> _Answer:
        """The files that may hold rows of the window, and all their rows of the symbol."""
        options, resolution = reading.options, reading.resolution
        vendor = spelling(self._source, symbol)
        spelled = str(options.mapped.get(of, of)) if of else ""
        pattern = fill(options.path or "", symbol, vendor, resolution, spelled)
        member = fill(options.member, symbol, vendor, resolution, spelled) if options.member else None
        root = options.root.expanduser().absolute()
        within = base_of(options.path or "", root)
        files = locate(pattern, root, within=within, follow_links=options.follow_links)
        if not files:
            raise UnknownSymbol(
                f"there is no file for {f'{of} of ' if of else ''}{symbol} of source {self.name!r}: {root / pattern}",
                fix="check `root`, `path` and the symbol's `vendor` spelling"
                + (", or set `volume: none`" if of == "volume" else ""),
            )
        chosen = self._choose_files(files, window, options, symbol)
        parsed = [self._files.get(file, member, reading, of) for file in chosen]
        # An archive without the member says `no rows` only if another one has it: else the pattern may be wrong.
        if not any(item.has_member for item in parsed) and not any(lists(file, member) for file in files):
            raise UnknownSymbol(
                f"no archive of {symbol} has a member {member!r}: {(chosen or files)[-1].path} holds "
                f"{', '.join(map(printable, parsed[-1].members[:5])) if parsed else 'others'}",
                fix="check the option `member` and the symbol's code",
            )
        rows = own_rows(
            self._source,
            symbol,
            options,
            [(file.path, item) for file, item in zip(chosen, parsed, strict=True)],
            lambda name: self._is_named(name, files, member, reading, of),
        )
        return _Answer(parsed, [FilePart(file, own) for file, own in zip(chosen, rows, strict=True)])

    def _is_named(
        self, vendor: str, files: list[CsvFile], member: str | None, reading: Reading, of: str | None
    ) -> bool:
        """Whether some of the files of days name an instrument; a file without a date has no others."""
        if files[0].day is None:
            return False
        if vendor not in self._seen:
            step = max(1, len(files) // _OTHERS)
            for file in [files[-1], *files[::step]]:
                self._seen.update(self._files.get(file, member, reading, of).owners)
                if vendor in self._seen:
                    break
        return vendor in self._seen

    def _choose_files(self, files: list[CsvFile], window: Window, options: CsvOptions, symbol: Symbol) -> list[CsvFile]:
        """The files that may hold rows of the window; a day more at each end, for bars stamped at their close."""
        if files[0].day is None or window.empty:
            return files
        zone = ZoneInfo(options.timezone or "UTC")
        first = window.start.astimezone(zone).date()
        last = (window.end - timedelta(microseconds=1)).astimezone(zone).date()
        missing = (
            _missing_sessions(files, window, zone, self._source.calendar) if options.missing_date == "refuse" else []
        )
        if last < files[0].day or (missing and missing[0] < files[0].day):
            raise HistoryNotAvailable(
                f"the files of {symbol} begin on {files[0].day}: {files[0].path}",
                first=datetime.combine(files[0].day, datetime.min.time(), zone).astimezone(UTC),
                fix="start the source there, or set the symbol's `listed_from`",
            )
        if missing:
            raise PermanentVendorError(
                f"{symbol} has no file for {len(missing)} sessions from {missing[0]} on, beside {files[0].path}",
                fix=f"add it, check that {self._source.calendar} is the calendar, or set `missing_date: empty`",
            )
        return [file for file in files if file.day and first - _DAY <= file.day <= last + _DAY]

    def _refuse_shared_paths(self) -> None:
        paths = [f"{options.path} {options.member or ''}" for options in self._options_of.values()]
        if len(set(paths)) < len(paths) and not any("{resolution" in path for path in paths):
            raise ConfigError(
                f"source {self.name!r} has {len(paths)} resolutions in one path {self._options.path!r}",
                fix="put {resolution} or {resolution_name} into `path`, or make one source per resolution",
            )
        named_inside = (
            self._options.layout == "wide" or "symbol" in self._options.columns or self._options.preset == "yfinance"
        )
        named_by_path = all(names_symbol(options) for options in self._options_of.values())
        if len(self._source.symbols) > 1 and not named_by_path and not named_inside:
            raise ConfigError(
                f"source {self.name!r} has {len(self._source.symbols)} symbols in one path {self._options.path!r}",
                fix="put {symbol} or another placeholder of the symbol into `path` or `member`, or say what in the file names "
                "them: `columns: {symbol: ...}` or `layout: wide`",
            )


def _refuse_unreadable(parsed: Sequence[ParsedFile], window: Window, *, whole: bool) -> None:
    """Refuse a file of which too few stamps can be read.

    A file of one day concerns the windows that hold rows of it. Where a window holds only part of the rows, nobody behind this
    can tell what share of the file is bad; where it holds all, validation quarantines them and refuses the answer.

    Raises:
        PermanentVendorError: what is wrong with it.
    """
    for item in parsed:
        if item.refusal is None or (whole and not item.refusal.certain):
            continue
        anchors = item.frame["anchor"]
        dated = anchors.null_count() == 0 and item.dated
        if not dated or ((anchors >= window.start) & (anchors < window.end)).any():
            # A new one each time: what is raised gathers where it went.
            raise PermanentVendorError(item.refusal.error.what, fix=item.refusal.error.fix)


def _missing_sessions(files: list[CsvFile], window: Window, zone: ZoneInfo, calendar: str) -> list[date]:
    """Sessions of the window that should have a file and have none."""
    from gb_pipeline.market.calendar import get_calendar

    first = window.start.astimezone(zone).date()
    last = (window.end - timedelta(microseconds=1)).astimezone(zone).date()
    sessions = get_calendar(calendar).sessions(first, last + _DAY)
    # A session's window may reach into the evening before or the night after, whose files need not exist: that of a day
    # is asked for by the window that holds its noon, or by one so short that it holds no noon.
    noons = [day for day in sessions if datetime.combine(day, _NOON, zone) in window]
    days = {file.day for file in files}
    return [day for day in noons or sessions if day not in days]
