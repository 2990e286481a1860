"""Prices that a vendor adjusted are compared with another source's prices as traded, adjusted by its splits and dividends."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from gb_pipeline import Lake
from gb_pipeline.config.settings import Settings
from gb_pipeline.health.checkup import examine
from gb_pipeline.health.project_state import ProjectState
from gb_pipeline.health.result import HealthResult
from gb_pipeline.market.calendar import get_calendar
from gb_pipeline.reading.comparison import reconcile
from gb_pipeline_tests.actions import dividend, split
from gb_pipeline_tests.bars import SetClock, at
from gb_pipeline_tests.portal.bars import put_days, tell_actions

DAYS = [str(day) for day in get_calendar("XNYS").sessions(date(2024, 1, 2), date(2024, 6, 1))]
EX_DATE = DAYS[60]
TRADED = [400.0 + step for step in range(60)] + [100.0 + step for step in range(len(DAYS) - 60)]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake.open(tmp_path / "data", create=True)
    lake.store.clock = SetClock(at("2025-01-01"))
    return lake


def look(lake: Lake, folder: Path) -> HealthResult:
    content = {"path": folder / "gb.yaml", "lake": folder / "data", "state": folder / "state", "sources": {}}
    [result] = examine(ProjectState(Settings.model_validate(content), lake.store), ["adjusted_prices"])
    return result


def test_a_vendor_that_divided_as_the_splits_say_is_well(lake: Lake, tmp_path: Path) -> None:
    assert look(lake, tmp_path).state == "skipped"
    put_days(lake, "KO", DAYS, TRADED)
    assert look(lake, tmp_path).state == "skipped"
    served = [price / 4 for price in TRADED[:60]] + TRADED[60:]
    put_days(lake, "KO", DAYS, served, source="vendor", adjustment="split")
    found = look(lake, tmp_path)
    assert (found.state, found.counts) == ("warn", {"series": 0})
    assert "its corporate actions were never fetched" in found.sentence and "gb actions fetch sim KO" in found.advice
    tell_actions(lake, split(EX_DATE, "4", symbol="KO"))
    found = look(lake, tmp_path)
    assert (found.state, found.counts, found.count) == ("ok", {"series": 1}, 0)


@pytest.mark.parametrize("adjusted", ["split", "all"])
def test_a_wrong_factor_is_told_with_the_last_session_that_has_it(lake: Lake, tmp_path: Path, adjusted: str) -> None:
    put_days(lake, "KO", DAYS, TRADED)
    tell_actions(lake, split(EX_DATE, "4", symbol="KO"))
    served = [price / 5 for price in TRADED[:60]] + TRADED[60:]
    put_days(lake, "KO", DAYS, served, source="vendor", adjustment=adjusted)
    found = look(lake, tmp_path)
    assert (found.state, found.count, found.repair) == ("warn", 1, "gb actions fetch sim")
    [row] = found.sample.rows(named=True)
    assert row | {"symbol": "KO", "differ": 60, "until": date.fromisoformat(DAYS[59])} == row
    assert "`gb compare vendor sim`" in found.advice


def test_one_odd_close_is_no_wrong_factor(lake: Lake, tmp_path: Path) -> None:
    put_days(lake, "KO", DAYS, TRADED[60:] + TRADED[:60])
    tell_actions(lake, dividend("2030-01-02", "1", symbol="KO"))
    odd = TRADED[60:] + TRADED[:60]
    odd[10] *= 1.05
    put_days(lake, "KO", DAYS, odd, source="vendor", adjustment="all")
    assert look(lake, tmp_path).state == "ok"
    assert reconcile(lake, ("vendor", "sim"), "1d")["agrees"].sum() == len(DAYS) - 1


@pytest.mark.parametrize("name", ["IBM-2011", "ORCL-2011", "AAPL-2012", "AIG-2009"])
def test_published_adjusted_columns_agree_and_a_dividend_that_is_not_known_is_seen(
    lake: Lake, market_data: Callable[[str], Path], name: str
) -> None:
    file = market_data(f"equities-daily/wiki/WIKI-{name}-quandl.csv")
    rows = pl.read_csv(file, infer_schema_length=0).sort("Date")
    for source, before, kind in (("raw", "", "raw"), ("vendor", "Adj. ", "all")):
        columns = {
            low: pl.col(f"{before}{low.title()}").cast(pl.Float64) for low in ("open", "high", "low", "close", "volume")
        }
        frame = rows.select(date=pl.col("Date").str.to_date(), **columns)
        lake.put(frame, source=source, resolution="1d", symbol="KO", calendar="XNYS", adjustment=kind, decimals=8)
    paid = rows.filter(pl.col("Ex-Dividend").cast(pl.Float64) > 0).select("Date", "Ex-Dividend").rows()
    parts = rows.filter(pl.col("Split Ratio").cast(pl.Float64) != 1).select("Date", "Split Ratio").rows()
    actions = [split(day, ratio, symbol="KO") for day, ratio in parts]
    actions += [dividend(day, amount, symbol="KO") for day, amount in paid]
    assert actions
    tell_actions(lake, *actions, source="raw")
    assert reconcile(lake, ("vendor", "raw"), "1d", volume_tolerance=1.0)["agrees"].all()
    tell_actions(lake, *(actions[1:] or [dividend("2030-01-02", "1", symbol="KO")]), source="raw")
    differing = reconcile(lake, ("vendor", "raw"), "1d", volume_tolerance=1.0).filter(~pl.col("agrees"))
    first = (parts + paid)[0][0]
    assert differing["session"].max() == rows.filter(pl.col("Date") < first)["Date"].str.to_date().max()
