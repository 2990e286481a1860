"""A million runs of backtests: how long queries take, what the index costs, and how many small uploads are batched.

Runs are made in columns and committed like all others; nothing is timed that a user would not do.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import polars as pl

from benchmarks.api import processor_seconds
from benchmarks.measurement import Measurement
from gb_pipeline import RemoteLake, RemoteResults
from gb_pipeline.lake.datasets import RUNS
from gb_pipeline.market.schema import polars_schema
from gb_pipeline.research.results import BacktestRun, Results
from gb_pipeline.research.results.run import RunName, shard_of
from gb_pipeline.storage.append import append
from gb_pipeline_tests.serving import make_token, serving

_STRATEGIES, _VERSIONS = 200, 5
_START = datetime(2024, 1, 1, tzinfo=UTC)
_QUERIES: dict[str, dict[str, Any]] = {
    "strategy and a metric": {"strategy": "strategy-007", "metrics": ["sharpe > 1"], "order_by": "metrics.sharpe", "limit": 20},
    "market, time and a parameter": {
        "market": "crypto", "start": datetime(2024, 3, 1, tzinfo=UTC), "end": datetime(2024, 4, 1, tzinfo=UTC),
        "parameters": {"window": 20}, "limit": 20,
    },
    "best of all by a metric": {"metrics": ["drawdown > -0.2"], "order_by": "metrics.sharpe", "limit": 20},
    "newest": {"limit": 50},
    "one version": {"strategy": "strategy-042", "version": "3", "limit": 100},
}  # fmt: skip


def measure(runs: int = 1_000_000, uploads: int = 1_000, saved: int = 5_000) -> Iterator[Measurement]:
    """What `saved` runs take, queries over `runs` runs, and `uploads` small ones through the spool; seconds of processor time."""
    yield from _sizes(saved)
    with tempfile.TemporaryDirectory(prefix="gb-benchmark-") as folder:
        results = Results.open(Path(folder) / "lake", create=True)
        table = results.lake.store.tables[RUNS.name]
        for first in range(0, runs, 100_000):
            append(table, _rows(first, min(first + 100_000, runs)))
        seconds = _seconds(lambda: results.count(retired=True))
        yield Measurement(f"index of {runs:,} runs, made of the table", seconds, "s", by_hand="once on a machine")
        opened = Results.open(Path(folder) / "lake")
        seconds = _seconds(lambda: opened.count(retired=True))
        yield Measurement(f"index of {runs:,} runs, opened", seconds, "s", by_hand="once in a process")
        for name, query in _QUERIES.items():
            opened.query_metadata(**query)
            taken = 1000 * statistics.median(_seconds(lambda: opened.query_metadata(**query)) for _ in range(9))  # noqa: B023
            rows = opened.count(**query)
            yield Measurement(
                f"query: {name}", taken, "ms", "< 100", taken < 100, f"{rows:,} of {runs:,} runs fulfil it"
            )
        seconds = _seconds(lambda: opened.purge("strategy-007", reason="a benchmark"))
        yield Measurement("purge of a strategy", seconds, "s", by_hand="of 200")
        after = _seconds(lambda: opened.query_metadata(**_QUERIES["best of all by a metric"]))
        yield Measurement("first query after it", 1000 * after, "ms", by_hand="once in a process: the index is cut")
        for name in ("best of all by a metric", "market, time and a parameter"):
            query = _QUERIES[name]
            taken = 1000 * statistics.median(_seconds(lambda: opened.query_metadata(**query)) for _ in range(9))  # noqa: B023
            yield Measurement(f"query after a purge: {name}", taken, "ms", "< 100", taken < 100)
        with opened.spooled(runs=100_000, seconds=3600) as writer:
            writer.save(_small(uploads))
            small = [_small(number) for number in range(uploads)]
            each = 1000 * _seconds(lambda: [writer.save(run) for run in small]) / uploads
            yield Measurement(
                "small upload, durable",
                each,
                "ms",
                "< 6",
                each < 6,
                f"{uploads:,}, one after the other; 10,000 a minute",
            )
            committed = 1000 * _seconds(writer.flush) / uploads
            yield Measurement("small upload, committed", committed, "ms", by_hand="all of them in three commits")
    yield from uploads_over_http(uploads)


def uploads_over_http(uploads: int = 1_000) -> Iterator[Measurement]:
    """Small uploads to `gb serve`, beside the same into a local spool; processor time with that of their commits."""
    with tempfile.TemporaryDirectory(prefix="gb-benchmark-") as folder:
        root, runs = Path(folder) / "served", [_small(number) for number in range(uploads)]
        local = Results.open(Path(folder) / "local", create=True)

        def save_locally() -> None:
            with local.spooled() as writer:
                for run in runs:
                    writer.save(run)

        alone = 1000 * _seconds(save_locally) / uploads
        yield Measurement("small upload, local", alone, "ms", by_hand="one after the other, with its share of commits")
        Results.open(root, create=True)
        options = ("--requests-per-second", "10000")
        with serving(root, Path(folder), *options) as server, RemoteLake(server.url, make_token(root)) as lake:
            far, pid = RemoteResults(lake), server.process.pid
            far.query_metadata()
            ways: dict[str, Callable[[Sequence[BacktestRun]], object]] = {
                "one after the other": lambda runs: [far.save_backtest_data(run) for run in runs],
                "in one call": far.save_many,
            }
            for way, (how, save) in enumerate(ways.items()):
                named = [replace(run, version=str(way)) for run in runs]
                began, theirs = process_time(), processor_seconds(pid)
                save(named)
                # The question commits what waits.
                far.list_strategies()
                own, served = process_time() - began, processor_seconds(pid) - theirs
                told = f"server {1000 * served / uploads:.2f} ms, client {1000 * own / uploads:.2f} ms"
                ratio = 1000 * (own + served) / uploads / alone
                yield Measurement(f"small upload over HTTP, {how}", ratio, "times a local one", by_hand=told)


def _sizes(count: int) -> Iterator[Measurement]:
    """Bytes of runs with 3 parameters and 6 metrics, without a curve and with one of 500 points of a random walk in floats."""
    random = np.random.default_rng(1)
    moments = pl.datetime_range(_START, _START + timedelta(days=499), "1d", eager=True)

    def make(number: int, curve: pl.DataFrame | None = None) -> BacktestRun:
        return BacktestRun(
            strategy=f"saved-{number % 20}", version="1", run_id=f"{number}{'' if curve is None else 'c'}",
            parameters={"window": number % 50, "stop": float(random.integers(1, 100) / 100), "fast": number % 7},
            metrics={name: float(random.normal()) for name in ("sharpe", "returns", "sortino", "turnover", "drawdown", "skew")},
            equity=curve,
        )  # fmt: skip

    with tempfile.TemporaryDirectory(prefix="gb-benchmark-") as folder:
        results, small = Results.open(Path(folder) / "lake", create=True), [make(number) for number in range(count)]
        each = 1000 * _seconds(lambda: results.save_many(small)) / count
        yield Measurement("a run without a curve, saved with many", each, "ms", by_hand=f"{count:,} in one call")
        plain = _bytes_of(Path(folder))
        yield Measurement("a run without a curve", plain / count, "B", by_hand="of data files, uncompacted")
        walks = [100 * np.exp(np.cumsum(random.normal(0, 0.01, len(moments)))) for _ in range(max(1, count // 25))]
        results.save_many(
            make(number, pl.DataFrame({"timestamp": moments, "equity": walk})) for number, walk in enumerate(walks)
        )
        yield Measurement("a run with a curve of 500 points, more", (_bytes_of(Path(folder)) - plain) / len(walks), "B")


def _bytes_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*.parquet"))


def _seconds(act: Callable[[], object]) -> float:
    began = process_time()
    act()
    return process_time() - began


def _rows(first: int, end: int) -> pl.DataFrame:
    """Rows of `runs`, made in columns."""
    count = end - first
    random = np.random.default_rng(first)
    number = np.arange(first, end)
    strategies = [f"strategy-{item:03d}" for item in range(_STRATEGIES)]
    of_strategy, version = number % _STRATEGIES, number // _STRATEGIES % _VERSIONS
    windows = random.integers(1, 50, count) * 5
    stops = random.integers(1, 100, count) / 100
    started = pl.Series(
        np.datetime64(_START.replace(tzinfo=None), "us") + (random.random(count) * 366 * 86_400e6).astype("m8[us]")
    )
    started = started.dt.replace_time_zone("UTC")
    frame = pl.DataFrame(
        {
            "shard": pl.Series([shard_of(item) for item in strategies]).gather(of_strategy),
            "strategy": pl.Series(strategies).gather(of_strategy),
            "version": pl.Series(version).cast(pl.String),
            "run_id": pl.Series(number).cast(pl.String),
            "run_key": [
                RunName(strategies[one], str(two), str(three)).key
                for one, two, three in zip(of_strategy, version, number, strict=True)
            ],
            "save_id": random.integers(0, 2**62, count),
            "started_at": started,
            "window": windows,
            "stop": stops,
            "market": pl.Series(["crypto", "XNYS", "forex"]).gather(number % 3),
            **{name: random.normal(0.5, 1, count) for name in ("sharpe", "returns", "sortino", "turnover")},
            "drawdown": -random.random(count),
        }
    )
    metrics = ("sharpe", "returns", "sortino", "turnover", "drawdown")

    def values(kind: str, *names: str) -> pl.Expr:
        text = [pl.lit(None, pl.String).alias("text")] if kind == "number" else []
        return pl.concat_list(
            [pl.struct(pl.lit(name).alias("name"), pl.col(name).cast(pl.Float64).alias(kind), *text) for name in names]
        )

    filled = frame.with_columns(
        pl.col("started_at").alias("finished_at"),
        pl.lit("succeeded").alias("state"),
        pl.lit(None, pl.String).alias("error"),
        pl.concat_list("market").alias("markets"),
        pl.lit([], dtype=pl.List(pl.String)).alias("tags"),
        (
            pl.lit('{"stop":') + pl.col("stop").cast(pl.String) + ',"window":' + pl.col("window").cast(pl.String) + "}"
        ).alias("parameters"),
        values("number", "stop", "window").alias("parameter_values"),
        values("value", *metrics).alias("metric_values"),
        *(pl.lit("{}").alias(name) for name in ("seeds", "environment", "artifacts", "timings", "contents")),
        pl.lit("[]").alias("data"),
        pl.lit("").alias("data_fingerprint"),
        pl.col("run_id").alias("digest"),
    )
    return filled.select(polars_schema(RUNS.columns).names()).cast(polars_schema(RUNS.columns))


def _small(number: int) -> BacktestRun:
    moments = pl.datetime_range(_START, _START.replace(month=2), "1d", eager=True)
    return BacktestRun(
        strategy=f"upload-{number % 10}",
        version="1",
        run_id=str(number),
        parameters={"window": number},
        metrics={"sharpe": number / 7},
        equity=pl.DataFrame({"timestamp": moments, "equity": np.linspace(1.0, 2.0, len(moments))}),
    )
