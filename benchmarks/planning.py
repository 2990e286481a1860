"""Opening a table of 100,000 files and planning a read of it: in a new process' first look, and once it is open."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import islice, product
from pathlib import Path
from typing import Any

from benchmarks.measurement import Measurement, medians, new_lake
from gb_pipeline import Lake, Resolution, Window
from gb_pipeline.lake.datasets import bars_dataset
from gb_pipeline.market.schema import Precision
from gb_pipeline.reading.plan import Question, select_files
from gb_pipeline.storage.evolution import first_actions
from gb_pipeline.storage.log import encode_entry, entry_name

FILES, PER_ENTRY, DAYS = 100_000, 2_000, 200
FIRST = date(2023, 1, 1)
REPEATS = 7


def measure(files: int = FILES) -> Iterator[Measurement]:
    """Files of 500 symbols and 200 days each, none of which exists: a plan opens no file."""
    with new_lake() as lake:
        make_log(lake, files)
        root, state = Path(str(lake.store.storage.root)), lake.store.storage.state
        day = Window.of("2023-03-01", "2023-03-02")

        def plan(reader: Lake) -> None:
            question = Question(("S007-USD",), Resolution.MINUTE, day, "sim")
            assert select_files(reader.store.tables, question, Precision.STANDARD).height == 1

        def without_index() -> None:
            for path in (state / "index").rglob("*.arrow"):
                path.unlink()
            plan(Lake.open(root))

        plan(lake)
        sides = {"log": without_index, "index": lambda: plan(Lake.open(root)), "warm": lambda: plan(lake)}
        seconds = medians(sides, REPEATS)
    for name, title, limit in (("index", "cold, from the index", 50), ("warm", "warm", 5)):
        value = seconds[name] * 1e3
        by_hand = f"from the log, and making the index: {seconds['log'] * 1e3:,.0f} ms"
        yield Measurement(
            f"plan a read at {files:,} files, {title}", value, "ms", f"<= {limit}", value <= limit, by_hand
        )


def make_log(lake: Lake, files: int) -> None:
    """A log of so many files."""
    storage, dataset = lake.store.storage, bars_dataset(Resolution.MINUTE, Precision.STANDARD)
    storage.announce_table(dataset.name)
    symbols = [f"S{number:03d}-USD" for number in range(-(-files // DAYS))]
    adds = map(_add, range(files), product(range(DAYS), symbols))
    version = 0
    while batch := list(islice(adds, PER_ENTRY)):
        clock = {"txn": {"appId": "clock", "version": 1_700_000_000_000_000 + version}}
        actions = [*(first_actions(dataset) if not version else []), clock, *({"add": add} for add in batch)]
        storage.files.put(entry_name(dataset.name, version), encode_entry(dataset.name, version, actions, {}))
        version += 1


def _add(number: int, place: tuple[int, str]) -> dict[str, Any]:
    day, symbol = place
    start = datetime.combine(FIRST, datetime.min.time(), UTC) + timedelta(days=day)
    partition = {"source": "sim", "symbol": symbol, "period": f"{start:%Y-%m}", "is_current": "true"}
    folders = "/".join(f"{name}={value}" for name, value in partition.items())
    low, high = (f"{moment:%Y-%m-%dT%H:%M:%S.%fZ}" for moment in (start, start + timedelta(minutes=1439)))
    edges = {"timestamp": low, "known_at": high}, {"timestamp": high, "known_at": high}
    return {
        "path": f"{folders}/{number:012x}-00000000-00000000.parquet",
        "size": 20_000,
        "partitionValues": partition,
        "modificationTime": 0,
        "dataChange": True,
        "stats": json.dumps({"numRecords": 1440, "minValues": edges[0], "maxValues": edges[1]}),
    }
