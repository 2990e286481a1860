"""This module holds the one check of a dataset: whether the bars that were looked at are valid, complete and stored.

A run evaluates it over what it touched, from the page it is evaluated over the newest sessions of the lake. What earlier runs left
unstored fails it as well: a good run elsewhere makes nothing good.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
import polars as pl

from gb_pipeline.orchestration.events.outcome import PartitionOutcome, build_table

CHECK = "valid_and_complete"
DESCRIPTION = (
    "Every row that the vendor sent obeys the rules of a bar, and every bar that the calendar expects is stored or its absence has"
    " a reason. A run looks at what it touched; executed from here, at the newest sessions. What earlier runs left unstored, failed"
    " or deferred, counts as well, however old it is."
)
# Events are kept for ever: the table is a sample, the whole is in the lake.
_LISTED = 20
_COUNTS = ("received", "stored", "unchanged", "quarantined", "duplicates", "restated", "withdrawn", "missing")


@dataclass
class Findings:
    """What was seen of a dataset so far, one series and partition after another."""

    _counts: Counter[str] = field(default_factory=Counter)
    _bad: list[tuple[tuple[int, int], dict[str, Any]]] = field(default_factory=list)
    _deferred: list[tuple[str, str]] = field(default_factory=list)
    _earlier: list[dict[str, Any]] = field(default_factory=list)

    def add(self, symbol: str, outcome: PartitionOutcome) -> None:
        """Take one series in one partition into account."""
        self.count("partitions")
        if outcome.deferred is not None:
            # Nothing is known that was not known before.
            self._deferred.append((symbol, outcome.key))
            return self.count("deferred")
        for name in _COUNTS:
            self.count(name, outcome.sum(name))
        self.count("unexplained", outcome.open_missing)
        if outcome.failed:
            self.count("not_stored")
        return self.note(
            symbol,
            outcome.key,
            reason=outcome.reason if outcome.failed else "",
            quarantined=outcome.sum("quarantined"),
            unexplained=outcome.open_missing,
        )

    def count(self, name: str, number: int = 1) -> None:
        """Add to a number."""
        self._counts[name] += number

    def note(self, symbol: str, key: str, *, reason: str, quarantined: int, unexplained: int) -> None:
        """Remember a series and partition that is not as it should be.

        Args:
            reason: why it is not stored; empty where it is.
            quarantined: rows of it that were refused.
            unexplained: missing bars without a reason.
        """
        if not reason and not quarantined and not unexplained:
            return
        row = {"symbol": symbol, "partition": key, "quarantined": quarantined, "unexplained": unexplained}
        row["why"] = reason or "stored, but not whole"
        self._bad.append(((not reason, -(quarantined + unexplained)), row))

    def note_earlier(self, sessions: pl.DataFrame) -> None:
        """Remember what is not stored, unless this run said so already.

        Args:
            sessions: `symbol`, `key` (the partition) and `status`: failed, refused or deferred.
        """
        noted = pl.DataFrame(
            [*((row["symbol"], row["partition"]) for _, row in self._bad), *self._deferred],
            schema={"symbol": pl.String(), "key": pl.String()},
            orient="row",
        )
        earlier = sessions.join(noted, on=["symbol", "key"], how="anti").unique(["symbol", "key"], maintain_order=True)
        if earlier.is_empty():
            return
        deferred = int((earlier["status"] == "deferred").sum())
        self.count("deferred_by_earlier_runs", deferred)
        self.count("not_stored_by_earlier_runs", earlier.height - deferred)
        # What failed comes first: of what is deferred it is known when it comes.
        earlier = earlier.sort(pl.col("status") == "deferred", maintain_order=True)
        for symbol, key, status in earlier.head(_LISTED).select("symbol", "key", "status").iter_rows():
            row = {"symbol": symbol, "partition": key, "quarantined": 0, "unexplained": 0}
            self._earlier.append({**row, "why": f"{status} in an earlier run"})

    def evaluate(self, key: dg.AssetKey) -> dg.AssetCheckEvaluation:
        """The result for the asset of the dataset."""
        return dg.AssetCheckEvaluation(
            asset_key=key,
            check_name=CHECK,
            passed=self.passed,
            severity=self.severity,
            description=self.sentence,
            metadata=self.metadata,
        )

    @property
    def passed(self) -> bool:
        """Whether something was looked at, and everything was as it should be."""
        return self._counts["partitions"] > 0 and not (self._bad or self._deferred or self._earlier)

    @property
    def severity(self) -> dg.AssetCheckSeverity:
        """An error where something is not stored; a warning where it is deferred, or not whole."""
        failed = self._counts["not_stored"] > 0 or self._counts["not_stored_by_earlier_runs"] > 0
        return dg.AssetCheckSeverity.ERROR if failed else dg.AssetCheckSeverity.WARN

    @property
    def sentence(self) -> str:
        """`29 of 30 partitions are valid and complete, 1 is not stored`."""
        total, deferred = self._counts["partitions"], self._counts["deferred"]
        if not total:
            return "nothing is stored yet"
        good = total - len(self._bad) - deferred
        parts = [f"{good:,} of {total:,} partitions are valid and complete"]
        parts += [f"{self._counts['not_stored']:,} not stored"] if self._counts["not_stored"] else []
        parts += [f"{deferred:,} deferred"] if deferred else []
        earlier = self._counts["not_stored_by_earlier_runs"]
        parts += [f"{earlier:,} not stored by earlier runs"] if earlier else []
        waiting = self._counts["deferred_by_earlier_runs"]
        parts += [f"{waiting:,} deferred by earlier runs"] if waiting else []
        return ", ".join(parts)

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Counts of everything, and the worst series and partitions as a table."""
        rows: Sequence[dict[str, Any]] = [row for _, row in sorted(self._bad, key=lambda item: item[0])]
        rows = [*rows, *self._earlier][:_LISTED]
        return {**self._counts, **({"worst": build_table(rows)} if rows else {})}
