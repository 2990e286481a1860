"""What happens without being asked: the catalog follows the lake, closed periods are compacted, backtests follow the bars."""

from __future__ import annotations

from datetime import date

import dagster as dg
import polars as pl
import pytest

from gb_pipeline.lake.catalog import catalog_is_stale, open_catalog
from gb_pipeline.orchestration.assets.compaction import is_closed

BTC, ETH = "sim/bars_1m/BTC-USDT", "sim/bars_1m/ETH-USDT"


def tick(made, name: str) -> list[dg.RunRequest]:
    """Evaluate a sensor once; no request comes with a reason."""
    sensor = made.definitions.resolve_sensor_def(name)
    with dg.build_sensor_context(made.instance, definitions=made.definitions) as context:
        data = sensor.evaluate_tick(context)
    assert data.run_requests or data.skip_message
    return list(data.run_requests)


def under_way(made, *paths: str) -> dg.DagsterRun:
    """A run that has been created and has not ended."""
    job = made.definitions.resolve_implicit_global_asset_job_def()
    return made.instance.create_run_for_job(
        job,
        asset_selection=frozenset(dg.AssetKey(path.split("/")) for path in paths),
        status=dg.DagsterRunStatus.STARTED,
    )


def test_the_catalog_is_asked_for_once_per_state_of_the_lake(bench):
    made = bench()
    assert tick(made, "catalog_follows_the_lake") == []  # an empty lake needs none

    made.run(BTC, partitions="2024-01-01")
    first, again = tick(made, "catalog_follows_the_lake"), tick(made, "catalog_follows_the_lake")
    assert len(first) == 1
    assert [item.run_key for item in again] == [item.run_key for item in first]

    assert made.run("catalog").success
    assert not catalog_is_stale(made.store)
    assert tick(made, "catalog_follows_the_lake") == []

    made.run(BTC, partitions="2024-01-02")
    assert tick(made, "catalog_follows_the_lake")[0].run_key != first[0].run_key


def test_the_catalog_waits_for_runs_that_fetch_and_for_a_refresh_that_runs(bench):
    made = bench()
    made.run(BTC, partitions="2024-01-01")

    fetching = under_way(made, ETH)
    assert tick(made, "catalog_follows_the_lake") == []
    made.instance.report_run_canceled(fetching)
    assert len(tick(made, "catalog_follows_the_lake")) == 1

    under_way(made, "catalog")
    assert tick(made, "catalog_follows_the_lake") == []


def test_a_long_ingestion_gets_a_catalog_nevertheless(bench, monkeypatch):
    made = bench()
    made.run(BTC, partitions="2024-01-01")
    under_way(made, ETH)

    monkeypatch.setattr("gb_pipeline.orchestration.sensors.LONGEST_STALE_SECONDS", 0)

    assert len(tick(made, "catalog_follows_the_lake")) == 1


def test_the_catalog_shows_what_it_holds(bench):
    made = bench()
    made.run(BTC, ETH, partitions=("2024-01-01", "2024-01-02"))

    assert made.run("catalog").success

    shown = made.metadata("catalog")
    assert (shown["series"], shown["sessions"], shown["bars"]) == (2, 4, 4 * 1440)
    assert [row.data["symbol"] for row in made_records(made)] == ["BTC-USDT", "ETH-USDT"]
    with open_catalog(made.store.storage.catalog) as catalog:
        assert catalog.execute("select count(*) from bars_1m").fetchone() == (4 * 1440,)


def made_records(made) -> list[dg.TableRecord]:
    record = made.instance.fetch_materializations(dg.AssetRecordsFilter(dg.AssetKey("catalog")), limit=1).records[0]
    return list(record.asset_materialization.metadata["symbol_data"].records)


def test_a_closed_year_of_many_files_is_compacted_once_and_says_the_same(bench):
    made = bench()
    for day in range(1, 6):
        made.run(BTC, partitions=f"2024-01-{day:02d}")
    before = made.store.compaction_candidates()
    rows = _rows(made)
    assert [(item.symbol, item.period, item.files) for item in before] == [("BTC-USDT", "2024", 5)]

    requests = tick(made, "compaction_of_closed_periods")
    assert [(item.job_name, item.partition_key) for item in requests] == [("sim_bars_1m_compaction", "2024")]
    assert made.run("sim/bars_1m_compaction", partitions="2024").success

    shown = made.metadata("sim/bars_1m_compaction", "2024")
    assert (shown["merged"], shown["files_before"], shown["files_after"], shown["rows"]) == (1, 5, 1, 5 * 1440)
    assert _rows(made).equals(rows)
    assert made.store.compaction_candidates() == []
    assert tick(made, "compaction_of_closed_periods") == []


def test_nothing_is_compacted_while_its_source_is_fetched(bench):
    made = bench()
    for day in range(1, 6):
        made.run(BTC, partitions=f"2024-01-{day:02d}")
    under_way(made, ETH)

    assert tick(made, "compaction_of_closed_periods") == []


@pytest.mark.parametrize(
    ("period", "today", "closed"),
    [
        ("2024", date(2024, 12, 31), False),
        ("2024", date(2025, 1, 6), False),
        ("2024", date(2025, 1, 7), True),
        ("2024-03", date(2024, 4, 6), False),
        ("2024-03", date(2024, 4, 7), True),
        ("2024-12", date(2025, 1, 6), False),
        ("2024-12", date(2025, 1, 7), True),
    ],
)
def test_the_open_period_is_left_alone(period, today, closed):
    assert is_closed(period, today) is closed


def test_backtests_are_the_only_assets_with_automation_and_read_their_day_from_the_lake(bench):
    made = bench(moving_average=True)
    made.run(BTC, partitions=("2024-01-01", "2024-01-02"))

    result = made.run("sim/moving_average/BTC-USDT", partitions=("2024-01-01", "2024-01-02"))

    assert result.success
    shown = made.metadata("sim/moving_average/BTC-USDT", "2024-01-02")
    assert shown["dagster/partition_row_count"] == 1440
    assert shown["trades"] > 0
    assert shown["equity"].startswith("![equity](data:image/png;base64,")
    assert len(shown["equity"]) < 40_000
    specs = made.definitions.resolve_all_asset_specs()
    automated = {spec.key.path[1] for spec in specs if spec.automation_condition is not None}
    assert automated == {"moving_average"}


def test_a_day_without_bars_is_no_failure_of_its_backtest(bench):
    made = bench(moving_average=True)
    made.run(BTC, partitions="2024-01-01")

    assert made.run("sim/moving_average/BTC-USDT", partitions="2024-01-20").success
    assert made.metadata("sim/moving_average/BTC-USDT", "2024-01-20")["status"] == "no bars"


def test_the_newest_days_backtests_are_one_run_of_all_symbols(bench):
    made = bench(moving_average=True, end="2024-01-03")
    backtests = dg.AssetSelection.groups("sim_moving_average")
    evaluated = dg.evaluate_automation_conditions(made.definitions, made.instance, backtests)
    assert evaluated.total_requested == 0
    made.run(BTC, ETH, partitions=("2024-01-01", "2024-01-02"))

    evaluated = dg.evaluate_automation_conditions(made.definitions, made.instance, backtests, cursor=evaluated.cursor)

    asked = {
        (key.path[-1], partition)
        for symbol in ("BTC-USDT", "ETH-USDT")
        for key in [dg.AssetKey(["sim", "moving_average", symbol])]
        for partition in evaluated.get_requested_partitions(key)
    }
    assert asked == {("BTC-USDT", "2024-01-02"), ("ETH-USDT", "2024-01-02")}


def _rows(made) -> pl.DataFrame:
    from gb_pipeline.reading.lake import Lake

    return Lake.open(made.settings.lake).bars(None, "1m", source="sim")
