"""This module knows which partitions of a run's series are not stored, those of earlier runs included, and says so in one sentence.

Dagster's page of a series shows the newest event, which is of a good day as long as any day is good. So that event says what is
not; the words are those of the day's own page.
"""

from __future__ import annotations

from functools import cached_property

import dagster as dg

from gb_pipeline.lake.store import LakeStore
from gb_pipeline.orchestration.events.outcome import PartitionOutcome
from gb_pipeline.orchestration.events.unstored import find_not_stored
from gb_pipeline.orchestration.series_group import SeriesGroup


class RedDays:
    """What is not stored of the series of a group, as far as a run knows.

    Args:
        instance: that knows what earlier runs said.
        store: whose ledger knows which partitions are not stored.
        group: of the series.
    """

    def __init__(self, instance: dg.DagsterInstance, store: LakeStore, group: SeriesGroup) -> None:
        """Nothing is read before it is asked for."""
        self._instance, self._store, self._group = instance, store, group
        self._reported: dict[str, dict[str, PartitionOutcome]] = {}

    def add(self, outcome: PartitionOutcome) -> None:
        """Take in what a run found; it knows better than what was recorded before."""
        self._reported.setdefault(outcome.job.symbol.code, {})[outcome.key] = outcome

    def describe(self, key: dg.AssetKey) -> str | None:
        """`2 partitions are not stored; the newest: BTC-USDT 2024-01-12 is not stored: ...`; None where all are.

        Args:
            key: asset of a series of the group.
        """
        code = self._group.symbols[key].code
        reported = self._reported.get(code, {})
        failed = {name for name, outcome in reported.items() if outcome.failed}
        red = sorted(failed | {name for name in self._recorded.get(code, {}) if name not in reported})
        if not red:
            return None
        newest = red[-1]
        why = reported[newest].why if newest in reported else self._recall(key, newest)
        return why if len(red) == 1 else f"{len(red):,} partitions are not stored; the newest: {why}"

    @cached_property
    def _recorded(self) -> dict[str, dict[str, str]]:
        """Symbols, and their partitions with the status of each."""
        found: dict[str, dict[str, str]] = {}
        for code, name, status in find_not_stored(self._store, self._group).iter_rows():
            found.setdefault(code, {})[name] = status
        return found

    def _recall(self, key: dg.AssetKey, name: str) -> str:
        """What was said of a partition when it was not stored."""
        wanted = dg.AssetRecordsFilter(asset_key=key, asset_partitions=[name])
        for record in self._instance.fetch_observations(wanted, limit=1).records:
            if (seen := record.asset_observation) is not None and seen.description:
                return seen.description
        code = self._group.symbols[key].code
        return (
            f"{code} {name} is not stored: it {_PAST[self._recorded[code][name]]} earlier. To do: materialize it again"
        )


_PAST = {"failed": "failed", "refused": "was refused"}
