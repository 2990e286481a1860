"""Fundamentals in pipelines: a session sees what was published before it opened, and nothing that came later."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl
import pytest

from gb_pipeline import Lake
from gb_pipeline.errors import ConfigError, ReadError, UnknownSeries
from gb_pipeline.research.factors.datasets import LoadRequest
from gb_pipeline.research.factors.fundamentals import FundamentalColumns, Fundamentals
from gb_pipeline.research.factors.pipeline import Pipeline
from gb_pipeline.research.factors.run import run_pipeline
from gb_pipeline.research.factors.terms import Classifier, Factor
from gb_pipeline_tests.bars import at
from gb_pipeline_tests.fundamentals import told, told_frame

Q = [date(2023, 6, 30), date(2023, 9, 30), date(2023, 12, 31), date(2024, 3, 31)]
REPORTED = [date(2023, 7, 19), date(2023, 10, 25), date(2024, 1, 24), date(2024, 4, 24)]
DAYS = [date(2024, 4, day) for day in (22, 23, 24, 25, 26)]


def write(lake: Lake, *rows: dict, symbol: str = "IBM", source: str = "av", moment: str | None = None) -> None:
    if moment is not None:
        lake.store.clock.now = at(moment)  # type: ignore[attr-defined]
    lake.store.write_fundamentals(source, symbol, told_frame(*rows))


def quarters(*values: str, **more: str) -> list[dict]:
    return [told(value, end, reported=day, **more) for value, end, day in zip(values, Q, REPORTED, strict=True)]


def put_bars(lake: Lake, *symbols: str) -> None:
    frames = [
        pl.DataFrame({"symbol": symbol, "timestamp": [at(str(day)) for day in DAYS], "close": 10.0})
        for symbol in symbols
    ]
    # When all of them are closed.
    lake.store.clock.now = at("2025-01-01")  # type: ignore[attr-defined]
    close = pl.col("close")
    frame = pl.concat(frames).with_columns(open=close, high=close, low=close, volume=close)
    lake.put(frame, source="sim", resolution="1d", calendar="XNYS", decimals=6)


def run(lake: Lake, *symbols: str, strict: bool = False, **terms: object) -> pl.DataFrame:
    put_bars(lake, *symbols)
    pipeline = Pipeline(terms)  # type: ignore[arg-type]
    return run_pipeline(
        pipeline, DAYS[1], DAYS[-1] + timedelta(days=1), lake=lake, source="sim", universe=list(symbols),
        adjustment=None, strict=strict, calendar="XNYS",
    )  # fmt: skip


def test_a_report_of_the_evening_is_seen_the_next_morning(lake: Lake) -> None:
    write(lake, *quarters("1", "2", "3", "4"))
    frame = run(lake, "IBM", revenue=Fundamentals.total_revenue, year=Fundamentals.total_revenue_ttm)
    assert frame["session"].to_list() == DAYS[1:]
    assert frame["revenue"].to_list() == [3.0, 3.0, 4.0, 4.0]
    assert frame["year"].to_list() == [None, None, 10.0, 10.0]


def test_strict_sees_only_what_the_lake_knew(lake: Lake) -> None:
    write(lake, *quarters("1", "2", "3", "4"))
    assert run(lake, "IBM", strict=True, revenue=Fundamentals.total_revenue)["revenue"].to_list() == [None] * 4


def test_a_restatement_changes_nothing_of_the_sessions_before_it(lake: Lake) -> None:
    write(lake, *quarters("1", "2", "3", "4"), moment="2024-04-25T12:00:00Z")
    write(lake, *quarters("1", "2", "3", "7"), moment="2024-04-25T23:00:00Z")
    frame = run(lake, "IBM", revenue=Fundamentals.total_revenue)
    assert frame["revenue"].to_list() == [3.0, 3.0, 4.0, 7.0]


def test_a_column_is_the_same_whatever_stands_beside_it(lake: Lake) -> None:
    balance = told("9", Q[2], "total_assets", statement="balance_sheet", reported=REPORTED[2])
    write(lake, *quarters("1", "2", "3", "4"), balance)
    alone = run(lake, "IBM", assets=Fundamentals.total_assets)
    both = run(lake, "IBM", revenue=Fundamentals.total_revenue, assets=Fundamentals.balance_sheet.total_assets)
    together = run(lake, "IBM", revenue=Fundamentals.total_revenue, assets=Fundamentals.total_assets)
    assert alone["assets"].to_list() == both["assets"].to_list() == together["assets"].to_list() == [9.0] * 4


def test_a_symbol_without_reports_has_null_and_a_text_is_a_classifier(lake: Lake) -> None:
    sector = told(None, None, "sector", statement="overview", kind="snapshot", unit="text", currency=None, text="TECH")
    write(lake, *quarters("1", "2", "3", "4"), sector, moment="2024-04-24T15:00:00Z")
    assert isinstance(Fundamentals.overview.sector, Classifier)
    assert isinstance(Fundamentals.total_revenue, Factor)
    frame = run(lake, "IBM", "SPY", revenue=Fundamentals.total_revenue, sector=Fundamentals.overview.sector)
    last = frame.filter(session=DAYS[-1]).select("symbol", "revenue", "sector").rows()
    assert last == [("IBM", 4.0, "TECH"), ("SPY", None, None)]
    # What the vendor shows on a day is known from that day on.
    assert frame.filter(symbol="IBM")["sector"].to_list() == [None, None, "TECH", "TECH"]


def load(lake: Lake, columns: FundamentalColumns, *names: str, symbols: tuple[str, ...] = ("IBM",)) -> pl.DataFrame:
    return columns.dataset.load(LoadRequest(names, symbols, DAYS[0], DAYS[-1], lake))


def test_sources_statements_and_currencies_are_never_mixed(lake: Lake) -> None:
    write(lake, *quarters("1", "2", "3", "4", item="net_income"))
    write(lake, *quarters("1", "2", "3", "4", item="net_income", statement="cash_flow"))
    with pytest.raises(ReadError, match="cash_flow and in income_statement"):
        load(lake, Fundamentals, "net_income")
    assert load(lake, Fundamentals.cash_flow, "net_income").height == 4
    assert load(lake, Fundamentals, "income_statement.net_income").height == 4
    write(lake, *quarters("1", "2", "3", "4", currency="EUR"), symbol="SAP")
    write(lake, *quarters("5", "6", "7", "8"))
    with pytest.raises(ReadError, match="EUR and in USD"):
        load(lake, Fundamentals, "total_revenue", symbols=("IBM", "SAP"))
    dollars = load(lake, Fundamentals.of(currency="USD"), "total_revenue", symbols=("IBM", "SAP"))
    assert dollars.filter(symbol="SAP")["total_revenue"].null_count() == 4
    write(lake, *quarters("1", "2", "3", "4"), source="other")
    with pytest.raises(ReadError, match="av and in other"):
        load(lake, Fundamentals, "total_revenue")
    assert load(lake, Fundamentals.of(source="av"), "total_revenue").height == 4


def test_names_that_nothing_has_are_told(lake: Lake) -> None:
    write(lake, *quarters("1", "2", "3", "4"))
    with pytest.raises(UnknownSeries, match="no report has an item 'total_revenu'"):
        load(lake, Fundamentals, "total_revenu")
    with pytest.raises(ConfigError):
        Fundamentals["not a name"]
    write(lake, told("1", Q[0], "total_assets", statement="balance_sheet", reported=REPORTED[0]))
    with pytest.raises(ReadError, match="not summed"):
        load(lake, Fundamentals, "total_assets_ttm")


def test_a_report_that_is_too_old_is_not_seen(lake: Lake) -> None:
    write(lake, *quarters("1", "2", "3", "4")[:3])
    fresh = Fundamentals.of(max_age=timedelta(days=91))
    assert run(lake, "IBM", revenue=fresh.total_revenue)["revenue"].to_list() == [3.0, 3.0, None, None]


def test_the_age_of_a_number_does_not_depend_on_the_columns_beside_it(lake: Lake) -> None:
    write(lake, *quarters("1", "2", "3", "4")[:3])
    write(lake, told("7", Q[3], "net_income", reported=REPORTED[3]))
    fresh = Fundamentals.of(max_age=timedelta(days=91))
    frame = run(lake, "IBM", revenue=fresh.total_revenue, income=fresh.net_income)
    assert frame["revenue"].to_list() == [3.0, 3.0, None, None]
    assert frame["income"].to_list() == [None, None, 7.0, 7.0]


def test_what_was_stored_after_the_newest_bar_is_seen(lake: Lake) -> None:
    put_bars(lake, "IBM")
    write(lake, *quarters("1", "2", "3", "4"), moment="2025-02-01")
    pipeline = Pipeline({"revenue": Fundamentals.total_revenue})
    frame = run_pipeline(pipeline, DAYS[-1], lake=lake, source="sim", adjustment=None, calendar="XNYS")
    assert frame["revenue"].to_list()[:1] == [4.0]
