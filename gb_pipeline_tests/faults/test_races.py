"""Two processes at the same session at the same moment: what one learnt is not taken away by what the other did not."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path

from gb_pipeline.lake.store import LakeStore
from gb_pipeline.lake.verification import verify
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.quality.rules import BarRules
from gb_pipeline.reading.lake import Lake
from gb_pipeline_tests.bars import day, minutes

DAY = day("2024-01-02")


def test_a_fetch_that_failed_takes_nothing_from_one_that_is_just_stored(tmp_path: Path) -> None:
    other = threading.Thread(
        target=lambda: LakeStore.at(tmp_path).write_bars(
            "sim", "BTC-USD", Resolution.MINUTE, DAY, minutes("2024-01-02")
        )
    )

    def clock() -> datetime:
        """The other one comes at the last moment, as the failure is about to be written."""
        if not other.ident:
            other.start()
            # It is done now, or waits for this one.
            other.join(0.5)
        return datetime.now(UTC)

    asked = datetime(2024, 3, 1, tzinfo=UTC)
    store = LakeStore.at(tmp_path, clock=clock)
    store.record_failure("sim", ["BTC-USD"], DAY, rules=BarRules(), now=asked)
    other.join()
    assert Lake.open(tmp_path).coverage().select("status", "actual").rows() == [("complete", 1440)]
    assert verify(LakeStore.at(tmp_path)).ok
