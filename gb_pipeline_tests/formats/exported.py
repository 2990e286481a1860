"""Lakes of a few bars to export, and what lies in a folder."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import polars as pl

from gb_pipeline import Lake, Resolution
from gb_pipeline.lake.fetches import FetchOutcome, FetchRecord
from gb_pipeline_tests.actions import received

# A split on 2024-01-05, and a session without a bar before it.
SHARES = {
    "timestamp": [date(2024, 1, 2), date(2024, 1, 3), date(2024, 1, 5), date(2024, 1, 8)],
    "open": ["187.15", "184.22", "45.99", "46.1"],
    "high": ["188.44", "185.88", "46.76", "46.2"],
    "low": ["183.885", "183.43", "45.17", "45.9"],
    "close": ["185.64", "184.25", "45.18", "46"],
    "volume": ["8248870", "5841450", "6230330", "10"],
}
DAYS = ("daily", "AAPL", Resolution.DAY)
MINUTES = ("sim", "BTC-USDT", Resolution.MINUTE)


def put_shares(lake: Lake, *, symbol: str = "AAPL", **columns: Sequence[str]) -> None:
    """Store days of a share."""
    frame = pl.DataFrame(SHARES | columns)
    lake.put(frame, source="daily", symbol=symbol, resolution="1d", calendar="XNYS")


def tell(lake: Lake, *actions: dict, symbol: str = "AAPL") -> None:
    """Store all corporate actions of a share, and that its vendor was asked for them."""
    ever = date(2000, 1, 1), date(2035, 1, 1)
    lake.store.write_actions("daily", [symbol], ever, received(*actions))
    window = (datetime.combine(edge, time(), UTC) for edge in ever)
    lake.store.record_fetches(
        [FetchRecord("daily", symbol, "", *window, lake.store.clock(), FetchOutcome.OK, kind="corporate_actions")]
    )


def put_minutes(
    lake: Lake,
    first: str = "2024-01-31T23:58",
    closes: Sequence[str] = ("42000.12", "42001", "41999.000001", "42000"),
    *,
    symbol: str = "BTC-USDT",
    source: str = "sim",
    volume: str = "1.23456789",
    calendar: str = "24/7",
) -> None:
    """Store flat minutes, one after another."""
    begin = datetime.fromisoformat(first).replace(tzinfo=UTC)
    stamps = [begin + timedelta(minutes=number) for number in range(len(closes))]
    prices = {name: list(closes) for name in ("open", "high", "low", "close")}
    frame = pl.DataFrame({"timestamp": stamps, **prices, "volume": [volume] * len(closes)})
    lake.put(frame, source=source, symbol=symbol, resolution="1m", calendar=calendar)


def files_of(folder: Path) -> list[str]:
    """Names of all files, sorted."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def members(path: Path) -> dict[str, str]:
    """Texts of a zip file by name."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}
