"""An export is whole or not there, holds what the lake does, and says before what it would not hold."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from gb_pipeline import AssetClass, ConfigError, ExportRefused, Lake, NoDataInRange, ReadError, Resolution, export_bars
from gb_pipeline.errors import UnknownSeries
from gb_pipeline.formats.registry import writable
from gb_pipeline.formats.writing.nautilus import NautilusWriter
from gb_pipeline_tests.actions import split
from gb_pipeline_tests.formats.exported import DAYS, MINUTES, files_of, put_minutes, put_shares, tell

KINDS = {"sim": AssetClass.CRYPTO, "daily": AssetClass.EQUITY}


@pytest.mark.parametrize("name", writable())
def test_a_dry_run_says_what_an_export_writes_and_leaves_nothing(lake: Lake, tmp_path: Path, name: str) -> None:
    put_shares(lake)
    put_minutes(lake)
    series = [DAYS] if name in {"csvdir", "qlib"} else [MINUTES]
    preview = export_bars(lake, name, series, tmp_path / "out", asset_classes=KINDS, dry_run=True)
    assert not (tmp_path / "out").exists()
    report = export_bars(lake, name, series, tmp_path / "out", asset_classes=KINDS)
    assert (report.rows, report.is_exact, report.series) == (4, True, preview.series)
    assert (report.files, report.bytes) == (preview.files, preview.bytes)
    written = files_of(tmp_path / "out")
    assert report.files == len(written)
    assert report.bytes == sum((tmp_path / "out" / path).stat().st_size for path in written)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lake", "out"]
    if name != "nautilus":
        return
    # The same bars give the same bytes.
    export_bars(lake, name, series, tmp_path / "again")
    assert [(tmp_path / "again" / path).read_bytes() for path in written] == [
        (tmp_path / "out" / path).read_bytes() for path in written
    ]


def test_what_would_change_is_counted_and_refused_until_it_may(lake: Lake, tmp_path: Path) -> None:
    put_shares(lake, close=["185.64", "184.25", "45.1801", "46.0001"], volume=["1.5", "2", "5000000000", "10"])
    with pytest.raises(ExportRefused, match="csvdir cannot hold all of it exactly: 4 values of 1 series") as refused:
        export_bars(lake, "csvdir", [DAYS], tmp_path / "out")
    (series,) = refused.value.report.series
    assert [str(value) for value in series.examples] == [
        "volume of 2024-01-02T00:00Z: 1.5 becomes 1",
        "close of 2024-01-05T00:00Z: 45.1801 becomes 45.18",
        "volume of 2024-01-05T00:00Z: 5000000000 becomes 0",
    ]
    assert "--lossy" in refused.value.fix
    assert not (tmp_path / "out").exists()
    assert export_bars(lake, "csvdir", [DAYS], tmp_path / "out", lossy=True).series[0].changed == 4
    # The text has all digits: it is zipline's bundle that rounds.
    assert "45.1801" in (tmp_path / "out/daily/AAPL.csv").read_text(encoding="utf-8")


def test_float32_changes_what_has_more_digits_than_it_holds(lake: Lake, tmp_path: Path) -> None:
    put_shares(lake, close=["185.64", "184.25", "45.18", "46.0001234"], volume=["16777217", "2", "3", "4"])
    with pytest.raises(ExportRefused, match="2 values"):
        export_bars(lake, "qlib", [DAYS], tmp_path / "out")
    put_shares(lake, symbol="MSFT", volume=["16777216", "2", "3", "4"])
    assert export_bars(lake, "qlib", [("daily", "MSFT", Resolution.DAY)], tmp_path / "out").is_exact


def test_volumes_of_quote_bars_are_not_dropped_without_a_word(lake: Lake, tmp_path: Path) -> None:
    """LEAN keeps forex as quotes, which have none; 0, which stands for unknown, is what it reads back."""
    named = {"asset_classes": {"sim": AssetClass.FOREX}, "market": "oanda"}
    put_minutes(lake, symbol="EUR-USD", volume="7")
    with pytest.raises(ExportRefused, match="volume of 2024-01-31T23:58Z: 7 becomes 0"):
        export_bars(lake, "lean", [("sim", "EUR-USD", Resolution.MINUTE)], tmp_path / "out", **named)
    put_minutes(lake, symbol="GBP-USD", volume="0")
    report = export_bars(lake, "lean", [("sim", "GBP-USD", Resolution.MINUTE)], tmp_path / "out", **named)
    assert report.is_exact


def test_bars_that_a_format_cannot_hold_are_named(lake: Lake, tmp_path: Path) -> None:
    put_shares(lake, timestamp=[date(1969, 12, 31), date(1970, 1, 2), date(1970, 1, 5), date(1970, 1, 6)])
    with pytest.raises(ExportRefused, match=r"1 bars? would be left out \(before 1970\)"):
        export_bars(lake, "nautilus", [DAYS], tmp_path / "out")
    report = export_bars(lake, "nautilus", [DAYS], tmp_path / "out", lossy=True)
    assert (report.rows, dict(report.series[0].left_out)) == (3, {"before 1970": 1})


def test_a_folder_with_files_is_left_alone(lake: Lake, tmp_path: Path) -> None:
    put_minutes(lake)
    out = tmp_path / "out"
    out.mkdir()
    export_bars(lake, "freqtrade", [MINUTES], out)
    (out / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigError, match="not empty"):
        export_bars(lake, "freqtrade", [MINUTES], out)
    export_bars(lake, "freqtrade", [MINUTES], out, force=True)
    assert files_of(out) == ["BTC_USDT-1m.feather", "mine.txt"]
    with pytest.raises(ConfigError, match="belong together"):
        export_bars(lake, "nautilus", [MINUTES], out, force=True)
    with pytest.raises(ConfigError, match="is a file"):
        export_bars(lake, "freqtrade", [MINUTES], out / "mine.txt", force=True)
    with pytest.raises(ConfigError, match="is an address"):
        export_bars(lake, "freqtrade", [MINUTES], "s3://bucket/out")


def test_what_fails_on_the_way_leaves_nothing(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_minutes(lake)
    parts = []

    def break_off(self, series, bars, folder) -> None:
        parts.append(folder.path("data/half", series.name).write_text("half", encoding="utf-8"))
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(NautilusWriter, "write", break_off)
    with pytest.raises(ConfigError, match="No space left on device"):
        export_bars(lake, "nautilus", [MINUTES], tmp_path / "out")
    assert parts and [path.name for path in tmp_path.iterdir()] == ["lake"]


def test_all_is_read_as_it_was_known_at_one_moment(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_minutes(lake)
    original = NautilusWriter.inspect

    def meanwhile(self, series, bars) -> None:
        original(self, series, bars)
        put_minutes(lake, closes=["9.123456789", "9", "9", "9"], volume="7")

    monkeypatch.setattr(NautilusWriter, "inspect", meanwhile)
    report = export_bars(lake, "nautilus", [MINUTES], tmp_path / "out")
    monkeypatch.undo()
    earlier = export_bars(lake, "nautilus", [MINUTES], tmp_path / "earlier", as_of=report.as_of)
    (name,) = files_of(tmp_path / "out")
    assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "earlier" / name).read_bytes()
    assert earlier.bytes == report.bytes


def test_two_series_are_not_written_over_each_other(lake: Lake, tmp_path: Path) -> None:
    put_minutes(lake)
    put_minutes(lake, source="other")
    both = [MINUTES, ("other", "BTC-USDT", Resolution.MINUTE)]
    with pytest.raises(ConfigError, match=r"would both be BTC_USDT-1m\.feather"):
        export_bars(lake, "freqtrade", both, tmp_path / "out")
    # Where the source is part of the name they are two.
    assert export_bars(lake, "nautilus", both, tmp_path / "out").files == 2


def test_what_cannot_be_written_is_refused_before_anything_is(lake: Lake, tmp_path: Path) -> None:
    put_shares(lake)
    put_minutes(lake)
    out = tmp_path / "out"
    lake.put(lake.bars("BTC-USDT", "1m").head(1), source="sim", symbol="BTC-USDT", resolution="1s")
    with pytest.raises(ConfigError, match=r"sim:BTC-USDT 1s: the format has no bars of 1s\n.*it has 1d, 1m"):
        export_bars(lake, "csvdir", [MINUTES, ("sim", "BTC-USDT", Resolution.SECOND)], out)
    with pytest.raises(ConfigError, match="is not a pair"):
        export_bars(lake, "freqtrade", [DAYS], out)
    with pytest.raises(ConfigError, match="nobody has said which"):
        export_bars(lake, "lean", [DAYS], out)
    with pytest.raises(UnknownSeries):
        export_bars(lake, "lean", [("sim", "ETH-USDT", Resolution.MINUTE)], out)
    with pytest.raises(NoDataInRange):
        export_bars(lake, "nautilus", [MINUTES], out, start="2025-01-01")
    assert not out.exists()


def test_prices_of_two_sides_of_a_split_are_not_mixed(lake: Lake, tmp_path: Path) -> None:
    put_shares(lake)
    tell(lake, split("2024-01-05", "4"))
    stored = export_bars(lake, "nautilus", [DAYS], tmp_path / "stored")
    assert stored.series[0].adjustment == "stored"
    assert export_bars(lake, "qlib", [DAYS], tmp_path / "qlib").series[0].adjustment == "splits"
    with pytest.raises(ReadError, match="never fetched"):
        put_shares(lake, symbol="MSFT")
        export_bars(lake, "nautilus", [("daily", "MSFT", Resolution.DAY)], tmp_path / "x", adjustment="splits")


def test_prices_that_cannot_be_adjusted_can_be_written_as_traded(lake: Lake, tmp_path: Path) -> None:
    put_shares(lake, volume=["8248870000", "1", "2", "3"])
    tell(lake, split("2024-01-05", "4"))
    with pytest.raises(ReadError, match="do not fit") as refused:
        export_bars(lake, "qlib", [DAYS], tmp_path / "out")
    assert "--adjustment none" in refused.value.fix
    report = export_bars(lake, "qlib", [DAYS], tmp_path / "out", adjustment="none", lossy=True)
    assert report.series[0].notes == ("factor is 1: prices are not adjusted",)
