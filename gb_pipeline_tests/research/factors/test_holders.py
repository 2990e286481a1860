"""A ticker that was lent to somebody else: no row sees bars, splits or reports of who had it before or after."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from gb_pipeline import EquityPricing, Lake, Pipeline, run_pipeline
from gb_pipeline.research.factors.fundamentals import Fundamentals
from gb_pipeline.research.factors.holders import Holders
from gb_pipeline.research.factors.indicators import EMA, SMA, Returns
from gb_pipeline_tests.bars import at
from gb_pipeline_tests.fundamentals import told, told_frame
from gb_pipeline_tests.research.factors.markets import SESSIONS, open_lake, put_closes

CLOSE = EquityPricing.close
PIPELINE = Pipeline({"mean": SMA(CLOSE, 5), "ema": EMA(CLOSE, 3), "back": Returns(3), "rank": CLOSE.rank()})
CHANGED = 60
DAY = SESSIONS[CHANGED]
COUNT = 100
OTHER = [20 + math.sin(number) for number in range(COUNT)]
LATER = [80 + 2 * math.cos(number) for number in range(CHANGED, COUNT)]


def lend(lake: Lake, *stays: tuple[str, str | None, str | None], symbol: str = "LENT") -> None:
    rows = [
        {"symbol": symbol, "instrument": who, "valid_from": begins, "valid_until": ends, "name": who}
        for who, begins, ends in stays
    ]
    lake.store.write_instruments(pl.DataFrame(rows, infer_schema_length=None), source="own")


def market(folder: Path, earlier: Sequence[float | None], *, known: bool = True) -> Lake:
    folder.mkdir()
    lake = open_lake(folder)
    put_closes(lake, {"LENT": [*earlier, *LATER], "SAME": OTHER})
    if known:
        lend(lake, ("FIRST", "2000-01-03", str(DAY)), ("SECOND", str(DAY), None))
    return lake


def run(lake: Lake, **options: object) -> pl.DataFrame:
    return run_pipeline(
        PIPELINE, SESSIONS[20], SESSIONS[COUNT], lake=lake, universe=["LENT", "SAME"], calendar="XNYS",
        adjustment=None, **options,
    )  # fmt: skip


PASTS: dict[str, list[float | None]] = {
    "calm": [100.0] * CHANGED,
    "wild": [500 + 400 * math.sin(number * 7) for number in range(CHANGED)],
    "none": [None] * CHANGED,
}


@pytest.mark.parametrize("on_gap", ["null", "ffill", "skip"])
def test_a_reused_ticker_never_leaks_rows_of_the_earlier_holder(tmp_path: Path, on_gap: str) -> None:
    lakes = {name: market(tmp_path / name, past) for name, past in PASTS.items()}
    later = {name: run(lake, on_gap=on_gap).filter(pl.col("session") >= DAY) for name, lake in lakes.items()}
    assert_frame_equal(later["calm"], later["wild"], check_exact=True)
    assert_frame_equal(later["calm"], later["none"], check_exact=True)
    lent = later["calm"].filter(pl.col("symbol") == "LENT")
    assert lent["mean"].null_count() == 5
    assert lent["mean"][5] == pytest.approx(sum(LATER[:5]) / 5)
    # Nobody known to have had it before: the ticker is one series.
    ticker = run(market(tmp_path / "unknown", PASTS["calm"], known=False), on_gap=on_gap)
    assert ticker.filter(pl.col("symbol") == "LENT")["mean"].null_count() == 0


def test_a_strict_row_sees_the_holder_of_its_session_alone(tmp_path: Path) -> None:
    # Two bars of the later holder are known when this session opens.
    opened = CHANGED + 2
    rows = []
    for past, known in (("calm", True), ("wild", True), ("calm", False)):
        folder = tmp_path / f"{past} {known}"
        folder.mkdir()
        lake = open_lake(folder, str(SESSIONS[opened]))
        put_closes(lake, {"LENT": [*PASTS[past], *LATER][:opened], "SAME": OTHER[:opened]})
        if known:
            lend(lake, ("FIRST", "2000-01-03", str(DAY)), ("SECOND", str(DAY), None))
        rows.append(run(lake, strict=True).filter(pl.col("session") == SESSIONS[opened], pl.col("symbol") == "LENT"))
    calm, wild, ticker = rows
    assert_frame_equal(calm, wild, check_exact=True)
    assert calm["mean"].to_list() == calm["back"].to_list() == [None]
    assert ticker["mean"][0] == pytest.approx((3 * 100 + sum(LATER[:2])) / 5)


def test_what_was_known_of_the_earlier_holder_stays_as_it_was(tmp_path: Path) -> None:
    past = [100 + math.sin(number) for number in range(CHANGED)]
    known, unknown = (run(market(tmp_path / str(each), past, known=each)) for each in (True, False))
    before = pl.col("session") < DAY
    assert_frame_equal(known.filter(before), unknown.filter(before), check_exact=True)


def test_a_report_is_of_whoever_had_the_ticker_when_the_lake_was_told(tmp_path: Path) -> None:
    lake = market(tmp_path / "data", [100.0] * CHANGED)
    # The later holder reported under another ticker before: from its first day here on that is known.
    for moment, value, reported in (("2022-11-01", "1", date(2022, 10, 20)), ("2023-02-01", "2", date(2022, 10, 25))):
        lake.store.clock.now = at(moment)  # type: ignore[attr-defined]
        row = told(value, date(2022, 9, 30) if value == "1" else date(2022, 6, 30), reported=reported)
        lake.store.write_fundamentals("av", "LENT", told_frame(row))
    lake.store.clock.now = at("2025-01-01")  # type: ignore[attr-defined]
    pipeline = Pipeline({"revenue": Fundamentals.total_revenue})
    rows = run_pipeline(
        pipeline,
        SESSIONS[20],
        SESSIONS[COUNT],
        lake=lake,
        universe="LENT",
        source="sim",
        calendar="XNYS",
        adjustment=None,
    )
    first, second = (
        rows.filter(pl.col("session") < DAY),
        rows.filter(pl.col("session") >= DAY),
    )
    assert first["revenue"].unique().to_list() == [1.0]
    assert second["revenue"].unique().to_list() == [2.0]


def test_changes_are_those_of_instruments_and_not_of_rows(tmp_path: Path) -> None:
    lake = open_lake(tmp_path)
    assert Holders.of(lake, ["LENT"], None, None).changes == {}
    lend(lake, ("ONE", "2010-01-04", "2012-01-03"), ("ONE", "2012-01-03", "2014-01-02"), ("TWO", "2015-01-02", None))
    holders = Holders.of(lake, ["LENT", "OTHER"], None, None)
    assert holders.changes == {"LENT": (date(2014, 1, 2),)}
    rows = pl.DataFrame(
        {"symbol": ["OTHER", "LENT", "LENT"], "day": [date(2016, 1, 4), date(2014, 1, 2), date(2014, 1, 1)]}
    )
    spans = holders.with_spans(rows, "day")
    assert spans["holder_since"].to_list() == [None, date(2014, 1, 2), None]
    assert spans["holder_until"].to_list() == [None, None, date(2014, 1, 2)]
