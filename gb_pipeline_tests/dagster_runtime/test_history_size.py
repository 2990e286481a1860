"""What Dagster's history takes for a symbol and day: nobody notices when it grows, and it is kept for years."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from gb_pipeline_tests.orchestration.conftest import Bench, build_bench, empty_instance

__all__ = ["build_bench", "empty_instance"]

# docs/operating.md says so.
MOST_BYTES = 20_000
DAYS = 20
BTC, ETH = "sim/bars_1h/BTC-USDT", "sim/bars_1h/ETH-USDT"


def test_a_symbol_and_day_takes_no_more_than_is_said(build_bench: Callable[..., Bench]) -> None:
    bench = build_bench(resolutions=["1h"])
    home = Path(bench.instance.root_directory)

    def size() -> int:
        files = [path for path in (home / "history").rglob("*.db") if path.is_file()]
        for path in files:
            # What is in the journal only is part of it; the journal itself is used again.
            with closing(sqlite3.connect(path, timeout=60)) as connection:
                connection.execute("pragma wal_checkpoint(truncate)")
        return sum(path.stat().st_size for path in files)

    # What each run takes is not a symbol-day's: one of each length has it.
    before = size()
    assert bench.run(BTC, ETH, partitions=("2024-01-01", "2024-01-02")).success
    short = size() - before
    assert bench.run(BTC, ETH, partitions=("2024-01-03", f"2024-01-{DAYS + 4}")).success
    long = size() - before - short

    each = (long - short) / (2 * DAYS)
    assert MOST_BYTES / 10 < each < MOST_BYTES, each
