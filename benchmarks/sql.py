"""What a query in SQL costs beside what it reads: of one series and one month, in tables of ever more files."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.measurement import Measurement, medians, new_lake
from benchmarks.planning import make_log
from gb_pipeline import Lake, Resolution
from gb_pipeline_tests.bars import day, minutes

REPEATS = 7
QUERY = "select count(close) from bars_1m where symbol = 'BTC-USD' and timestamp >= '2024-01-01' and timestamp < '2024-02-01'"


def measure(files: int = 100_000) -> Iterator[Measurement]:
    """Tables of a hundredth, a tenth and all of so many files, of which one exists: a query that opened another one would fail."""
    for count in (files // 100, files // 10, files):
        with new_lake() as lake:
            make_log(lake, count)
            lake.write_bars("sim", "BTC-USD", Resolution.MINUTE, day("2024-01-02"), minutes("2024-01-02T00:00", 60))
            _ask(lake)
            sides = {"nothing": lambda lake=lake: lake.sql("select 1"), "month": lambda lake=lake: _ask(lake)}
            seconds = medians(sides, REPEATS)
        value = seconds["month"] * 1e3
        nothing = f"`select 1`: {seconds['nothing'] * 1e3:.1f} ms"
        yield Measurement(f"SQL, one series and month of {count:,} files", value, "ms", "<= 100", value <= 100, nothing)


def _ask(lake: Lake) -> None:
    assert lake.sql(QUERY).item() == 60
