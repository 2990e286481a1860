"""Bars made of the trades that were heard beside those of a vendor, as a check of the feed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import dagster as dg
import polars as pl
import pytest

from gb_pipeline.lake.datasets import stream_dataset
from gb_pipeline.orchestration.streams.feeds import list_feeds
from gb_pipeline.orchestration.streams.tie_out import CHECK, DAILY, find_tie_outs
from gb_pipeline.reading.lake import Lake
from gb_pipeline_tests.orchestration.conftest import SYMBOLS, Bench
from gb_pipeline_tests.streams import SECOND, commit_interval, commit_rows, commit_watermark

DAY = "2024-01-02"
HOUR = 3600 * SECOND


@pytest.fixture
def bench(build_bench: Callable[..., Bench]) -> Bench:
    live = {"venue": "binance", "symbols": list(SYMBOLS)}
    other = {"venue": "kraken", "symbols": ["BTC-USD"]}
    return build_bench(
        resolutions=["1h"], settings={"collect": {"collector": "one", "streams": {"live": live, "other": other}}}
    )


def store_bars(bench: Bench, symbol: str) -> None:
    """A day of bars of the source, with no number but prices and volume."""
    stamps = [datetime.fromisoformat(DAY).replace(tzinfo=UTC) + timedelta(hours=hour) for hour in range(24)]
    prices = {"open": "100", "high": "103.5", "low": "99.25", "close": "101"}
    frame = pl.DataFrame({"timestamp": stamps}).with_columns(pl.lit("7.5").alias("volume"))
    frame = frame.with_columns(pl.lit(price).alias(name) for name, price in prices.items())
    Lake(bench.store).put(frame, source="sim", resolution="1h", symbol=symbol)


def hear(bench: Bench, symbol: str, *, but: int | None = None) -> None:
    """Trades that make exactly the vendor's bars of a day: open, high, low and close, with the volume at the close."""
    bars = Lake(bench.store).bars(symbol, "1h", DAY, "2024-01-03", source="sim")
    rows = []
    for number, bar in enumerate(bars.iter_rows(named=True)):
        begin = int(bar["timestamp"].timestamp()) * SECOND
        sizes = [Decimal("0.00000001")] * 3
        sizes.append(bar["volume"] - sum(sizes))
        for place, name in enumerate(("open", "high", "low", "close")):
            price = bar[name] + 1 if number == but and name == "high" else bar[name]
            at = begin + place * SECOND
            rows.append(
                {
                    "source": "live", "symbol": symbol, "at": at, "exchange_time": at, "receive_time": at, "price": price,
                    "size": sizes[place], "trade_id": f"{number}-{place}", "ordinal": 0, "collector": "one", "origin": "stream",
                }
            )  # fmt: skip
    commit_rows(bench.store, stream_dataset("trades"), rows)


def evaluate(bench: Bench) -> dg.AssetCheckEvaluation:
    result = bench.definitions.resolve_job_def(DAILY).execute_in_process(instance=bench.instance)
    assert result.success
    [event] = bench.instance.all_logs(result.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    return event.dagster_event.asset_check_evaluation_data


def test_bars_of_the_same_venue_are_tied_out_and_no_others(bench: Bench) -> None:
    [found] = find_tie_outs(bench.settings, list_feeds(bench.settings, date(2024, 1, 3)))
    assert (found.feed.source, found.bars_source, found.resolution.value) == ("live", "sim", "1h")
    assert found.symbols == tuple(SYMBOLS)


def test_a_bar_that_the_trades_do_not_make_is_told_and_time_that_was_not_heard_is_left_out(bench: Bench) -> None:
    nothing = evaluate(bench)
    assert (nothing.passed, nothing.description) == (True, "nothing was committed yet")
    for symbol in SYMBOLS:
        store_bars(bench, symbol)
    midnight = int(datetime.fromisoformat(DAY).replace(tzinfo=UTC).timestamp()) * SECOND
    hear(bench, SYMBOLS[0])
    commit_interval(bench.store, midnight, midnight + 24 * HOUR, source="live", symbol=SYMBOLS[0])
    commit_watermark(bench.store, midnight + 24 * HOUR, source="live")
    well = evaluate(bench)
    assert (well.asset_key.path, well.check_name) == (["live", "trades"], CHECK)
    assert well.passed, well.description
    assert well.description == "24 of 24 bars of 1h of sim on 2024-01-02 are those that the trades make"
    hear(bench, SYMBOLS[1], but=7)
    commit_interval(bench.store, midnight + 6 * HOUR, midnight + 24 * HOUR, source="live", symbol=SYMBOLS[1])
    wrong = evaluate(bench)
    assert (wrong.passed, wrong.severity) == (False, dg.AssetCheckSeverity.WARN)
    counts = {name: wrong.metadata[name].value for name in ("compared", "equal", "uncovered", "not_stored")}
    assert counts == {"compared": 42, "equal": 41, "uncovered": 6, "not_stored": 0}
    [row] = wrong.metadata["differences"].value.records
    assert (row.data["symbol"], row.data["column"]) == (SYMBOLS[1], "high")
