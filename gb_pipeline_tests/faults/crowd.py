"""Everybody at once on one lake: `python -m gb_pipeline_tests.faults.crowd FOLDER SECONDS`.

Eight writers of one symbol, four readers, one that compacts and one that vacuums, each a process forked from this one, which has
imported everything. Everybody notes what was acknowledged or seen in a file of his own; whoever sees something that must not be
ends with an error.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import polars as pl

from gb_pipeline.catalog.projection import refresh_catalog
from gb_pipeline.errors import NoDataInRange, UnknownSeries
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.window import Window
from gb_pipeline.reading.lake import Lake
from gb_pipeline_tests.bars import minutes

SOURCE, SYMBOL = "sim", "BTC-USD"
WRITERS, READERS = 8, 4
# A day of each writer, and one that all of them write.
DAYS = [date(2024, 1, 2 + number) for number in range(WRITERS)]
SHARED = date(2024, 1, 20)
ROWS = 30
Note = Callable[[dict[str, Any]], None]


def edition(day: date, number: int) -> pl.DataFrame:
    """The day as it is said for the n-th time: every volume is that number."""
    return minutes(str(day), ROWS).with_columns(pl.lit(f"{number}").alias("volume"))


def write(root: Path, until: float, who: int, note: Note) -> None:
    """Own days, edition after edition, and now and then the shared one."""
    store, number = LakeStore.at(root), 0
    while time.time() < until or not number:
        number += 1
        for day, said in [(DAYS[who], number), *([(SHARED, 1000 * (who + 1) + number)] if number % 3 == 1 else [])]:
            asked = datetime.now(UTC)
            window = Window.of(day, day + timedelta(days=1))
            report = store.write_bars(SOURCE, SYMBOL, Resolution.MINUTE, window, edition(day, said), fetched_at=asked)
            note(
                {
                    "day": str(day),
                    "said": said,
                    "asked": asked.isoformat(),
                    "version": report.version,
                    "late": report.late,
                }
            )


def read(root: Path, until: float, who: int, note: Note) -> None:
    """No day is ever seen in part or in an older edition than before, and no moment changes after it was seen."""
    lake, chance, newest = Lake(LakeStore.at(root)), Random(who), dict.fromkeys(map(str, DAYS), 0)
    seen: list[tuple[datetime, pl.DataFrame]] = []
    reads = 0
    while time.time() < until or not reads:
        with suppress(NoDataInRange, UnknownSeries):
            bars = lake.bars(SYMBOL, "1m", source=SOURCE)
            for day, group in bars.group_by(pl.col("timestamp").dt.date().cast(pl.String)):
                (number,) = group["volume"].unique().to_list()
                assert group.height == ROWS, f"{day[0]} is torn"
                if day[0] in newest:
                    assert number >= newest[str(day[0])], f"{day[0]} went back"
                    newest[str(day[0])] = int(number)
            moment = bars["known_at"].max()
            assert isinstance(moment, datetime)
            seen.append((moment, lake.bars(SYMBOL, "1m", source=SOURCE, as_of=moment)))
            then, before = chance.choice(seen)
            assert lake.bars(SYMBOL, "1m", source=SOURCE, as_of=then).equals(before), f"{then} changed"
            assert lake.coverage()["actual"].max() == ROWS
            reads += 1
            if reads % 5 == 0:
                assert lake.sql("select count(*) % 30 from bars_1m").item() == 0
    note({"reads": reads})


def compact(root: Path, until: float, _who: int, note: Note) -> None:
    """Whatever has several files."""
    store, done = LakeStore.at(root), 0
    while time.time() < until or not done:
        for partition in store.compaction_candidates(min_files=4):
            done += sum(report.version is not None for report in store.compact(partition))
        time.sleep(0.2)  # to let others come first now and then
    note({"compacted": done})


def vacuum(root: Path, until: float, _who: int, note: Note) -> None:
    """What was of no use for a while: as if an hour were over, but for the seconds that a reader may need."""
    store, files = LakeStore.at(root), 0
    while time.time() < until:
        reports = store.vacuum(
            retention=timedelta(hours=1), dry_run=False, now=datetime.now(UTC) + timedelta(minutes=59, seconds=45)
        )
        files += sum(report.files for report in reports)
        refresh_catalog(store)
        time.sleep(0.5)  # a vacuum without a pause is nobody's wish
    note({"vacuumed": files})


def main() -> None:
    """Start all of them, wait for them, and print how many failed."""
    import duckdb  # noqa: F401
    from deltalake import DeltaTable  # noqa: F401

    folder, seconds = Path(sys.argv[1]), float(sys.argv[2])
    until = time.time() + seconds
    roles = (
        [(write, who) for who in range(WRITERS)] + [(read, who) for who in range(READERS)] + [(compact, 0), (vacuum, 0)]
    )
    children = [_start(folder, until, act, who) for act, who in roles]
    failed = [os.waitpid(child, 0)[1] for child in children]
    print(json.dumps({"failed": sum(map(bool, failed)), "of": len(failed)}))


def _start(folder: Path, until: float, act: Callable[[Path, float, int, Note], None], who: int) -> int:
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        with (folder / f"{act.__name__}-{who}.jsonl").open("w", encoding="utf-8", buffering=1) as notes:
            act(folder / "lake", until, who, lambda said: print(json.dumps(said), file=notes))
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def noted(folder: Path, what: str) -> Iterator[dict[str, Any]]:
    """Everything that was noted by one kind."""
    for path in sorted(folder.glob(f"{what}-*.jsonl")):
        yield from (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())


if __name__ == "__main__":
    main()
