"""The write side of a lake, under one roof.

Belongs here: the methods that change a lake. Does not belong here: how (`writer`, `compaction`), and reading (`reading`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl

from gb_pipeline.lake import actions, compaction, fetches, writer
from gb_pipeline.lake.coverage import Listing, expect, ledger_rows, session_reports
from gb_pipeline.lake.ledger import append_changed, current
from gb_pipeline.lake.report import SessionReport, SessionStatus, WriteReport
from gb_pipeline.lake.storage import Storage
from gb_pipeline.lake.tables import Tables
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import CONTENT, RECEIVED, bar_schema, polars_schema
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.market.window import Window, instant
from gb_pipeline.quality.bars import judge
from gb_pipeline.quality.rules import BarRules


class LakeStore:
    """A lake that can be written.

    Any number of processes may write one lake at once; a window is decided anew when somebody else changed the same rows.
    """

    def __init__(self, storage: Storage) -> None:
        """A lake under a storage; nothing is created before the first write."""
        self.storage = storage
        self.tables = Tables(storage)

    @classmethod
    def at(cls, root: Path | str) -> LakeStore:
        """The lake under a local folder, which need not exist yet."""
        return cls(Storage.at(root))

    def write_bars(
        self,
        source: str,
        symbols: Symbol | str | Sequence[Symbol | str],
        resolution: Resolution,
        window: Window,
        frame: pl.DataFrame,
        *,
        rules: BarRules | None = None,
        known_at: datetime | None = None,
        now: datetime | None = None,
        run_id: str | None = None,
        listings: Mapping[str, Listing] | None = None,
    ) -> WriteReport:
        """Validate and store everything that a source has for some symbols in a window. Idempotent.

        Args:
            source: short name of the feed.
            symbols: whose answer the frame is; a symbol without a row in it has a well-formed empty answer.
            resolution: of the bars.
            window: what was asked for; rows outside it are bad.
            frame: columns of `market.schema.RECEIVED` (`timestamp` Datetime us UTC; numbers as text, Decimal or integers),
                any of `RECEIVED_OPTIONAL`, and `symbol` unless there is only one.
            rules: what the rows are judged by; 24/7 and strict by default.
            known_at: since when this content is known; now by default.
            now: the present, for bars that are not closed yet; the wall clock by default.
            run_id: kept with refused rows.
            listings: first session, and first session without it, by symbol.

        Returns:
            The report; `version` is None when nothing had to be committed.

        Raises:
            WindowRefused: the frame has wrong columns or types; nothing was stored. A session with more bad rows than
                `rules.max_bad_fraction` does not raise: it is reported as `refused`, and all its rows are in quarantine.
            LakeError: others kept changing the same rows, or the series is stored with another precision or adjustment.

        Example:
            >>> report = LakeStore.at("data").write_bars("mine", "BTC-USD", Resolution.MINUTE, day, frame)
            >>> report.received == report.stored + report.quarantined
            True
        """
        chosen = [symbols] if isinstance(symbols, Symbol | str) else list(symbols)
        if "symbol" not in frame.columns and len(chosen) == 1:
            frame = frame.with_columns(pl.lit(str(chosen[0])).alias("symbol"))
        present = instant(now or datetime.now(UTC))
        return writer.write_bars(
            self.tables,
            source,
            chosen,
            resolution,
            window,
            frame,
            rules=rules or BarRules(resolution=resolution),
            known_at=instant(known_at or present),
            now=present,
            run_id=run_id,
            listings=listings or {},
        )

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
        """Say that the fetch of a window failed: its sessions become gaps with the reason `fetch_failed`.

        Sessions that the ledger knows already keep what it says: a failed repeat takes nothing away.

        Returns:
            A `failed` report for every session of the window (closed days excepted), stored or not.
        """
        codes = [str(symbol) for symbol in symbols]
        present = instant(now or datetime.now(UTC))
        types = polars_schema(bar_schema(rules.precision))
        nothing = pl.DataFrame(
            schema={"symbol": pl.String(), "session": pl.Date()}
            | {name: types[name] for name in ("timestamp", *CONTENT)}
        )
        verdict = judge(pl.DataFrame(schema={"symbol": pl.String(), **RECEIVED}), rules, window, now=present)
        expectation = expect(rules, window, present)
        reports = session_reports(
            source,
            codes,
            rules,
            expectation,
            nothing,
            verdict,
            listings=listings or {},
            touched=nothing,
            restated=nothing,
            withdrawn=nothing,
            failed=True,
        )
        if expectation.sessions:
            until = max(expectation.sessions)
            known = current(
                self.tables, source, rules.resolution, codes, (min(expectation.sessions), until + timedelta(days=1))
            ).filter(pl.col("status") != SessionStatus.FAILED.value)
            kept = set(known.select("symbol", "session").iter_rows())
            new = [item for item in reports if (item.symbol, item.session) not in kept]
            rows = ledger_rows(source, rules, new, known_at=present, recorded_at=datetime.now(UTC), version=-1)
            append_changed(self.tables, rows)
        return reports

    def record_fetches(self, records: Sequence[fetches.FetchRecord]) -> None:
        """Append to the ledger of vendor calls, in one commit."""
        fetches.record(self.tables, records)

    def write_actions(
        self,
        source: str,
        symbols: Symbol | str | Sequence[Symbol | str],
        window: tuple[date, date],
        frame: pl.DataFrame,
        *,
        known_at: datetime | None = None,
        now: datetime | None = None,
        run_id: str | None = None,
    ) -> actions.ActionsReport:
        """Validate and store every corporate action that a source tells of some symbols. Idempotent.

        What is stored with this content is left alone. What the source says differently now is appended as a new version,
        and what it no longer returns is marked so; the older versions stay, and `as_of` reads them.

        Args:
            source: short name of the feed.
            symbols: whose answer the frame is; one without a row in it has a well-formed empty answer.
            window: what was asked for, half-open, by ex date; rows outside it are bad.
            frame: columns of `market.schema.ACTIONS_RECEIVED` (numbers as text), and `symbol` unless there is only one.
            known_at: since when this is known; now by default.
            now: the present; the wall clock by default.
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
        chosen = [symbols] if isinstance(symbols, Symbol | str) else list(symbols)
        if "symbol" not in frame.columns and len(chosen) == 1:
            frame = frame.with_columns(pl.lit(str(chosen[0])).alias("symbol"))
        present = instant(now or datetime.now(UTC))
        return actions.write_actions(
            self.tables,
            source,
            [str(symbol) for symbol in chosen],
            window,
            frame,
            known_at=instant(known_at or present),
            now=present,
            run_id=run_id,
        )

    def compaction_candidates(self, *, min_files: int = compaction.MIN_FILES) -> list[compaction.Partition]:
        """Partitions with at least so many files, most files first; answered from the logs alone."""
        return compaction.candidates(self.tables, min_files=min_files)

    def compact(self, table: str, source: str, symbol: str | None, period: str) -> compaction.CompactionReport:
        """Merge the files of one partition into one that is proved to hold the same rows. Safe at any kill point.

        Raises:
            LakeError: no such partition, or somebody changed it meanwhile.
            CompactionRefused: the rewritten file is not provably the same; nothing was changed.
        """
        return compaction.compact(self.tables, table, source, symbol, period)
