"""One of the processes that use a lake at once: `python -m gb_pipeline_tests.faults.everybody ROLE ROOT SECONDS NUMBER`.

Writers restate days of one symbol, readers look at all of them, a caretaker compacts and vacuums. Every role prints what it has
done as one line of JSON; anything that is not as it has to be ends it with an error.
"""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, date, datetime, timedelta

import polars as pl

from gb_pipeline import Lake, LakeStore, Resolution, Window
from gb_pipeline_tests.bars import minutes

SYMBOL, STEP, BARS = "BTC-USD", 300, 288
DAYS = [date(2024, 1, 1) + timedelta(days=number) for number in range(8)]


def edition(day: date, number: int) -> pl.DataFrame:
    """A day as a vendor has it at one time: every volume ends with the number of the edition."""
    frame = minutes(f"{day}T00:00", BARS, symbol=SYMBOL, step=STEP)
    return frame.with_columns(pl.lit(f"{number}.5").alias("volume"))


def write(store: LakeStore, seconds: float, number: int) -> dict[str, int]:
    """Four writers share the first three days, the others have one each."""
    mine = DAYS[:3] if number < 4 else [DAYS[number]]
    end, commits, round_ = time.monotonic() + seconds, 0, 0
    while time.monotonic() < end:
        day = mine[round_ % len(mine)]
        round_ += 1
        report = store.write_bars(
            "sim",
            SYMBOL,
            Resolution("5m"),
            Window.of(day, day + timedelta(days=1)),
            edition(day, 1000 * number + round_),
        )
        assert report.received == report.stored + report.quarantined + report.late == BARS
        commits += report.version is not None
    return {"commits": commits, "rounds": round_}


def read(store: LakeStore, seconds: float, _: int) -> dict[str, int]:
    """Each day is of one edition, whole or not there; what was known at a moment stays what it was."""
    lake, end, looks = Lake(store), time.monotonic() + seconds, 0
    moments: list[tuple[datetime, pl.DataFrame]] = []
    while time.monotonic() < end:
        rows = lake.bars(SYMBOL, "5m")
        days = rows.group_by(pl.col("timestamp").dt.date()).agg(pl.len(), pl.col("volume").n_unique().alias("editions"))
        assert days["len"].unique().to_list() == [BARS], days
        assert days["editions"].unique().to_list() == [1], days
        moment = rows["known_at"].max()
        assert isinstance(moment, datetime)
        moments.append((moment, rows))
        then, seen = moments[looks // 2]
        assert lake.bars(SYMBOL, "5m", as_of=then).equals(seen), f"what was known at {then} has changed"
        looks += 1
    return {"looks": looks}


def care(store: LakeStore, seconds: float, _: int) -> dict[str, int]:
    """Compact whatever has two files, and vacuum as if the retention had gone by for files of an hour ago."""
    end, merged, removed = time.monotonic() + seconds, 0, 0
    while time.monotonic() < end:
        crowded = store.compaction_candidates(min_files=2)
        merged += sum(report.version is not None for report in store.compact(*crowded))
        removed += sum(report.files for report in store.vacuum(retention=timedelta(hours=1), dry_run=False))
        time.sleep(0.2)
    return {"merged": merged, "removed": removed}


if __name__ == "__main__":
    role, root, seconds, number = sys.argv[1:]
    store = LakeStore.at(root)
    print("ready", flush=True)
    sys.stdin.readline()
    done = {"write": write, "read": read, "care": care}[role](store, float(seconds), int(number))
    print(json.dumps({"role": role, "ended": datetime.now(UTC).isoformat(), **done}), flush=True)
