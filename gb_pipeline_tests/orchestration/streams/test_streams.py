"""What collectors commit, as Dagster shows it: assets, a materialisation for each flushed day, checks, compaction, alerts."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import dagster as dg
import polars as pl
import pytest

from gb_pipeline.lake.stream_evidence import measure_stored
from gb_pipeline.orchestration.assets.compaction import find_crowded_partitions
from gb_pipeline.orchestration.build import build_definitions
from gb_pipeline.orchestration.health import assets as health
from gb_pipeline.orchestration.streams.checks import CONTINUOUS, FRESH, HOURLY, check_keys
from gb_pipeline.orchestration.streams.feeds import list_feeds
from gb_pipeline.orchestration.streams.sensor import NAME, ROWS
from gb_pipeline_tests.orchestration.conftest import Bench
from gb_pipeline_tests.streams import SECOND, commit_interval, commit_trades, commit_watermark

TRADES = dg.AssetKey(["kraken", "trades"])
HOUR = 3600 * SECOND


def now() -> int:
    return int(datetime.now(UTC).timestamp()) * SECOND


def noon(days_ago: int) -> int:
    midnight = datetime.combine(datetime.now(UTC).date() - timedelta(days=days_ago), datetime.min.time(), UTC)
    return (int(midnight.timestamp()) + 12 * 3600) * SECOND


def name_of(days_ago: int) -> str:
    return (datetime.now(UTC).date() - timedelta(days=days_ago)).isoformat()


@pytest.fixture
def bench(build_bench: Callable[..., Bench]) -> Bench:
    kraken = {"venue": "kraken", "symbols": ["BTC-USD", "ETH-USD"], "datasets": ["trades", "book_updates"]}
    return build_bench(settings={"collect": {"collector": "one", "streams": {"kraken": kraken}}})


def reload(bench: Bench) -> None:
    """As the code server does now and then: days begin where the lake does."""
    bench.definitions = build_definitions(bench.settings)


def tick(bench: Bench, cursor: str | None = None, requests: list[dg.RunRequest] | None = None) -> str | None:
    """Evaluate the sensor as the daemon does: events are stored first, then the cursor; what is requested is added to a list."""
    sensor = bench.definitions.resolve_sensor_def(NAME)
    with dg.build_sensor_context(bench.instance, definitions=bench.definitions, cursor=cursor) as context:
        data = sensor.evaluate_tick(context)
    assert data.asset_events or data.skip_message
    for event in data.asset_events:
        bench.instance.report_runless_asset_event(event)
    if requests is not None:
        requests += data.run_requests
    return data.cursor


def told(bench: Bench, key: dg.AssetKey = TRADES) -> list[tuple[str, int]]:
    """Every materialisation so far, oldest first: its day and rows."""
    records = bench.instance.fetch_materializations(key, limit=1000).records
    found = [record.asset_materialization for record in reversed(records)]
    return [(item.partition, item.metadata[ROWS].value) for item in found]


def test_a_feed_is_one_asset_with_a_partition_for_each_day_however_many_symbols_it_has(
    build_bench: Callable[..., Bench],
) -> None:
    symbols = [f"S{number}-USD" for number in range(500)]
    many = {"venue": "kraken", "symbols": symbols, "datasets": ["trades", "book_updates", "quotes"]}
    bench = build_bench(settings={"collect": {"streams": {"many": many}}})
    specs = {spec.key.to_user_string(): spec for spec in bench.definitions.resolve_all_asset_specs()}
    own = {name for name in specs if name.startswith("many/")}
    assert own == {"many/trades", "many/book_updates", "many/book_snapshots", "many/quotes"}
    assert "500 instruments" in specs["many/trades"].description
    keys = specs["many/trades"].partitions_def.get_partition_keys()
    assert keys[-1] == name_of(0)
    assert keys[0] == name_of(0)[:8] + "01"


def test_a_project_that_collects_nothing_has_nothing_of_it(build_bench: Callable[..., Bench]) -> None:
    bench = build_bench()
    repository = bench.definitions.get_repository_def()
    assert NAME not in {sensor.name for sensor in repository.sensor_defs}
    assert HOURLY not in {schedule.name for schedule in repository.schedule_defs}


def test_days_begin_with_the_month_of_the_oldest_row(bench: Bench) -> None:
    commit_trades(bench.store, [noon(400)])
    feeds = list_feeds(bench.settings, date.today())
    assert {feed.start for feed in feeds} == {date.fromisoformat(name_of(400)).replace(day=1)}
    commit_trades(bench.store, [noon(4000)], source="of_nobody")
    assert list_feeds(bench.settings, date.today())[0].start == feeds[0].start


def test_each_flushed_day_is_told_once(bench: Bench) -> None:
    assert tick(bench) is not None
    assert told(bench) == []
    commit_trades(bench.store, [noon(1), noon(1) + 1, now()])
    commit_watermark(bench.store, now())
    reload(bench)
    cursor = tick(bench)
    assert told(bench) == [(name_of(1), 2), (name_of(0), 1)]
    assert "watermark" in bench.metadata("kraken/trades")
    assert tick(bench, cursor) == cursor
    assert len(told(bench)) == 2
    commit_trades(bench.store, [noon(1) + 2], symbol="ETH-USD")
    cursor = tick(bench, cursor)
    assert told(bench)[2:] == [(name_of(1), 3)]
    assert bench.metadata("kraken/trades", name_of(1))["symbols"] == 2
    # Another source's, and evidence, are no rows of it.
    commit_trades(bench.store, [noon(1)], source="coinbase")
    commit_interval(bench.store, noon(1), now())
    tick(bench, cursor)
    assert len(told(bench)) == 3


def test_a_daemon_that_died_between_events_and_cursor_tells_nothing_twice(bench: Bench) -> None:
    """Whatever is flushed when, and whichever cursors are lost: the states that were seen are told, each once."""
    chance = random.Random(7)
    commit_trades(bench.store, [noon(3)])
    reload(bench)
    cursor: str | None = None
    seen: list[tuple[str, int]] = []
    for step in range(25):
        if chance.random() < 0.6:
            commit_trades(bench.store, [noon(chance.randint(0, 3)) + step])
        after = tick(bench, cursor)
        seen += [state for state in stored(bench) if state not in seen]
        if chance.random() < 0.5:
            cursor = chance.choice([after, None])
    tick(bench, cursor)
    assert Counter(told(bench)) == Counter(seen)


def stored(bench: Bench) -> list[tuple[str, int]]:
    found = measure_stored(bench.store.tables, "kraken").group_by("day").agg(pl.col("rows").sum())
    return sorted(found.iter_rows())


def test_compaction_covers_the_tables_of_streams_and_is_no_news(bench: Bench) -> None:
    old = noon(20)
    for number in range(4):
        commit_trades(bench.store, [old + number])
    reload(bench)
    cursor = tick(bench)
    crowded = [item for item in find_crowded_partitions(bench.store) if item.table == "trades"]
    assert [item.files for item in crowded] == [4]
    assert bench.run("ledgers_compaction").success
    assert find_crowded_partitions(bench.store) == []
    assert stored(bench) == [(name_of(20), 4)]
    tick(bench, cursor)
    assert told(bench) == [(name_of(20), 4)]


def run_checks(bench: Bench) -> dict[tuple[str, str], dg.AssetCheckEvaluation]:
    job = bench.definitions.resolve_job_def(HOURLY)
    result = job.execute_in_process(instance=bench.instance)
    assert result.success
    events = bench.instance.all_logs(result.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    found = [event.dagster_event.asset_check_evaluation_data for event in events]
    return {(item.asset_key.path[-1], item.check_name): item for item in found}


def test_checks_say_what_is_late_and_what_is_not_covered(bench: Bench) -> None:
    never = run_checks(bench)
    assert set(never) == {(table, check) for table in ("trades", "book_updates") for check in (FRESH, CONTINUOUS)}
    assert not never["trades", FRESH].passed
    assert never["trades", FRESH].severity is dg.AssetCheckSeverity.WARN
    assert never["trades", CONTINUOUS].passed
    end = now()
    for symbol in ("BTC-USD", "ETH-USD"):
        commit_interval(bench.store, end - 5 * HOUR, end, symbol=symbol, messages=1_000)
    commit_watermark(bench.store, end)
    commit_interval(bench.store, end - 5 * HOUR, end - 4 * HOUR, dataset="book_updates", messages=10)
    commit_interval(bench.store, end - 3 * HOUR, end - 2 * HOUR, dataset="book_updates", messages=10)
    commit_interval(bench.store, end - 4 * HOUR, end - 3 * HOUR, dataset="book_updates", kind="gap", reason="checksum")
    commit_watermark(bench.store, end - 2 * HOUR, dataset="book_updates")
    found = run_checks(bench)
    assert found["trades", FRESH].passed
    assert found["trades", CONTINUOUS].passed
    assert found["book_updates", FRESH].severity is dg.AssetCheckSeverity.ERROR
    assert "is committed up to 2 h ago" in found["book_updates", FRESH].description
    holes = found["book_updates", CONTINUOUS]
    assert (holes.passed, holes.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "kraken book_updates BTC-USD: nothing covers 60 min of the last day (checksum)" in holes.description
    assert holes.metadata["gaps_per_million"].value == 50_000.0


def test_checks_are_told_with_the_rows_that_they_are_about_and_the_first_rows_have_the_standing_checks_look(
    bench: Bench,
) -> None:
    requests: list[dg.RunRequest] = []
    cursor = tick(bench, requests=requests)
    assert requests == []
    for number in range(2):
        commit_trades(bench.store, [now() + number])
        commit_interval(bench.store, now() - HOUR, now())
        commit_watermark(bench.store, now() - (0 if number else 2 * HOUR))
        cursor = tick(bench, cursor, requests)
        keys = [dg.AssetCheckKey(TRADES, name) for name in (FRESH, CONTINUOUS)]
        found = bench.instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
        [newest] = bench.instance.fetch_materializations(TRADES, limit=1).records
        # As Dagster sees it, rows and checks are of one run then, the one that is none; else the page calls them not evaluated.
        assert {found[key].run_id for key in keys} == {newest.run_id}
        assert found[keys[0]].evaluation.passed == (number == 1)
    assert [item.run_key for item in requests] == ["first rows of kraken/trades"]
    assert bench.definitions.resolve_sensor_def(NAME).job_name == health.HOURLY


def test_alerts_know_the_checks_of_feeds(bench: Bench) -> None:
    from gb_pipeline.orchestration.alerts.sensor import _look_at_checks

    feeds = list_feeds(bench.settings, date.today())
    assert len(check_keys(feeds)) == 4
    commit_watermark(bench.store, now() - 5 * HOUR)
    run_checks(bench)
    problems = {
        item.subject: item.problem for item in _look_at_checks(bench.instance, [], check_keys(feeds), warnings=False)
    }
    assert problems["kraken/trades, fresh"] == "kraken trades is committed up to 5 h ago"
    assert problems["kraken/trades, continuous"] == ""


def test_holes_of_trades_are_asked_for_once_as_they_are_found(bench: Bench) -> None:
    sensor = bench.definitions.resolve_sensor_def("streams_heal")

    def requests() -> list[dg.RunRequest]:
        with dg.build_sensor_context(bench.instance, definitions=bench.definitions) as context:
            return list(sensor.evaluate_tick(context).run_requests)

    assert requests() == []
    end = now()
    commit_interval(bench.store, end - 3 * HOUR, end - 2 * HOUR)
    commit_watermark(bench.store, end)
    assert requests() == [], "what comes after the last evidence is being heard"
    commit_interval(bench.store, end - HOUR, end)
    [first] = requests()
    commit_watermark(bench.store, end + SECOND)
    assert [item.run_key for item in requests()] == [first.run_key]
    commit_interval(bench.store, end - 3 * HOUR, end - 2 * HOUR, symbol="ETH-USD")
    commit_interval(bench.store, end - HOUR, end, symbol="ETH-USD")
    assert [item.run_key for item in requests()] != [first.run_key]
    for symbol in ("BTC-USD", "ETH-USD"):
        commit_interval(bench.store, end - 2 * HOUR, end - HOUR, symbol=symbol, kind="healed")
    assert requests() == []
