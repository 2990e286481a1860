"""A program that saves runs through a spool and says which are acknowledged: `python -m ... LAKE FIRST COUNT`. Tests kill it."""

from __future__ import annotations

import sys
from datetime import UTC, datetime

import polars as pl

from gb_pipeline.research.results import BacktestRun, Results

DAY = datetime(2024, 1, 2, tzinfo=UTC)


def make(number: int) -> BacktestRun:
    """A run whose rows all say its number."""
    return BacktestRun(
        strategy=f"s{number % 3}",
        version="1",
        run_id=str(number),
        metrics={"number": number},
        equity=pl.DataFrame({"timestamp": [DAY], "equity": [number]}),
        environment={},
        started_at=DAY,
        finished_at=DAY,
    )


def main(lake: str, first: int, count: int) -> None:
    with Results.open(lake, create=True).spooled("killed", runs=1_000, seconds=3600) as writer:
        for number in range(first, first + count):
            writer.save(make(number))
            sys.stdout.write(f"{number}\n")
            sys.stdout.flush()
            if number % 4 == 3:
                writer.flush()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
