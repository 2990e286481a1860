"""What an import tells of its rows: a dry run and the real one say the same."""

from __future__ import annotations

import os
import shutil
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gb_pipeline import Lake
from gb_pipeline.errors import LakeError
from gb_pipeline.formats.import_report import ImportedSeries
from gb_pipeline.formats.importing import import_bars

MONDAY = datetime(2024, 1, 1, tzinfo=UTC)


def write_candles(folder: Path, name: str, rows: list[tuple[datetime, float]]) -> Path:
    """Feather as freqtrade has it; a high of 0 is no bar."""
    folder.mkdir(parents=True, exist_ok=True)
    frame = pl.DataFrame(
        {
            "date": pl.Series([stamp for stamp, _ in rows], dtype=pl.Datetime("ms", "UTC")),
            "open": 1.0, "high": [high for _, high in rows], "low": 1.0, "close": 1.0, "volume": 1.0,
        }
    )  # fmt: skip
    frame.write_ipc(folder / name, compression="lz4")
    return folder


def told(series: ImportedSeries) -> dict[str, object]:
    return {item.name: getattr(series, item.name) for item in fields(series)}


@pytest.mark.parametrize("calendar", [None, "XNYS"])
@pytest.mark.parametrize("minutes", [301, 1])
@pytest.mark.parametrize("length", ["1d", "1h"])
def test_a_lone_row_off_the_grid_has_its_reason(lake, tmp_path, calendar, minutes, length):
    folder = write_candles(
        tmp_path / "files", f"BTC_USDT-{length}.feather", [(MONDAY + timedelta(1, 60 * minutes), 2.0)]
    )
    reports = [
        import_bars(lake, "freqtrade", folder, source="x", calendar=calendar, dry_run=dry) for dry in (True, False)
    ]
    preview, real = (told(report.series[0]) for report in reports)
    assert preview == real
    assert real["reasons"] and real["worst"]


FILES = st.lists(
    st.tuples(
        st.integers(0, 6 * 24 * 60).map(lambda minute: MONDAY + timedelta(minutes=minute - minute % 5)),
        st.sampled_from([1.0, 2.0, 2.0, 2.0, 0.0]),
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=FILES, length=st.sampled_from(["5m", "1h", "1d"]), limit=st.sampled_from([0.01, 0.5, 1.0]))
def test_a_dry_run_says_what_the_import_says(tmp_path_factory, rows, length, limit):
    folder = tmp_path_factory.mktemp("law")
    write_candles(folder / "files", f"BTC_USDT-{length}.feather", rows)
    lake = Lake.open(folder / "lake", create=True)
    reports = [
        import_bars(
            lake, "freqtrade", folder / "files", source="x", calendar="XNYS", max_bad_fraction=limit, dry_run=dry
        )
        for dry in (True, False)
    ]
    preview, real = ([told(series) for series in report.series] for report in reports)
    assert preview == real
    (series,) = reports[1].series
    reasons = lake.quarantine()["reasons"].explode().drop_nulls().value_counts() if series.counts.quarantined else None
    assert dict(series.reasons) == ({} if reasons is None else dict(reasons.rows()))


def test_a_file_that_changed_and_kept_its_size_is_another_import(lake, tmp_path):
    folder = write_candles(
        tmp_path / "files", "BTC_USDT-1h.feather", [(MONDAY, 2.0), (MONDAY + timedelta(hours=1), 2.0)]
    )
    (file,) = folder.iterdir()
    first = import_bars(lake, "freqtrade", folder, source="x")
    size, moment = file.stat().st_size, file.stat().st_mtime
    shutil.copytree(folder, tmp_path / "copy")
    write_candles(folder, file.name, [(MONDAY, 2.0), (MONDAY + timedelta(hours=1), 4.0)])
    os.utime(file, (moment, moment))
    assert file.stat().st_size == size
    for dry in (True, False):
        with pytest.raises(LakeError, match="not of this import: of other files, or of these before they changed"):
            import_bars(lake, "freqtrade", folder, source="x", dry_run=dry)
    # Wherever they lie, the same files are the same import.
    again = import_bars(lake, "freqtrade", tmp_path / "copy", source="x")
    assert (again.import_id, again.total.unchanged) == (first.import_id, 2)
