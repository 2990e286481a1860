"""Where the parts of an import go: into the lake by its one write path, or nowhere, to see what would become of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import polars as pl

from gb_pipeline.formats.import_report import WORST, ImportedSeries
from gb_pipeline.formats.parts import Part
from gb_pipeline.lake.coverage import describe_sessions
from gb_pipeline.lake.expectation import expect
from gb_pipeline.lake.fetches import FetchOutcome, FetchRecord
from gb_pipeline.lake.row_counts import RowCounts
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.window import Window
from gb_pipeline.quality.bars import ValidationResult, validate
from gb_pipeline.quality.reasons import REFUSED_WITH_ANSWER, REFUSED_WITH_SESSION
from gb_pipeline.quality.rules import BarRules
from gb_pipeline.storage.fault_points import reach

# Rows of parts that are written together: many short series share a commit.
BATCH_ROWS = 200_000

_WITH_OTHERS = [REFUSED_WITH_SESSION, REFUSED_WITH_ANSWER]


class Target(Protocol):
    """Takes parts that share rules, and says of each series what became of them."""

    def take(self, parts: Sequence[Part], rules: BarRules, told: Mapping[str, ImportedSeries]) -> None:
        """Write the parts of one resolution, and add what became of them to the series in `told`, by symbol."""
        ...


@dataclass(frozen=True)
class Preview:
    """Writes nothing: rows are validated, and those that are good would be stored."""

    store: LakeStore

    def take(self, parts: Sequence[Part], rules: BarRules, told: Mapping[str, ImportedSeries]) -> None:
        """See `Target.take`."""
        for part in parts:
            now = self.store.clock()
            result = validate(part.rows, rules, part.window, now=now)
            code = part.series.symbol.code
            series = told[code]
            series.counts += RowCounts(
                received=part.rows.height,
                stored=result.good.height,
                quarantined=result.bad.height,
                duplicates=result.duplicates.height,
                unplaced=sum(item.rows for item in result.unplaced.values()),
            )
            _tell(_described(code, result, rules, part.window, now=now), result.bad, told)


@dataclass(frozen=True)
class Stored:
    """Writes into a lake, as Dagster and `gb fetch` do: what was read is recorded before, and what became of it behind.

    Attributes:
        store: the lake.
        source: under which.
        run_id: names the import in `fetches` and in quarantine.
        normaliser: name and version of what read the files.
    """

    store: LakeStore
    source: str
    run_id: str
    normaliser: str

    def take(self, parts: Sequence[Part], rules: BarRules, told: Mapping[str, ImportedSeries]) -> None:
        """See `Target.take`."""
        present = self.store.clock()
        records = {(part.series.symbol.code, part.window): self._record(part, present) for part in parts}
        self.store.record_fetches(list(records.values()))
        reach("import_recorded")
        by_window: dict[Window, list[Part]] = {}
        for part in parts:
            by_window.setdefault(part.window, []).append(part)
        counted = []
        for window, together in by_window.items():
            codes = [part.series.symbol.code for part in together]
            report = self.store.write_bars(
                self.source,
                codes,
                rules.resolution,
                window,
                pl.concat([part.rows for part in together], how="diagonal"),
                rules=rules,
                fetched_at=present,
                run_id=self.run_id,
            )
            reach("import_written")
            for code in codes:
                counted.append(records[code, window].with_counts(report.counts[code]))
            for code, counts in report.counts.items():
                told[code].counts += counts
            _tell(report.sessions_frame, report.refused, told)
        self.store.record_fetches(counted)

    def _record(self, part: Part, present: datetime) -> FetchRecord:
        return FetchRecord(
            source=self.source,
            symbol=part.series.symbol.code,
            resolution=part.series.resolution.value,
            window_start=part.window.start,
            window_end=part.window.end,
            fetched_at=present,
            outcome=FetchOutcome.OK,
            received=part.rows.height,
            run_id=self.run_id,
            normaliser=self.normaliser,
        )


def _described(code: str, result: ValidationResult, rules: BarRules, window: Window, *, now: datetime) -> pl.DataFrame:
    """The sessions as a write would describe them that finds nothing stored."""
    nothing = result.good.clear()
    return describe_sessions(
        "", [code], rules, expect(rules, window, now), result.runs, result,
        listings={}, touched=result.good, restated=nothing, withdrawn=nothing,
    )  # fmt: skip


def _tell(sessions: pl.DataFrame, refused: pl.DataFrame, told: Mapping[str, ImportedSeries]) -> None:
    """Add to the series what is missing and suspicious in their sessions, and which of their rows are refused."""
    for code, missing in sessions.group_by("symbol").agg(pl.col("missing").sum()).rows():
        told[code].missing += missing
    warnings = sessions.select("symbol", "warning_counts").explode(
        "warning_counts", empty_as_null=False, keep_nulls=False
    )
    for code, warning, rows in warnings.unnest("warning_counts").rows() if warnings.height else ():
        told[code].warnings[warning] += rows
    reasons = refused.select("symbol", "reasons").explode("reasons", empty_as_null=False, keep_nulls=False)
    for code, reason, rows in reasons.group_by("symbol", "reasons", maintain_order=True).len().rows():
        told[code].reasons[reason] += rows
    # Good rows in bad company say nothing of what is wrong.
    is_good = pl.col("reasons").list.set_difference(_WITH_OTHERS).list.len() == 0
    worst = refused.sort(is_good, "symbol", "timestamp", maintain_order=True).group_by("symbol", maintain_order=True)
    for (code,), rows in worst.head(WORST).group_by("symbol", maintain_order=True):
        told[str(code)].refused(_describe(rows))


def _describe(bad: pl.DataFrame) -> list[Mapping[str, str]]:
    return [
        {"timestamp": str(row["timestamp"] or ""), "why": ", ".join(row["reasons"]), "row": row["row"][:300]}
        for row in bad.rows(named=True)
    ]
