"""Pictures of bars: bars stand side by side, a limit and a range hold for them too, and a page needs nothing but itself."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from datetime import date
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from gb_pipeline.cli.html_chart import write_html_chart
from gb_pipeline.cli.plot import date_labels
from gb_pipeline.errors import ConfigError
from gb_pipeline.market.calendar import get_calendar
from gb_pipeline.market.resolution import Resolution
from gb_pipeline_tests.cli.console import Gb


def stamps(calendar: str, resolution: str, start: date, end: date) -> pl.Series:
    return get_calendar(calendar).expected(start, end, Resolution(resolution))["timestamp"]


def data_of(page: Path) -> dict[str, object]:
    found = re.search(r'<script id="bars" type="application/json">(.*?)</script>', page.read_text(encoding="utf-8"))
    assert found
    return dict(json.loads(found[1]))


@pytest.mark.parametrize(
    ("calendar", "resolution", "start", "end", "labels"),
    [
        ("XNYS", "1d", date(2023, 12, 18), date(2024, 1, 12), ["2023-12-18", "12-26", "2024-01-02", "01-08"]),
        ("XNYS", "1d", date(2023, 10, 2), date(2024, 2, 1), ["2023-10", "2023-11", "2023-12", "2024-01"]),
        ("XNYS", "1h", date(2024, 3, 7), date(2024, 3, 13), ["2024-03-07", "03-08", "03-11", "03-12"]),
        ("24/7", "5m", date(2024, 3, 7), date(2024, 3, 8), ["2024-03-07", "06:00", "18:00"]),
        ("XNYS", "1d", date(2010, 1, 4), date(2024, 1, 4), ["2010", "2015", "2023"]),
    ],
)
def test_dates_stand_where_a_period_begins(
    calendar: str, resolution: str, start: date, end: date, labels: list[str]
) -> None:
    series = stamps(calendar, resolution, start, end)
    places, texts = date_labels(series)
    assert len(places) <= 16
    assert places == sorted(set(places))
    shown = " ".join(texts)
    assert all(label in shown for label in labels), texts
    # Nights and weekends take no room: a label stands at a bar, whose date it has.
    for place, text in zip(places, texts, strict=True):
        year = re.search(r"\d{4}", text)
        assert year is None or int(year[0]) == series[place].year


@pytest.mark.parametrize("count", [1, 2, 3, 500])
def test_every_number_of_bars_has_labels(count: int) -> None:
    series = stamps("XNYS", "1m", date(2024, 3, 7), date(2024, 3, 12)).head(count)
    places, texts = date_labels(series)
    assert 1 <= len(places) <= 16
    assert len(places) == len(texts)
    assert max(places) < count


def test_a_limit_and_a_range_hold_for_the_table_and_for_charts(gb: Gb, stored: Path, tmp_path: Path) -> None:
    page, picture = tmp_path / "bars.html", tmp_path / "bars.png"
    told = gb(
        "show", "sim:BTC-USDT", "--limit", "7", "--html", page, "--plot", picture, "--candles", "--config", stored
    )
    assert told.code == 0
    assert len([line for line in told.out.splitlines() if "2024-01-04" in line]) == 7
    assert len(data_of(page)["rows"]) == 7  # type: ignore[arg-type]
    assert "7 bars" in told.err
    day = ("--start", "2024-01-02T10:00Z", "--end", "2024-01-02T12:00Z")
    assert gb("show", "sim:BTC-USDT", *day, "--html", page, "--config", stored).code == 0
    assert len(data_of(page)["rows"]) == 120  # type: ignore[arg-type]
    assert len(gb("show", "sim:BTC-USDT", "--limit", "2000", "--json", "--config", stored).json) == 2000


def test_a_page_has_every_digit_and_asks_no_server(gb: Gb, stored: Path, tmp_path: Path) -> None:
    page = tmp_path / "bars.html"
    bars = gb("show", "sim:BTC-USDT", "--limit", "50", "--html", page, "--json", "--config", stored).json
    rows = data_of(page)["rows"]
    assert [[Decimal(value) for value in row[1:]] for row in rows] == [  # type: ignore[attr-defined]
        [Decimal(bar[name]) for name in ("open", "high", "low", "close", "volume")] for bar in bars
    ]
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!https://www\.tradingview\.com/)""", text.split("<script>")[0])
    assert "default-src 'none'" in text
    assert not re.search(r"<script[^>]+src=|<link|@import|fetch\(|XMLHttpRequest", text)


def test_a_browser_draws_the_page(gb: Gb, stored: Path, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium on this machine")
    page = tmp_path / "bars.html"
    [last] = gb("show", "sim:BTC-USDT", "--limit", "90", "--html", page, "--json", "--config", stored).json[-1:]
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    command += ["--virtual-time-budget=3000", "--dump-dom", page.as_uri()]
    drawn = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    assert "2024-01-04 23:59 UTC" in drawn
    assert last["close"] in drawn.split('id="bar"')[1].split("</header>")[0]
    assert drawn.count("<canvas") >= 4


def test_too_many_bars_for_a_page_and_places_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    one = pl.DataFrame({"timestamp": stamps("24/7", "1s", date(2024, 1, 1), date(2024, 1, 5))[:300_001]})
    prices = [pl.lit(Decimal(1)).alias(name) for name in ("open", "high", "low", "close", "volume")]
    with pytest.raises(ConfigError, match="too many"):
        write_html_chart(one.with_columns(prices), "x", tmp_path / "a.html")
    with pytest.raises(ConfigError, match="nowhere"):
        write_html_chart(one.head(3).with_columns(prices), "x", tmp_path / "nowhere" / "a.html")


def test_a_title_cannot_become_a_script(tmp_path: Path) -> None:
    frame = pl.DataFrame({"timestamp": stamps("24/7", "1d", date(2024, 1, 1), date(2024, 1, 3))})
    prices = [pl.lit(Decimal(1)).alias(name) for name in ("open", "high", "low", "close", "volume")]
    write_html_chart(frame.with_columns(prices), "</title><script>alert(1)</script>", tmp_path / "a.html")
    assert "<script>alert" not in (tmp_path / "a.html").read_text(encoding="utf-8")
