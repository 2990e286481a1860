"""This module brings another tool's files into a lake: `import_bars`, which `gb import` calls.

What the files hold is read by the format's own module; every row goes through the lake's one write path. An import that was
killed is run again: what is stored already is found unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from gb_pipeline.errors import ConfigError, FormatRefused, LakeError
from gb_pipeline.formats.archive import Archive, ArchiveSeries, ReadOptions
from gb_pipeline.formats.import_identity import import_id, opening_record, refuse_others
from gb_pipeline.formats.import_report import ImportedSeries, ImportReport, other_than_usual
from gb_pipeline.formats.parts import Part, split_into_parts
from gb_pipeline.formats.registry import Format, get_format, require_path
from gb_pipeline.formats.targets import BATCH_ROWS, Preview, Stored, Target
from gb_pipeline.lake import fetches, ledger
from gb_pipeline.lake.corporate_actions import ActionsReport
from gb_pipeline.lake.fetches import FetchOutcome, FetchRecord
from gb_pipeline.lake.put import read_rules
from gb_pipeline.lake.row_counts import RowCounts
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.calendar import get_calendar
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import ACTIONS_RECEIVED, Adjustment
from gb_pipeline.market.spelling import list_some
from gb_pipeline.market.symbol import AssetClass, source_name
from gb_pipeline.market.window import Window, instant
from gb_pipeline.quality.rules import BarRules
from gb_pipeline.storage.fault_points import reach
from gb_pipeline.storage.locks import locked

if TYPE_CHECKING:
    from gb_pipeline.reading.lake import Lake

_VERSION = 1
_EPOCH = instant("1700-01-01"), instant("2200-01-01")
# Called with the number of rows that were dealt with.
OnRows = Callable[[int], object]


def import_bars(
    lake: Lake | LakeStore,
    format_name: str,
    path: Path | str,
    *,
    source: str,
    calendar: str | None = None,
    extended_hours: bool | None = None,
    asset_class: AssetClass | str | None = None,
    symbols: Sequence[str] | None = None,
    start: datetime | date | str | None = None,
    end: datetime | date | str | None = None,
    resolution: Resolution | str | None = None,
    timezone: str | None = None,
    stamp: str | None = None,
    dry_run: bool = False,
    on_rows: OnRows | None = None,
    **rules: Any,
) -> ImportReport:
    """Bring another tool's files into a lake, under the name of one source.

    Bars go through the validation, the quarantine and the ledger that a vendor's go through, and the files' corporate actions
    into the lake's. Nothing of the files is changed. The same import may be run again, after a kill as well: it goes on, and what
    is stored already is found unchanged.

    Args:
        lake: to write; nothing is written with `dry_run`.
        format_name: such as `zipline`; `formats.registry` has them.
        path: the file or folder.
        source: short name under which everything is stored.
        calendar: of the sessions, where the files do not say it or say it wrong.
        extended_hours: whether bars of the pre- and post-market are expected, where the calendar has such.
        asset_class: likewise, the kind of the instruments.
        symbols: only these canonical codes.
        start: only bars that begin at this moment or later.
        end: only bars that begin before it.
        resolution: only bars of this length; needed where the files do not say how long theirs are.
        timezone: of stamps without one, for formats that may have such.
        stamp: `open` or `close`, which end of a bar its time is, for formats that do not settle it.
        dry_run: read and validate everything, and write nothing.
        on_rows: told how many rows more were dealt with.
        rules: further attributes of `BarRules`, such as `precision`, `adjustment`, `gap_policy` or `max_bad_fraction`.

    Returns:
        What became of every row, by series. A file that breaks off does not stop the others: `report.errors` says which.

    Raises:
        ConfigError: there is no such format, path, symbol or calendar, or its library is not installed.
        FormatRefused: the path is not of this format, or damaged so that nothing of it can be read.
        LakeError: the source has bars that are not of this import, or another import into it is running.

    Example:
        >>> report = import_bars(lake, "zipline", "~/.zipline/data/quandl/2018-03-01T00;00;00", source="quandl")
        >>> report.total.received == report.total.stored + report.total.quarantined
        True
    """
    kind, name = get_format(format_name), source_name(source)
    place = require_path(Path(path).expanduser())
    options = ReadOptions(
        asset_class=None if asset_class is None else _asset_class(asset_class),
        calendar=None if calendar is None else get_calendar(calendar).name,
        timezone=timezone,
        stamp=_stamp(stamp),
        resolution=None if resolution is None else Resolution.parse(resolution),
        window=_window(start, end),
    )
    given = read_rules(rules)
    try:
        archive = kind.open_reader()(place, options)
    except ModuleNotFoundError as error:
        raise kind.not_installed(error) from error
    archive = replace(
        archive,
        series=_choose(archive, place, symbols, options.resolution),
        calendar=options.calendar or archive.calendar,
        extended_hours=archive.extended_hours if extended_hours is None else extended_hours,
        asset_class=options.asset_class or archive.asset_class,
        adjustment=given.get("adjustment", archive.adjustment),
    )
    store = lake if isinstance(lake, LakeStore) else lake.store
    importing = _Import(store, kind, place, name, archive, given, options.window, on_rows or _nobody)
    return importing.preview() if dry_run else importing.run()


def _nobody(_: int) -> None:
    """Nobody wants to know how far it is."""


class _Import:
    """One import that is about to happen."""

    def __init__(
        self,
        store: LakeStore,
        kind: Format,
        path: Path,
        source: str,
        archive: Archive,
        rules: dict[str, Any],
        window: Window | None,
        on_rows: OnRows,
    ) -> None:
        self.store, self.kind, self.path, self.source, self.archive = store, kind, path, source, archive
        self.rules, self.window, self.on_rows = rules, window, on_rows
        self.calendar = get_calendar(archive.calendar, extended_hours=archive.extended_hours)
        self.id = import_id(kind.name, archive)

    def preview(self) -> ImportReport:
        """What would be stored; refused where the import would be."""
        self._refuse_others()
        return self._report(self._copy(Preview(self.store)), None, dry_run=True)

    def run(self) -> ImportReport:
        """Store it, unless another import into the source is under way: neither would see that the other one has begun."""
        with locked(self.store.storage.state, f"import-{self.source}", wait=False) as alone:
            if not alone:
                raise LakeError(
                    f"another import into source {self.source} is running",
                    fix="wait for it, and run this again; other files belong into a source of another name",
                )
            return self._run()

    def _run(self) -> ImportReport:
        """Corporate actions first, so that no bar is ever read without its split."""
        normaliser = f"{self.kind.name}/{_VERSION}"
        opened = opening_record(self.id, self.source, self.archive, normaliser, self.store.clock())
        fetches.record(self.store.tables, [opened], clock=self.store.clock, check=self._refuse_others)
        reach("import_begun")
        actions = self._write_actions()
        series = self._copy(Stored(self.store, self.source, self.id, normaliser))
        if self.archive.actions is not None:
            self._record_actions(series, normaliser)
        # Years of sessions are many rows: whoever reads next finds them in the ledger's own table.
        ledger.take_over_all(self.store.tables, clock=self.store.clock)
        self.store.record_fetches([opened.with_counts(RowCounts(received=opened.received, stored=opened.received))])
        return self._report(series, actions, dry_run=False)

    def _refuse_others(self) -> None:
        refuse_others(self.store, self.source, self.id)

    def _write_actions(self) -> ActionsReport | None:
        rows = self._actions()
        if rows.is_empty():
            return None
        days = rows["ex_date"].drop_nulls()
        first, last = days.min(), days.max()
        span = (first, last + timedelta(days=1)) if isinstance(first, date) and isinstance(last, date) else _ALL_DAYS
        codes = sorted({series.symbol.code for series in self.archive.series})
        return self.store.write_actions(self.source, codes, span, rows, run_id=self.id)

    def _record_actions(self, series: Sequence[ImportedSeries], normaliser: str) -> None:
        """That the files tell every split and dividend of their own bars: where they have none, there was none."""
        present, counts = self.store.clock(), dict(self._actions().group_by("symbol").len().iter_rows())
        spans: dict[str, tuple[datetime, datetime]] = {}
        for one in series:
            if one.first is not None and one.last is not None:
                first, last = spans.get(one.symbol, (one.first, one.last))
                spans[one.symbol] = min(first, one.first), max(last, one.last)
        told = [
            FetchRecord(
                source=self.source,
                symbol=symbol,
                resolution="",
                # Sessions begin up to a day before their date, and end up to a day after it.
                window_start=instant(first.date()) - timedelta(days=1),
                window_end=instant(last.date()) + timedelta(days=2),
                fetched_at=present,
                outcome=FetchOutcome.OK,
                received=counts.get(symbol, 0),
                run_id=self.id,
                kind="corporate_actions",
                normaliser=normaliser,
            )
            for symbol, (first, last) in spans.items()
        ]
        if told:
            self.store.record_fetches(told)

    def _actions(self) -> pl.DataFrame:
        if self.archive.actions is None:
            return pl.DataFrame(schema={"symbol": pl.String(), **ACTIONS_RECEIVED})
        codes = {series.symbol.code for series in self.archive.series}
        return self.archive.actions.filter(pl.col("symbol").is_in(list(codes)))

    def _copy(self, target: Target) -> list[ImportedSeries]:
        """Hand every part to a target, short series together."""
        told: list[ImportedSeries] = []
        by_resolution: dict[Resolution, list[ArchiveSeries]] = {}
        for series in self.archive.series:
            by_resolution.setdefault(series.resolution, []).append(series)
        for resolution, together in by_resolution.items():
            rules = self._rules_of(resolution)
            by_code = {s.symbol.code: ImportedSeries(s.symbol.code, resolution, s.origin) for s in together}
            told += by_code.values()
            for parts in _batches(self._parts(together, rules, by_code)):
                target.take(parts, rules, by_code)
                self.on_rows(sum(part.rows.height for part in parts))
        return told

    def _parts(self, together: list[ArchiveSeries], rules: BarRules, told: dict[str, ImportedSeries]) -> Iterator[Part]:
        """The parts of all series; one that breaks off keeps none of the others back."""
        for series in together:
            about = told[series.symbol.code]
            try:
                for part in split_into_parts(series, rules, self.window):
                    stamps = part.rows["timestamp"]
                    about.saw(stamps.min(), stamps.max())  # type: ignore[arg-type]
                    yield part
            except FormatRefused as error:
                about.error = str(error)

    def _rules_of(self, resolution: Resolution) -> BarRules:
        archive = self.archive
        facts: dict[str, Any] = {
            "alignment": archive.alignment,
            "gap_policy": archive.gap_policy,
            "adjustment": archive.adjustment,
        }
        return BarRules(resolution=resolution, calendar=self.calendar, **(facts | self.rules))

    def _report(self, series: list[ImportedSeries], actions: ActionsReport | None, *, dry_run: bool) -> ImportReport:
        archive = self.archive
        return ImportReport(
            format=self.kind.name,
            path=str(self.path),
            source=self.source,
            dry_run=dry_run,
            import_id=self.id,
            calendar=archive.calendar,
            extended_hours=archive.extended_hours,
            asset_class=archive.asset_class.value,
            adjustment=Adjustment(archive.adjustment),
            rules=other_than_usual(self._rules_of(Resolution.MINUTE)),
            series=tuple(sorted(series, key=lambda item: (item.symbol, item.resolution.value))),
            actions=actions,
            action_rows=self._actions().height,
            notes=archive.notes,
            skipped=archive.skipped,
        )


_ALL_DAYS = (date(1700, 1, 1), date(2200, 1, 1))


def _batches(parts: Iterator[Part]) -> Iterator[list[Part]]:
    """Parts together until they have enough rows."""
    batch: list[Part] = []
    rows = 0
    for part in parts:
        batch.append(part)
        rows += part.rows.height
        if rows >= BATCH_ROWS:
            yield batch
            batch, rows = [], 0
    if batch:
        yield batch


def _choose(
    archive: Archive, path: Path, symbols: Sequence[str] | None, resolution: Resolution | None
) -> tuple[ArchiveSeries, ...]:
    """The series that were asked for.

    Raises:
        ConfigError: a symbol that is not there, or nothing is left.
        FormatRefused: two series of the files would be one.
    """
    there = {series.symbol.code for series in archive.series}
    wanted = there if symbols is None else {code.strip().upper() for code in symbols}
    if unknown := sorted(wanted - there):
        raise ConfigError(
            f"{path} has no {list_some(unknown)}", fix=f"there is {list_some(sorted(there)) or 'nothing'}"
        )
    kinds = sorted({series.resolution for series in archive.series}, key=list(Resolution).index)
    chosen = tuple(
        series for series in archive.series if series.symbol.code in wanted and resolution in {None, series.resolution}
    )
    if not chosen:
        why = list_some([f"{name}: {reason}" for name, reason in archive.skipped.items()], 3)
        raise ConfigError(
            f"{path} has no bars{f' of {resolution}' if resolution and kinds else ''}" + (f" ({why})" if why else ""),
            fix=f"there is {', '.join(kinds)}" if kinds else "name the folder or file that has them",
        )
    seen: dict[tuple[str, Resolution], str] = {}
    for series in chosen:
        if (other := seen.setdefault((series.symbol.code, series.resolution), series.origin)) != series.origin:
            raise FormatRefused(
                f"{other} and {series.origin} are both {series.symbol.code} {series.resolution}",
                fix="import them one by one, under a name of a source each",
            )
    return chosen


def _asset_class(text: AssetClass | str) -> AssetClass:
    if text not in list(AssetClass):
        raise ConfigError(f"{text!r:.40} is not an asset class", fix=f"use one of {', '.join(AssetClass)}")
    return AssetClass(text)


def _stamp(text: str | None) -> str | None:
    if text in {"open", "close", None}:
        return text
    raise ConfigError(f"{text!r:.40} is no end of a bar", fix="use open or close")


def _window(start: datetime | date | str | None, end: datetime | date | str | None) -> Window | None:
    if start is None and end is None:
        return None
    return Window(_EPOCH[0] if start is None else instant(start), _EPOCH[1] if end is None else instant(end))
