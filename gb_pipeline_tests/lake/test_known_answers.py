"""What the lake knows already is recognised by its fingerprints, and that changes nothing but the time it takes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gb_pipeline.lake import bars, coverage, ledger, quarantine
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.calendar import get_calendar
from gb_pipeline.market.window import Window
from gb_pipeline.quality.rules import BarRules, GapPolicy
from gb_pipeline.quality.runs import session_runs
from gb_pipeline_tests.bars import at, changed, day, every_version, minutes

WINDOW, T1 = day("2024-01-02", 2), at("2024-02-01T00:00")
FRAME = pl.concat([minutes("2024-01-02T14:30", 90), minutes("2024-01-03T14:30", 90)])
HOUR = WINDOW.start + timedelta(hours=15)
ALL_RULES = [
    BarRules(max_bad_fraction=1.0),
    BarRules(),
    BarRules(max_bad_fraction=1.0, gap_policy=GapPolicy.NO_TRADE),
    BarRules(max_bad_fraction=1.0, calendar=get_calendar("XNYS")),
    BarRules(max_bad_fraction=1.0, allow_negative_prices=True, allow_unaligned=True),
]


@st.composite
def frames(draw: st.DrawFn) -> pl.DataFrame:
    """The same bars most of the time, with a cell or a row that is another one, in other types, orders and columns."""
    frame = FRAME
    for kind in draw(st.lists(st.sampled_from(["value", "bad", "twice", "gone", "flat"]), max_size=2)):
        row = draw(st.integers(0, frame.height - 1))
        if kind == "value":
            frame = changed(frame, row, volume=draw(st.sampled_from(["7", "7.00", "0"])))
        elif kind == "bad":
            frame = changed(frame, row, high=draw(st.sampled_from(["1", None, "x", "-3"])))
        elif kind == "twice":
            frame = pl.concat([frame, frame[row : row + 1]])
        elif kind == "gone":
            frame = pl.concat([frame[:row], frame[row + 1 :]])
        else:
            frame = changed(frame, row, open="0", low="0")
    if draw(st.booleans()):
        frame = frame.select(reversed(frame.columns)).sample(fraction=1, shuffle=True, seed=draw(st.integers(0, 9)))
    numbers = pl.col("open", "high", "low", "close", "volume")
    exact = frame.with_columns(numbers.cast(pl.Decimal(18, 8), strict=False))
    if draw(st.booleans()) and exact.null_count().equals(frame.null_count()):
        frame = exact
    if draw(st.booleans()):
        frame = frame.with_columns(pl.lit(None, pl.Int64).alias("trade_count"))
    if draw(st.booleans()):
        frame = frame.with_columns(pl.lit(draw(st.sampled_from(["1", "999"]))).alias("ask_close"))
    return frame


@st.composite
def writes(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Answers of one source, most of them about the same days by the same rules, some while bars are still open."""
    wished = [WINDOW, WINDOW, day("2024-01-02"), Window(HOUR, WINDOW.end), day("2024-01-02", 4)]
    return [
        {
            "frame": draw(frames()),
            "window": draw(st.sampled_from(wished)),
            "rules": draw(st.sampled_from([ALL_RULES[0], *ALL_RULES])),
            "now": draw(st.sampled_from([T1, T1, T1, at("2024-01-03T15:10:30")])) + timedelta(hours=number),
        }
        for number in range(draw(st.integers(2, 4)))
    ]


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(writes())
def test_reports_ledger_and_tables_are_the_same_without_recognising_anything(
    tmp_path_factory: pytest.TempPathFactory, lake_at: Any, write: Any, answers: list[dict[str, Any]]
) -> None:
    one, other = (lake_at(tmp_path_factory.mktemp("lake")) for _ in range(2))
    for answer in answers:
        report = write(one, **answer)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bars._Writer, "_holds_just_these", lambda *_: False)
            patch.setattr(bars._Writer, "_runs_after_write", _all_rows_anew)
            expected = write(other, **answer)
        assert report.sessions_frame.equals(expected.sessions_frame)
        assert (report.counts, report.version, report.fingerprint) == (
            expected.counts,
            expected.version,
            expected.fingerprint,
        )
        for name in ("restated", "withdrawn", "late", "unplaced"):
            assert getattr(report, name) == getattr(expected, name)
    for rows in (every_version, lambda store: ledger.scan(store.tables).sort("session", "known_at").collect()):
        assert _or_none(rows, one).equals(_or_none(rows, other))
    assert quarantine.read(one.tables).equals(quarantine.read(other.tables))


def _all_rows_anew(writer: Any, stored: pl.DataFrame) -> Any:
    return session_runs(bars._rows_after_write(stored, writer.merged))


def _or_none(rows: Any, store: LakeStore) -> pl.DataFrame:
    return rows(store) if store.tables.newest("bars_1m").version >= 0 else pl.DataFrame()


@pytest.mark.parametrize("edit", ["nothing", "one value", "every value"])
def test_no_session_of_an_answer_is_hashed_twice(store: LakeStore, write: Any, edit: str) -> None:
    frame = pl.concat([minutes("2024-01-02"), minutes("2024-01-03")])
    write(store, frame, WINDOW)
    if edit == "one value":
        frame = changed(frame, 700, volume="7")
    elif edit == "every value":
        frame = frame.with_columns(pl.lit("7").alias("volume"))
    hashed: list[int] = []

    def counting(runs: Any, *details: Any) -> Any:
        hashed.append(len(runs.starts))
        return original(runs, *details)

    original = bars.fingerprint_runs
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bars, "fingerprint_runs", counting)
        patch.setattr(coverage, "fingerprint_runs", counting)
        report = write(store, frame, WINDOW, now=T1 + timedelta(days=1))
    assert sum(hashed) == 2
    assert (report.version is None) == (edit == "nothing")
