"""Real files into a lake: nothing is lost, nothing is altered, and what is wrong is named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.ingest.bars import ingest
from gb_pipeline.ingest.job import Job, Outcome
from gb_pipeline.lake.report import SessionStatus
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.schema import PRICES, bar_table
from gb_pipeline.quality.gaps import GapReason
from gb_pipeline_tests.bars import SetClock
from gb_pipeline_tests.real_data import bcolz_reader
from gb_pipeline_tests.real_data.real_series import Series, daily_series, dirty_series, lean_series

Find = Callable[[str], Path]
FAMILIES = {"daily": daily_series, "lean": lean_series, "dirty": dirty_series}
NOW = datetime(2026, 11, 1, tzinfo=UTC)


def lake_at(root: Path) -> LakeStore:
    return LakeStore.at(root, clock=SetClock(NOW))


def load(store: LakeStore, source: SourceSettings, first: date, end: date) -> Outcome:
    job = Job(source.instruments[0], first, end)
    return ingest(store, source, source.resolutions[0], [job])[0]


def load_series(store: LakeStore, series: Series, root: Path, name: str = "files") -> tuple[SourceSettings, Outcome]:
    """The whole series; a session's bars may belong to a label days later (a Friday evening's to Monday)."""
    days = series.days(root)
    # A folder without a file for a day is refused, so only days with files are asked for.
    dated = "{date}" in series.options.get("path", "") and "missing_date" not in series.options
    first = days[0] - timedelta(days=days[0].weekday()) if series.resolution == "1w" else days[0]
    source = series.settings(root).model_copy(update={"name": name, "max_bad_fraction": 1.0})
    return source, load(store, source, first, days[-1] + timedelta(days=1 if dated else 4))


def stored(store: LakeStore, source: SourceSettings) -> pl.DataFrame:
    """The bars that hold now, as delta-rs reads them."""
    table = Path(store.storage.table(bar_table(source.resolutions[0], source.precision)))
    if not table.exists():
        return pl.DataFrame(schema={"timestamp": pl.Datetime("us", "UTC")})
    return pl.read_delta(str(table)).filter("is_current", pl.col("source") == source.name).sort("timestamp")


def quarantined(store: LakeStore, source: SourceSettings) -> pl.DataFrame:
    """The refused rows, read in the same way."""
    table = Path(store.storage.table("quarantine"))
    if not table.exists():
        return pl.DataFrame(schema={"reasons": pl.List(pl.String), "row": pl.String})
    return pl.read_delta(str(table)).filter(pl.col("source") == source.name)


def reasons(rows: pl.DataFrame) -> dict[str, int]:
    return dict(rows["reasons"].explode().value_counts().iter_rows())


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_stored_and_rows_refused_are_the_rows_of_the_file(family: str, market_data: Find, tmp_path: Path) -> None:
    root = market_data("MANIFEST.csv").parent
    store = lake_at(tmp_path)
    for number, series in enumerate(FAMILIES[family](root)):
        source, outcome = load_series(store, series, root, f"{family}_{number}")
        rows = series.rows(root)
        kept, refused = stored(store, source), quarantined(store, source)
        assert outcome.error is None, series.name
        assert outcome.counts.received == len(rows), series.name
        assert kept.height + refused.height == len(rows), series.name
        # Decimal's equality is exact: the stored number is the text's, not its nearest neighbour.
        inside = Counter((row.stamp, tuple(map(_decimal, row.numbers))) for row in rows)
        held = Counter(
            (stamp, tuple(numbers)) for stamp, *numbers in kept.select("timestamp", *PRICES, "volume").iter_rows()
        )
        assert not held - inside, series.name


def _decimal(text: str | None) -> Decimal | None:
    try:
        return Decimal(text) if text else None
    except ArithmeticError:
        return None


def named(name: str, found: list[Series]) -> Series:
    return next(series for series in found if series.name == name)


def test_the_flash_crash_is_kept_with_a_warning(market_data: Find, tmp_path: Path) -> None:
    root = market_data("MANIFEST.csv").parent
    store = lake_at(tmp_path)
    source, outcome = load_series(store, named("Coinbase days", lean_series(root)), root)
    day = next(report for report in outcome.sessions if report.session == date(2017, 4, 15))
    assert stored(store, source).filter(pl.col("low") == Decimal("0.06")).height == 1
    assert day.warnings == {"outlier": 1}
    assert day.status is SessionStatus.COMPLETE


def test_days_that_coinbase_has_no_file_row_for_are_gaps(market_data: Find, tmp_path: Path) -> None:
    root = market_data("MANIFEST.csv").parent
    _, outcome = load_series(lake_at(tmp_path), named("Coinbase days", lean_series(root)), root)
    absent = [report for report in outcome.sessions if report.actual == 0 and report.session < date(2018, 8, 13)]
    assert len(absent) == 34
    assert all(report.gaps[0].reason is GapReason.VENDOR_EMPTY for report in absent)


@pytest.mark.parametrize(("name", "crossed"), [("FXCM days", 123), ("fxcm minutes", 62)])
def test_crossed_quotes_are_refused(name: str, crossed: int, market_data: Find, tmp_path: Path) -> None:
    root = market_data("MANIFEST.csv").parent
    store = lake_at(tmp_path)
    source, _ = load_series(store, named(name, lean_series(root)), root)
    assert reasons(quarantined(store, source))["crossed_quote"] == crossed


def test_a_session_with_many_crossed_quotes_is_refused_whole(market_data: Find, tmp_path: Path) -> None:
    root = market_data("MANIFEST.csv").parent
    series = named("fxcm minutes", lean_series(root))
    source = series.settings(root)
    assert source.max_bad_fraction == 0.01
    outcome = load(lake_at(tmp_path), source, date(2011, 10, 31), date(2011, 11, 1))
    assert {report.session: report.status for report in outcome.sessions}[date(2011, 10, 31)] is SessionStatus.REFUSED


def test_minutes_that_contradict_each_other_are_refused_both(market_data: Find, tmp_path: Path) -> None:
    root = market_data("MANIFEST.csv").parent
    store = lake_at(tmp_path)
    source, _ = load_series(store, named("FESXM24", lean_series(root)), root)
    assert stored(store, source).is_empty()
    assert reasons(quarantined(store, source)) == {"conflicting_duplicate": 2304 + 504}


def test_the_other_contracts_of_the_same_files_are_clean(market_data: Find, tmp_path: Path) -> None:
    root = market_data("MANIFEST.csv").parent
    store = lake_at(tmp_path)
    source, _ = load_series(store, named("FESXU24", lean_series(root)), root)
    assert stored(store, source).height == 132 + 1066
    assert quarantined(store, source).is_empty()


@pytest.mark.parametrize(("policy", "reason"), [("no_trade", GapReason.NO_TRADE), ("open", GapReason.UNKNOWN)])
@pytest.mark.parametrize(("code", "rows", "last"), [("BTC-USD", 1007, "16:48"), ("ETH-USD", 1009, "16:53")])
def test_missing_coinbase_minutes_are_gaps_with_a_reason(
    code: str, rows: int, last: str, policy: str, reason: GapReason, market_data: Find, tmp_path: Path
) -> None:
    root = market_data("MANIFEST.csv").parent
    series = named(f"{code} 20180404", lean_series(root))
    series = replace(series, source={**series.source, "gap_policy": policy})
    outcome = load(lake_at(tmp_path), series.settings(root), date(2018, 4, 4), date(2018, 4, 5))
    day = outcome.sessions[0]
    assert (day.status, day.actual, day.missing) == (SessionStatus.PARTIAL, rows, 1440 - rows)
    assert sum(gap.missing for gap in day.gaps) == 1440 - rows
    assert {gap.reason for gap in day.gaps} == {reason}
    assert f"{day.gaps[-1].start:%H:%M}" == last
    assert day.gaps[-1].end == datetime(2018, 4, 5, tzinfo=UTC)


def test_a_line_with_a_dash_is_refused_as_it_stands(market_data: Find, tmp_path: Path) -> None:
    root = market_data("MANIFEST.csv").parent
    store = lake_at(tmp_path)
    source, _ = load_series(store, named("orcl-2010-googlefinance-malformed.csv", dirty_series(root)), root)
    refused = quarantined(store, source)
    assert refused["row"].to_list() == ["30-Dec-10,-,31.58,31.21,31.29,12989495"]
    assert refused["reasons"].to_list() == [["unreadable_number"]]


def test_a_price_of_more_digits_than_the_widest_type_is_refused_not_rounded(market_data: Find, tmp_path: Path) -> None:
    root = market_data("MANIFEST.csv").parent
    store = lake_at(tmp_path)
    source, _ = load_series(store, named("ALPHA-PA-1d-bad-stock-split.csv", dirty_series(root)), root)
    refused = quarantined(store, source)
    assert reasons(refused) == {"too_precise": 1}
    assert "9.999999747378752e-05" in refused["row"][0]


def test_rows_of_dell_on_exchange_holidays_are_refused(market_data: Find, tmp_path: Path) -> None:
    bundle = market_data("zipline-bundle/test")
    folder = tmp_path / "text"
    folder.mkdir()
    count = bcolz_reader.write_csv(next(bundle.glob("*/daily_equities.bcolz")), 3, folder / "DELL.csv")
    source = bcolz_reader.source(folder)
    store = lake_at(tmp_path / "lake")
    load(store, source, date(2004, 1, 1), date(2014, 1, 1))
    refused = quarantined(store, source)
    days = sorted(refused["timestamp"].dt.date())
    assert stored(store, source).height == count - 20
    assert reasons(refused) == {"outside_session": 20}
    assert (days[0], days[-1]) == (date(2011, 11, 24), date(2013, 9, 2))
    assert {date(2012, 10, 29), date(2012, 10, 30)} <= set(days)
