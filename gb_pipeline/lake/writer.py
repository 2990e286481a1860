"""Writing a window: one idempotent act.

Belongs here: the order of the steps, so that a crash between two of them is repaired by running again:

1. judge the frame; bad rows go to `quarantine` (once per row, so again is harmless);
2. compare with what is stored: identical content means no commit; changed rows go to `restatements` first;
3. one Delta commit replaces the rows between the first and the last change;
4. the ledger of sessions is appended where it says something new.

Between 2 and 3 a restatement may be recorded whose bar is still old; between 3 and 4 the ledger may lag. Both are found by
comparing again. Does not belong here: the comparison (`merge`), the judgement (`quality.bars`), the tables (`tables`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import polars as pl

from gb_pipeline.lake import ledger, quarantine, restatements
from gb_pipeline.lake.basis import refuse_other_adjustment
from gb_pipeline.lake.coverage import Expectation, Listing, expect, ledger_rows, session_reports
from gb_pipeline.lake.files import files
from gb_pipeline.lake.merge import KEY, Merge, merge
from gb_pipeline.lake.report import SessionReport, WriteReport
from gb_pipeline.lake.specs import bar_spec
from gb_pipeline.lake.stored import read_window, refuse_narrower
from gb_pipeline.lake.tables import Tables, retry_on_conflict
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import Precision
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.market.window import Window
from gb_pipeline.quality.bars import Verdict, judge
from gb_pipeline.quality.fingerprint import combine
from gb_pipeline.quality.rules import BarRules

if TYPE_CHECKING:
    from deltalake import DeltaTable


def write_bars(
    tables: Tables,
    source: str,
    symbols: Sequence[Symbol | str],
    resolution: Resolution,
    window: Window,
    frame: pl.DataFrame,
    *,
    rules: BarRules,
    known_at: datetime,
    now: datetime,
    run_id: str | None,
    listings: Mapping[str, Listing],
) -> WriteReport:
    """See `LakeStore.write_bars`."""
    codes = [str(symbol) for symbol in symbols]
    refuse_other_adjustment(tables, source, resolution, codes, rules.adjustment)
    verdict = judge(frame, rules, window, now=now)
    # An answer is judged as of its question and written later; content from elsewhere may be known since long ago.
    refused_at = max(now, known_at)
    quarantine.record(tables, source, resolution, window, verdict.bad, at=refused_at, run_id=run_id)
    if rules.precision is Precision.STANDARD:
        refuse_narrower(tables, source, resolution, codes)
    writer = _Writer(tables, source, codes, rules, window, verdict, known_at, listings, expect(rules, window, now))
    return retry_on_conflict(writer.act)


class _Writer:
    """One attempt is one `act`: read, compare, commit. It is repeated when others changed the same rows meanwhile."""

    def __init__(
        self,
        tables: Tables,
        source: str,
        symbols: list[str],
        rules: BarRules,
        window: Window,
        verdict: Verdict,
        known_at: datetime,
        listings: Mapping[str, Listing],
        expectation: Expectation,
    ) -> None:
        self.tables, self.source, self.symbols, self.rules = tables, source, symbols, rules
        self.window, self.verdict, self.known_at = window, verdict, known_at
        self.listings, self.expectation = listings, expectation
        self.spec = bar_spec(rules.resolution, rules.precision)

    def act(self) -> WriteReport:
        self.tables.ensure(self.spec)
        with self.tables.open(self.spec.name) as table:
            assert table is not None, "ensured above"
            base, paths_before = table.version(), _paths(table, self.source, self.symbols)
            stored = self._stored(table)
            inside = stored.filter((pl.col("timestamp") >= self.window.start) & (pl.col("timestamp") < self.window.end))
            decided = merge(self.verdict.good, inside, self.verdict.bad.select(KEY), self.known_at)
            rest = stored.join(inside, on=KEY, how="anti").select(decided.rows.columns)
            after = decided.rows if rest.is_empty() else pl.concat([decided.rows, rest]).sort(KEY)
            version, added = None, 0
            # Hashing the content and committing it take about as long, and neither needs the other's result.
            with ThreadPoolExecutor(1) as beside:
                described = beside.submit(self._describe, after, decided)
                if not decided.touched.is_empty():
                    rows = self._with_moments(decided)
                    version = self._commit(table, rows, decided.touched)
                    now_there = _paths(table, self.source, self.symbols)
                    added = sum(size for path, size in now_there.items() if path not in paths_before)
                reports = described.result()
            if version is not None and version != base + 1 and not self.expectation.whole:
                # Others wrote the rest of a session meanwhile: describe what is there now, not what was read before.
                reports = self._describe(self._stored(table), decided)
        self._record(reports, base if version is None else version)
        return self._report(reports, decided, version, added)

    def _stored(self, table: DeltaTable) -> pl.DataFrame:
        rows = read_window(
            self.tables,
            table,
            self.source,
            self.rules.resolution,
            self.rules.precision,
            self.symbols,
            self.expectation.hull,
        )
        return rows.with_columns(
            self.rules.calendar.session_of(rows["timestamp"], self.rules.resolution).alias("session")
        )

    def _with_moments(self, decided: Merge) -> pl.DataFrame:
        """Record restatements, and give restated rows the moment that the record says."""
        if decided.restated.is_empty():
            return decided.rows
        moments = restatements.record(
            self.tables, self.source, self.rules.resolution, decided.restated, self.known_at
        ).rename({"known_at": "recorded"})
        return (
            decided.rows.join(moments, on=KEY, how="left", maintain_order="left")
            .with_columns(pl.coalesce("recorded", "known_at").alias("known_at"))
            .drop("recorded")
        )

    def _commit(self, table: DeltaTable, rows: pl.DataFrame, touched: pl.DataFrame) -> int:
        symbols = touched["symbol"].unique().sort().to_list()
        low, high = touched["timestamp"].min(), touched["timestamp"].max()
        replaced = rows.filter(pl.col("symbol").is_in(symbols) & pl.col("timestamp").is_between(low, high))
        form = "%Y-%m" if self.rules.resolution is Resolution.SECOND else "%Y"
        within_one = low.strftime(form) == high.strftime(form)  # type: ignore[union-attr]
        period = pl.lit(low.strftime(form)) if within_one else pl.col("timestamp").dt.strftime(form)  # type: ignore[union-attr]
        replaced = replaced.with_columns(pl.lit(self.source).alias("source"), period.alias("period"))
        names = ", ".join(f"'{name}'" for name in symbols)
        periods = ", ".join(f"'{name}'" for name in replaced["period"].unique().sort())
        predicate = (
            f"source = '{self.source}' AND symbol IN ({names}) AND period IN ({periods})"
            f" AND timestamp >= '{low.isoformat()}' AND timestamp <= '{high.isoformat()}'"  # type: ignore[union-attr]
        )
        return self.tables.replace(table, self.spec, replaced, predicate)

    def _describe(self, rows: pl.DataFrame, decided: Merge) -> list[SessionReport]:
        return session_reports(
            self.source,
            self.symbols,
            self.rules,
            self.expectation,
            rows,
            self.verdict,
            listings=self.listings,
            touched=decided.touched,
            restated=decided.restated,
            withdrawn=decided.withdrawn,
        )

    def _record(self, reports: list[SessionReport], version: int) -> None:
        rows = ledger_rows(
            self.source, self.rules, reports, known_at=self.known_at, recorded_at=datetime.now(UTC), version=version
        )
        ledger.append_changed(self.tables, rows)

    def _report(self, reports: list[SessionReport], decided: Merge, version: int | None, added: int) -> WriteReport:
        placed = {(report.symbol, report.session) for report in reports}
        unplaced: dict[str, int] = {}
        for symbol, session, rows in self.verdict.bad.group_by("symbol", "session").len().iter_rows():
            if (symbol, session) not in placed:
                unplaced[symbol] = unplaced.get(symbol, 0) + rows
        return WriteReport(
            source=self.source,
            resolution=self.rules.resolution,
            window=self.window,
            sessions=tuple(reports),
            received=self.verdict.received,
            stored=self.verdict.good.height,
            unchanged=decided.unchanged,
            quarantined=self.verdict.bad.height,
            restated=decided.restated.height,
            withdrawn=decided.withdrawn.height,
            unplaced=unplaced,
            bytes=added,
            version=version,
            fingerprint=combine((f"{report.symbol} {report.session}", report.fingerprint) for report in reports),
        )


def _paths(table: DeltaTable, source: str, symbols: list[str]) -> dict[str, int]:
    """Sizes of the files that may hold these symbols."""
    return dict(files(table, source=source, symbols=symbols).select("path", "size_bytes").iter_rows())
