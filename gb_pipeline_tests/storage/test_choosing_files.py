"""Files are chosen by their partitions and statistics: all that may hold some rows, and none that is known not to."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gb_pipeline.lake.datasets import bars_dataset
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.storage.snapshot import Snapshot, index_files
from gb_pipeline_tests.bars import day, minutes

DAILY = bars_dataset(Resolution.DAY)
START = datetime(2024, 1, 1, tzinfo=UTC)
# Name: source, first and last symbol, first and last day; None where nothing is known.
FILES: dict[str, tuple[str, tuple[str, str] | None, tuple[int, int] | None]] = {
    "early": ("sim", ("A", "C"), (0, 9)),
    "late": ("sim", ("B", "F"), (10, 19)),
    "other": ("csv", ("A", "F"), (0, 19)),
    "unknown": ("sim", None, None),
}
ASKED: list[tuple[dict[str, Any], tuple[int, int] | None, list[str] | None]] = [
    ({}, None, None),
    ({"source": "sim"}, None, None),
    ({"source": ["sim", "csv"]}, (9, 10), None),
    ({"source": "sim"}, (10, 11), ["A"]),
    ({"source": "sim"}, (0, 10), ["D"]),
    ({"source": "sim"}, (0, 20), ["A", "E"]),
    ({"source": "sim"}, (0, 20), ["0", "CC", "Z"]),
    ({"source": "sim"}, (20, 30), ["A"]),
    ({"source": "nobody"}, None, None),
    ({"source": "sim"}, None, [f"E{number}" for number in range(20)]),
]


def moment(number: int) -> datetime:
    return START + timedelta(days=number)


def snapshot() -> Snapshot:
    adds = []
    for name, (source, symbols, days) in FILES.items():
        statistics: dict[str, Any] = {"numRecords": 1, "minValues": {}, "maxValues": {}}
        for edge, key in enumerate(("minValues", "maxValues")):
            if symbols is not None and days is not None:
                statistics[key] = {"symbol": symbols[edge], "timestamp": f"{moment(days[edge]):%Y-%m-%dT%H:%M:%S.%fZ}"}
        values = {"source": source, "period": "2024", "is_current": "true"}
        adds.append({"path": name, "size": 1, "partitionValues": values, "stats": json.dumps(statistics)})
    return Snapshot(DAILY, 0, {}, index_files(DAILY, adds), {})


@pytest.mark.parametrize(("partitions", "days", "symbols"), ASKED)
def test_a_file_is_chosen_unless_it_is_known_to_hold_nothing(
    partitions: dict[str, Any], days: tuple[int, int] | None, symbols: list[str] | None
) -> None:
    chosen = snapshot().select(
        partitions,
        between=None if days is None else {"timestamp": (moment(days[0]), moment(days[1]))},
        holding=None if symbols is None else {"symbol": symbols},
    )
    sources = partitions.get("source", ["sim", "csv"])
    expected = [
        name
        for name, (source, held, span) in FILES.items()
        if source in ([sources] if isinstance(sources, str) else sources)
        and (days is None or span is None or (span[0] < days[1] and span[1] >= days[0]))
        and (symbols is None or held is None or any(held[0] <= symbol <= held[1] for symbol in symbols))
    ]
    assert chosen["path"].to_list() == expected


def test_a_view_stays_where_it_looked_first(tmp_path: Path) -> None:
    store = LakeStore.at(tmp_path)
    for number in (2, 3):
        text = f"2024-01-0{number}"
        store.write_bars("sim", "BTC-USD", "1m", day(text), minutes(text, 10))
        if number == 2:
            view = store.tables.view()
            assert view.newest("bars_1m").version == 0
    assert view.newest("bars_1m").version == view.view().newest("bars_1m").version == 0
    assert store.tables.newest("bars_1m").version == store.tables.view().newest("bars_1m").version == 1
