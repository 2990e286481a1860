"""This module tells a person who looks at Dagster's pages what became of one partition: in metadata and one sentence.

What is wrong with its rows was decided in `quality`; Dagster's context and event log are up to `reporter`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import dagster as dg

from gb_pipeline.dagster_runtime.runs import LEFT_OUT_TAG
from gb_pipeline.errors import GbError, QuotaExhausted
from gb_pipeline.ingest.job import Outcome
from gb_pipeline.lake.report import UNSTORED, SessionReport, SessionStatus, describe_statuses
from gb_pipeline.quality.fingerprint import combine
from gb_pipeline.quality.gaps import OPEN_REASONS, Gap
from gb_pipeline.quality.reasons import REFUSED_WITH_ANSWER, REFUSED_WITH_SESSION

# On runs of which something is deferred: the group, and until when.
DEFERRED_TAG = "gb/deferred"
UNTIL_TAG = "gb/deferred_until"
UNTIL_FORMAT = "%Y-%m-%dT%H:%MZ"
# Metadata of a day that is not stored, and of the newest event of a series that has such days.
NOT_STORED = "not_stored"
# Events are kept for ever: tables in them are samples, the whole is in the lake.
_SAMPLE = 5


@dataclass(frozen=True)
class PartitionOutcome:
    """One series in one partition.

    Attributes:
        key: the partition.
        sessions: reports of its sessions; none where they have not begun.
        job: the outcome that they are a part of, for facts about the fetch.
    """

    key: str
    sessions: tuple[SessionReport, ...]
    job: Outcome

    @cached_property
    def failed(self) -> tuple[SessionReport, ...]:
        """Sessions that are not stored as the vendor has them."""
        return tuple(session for session in self.sessions if session.status in UNSTORED)

    @property
    def deferred(self) -> QuotaExhausted | None:
        """Why something of it waits for another day of the vendor's, if it does and nothing failed."""
        waits = any(session.status is SessionStatus.DEFERRED for session in self.sessions)
        return self.job.deferred if waits and not self.failed else None

    @property
    def stored(self) -> bool:
        """Whether all of it is stored as the vendor has it, be it that there is nothing."""
        return not self.failed and self.deferred is None

    @property
    def refused(self) -> bool:
        """Whether too many of the vendor's rows were bad."""
        return any(session.status is SessionStatus.REFUSED for session in self.sessions)

    @property
    def error(self) -> GbError | None:
        """Why the fetch failed, if it did."""
        return self.job.error if any(item.status is SessionStatus.FAILED for item in self.sessions) else None

    @cached_property
    def gaps(self) -> tuple[Gap, ...]:
        """Missing bars of all sessions, in order."""
        return tuple(gap for session in self.sessions for gap in session.gaps if gap.missing)

    @property
    def open_missing(self) -> int:
        """Missing bars that nothing explains."""
        return sum(gap.missing for gap in self.gaps if gap.reason in OPEN_REASONS)

    def sum(self, field: str) -> int:
        """The sum of a number of the reports over the sessions."""
        return sum(getattr(session, field) for session in self.sessions)

    @property
    def reason(self) -> str:
        """Why it is not materialised, in one sentence."""
        if self.refused and self.job.unplaced is not None and self.job.unplaced.refused:
            return self.job.unplaced.sentence
        if self.refused:
            # Good rows of a refused session are set aside with it; they are not what is wrong.
            codes = _sum_counts(self.sessions, "reasons")
            bad = self.sum("quarantined") - codes.pop(REFUSED_WITH_SESSION, 0) - codes.pop(REFUSED_WITH_ANSWER, 0)
            if not bad and self.job.unplaced is not None:
                return f"no row can be said to belong to it: {self.job.unplaced.sentence}"
            commonest = ", ".join(f"{name} {count}" for name, count in codes.most_common(3))
            return f"{bad:,} of {self.sum('received'):,} rows are bad ({commonest})"
        return self.error.what if self.error is not None else "the fetch failed"

    @property
    def fix(self) -> str:
        """What can be done about a partition that is not stored, in one sentence."""
        if self.error is not None:
            return self.error.fix or "materialize it again"
        if self.job.advice is not None:
            return self.job.advice.fix
        code = self.job.symbol.code
        rows = f"`gb quarantine list {code}` shows the rows"
        return f"{rows}: release or drop them, or materialize it again once the vendor has mended them"

    @property
    def why(self) -> str:
        """What is not stored, why, and what to do: the same words on the page of the day, on that of the series, in the run."""
        return f"{self.job.symbol.code} {self.key} is not stored: {self.reason.rstrip('.')}. To do: {self.fix}"

    @property
    def sentence(self) -> str:
        """`1,437 of 1,440 bars`, with the states of the sessions where there are several, or why there are no bars."""
        counts = Counter(session.status.value for session in self.sessions)
        actual, expected, statuses = self.sum("actual"), self.sum("expected"), describe_statuses(counts)
        if not self.sessions:
            return "not begun"
        if not actual:
            return statuses
        return f"{actual:,} of {expected:,} bars" + (f": {statuses}" if "," in statuses else "")

    def materialization_metadata(self, series_rows: int) -> dict[str, Any]:
        """What a materialisation shows; numbers are plotted over the partitions.

        Args:
            series_rows: rows of the whole series.
        """
        firsts = [session.first for session in self.sessions if session.first]
        lasts = [session.last for session in self.sessions if session.last]
        fingerprints = [(str(item.session), item.fingerprint) for item in self.sessions if item.fingerprint]
        metadata: dict[str, Any] = {"status": self.sentence, **self._bar_counts(), **self._row_counts()}
        if self.job.advice is not None:
            metadata |= {"warning": self.job.advice.what, "fix": self.job.advice.fix}
        if firsts and lasts:
            metadata |= {"first_bar": _format_moment(min(firsts)), "last_bar": _format_moment(max(lasts))}
        if fingerprints:
            metadata["fingerprint"] = fingerprints[0][1] if len(fingerprints) == 1 else combine(fingerprints)
        metadata |= self._cost()
        if self.job.version is not None:
            metadata["table_version"] = self.job.version
        metadata["dagster/partition_row_count"] = self.sum("actual")
        metadata["dagster/row_count"] = series_rows
        return metadata | self._why()

    def failure_metadata(self) -> dict[str, Any]:
        """What an observation of a partition shows that is not materialised: why, and what can be done."""
        metadata: dict[str, Any] = {
            NOT_STORED: self.why,
            "status": "not stored",
            "reason": self.reason,
            "fix": self.fix,
        }
        if self.refused and self.job.advice is not None:
            metadata["explanation"] = self.job.advice.what
        return metadata | self._bar_counts() | self._row_counts() | self._cost() | self._why()

    def _bar_counts(self) -> dict[str, Any]:
        """What is stored of its sessions by now; numbers of every day, whether or not it could be stored."""
        return {
            "rows": self.sum("actual"),
            "expected": self.sum("expected"),
            "missing": self.sum("missing"),
            "unexplained": self.open_missing,
            "restated": self.sum("restated"),
            # Of all that is stored, whenever it was noticed: rows that the vendor no longer returns.
            "withdrawn": self.sum("withdrawn"),
            "suspicious": sum(_sum_counts(self.sessions, "warnings").values()),
        }

    def _cost(self) -> dict[str, int]:
        """What its sessions had of the vendor's answers, which hold many days at once; nothing where nobody was asked."""
        costs = [self.job.costs[item.session] for item in self.sessions if item.session in self.job.costs]
        if not costs:
            return {}
        latency = round(sum(cost.latency_ms for cost in costs) / len(costs))
        return {"latency_ms": latency, "vendor_bytes": sum(cost.bytes for cost in costs)}

    def _row_counts(self) -> dict[str, Any]:
        """What became of the rows of its sessions, and of all rows that the vendor sent in the same answers."""
        names = ("received", "stored", "unchanged", "quarantined", "duplicates")
        counts: dict[str, Any] = {name: self.sum(name) for name in names}
        counts["whole_fetch"] = self.job.counts.sentence
        counts["rows_read"] = self.job.read_rows.sentence
        if files := self.job.read_rows.outside_files:
            counts["files"] = build_table([asdict(item) for item in files[:_SAMPLE]])
        if self.job.unplaced is not None:
            counts["of_no_session"] = self.job.unplaced.sentence
        return counts

    def deferral_metadata(self, why: QuotaExhausted) -> dict[str, Any]:
        """What an observation of a deferred partition shows."""
        return {
            "status": "deferred",
            "until": dg.MetadataValue.timestamp(why.until),
            "reason": why.what,
            "fix": why.fix,
        }

    def _why(self) -> dict[str, Any]:
        """Why rows were refused, which look suspicious, and where bars are missing."""
        found: dict[str, Any] = {}
        for name, codes in (("refused_because", "reasons"), ("suspicious_because", "warnings")):
            counts = _sum_counts(self.sessions, codes)
            if counts:
                found[name] = ", ".join(f"{code}: {count}" for code, count in counts.most_common())
        if self.gaps:
            rows = [
                {
                    "from": _format_moment(gap.start),
                    "to": _format_moment(gap.end),
                    "bars": gap.missing,
                    "reason": gap.incident or gap.reason.value,
                }
                for gap in sorted(self.gaps, key=lambda gap: -gap.missing)[:_SAMPLE]
            ]
            found["largest_gaps"] = build_table(rows)
        return found | self._worst_rows()

    def _worst_rows(self) -> dict[str, Any]:
        rows = [dict(row) for session in self.sessions for row in session.worst][:_SAMPLE]
        return {"worst_rows": build_table(rows)} if rows else {}


def split_by_partition(keys: Mapping[str, tuple[Any, Any]], job: Outcome) -> list[PartitionOutcome]:
    """The partitions of a job: those whose days overlap it, in order.

    Args:
        keys: partitions and their days [start, end).
        job: sessions of one symbol.
    """
    overlapping = [(key, days) for key, days in keys.items() if days[0] < job.end and days[1] > job.start]
    return [
        PartitionOutcome(key, tuple(item for item in job.sessions if start <= item.session < end), job)
        for key, (start, end) in overlapping
    ]


def parse_until(text: str) -> datetime:
    """The moment that `UNTIL_TAG` of a run holds."""
    return datetime.strptime(text, UNTIL_FORMAT).replace(tzinfo=UTC)


def tag_deferral(group: str, why: QuotaExhausted) -> dict[str, str]:
    """The tags of a run by which the sensor finds again what it left to the vendor's next day; its page shows them."""
    until = why.until.strftime(UNTIL_FORMAT)
    return {DEFERRED_TAG: group, UNTIL_TAG: until, LEFT_OUT_TAG: f"deferred until {until}"}


def describe_deferral(why: QuotaExhausted) -> str:
    """`deferred until 2026-11-21 05:00Z: 25 of 25 calls used (...)`."""
    return f"deferred until {why.until:%Y-%m-%d %H:%M}Z: {why.what}"


def build_table(rows: Sequence[Mapping[str, Any]]) -> dg.TableMetadataValue:
    """A table of records with the same columns; at least one."""
    columns = [dg.TableColumn(name, "int" if isinstance(value, int) else "string") for name, value in rows[0].items()]
    return dg.MetadataValue.table([dg.TableRecord(dict(row)) for row in rows], schema=dg.TableSchema(columns))


def _sum_counts(sessions: Iterable[SessionReport], field: str) -> Counter[str]:
    counts: Counter[str] = Counter()
    for session in sessions:
        counts.update(getattr(session, field))
    return counts


def _format_moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}Z"
