"""This module is the write side of a lake: the methods that change it, and the validation of the names that a caller gives.

How a change is made is known to `bars`, `corporate_actions` and `gb_pipeline.storage`. Reading is done by `gb_pipeline.reading`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from gb_pipeline.config.bucket import Address
from gb_pipeline.config.project_incidents import Incidents, ProjectIncidents
from gb_pipeline.errors import ConfigError, WindowRefused
from gb_pipeline.lake import bars, corporate_actions, fetches, ledger, proofs
from gb_pipeline.lake.adjustments import refuse_other_adjustment
from gb_pipeline.lake.bar_decisions import BarDecisions
from gb_pipeline.lake.bars_request import BarsRequest
from gb_pipeline.lake.coverage import describe_sessions, ledger_frame
from gb_pipeline.lake.datasets import ALL
from gb_pipeline.lake.expectation import expect
from gb_pipeline.lake.explained import explain_sessions
from gb_pipeline.lake.fundamental_writes import FundamentalWrites
from gb_pipeline.lake.instrument_writes import InstrumentWrites
from gb_pipeline.lake.report import SessionReport, SessionStatus, WriteReport, session_reports
from gb_pipeline.lake.result_rows import vacuum_artifacts
from gb_pipeline.lake.series_changes import SeriesChanges
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import CONTENT, RECEIVED, bar_schema, polars_schema
from gb_pipeline.market.symbol import Symbol, source_name, symbol_code
from gb_pipeline.market.window import Window, as_window, instant
from gb_pipeline.quality.bars import validate
from gb_pipeline.quality.rules import BarRules
from gb_pipeline.quality.runs import session_runs
from gb_pipeline.quality.session_days import Listing
from gb_pipeline.storage import compaction, vacuum
from gb_pipeline.storage.address import Storage
from gb_pipeline.storage.commit import Clock, wall_clock
from gb_pipeline.storage.dataset import Dataset
from gb_pipeline.storage.table import Tables

if TYPE_CHECKING:
    from gb_pipeline.config.settings import Settings

# Sessions may begin and end some days beside their date.
FIRST_YEAR, LAST_YEAR = 2, 9998
Symbols = Symbol | str | Sequence[Symbol | str]
FetchedAt = datetime | Mapping[str, datetime] | None


class LakeStore(BarDecisions, SeriesChanges, InstrumentWrites, FundamentalWrites):
    """A lake that can be written.

    Any number of processes may write one lake at once; a window is decided anew when somebody else changed the table.

    Args:
        storage: where it is stored; nothing is created before the first write.
        datasets: more tables than those of this package.
        clock: the present; rows are never stamped with a moment before what the lake holds already.
        incidents: what explains gaps when they are read, looked up each time; None where no project says so, for what the
            catalog remembers.
    """

    def __init__(
        self,
        storage: Storage,
        *,
        datasets: Iterable[Dataset] = (),
        clock: Clock = wall_clock,
        incidents: Callable[[], Incidents] | None = None,
    ) -> None:
        """Nothing is opened."""
        self.storage = storage
        self.tables = Tables(storage, ALL + datasets)
        self.clock = clock
        self.incidents = incidents

    @classmethod
    def at(
        cls,
        root: Address | str,
        *,
        state: Path | str | None = None,
        datasets: Iterable[Dataset] = (),
        clock: Clock = wall_clock,
        incidents: Callable[[], Incidents] | None = None,
    ) -> LakeStore:
        """The lake in a local folder or at `s3://bucket/prefix`, which need not exist yet; see `Storage.at`."""
        return cls(Storage.at(root, state=state), datasets=datasets, clock=clock, incidents=incidents)

    @classmethod
    def of_project(cls, settings: Settings) -> LakeStore:
        """The lake that gb.yaml names, explained by the incidents of its project; its folder need not exist yet."""
        return cls.at(settings.lake, state=settings.state, incidents=ProjectIncidents(settings.path))

    def write_bars(
        self,
        source: str,
        symbols: Symbols,
        resolution: Resolution | str,
        window: Window | tuple[datetime, datetime],
        frame: pl.DataFrame,
        *,
        rules: BarRules | None = None,
        fetched_at: FetchedAt = None,
        run_id: str | None = None,
        listings: Mapping[str, Listing] | None = None,
        rows_read: Mapping[str, int] | None = None,
        planned_at: datetime | None = None,
    ) -> WriteReport:
        """Validate and store everything that a source has for some symbols in a window. Idempotent.

        Current rows, the versions that they replace and what the ledger says of them are one commit. Rows are stamped
        (`known_at`) within it, later than anything that the table holds.

        Args:
            source: short name of the feed.
            symbols: the requested ones; a symbol without a row in the frame had a well-formed empty response.
            resolution: of the bars.
            window: the requested one, half-open; rows outside it are bad.
            frame: columns of `market.schema.RECEIVED` (`timestamp` Datetime us UTC; numbers as text, Decimal or integers),
                any of `RECEIVED_OPTIONAL`, and `symbol` unless there is only one.
            rules: what the rows are validated by; 24/7 and strict by default.
            fetched_at: when the bars were requested, for all or by symbol; now by default. Bars that were open then are not whole.
                What a later request stored is never replaced by an earlier one: such rows go to quarantine.
            run_id: kept with refused rows.
            listings: first session, and first session without it, by symbol.
            rows_read: by symbol, rows that were read for its answer, where that is more than the frame has (the lines of a whole
                file): `rules.max_bad_fraction` of rows without a session is a share of these.
            planned_at: when it was decided to request them: what was removed on purpose later stays so, and rows of it go to
                quarantine. By default everything is stored.

        Returns:
            The report; `version` is None when no bar had to be committed.

        Raises:
            ConfigError, InvalidSymbol: a name that a lake cannot hold, an invalid window, or rules of another resolution.
            WindowRefused: the frame has wrong columns or types; nothing was stored. A session with more bad rows than
                `rules.max_bad_fraction` does not raise: it is reported as `refused`, and all its rows are in quarantine. So are
                all sessions of a symbol of whose rows too many belong to no session of the window.
            LakeError: the lake cannot be written or is damaged, or the series is stored with another precision or adjustment.

        Example:
            >>> report = LakeStore.at("data").write_bars("mine", "BTC-USD", Resolution.MINUTE, day, frame)
            >>> report.received == report.stored + report.unchanged + report.quarantined + report.duplicates
            True
        """
        source, codes = source_name(source), _symbol_codes(symbols)
        parsed = Resolution.parse(resolution)
        bar_rules = rules or BarRules(resolution=parsed)
        if bar_rules.resolution is not parsed:
            raise ConfigError(
                f"bars of {parsed} cannot be validated by rules of {bar_rules.resolution}",
                fix=f"pass BarRules(resolution=Resolution.parse({parsed.value!r}), ...)",
            )
        request = BarsRequest(
            source=source,
            symbols=codes,
            resolution=parsed,
            window=_check_window(window),
            fetched_at=self._moments(codes, fetched_at),
            run_id=run_id,
            listings=listings or {},
            rows_read=rows_read or {},
            planned_at=planned_at,
        )
        refuse_other_adjustment(self.tables, source, parsed, codes, bar_rules.adjustment)
        report = bars.write(self.tables, request, _with_symbol(frame, codes), bar_rules, self.clock)
        return replace(report, sessions_frame=self._explain(source, parsed, report.sessions_frame))

    def record_failure(
        self,
        source: str,
        symbols: Sequence[Symbol | str],
        window: Window,
        *,
        rules: BarRules,
        now: datetime | None = None,
        listings: Mapping[str, Listing] | None = None,
    ) -> list[SessionReport]:
        """Record that the fetch of a window failed: its sessions become gaps with the reason `fetch_failed`.

        Sessions that the ledger knows already stay as recorded: a failed repeat takes nothing away.

        Returns:
            A `failed` report for every session of the window (closed days excepted), stored or not; `empty` where
            incidents explain all that it lacks.
        """
        source, codes, window = source_name(source), _symbol_codes(symbols), _check_window(window)
        present = instant(now or self.clock())
        types = polars_schema(bar_schema(rules.precision))
        no_rows = pl.DataFrame(
            schema={"symbol": pl.String(), "session": pl.Date()}
            | {name: types[name] for name in ("timestamp", *CONTENT, "withdrawn")}
        )
        validation = validate(pl.DataFrame(schema={"symbol": pl.String(), **RECEIVED}), rules, window, now=present)
        described = describe_sessions(
            source,
            codes,
            rules,
            expect(rules, window, present),
            session_runs(no_rows),
            validation,
            listings=listings or {},
            touched=no_rows,
            restated=no_rows,
            withdrawn=no_rows,
            failed=True,
        )
        self._record_failed(source, rules, described, present)
        return list(session_reports(self._explain(source, rules.resolution, described)))

    def _explain(self, source: str, resolution: Resolution, described: pl.DataFrame) -> pl.DataFrame:
        """Described sessions, with the gaps that incidents explain; what is recorded of them says nothing of that."""
        if self.incidents is None or not (incidents := self.incidents()).items:
            return described
        series = pl.lit(source).alias("source"), pl.lit(resolution.value).alias("resolution")
        return explain_sessions(described.with_columns(series), incidents).drop("source", "resolution")

    def _record_failed(self, source: str, rules: BarRules, described: pl.DataFrame, present: datetime) -> None:
        ledger_rows = ledger_frame(source, rules, described, fetched_at=present, version=-1)
        if ledger_rows.is_empty():
            return
        first, last = ledger_rows["session"].min(), ledger_rows["session"].max()
        assert isinstance(first, date) and isinstance(last, date)
        symbols = ledger_rows["symbol"].unique().to_list()
        until = date.fromordinal(last.toordinal() + 1)

        def unless_known(tables: Tables) -> pl.DataFrame:
            recorded = ledger.current(tables, source, rules.resolution, symbols, (first, until))
            not_failed = recorded.filter(pl.col("status") != SessionStatus.FAILED.value)
            return ledger_rows.join(not_failed, on=["symbol", "session"], how="anti", maintain_order="left")

        ledger.record_undisturbed(self.tables, rules, unless_known, clock=self.clock)

    def record_fetches(self, records: Sequence[fetches.FetchRecord]) -> None:
        """Append to the ledger of vendor calls, in one commit.

        Raises:
            ConfigError, InvalidSymbol: a name that a lake cannot hold; `*` stands for all of the source.
        """
        for record in records:
            source_name(record.source)
            if record.symbol not in {"", "*"}:
                symbol_code(record.symbol)
        fetches.record(self.tables, records, clock=self.clock)

    def write_actions(
        self,
        source: str,
        symbols: Symbol | str | Sequence[Symbol | str],
        window: tuple[date, date],
        frame: pl.DataFrame,
        *,
        fetched_at: FetchedAt = None,
        run_id: str | None = None,
    ) -> corporate_actions.ActionsReport:
        """Validate and store every corporate action that a source has for some symbols. Idempotent.

        What is stored with this content is left alone. What the source changed is appended as a new version,
        and what it no longer returns is marked so; the older versions stay, and `as_of` reads them.

        Args:
            source: short name of the feed.
            symbols: the requested ones; one without a row in the frame had a well-formed empty response.
            window: the requested one, half-open, by ex date; rows outside it are bad.
            frame: columns of `market.schema.ACTIONS_RECEIVED` (numbers as text), and `symbol` unless there is only one.
            fetched_at: when they were requested, for all or by symbol; now by default.
            run_id: kept with refused rows.

        Returns:
            The report; `version` is None when nothing had to be committed.

        Raises:
            WindowRefused: the frame has wrong columns or types; nothing was stored.
            LakeError: others kept changing the same rows, or the lake cannot be written.

        Example:
            >>> store.write_actions("yahoo", "AAPL", (date(2020, 1, 1), date(2021, 1, 1)), frame).new
            5
        """
        source, codes = source_name(source), _symbol_codes(symbols)
        return corporate_actions.write_actions(
            self.tables,
            source,
            codes,
            window,
            _with_symbol(frame, codes),
            fetched_at=self._moments(codes, fetched_at),
            run_id=run_id,
            clock=self.clock,
        )

    def _moments(self, codes: Sequence[str], fetched_at: FetchedAt) -> dict[str, datetime]:
        if isinstance(fetched_at, Mapping):
            present = self.clock()
            return {code: instant(fetched_at.get(code, present)) for code in codes}
        return dict.fromkeys(codes, instant(fetched_at or self.clock()))

    def compaction_candidates(self, *, min_files: int = compaction.MIN_FILES) -> list[compaction.Partition]:
        """Partitions with at least `min_files` files, most files first; read from the logs alone."""
        return compaction.find_candidates(self.tables, min_files=min_files)

    def compact(self, *partitions: compaction.Partition) -> list[compaction.CompactionReport]:
        """Merge the files of each partition into one that is proved to hold the same rows. Safe at any kill point.

        Partitions of one table share a commit.

        Raises:
            LakeError: no such partition, or others changed it every time.
            CompactionRefused: what is stored is not what the ledger recorded; nothing was changed.
        """
        return compaction.compact(self.tables, partitions, proof=proofs.proof(self.tables), clock=self.clock)

    def vacuum(
        self, *, retention: timedelta = vacuum.RETENTION, dry_run: bool = True, now: datetime | None = None
    ) -> list[vacuum.VacuumReport]:
        """Remove files that have been of no use for the retention, of every table, and artifacts that no run names.

        By default it only says which.

        Args:
            now: the present, as the file system has it; what the lake's clock says by default.

        Raises:
            ConfigError: the retention is shorter than an hour.
            DamagedLog: what a table needs is not known; nothing of it is removed.
        """
        if not dry_run:
            ledger.take_over_all(self.tables, clock=self.clock)
        needed = ledger.find_needed(self.tables)
        present = now or self.clock()
        reports = vacuum.vacuum(self.tables, needed, retention=retention, dry_run=dry_run, now=present)
        return [*reports, *vacuum_artifacts(self.tables, retention=retention, dry_run=dry_run, now=present)]


def _check_window(window: Window | tuple[datetime, datetime]) -> Window:
    """A window whose sessions lie within the calendar."""
    checked = as_window(window)
    if checked.start.year < FIRST_YEAR or checked.end.year > LAST_YEAR:
        raise ConfigError(
            f"the window {checked} reaches out of the years {FIRST_YEAR} to {LAST_YEAR}", fix="name a shorter one"
        )
    return checked


def _symbol_codes(symbols: Symbols) -> tuple[str, ...]:
    value: object = symbols
    if isinstance(value, bytes) or not isinstance(value, Symbol | str | Iterable):
        raise ConfigError(f"{value!r:.40} is not a symbol", fix="name one, or a list of them")
    chosen = [symbols] if isinstance(symbols, Symbol | str) else list(symbols)
    if not chosen:
        raise ConfigError("no symbol was named", fix="name at least one")
    return tuple(dict.fromkeys(symbol_code(symbol) for symbol in chosen))


def _with_symbol(frame: pl.DataFrame, codes: Sequence[str]) -> pl.DataFrame:
    if not isinstance(frame, pl.DataFrame):
        raise WindowRefused(
            f"a {type(frame).__name__} is not a Polars frame", fix="pass a pl.DataFrame; collect lazy ones first"
        )
    if "symbol" not in frame.columns and len(codes) == 1:
        return frame.with_columns(pl.lit(codes[0]).alias("symbol"))
    return frame
