"""`gb export`: what other programs read is what the lake holds, and no file is half there or replaced by accident."""

from __future__ import annotations

import csv
import re
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import polars as pl
import pyarrow.feather
import pytest

from gb_pipeline.cli.export_files import Format, new_file
from gb_pipeline.reading.lake import Lake
from gb_pipeline_tests.cli.console import Gb

SERIES = "sim:BTC-USDT"
DAY = ("--start", "2024-01-02", "--end", "2024-01-03")


@pytest.fixture
def bars(stored: Path) -> pl.DataFrame:
    return Lake.open(stored / "data").bars("BTC-USDT", "1m", "2024-01-02", "2024-01-03")


def test_csv_has_every_digit_as_text(gb: Gb, stored: Path, tmp_path: Path, bars: pl.DataFrame) -> None:
    told = gb("export", SERIES, tmp_path / "bars.csv", *DAY, "--config", stored)
    assert told.code == 0
    assert "1,440 bars of 1 series" in told.err
    with (tmp_path / "bars.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for name in ("open", "high", "low", "close", "volume"):
        assert [Decimal(row[name]) for row in rows] == bars[name].to_list()
        assert not any("." in row[name] and row[name][-1] in ".0" for row in rows)
    assert rows[0]["timestamp"] == "2024-01-02T00:00:00Z"
    assert list(rows[0]) == bars.columns


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "feather"])
def test_parquet_and_arrow_hold_the_same_types_and_values(
    gb: Gb, stored: Path, tmp_path: Path, bars: pl.DataFrame, suffix: str
) -> None:
    path = tmp_path / f"bars.{suffix}"
    assert gb("export", SERIES, path, *DAY, "--config", stored).code == 0
    read = pl.read_parquet(path) if suffix == "parquet" else pl.from_arrow(pyarrow.feather.read_table(path))
    assert isinstance(read, pl.DataFrame)
    assert read.equals(bars)
    assert read.schema == bars.schema


def test_floats_columns_and_moments_are_those_of_reading(gb: Gb, stored: Path, tmp_path: Path) -> None:
    lake = Lake.open(stored / "data")
    arguments = ("--float", "--columns", "symbol, timestamp,close", "--config", stored)
    assert gb("export", SERIES, tmp_path / "a.parquet", *DAY, *arguments).code == 0
    expected = lake.bars(
        "BTC-USDT", "1m", "2024-01-02", "2024-01-03", columns=["symbol", "timestamp", "close"], as_float=True
    )
    assert pl.read_parquet(tmp_path / "a.parquet").equals(expected)
    long_ago = gb("export", SERIES, tmp_path / "b.parquet", "--as-of", "2020-01-01T00:00Z", "--config", stored)
    assert long_ago.code == 1
    assert not (tmp_path / "b.parquet").exists()


def test_several_series_go_into_one_file_or_a_file_each(gb: Gb, stored: Path, tmp_path: Path) -> None:
    lake = Lake.open(stored / "data")
    told = gb("export", "sim:*", tmp_path / "all.parquet", "--json", "--config", stored)
    assert told.json["files"][0]["series"] == ["sim:BTC-USDT 1m", "sim:ETH-USDT 1m"]
    everything = lake.bars(None, "1m", source="sim")
    assert pl.read_parquet(tmp_path / "all.parquet").equals(everything)
    assert gb("export", "sim", tmp_path / "each", "--format", "csv", "--config", stored).code == 0
    assert sorted(path.name for path in (tmp_path / "each").iterdir()) == ["sim-BTC-USDT-1m.csv", "sim-ETH-USDT-1m.csv"]
    assert gb("export", "sim", tmp_path / "new-folder", "--config", stored).code == 0
    rows = sum(pl.read_parquet(path).height for path in (tmp_path / "new-folder").iterdir())
    assert rows == everything.height


def test_a_file_is_replaced_only_on_demand(gb: Gb, stored: Path, tmp_path: Path) -> None:
    path = tmp_path / "bars.csv"
    path.write_text("mine", encoding="utf-8")
    told = gb("export", SERIES, path, *DAY, "--config", stored)
    assert (told.code, path.read_text(encoding="utf-8")) == (2, "mine")
    assert "--force" in told.err
    assert gb("export", SERIES, path, *DAY, "--force", "--config", stored).code == 0
    assert len(path.read_text(encoding="utf-8").splitlines()) == 1441
    assert sorted(tmp_path.iterdir()) == [path]


def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "bars.csv"
    path.write_text("old", encoding="utf-8")
    frame = pl.DataFrame({"close": [Decimal("1.50")]})
    with pytest.raises(RuntimeError), new_file(path, Format.CSV, force=True) as writer:
        writer.write(frame)
        raise RuntimeError("stopped")
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_can_be_read_by_whom_the_umask_says(tmp_path: Path) -> None:
    with new_file(tmp_path / "bars.csv", Format.CSV) as writer:
        writer.write(pl.DataFrame({"close": [Decimal("1.50")]}))
    plain = tmp_path / "plain"
    plain.touch()
    assert (tmp_path / "bars.csv").stat().st_mode == plain.stat().st_mode
    assert (tmp_path / "bars.csv").read_text(encoding="utf-8") == "close\n1.5\n"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("sim:BTC-USD", "a.csv"), 1, "sim:BTC-USDT"),
        ((SERIES, "a.pkl"), 2, "pickle"),
        ((SERIES, "a.pickle"), 2, "parquet"),
        ((SERIES, "a.xlsx"), 2, "csv"),
        ((SERIES, "a.csvv"), 2, "did you mean csv"),
        ((SERIES, "a.feather", "--format", "csv"), 2, "its suffix says arrow"),
        ((SERIES, "a.csv", "-r", "1d"), 1, "there is 1m"),
        ((SERIES, "a.csv", "--start", "2030-01-01"), 1, "2024-01-04"),
        ((SERIES, "nowhere/a.csv"), 2, "nowhere/a.csv"),
        ((SERIES, "a.csv", "--columns", "clsoe"), 2, "close"),
    ],
)
def test_what_cannot_be_exported_is_refused_and_nothing_is_written(
    gb: Gb,
    stored: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    code: int,
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    told = gb("export", *arguments, "--config", stored)
    assert (told.code, says in told.err) == (code, True), told.err
    assert list(tmp_path.iterdir()) == []


def test_a_format_of_another_tool_is_the_first_word(gb: Gb, stored: Path, tmp_path: Path, bars: pl.DataFrame) -> None:
    preview = gb("export", "freqtrade", SERIES, tmp_path / "out", *DAY, "--dry-run", "--config", stored)
    assert preview.code == 0 and not (tmp_path / "out").exists()
    assert re.search(r"sim:BTC-USDT 1m +1,440 +2024-01-02 +2024-01-02 23:59 +1 ", preview.out)
    assert "would write 1,440 bars of 1 series into" in preview.err
    told = gb("export", "freqtrade", SERIES, tmp_path / "out", *DAY, "--config", stored)
    assert told.code == 0 and "wrote 1,440 bars of 1 series into" in told.err and "(1 file, " in told.err
    table = pyarrow.feather.read_table(tmp_path / "out/BTC_USDT-1m.feather")
    assert table["close"].to_pylist() == bars["close"].cast(pl.Float64).to_list()
    again = gb("export", SERIES, tmp_path / "out", "--format", "freqtrade", *DAY, "--config", stored)
    assert (again.code, "not empty" in again.err) == (2, True)


def test_what_a_format_cannot_hold_is_listed_and_refused(gb: Gb, stored: Path, tmp_path: Path) -> None:
    arguments = ("export", "csvdir", SERIES, tmp_path / "out", *DAY, "--config", stored)
    refused = gb(*arguments)
    assert refused.code == 1 and "csvdir cannot hold all of it exactly" in refused.err and "--lossy" in refused.err
    assert re.search(r"series +bars .* changed", refused.out) and " becomes " in refused.err
    assert not (tmp_path / "out").exists()
    told = gb(*arguments, "--lossy", "--json")
    assert told.code == 0 and told.json["exact"] is False and told.json["series"][0]["changed"] > 0
    assert (tmp_path / "out/minute/BTC-USDT.csv").exists()


def test_lean_takes_the_kind_of_instruments_from_the_project(gb: Gb, stored: Path, tmp_path: Path) -> None:
    told = gb("export", "lean", SERIES, tmp_path / "out", *DAY, "--config", stored, "--market", "binance")
    assert told.code == 0, told.err
    assert (tmp_path / "out/crypto/binance/minute/btcusdt/20240102_trade.zip").exists()


def test_the_finest_resolution_that_a_format_has_is_written(gb: Gb, tmp_path: Path) -> None:
    """Qlib has no seconds, zipline's folder no hours: there is something that each can hold."""
    lake = Lake.open(tmp_path / "lake", create=True)
    for resolution in ("1s", "1h", "1d"):
        frame = pl.DataFrame(
            {
                "timestamp": [datetime(2024, 1, 2, tzinfo=UTC)],
                **dict.fromkeys(("open", "high", "low", "close", "volume"), "1"),
            }
        )
        lake.put(frame, source="mine", symbol="BTC-USD", resolution=resolution)
    for tool, written in (("qlib", "1h"), ("csvdir", "1d"), ("nautilus", "1s")):
        told = gb("export", tool, "mine", tmp_path / tool, "--lake", tmp_path / "lake", "--dry-run", "--json")
        assert (told.code, [item["series"] for item in told.json["series"]]) == (0, [f"mine:BTC-USD {written}"])
    refused = gb("export", "qlib", "mine", tmp_path / "out", "--lake", tmp_path / "lake", "-r", "1s")
    assert refused.code == 2 and "the format has no bars of 1s" in refused.err


def test_files_have_a_dry_run_too(gb: Gb, stored: Path, tmp_path: Path) -> None:
    path = tmp_path / "bars.parquet"
    preview = gb("export", "parquet", "sim:*", path, "--dry-run", "--json", "--config", stored)
    assert preview.code == 0 and list(tmp_path.iterdir()) == []
    assert gb("export", "sim:*", path, "--config", stored).code == 0
    assert preview.json["bytes"] == path.stat().st_size
    assert sum(series["rows"] for series in preview.json["series"]) == pl.read_parquet(path).height
    assert gb("export", "csv", SERIES, tmp_path / "each", *DAY, "--config", stored).code == 0
    assert [file.name for file in (tmp_path / "each").iterdir()] == ["sim-BTC-USDT-1m.csv"]


def test_a_source_that_is_called_like_a_format_is_told_apart(gb: Gb, tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake", create=True)
    frame = pl.DataFrame(
        {"timestamp": [date(2024, 1, 2)], **dict.fromkeys(("open", "high", "low", "close"), "1"), "volume": "1"}
    )
    lake.put(frame, source="csv", symbol="AAPL", resolution="1d")
    refused = gb("export", "csv", "AAPL", tmp_path / "a.csv", "--lake", tmp_path / "lake")
    assert refused.code == 2 and "csv is a format, and a source" in refused.err and "--format" in refused.err
    assert gb("export", "csv", "AAPL", tmp_path / "a.csv", "--format", "csv", "--lake", tmp_path / "lake").code == 0
    # A name alone is a name.
    assert gb("export", "csv", tmp_path / "b.csv", "--lake", tmp_path / "lake").code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("lean", SERIES, "out", "--float"), 2, "--float cannot go with another tool's format"),
        (("csv", SERIES, "a.csv", "--market", "usa"), 2, "--market cannot go with csv, parquet and arrow"),
        (("lean", SERIES, "out", "--asset-class", "shares"), 2, "equity"),
        (("qlib", SERIES, "out", "--adjustment", "al"), 2, "splits+dividends"),
        ((SERIES, "out", "--format", "leann"), 2, "leann"),
    ],
)
def test_options_that_mean_nothing_are_refused(
    gb: Gb, stored: Path, tmp_path: Path, monkeypatch, arguments: tuple[str, ...], code: int, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    told = gb("export", *arguments, *DAY, "--config", stored)
    assert (told.code, says in told.err) == (code, True), told.err
    assert list(tmp_path.iterdir()) == []
