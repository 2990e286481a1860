"""One of several machines that write one symbol in a bucket: `python -m gb_pipeline_tests.s3.writing ADDRESS STATE WHO TIMES`.

How the bucket is reached is in the environment. What was acknowledged is printed, a JSON line each.
"""

from __future__ import annotations

import json
import sys
from datetime import date, timedelta

import polars as pl

from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.window import Window
from gb_pipeline_tests.bars import minutes

ROWS = 10
SHARED = date(2024, 1, 20)


def own_day(who: int) -> date:
    """The day that only this machine writes."""
    return date(2024, 1, 2) + timedelta(days=who)


def main() -> None:
    """Write the own day and the shared one, edition after edition."""
    address, state, who, times = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    store = LakeStore.at(address, state=state)
    for number in range(1, times + 1):
        for day, said in ((own_day(who), number), (SHARED, 1000 * (who + 1) + number)):
            frame = minutes(str(day), ROWS).with_columns(pl.lit(str(said)).alias("volume"))
            window = Window.of(day, day + timedelta(days=1))
            report = store.write_bars("sim", "BTC-USD", Resolution.MINUTE, window, frame)
            print(
                json.dumps({"day": str(day), "said": said, "version": report.version, "late": report.late}), flush=True
            )


if __name__ == "__main__":
    main()
