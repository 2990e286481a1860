"""Where the parts of an import go: into the lake by its one write path, or nowhere, to see what would become of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import polars as pl

from gb_pipeline.formats.import_report import WORST, ImportedSeries
from gb_pipeline.formats.parts import Part
from gb_pipeline.lake.coverage import STORED_ROW
from gb_pipeline.lake.fetches import FetchOutcome, FetchRecord
from gb_pipeline.lake.report import WriteReport
from gb_pipeline.lake.row_counts import RowCounts
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.window import Window
from gb_pipeline.quality.bars import validate
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
            result = validate(part.rows, rules, part.window, now=self.store.clock())
            series = told[part.series.symbol.code]
            series.counts += RowCounts(
                received=part.rows.height,
                stored=result.good.height,
                quarantined=result.bad.height,
                duplicates=result.duplicates.height,
                unplaced=sum(item.rows for item in result.unplaced.values()),
            )
            series.reasons += Counter(reason for reasons in result.bad["reasons"].to_list() for reason in reasons)
            # Good rows in bad company say nothing of what is wrong.
            is_good = pl.col("reasons").list.set_difference(_WITH_OTHERS).list.len() == 0
            series.refused(_describe(result.bad.sort(is_good, maintain_order=True).head(WORST)))


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
            _tell(report, told)
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


def _tell(report: WriteReport, told: Mapping[str, ImportedSeries]) -> None:
    """Add what a write did to its series."""
    for code, counts in report.counts.items():
        told[code].counts += counts
    for code, unplaced in report.unplaced.items():
        told[code].reasons += Counter(unplaced.reasons)
    sessions = report.sessions_frame
    for code, missing in sessions.group_by("symbol").agg(pl.col("missing").sum()).rows():
        told[code].missing += missing
    for name in ("reason_counts", "warning_counts"):
        codes = sessions.select("symbol", name).explode(name, empty_as_null=False, keep_nulls=False).unnest(name)
        for code, reason, rows in codes.select("symbol", "code", "rows").rows() if codes.height else ():
            (told[code].reasons if name == "reason_counts" else told[code].warnings)[reason] += rows
    worst = sessions.select("symbol", "worst").explode("worst", empty_as_null=False, keep_nulls=False)
    for code, row in worst.rows():
        # Rows that are stored although they look suspicious have no text of their own.
        if row["row"] != STORED_ROW:
            told[code].refused([{name: str(value or "") for name, value in row.items()}])


def _describe(bad: pl.DataFrame) -> list[Mapping[str, str]]:
    return [
        {"timestamp": str(row["timestamp"] or ""), "why": ", ".join(row["reasons"]), "row": row["row"][:300]}
        for row in bad.rows(named=True)
    ]
