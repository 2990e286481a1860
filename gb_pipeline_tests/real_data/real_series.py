"""Real files as series: how gb.yaml would describe them, and what stands in them, read by other means.

Belongs here: descriptions and the independent reading (the standard library's csv, zipfile and datetime; nothing of
`gb_pipeline.providers`). Does not belong here: what is expected of a provider or a lake.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.market.resolution import Resolution


class Row(NamedTuple):
    """A line of a file: when its bar opens, its numbers as text (None for an empty field), the ask's close of a quote."""

    stamp: datetime
    numbers: tuple[str | None, ...]
    ask_close: str | None = None


# Files are read once in a session of tests.
_READ: dict[tuple[Path, tuple[str, ...], str], list[Row]] = {}


@dataclass(frozen=True)
class Series:
    """A symbol of one or several files.

    Attributes:
        files: relative to the collection; `member` is the end of a zip member's name.
        options: of the csv provider, without its root; `path` is the only file by default.
        layout: reads one text; gets the fields of its lines and the file.
        zone: where the days of the files begin and end.
        source: other settings of the source.
    """

    name: str
    files: tuple[str, ...]
    layout: Callable[[list[list[str]], Path], Iterator[Row]]
    options: dict[str, Any]
    code: str = "SERIES"
    resolution: str = "1d"
    member: str = ""
    delimiter: str = ","
    zone: str = "UTC"
    source: dict[str, Any] = field(default_factory=dict)

    def settings(self, root: Path) -> SourceSettings:
        """The source as gb.yaml would have it."""
        return SourceSettings.model_validate(
            {
                "name": "files",
                "provider": "csv",
                "start": date(1980, 1, 1),
                "symbols": [self.code],
                "resolutions": [Resolution.parse(self.resolution)],
                "options": {"root": str(root), "path": self.files[0], **self.options},
                **self.source,
            }
        )

    def rows(self, root: Path) -> list[Row]:
        """Every row of the files, by other means than the provider's."""
        key = (root, self.files, self.member)
        if key not in _READ:
            _READ[key] = [row for file in self.files for row in self.layout(self._lines(root / file), root / file)]
        return _READ[key]

    def days(self, root: Path) -> list[date]:
        """The local days that the files have rows on, in order."""
        return sorted({row.stamp.astimezone(ZoneInfo(self.zone)).date() for row in self.rows(root)})

    def _lines(self, path: Path) -> list[list[str]]:
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                texts = [archive.read(name) for name in archive.namelist() if name.endswith(self.member)]
        else:
            texts = [gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()]
        assert len(texts) == 1, f"{path}: {len(texts)} members"
        return [line for line in csv.reader(io.StringIO(texts[0].decode()), delimiter=self.delimiter) if any(line)]


def _numbers(fields: list[str]) -> tuple[str | None, ...]:
    return tuple(value or None for value in fields)


def by_name(*stamp_names: str, stamp: Callable[[str], datetime]) -> Callable[[list[list[str]], Path], Iterator[Row]]:
    """A file whose first line names its columns."""

    def layout(lines: list[list[str]], _: Path) -> Iterator[Row]:
        header = [name.lower() for name in lines[0]]
        at = next(header.index(name) for name in stamp_names if name in header)
        columns = [header.index(name) for name in ("open", "high", "low", "close", "volume")]
        for line in lines[1:]:
            yield Row(stamp(line[at]), _numbers([line[column] for column in columns]))

    return layout


def lean(zone: str = "UTC", *, dated: bool, quotes: bool = False) -> Callable[[list[list[str]], Path], Iterator[Row]]:
    """A LEAN file; the lines of `dated` ones carry milliseconds of the day in the file's name."""

    def layout(lines: list[list[str]], path: Path) -> Iterator[Row]:
        for line in lines:
            if dated:
                local = datetime.strptime(path.name[:8], "%Y%m%d") + timedelta(milliseconds=int(line[0]))
            else:
                local = datetime.strptime(line[0], "%Y%m%d %H:%M")
            stamp = local.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
            if quotes:
                yield Row(stamp, (*_numbers(line[1:5]), "0"), line[9] or None)
            else:
                yield Row(stamp, _numbers(line[1:6]))

    return layout


def session(form: str) -> Callable[[str], datetime]:
    """A date in a strptime format, as the session's label."""
    return lambda text: datetime.strptime(text, form).replace(tzinfo=UTC)


def _label(text: str) -> datetime:
    return datetime.combine(date.fromisoformat(text[:10]), time(), UTC)


_LEAN_FOREX = {"preset": "lean", "lean_market": "forex/oanda"}
_WIKI = by_name("date", stamp=session("%Y-%m-%d"))
_EXCHANGES = {
    "HK": "XHKG",
    "T": "XTKS",
    "DE": "XETR",
    "L": "XLON",
    "IL": "XLON",
    "PA": "XPAR",
    "TA": "XTAE",
    "V": "XTSE",
}


def daily_series(root: Path) -> list[Series]:
    """WIKI, Yahoo and zipline's csvdir."""
    nyse = {"calendar": "XNYS"}
    found = [
        Series(file.name, (str(file.relative_to(root)),), _WIKI, {"preset": "wiki"}, source=nyse)
        for file in sorted(root.glob("equities-daily/wiki/*.csv"))
    ]
    for file in sorted(root.glob("equities-daily/yahoo/*.csv")):
        source = {"calendar": "XTKS"} if file.name.startswith("nikkei") else nyse
        found.append(Series(file.name, (str(file.relative_to(root)),), _WIKI, {"preset": "yahoo"}, source=source))
    for file in sorted(root.glob("equities-daily/zipline-csvdir/*.csv.gz")):
        found.append(Series(file.name, (str(file.relative_to(root)),), _WIKI, {}, source=nyse))
    return found


def lean_series(root: Path) -> list[Series]:
    """LEAN's crypto, forex and futures: folders of one zip a day, and single zips of long bars."""
    found = []
    coinbase = "crypto-minute/lean-crypto-coinbase-minute"
    for ticker in ("btcusd", "ethusd"):
        for days in (("20170903", "20170904"), ("20180404", "20180405", "20180406")):
            files = [f"{coinbase}/{ticker}/{day}_trade.zip" for day in days]
            present = tuple(file for file in files if (root / file).exists())
            options = {
                "preset": "lean",
                "lean_market": "crypto/coinbase",
                "path": f"{coinbase}/{{ticker}}/{{date}}_trade.zip",
            }
            code = f"{ticker[:3]}-usd".upper()
            source = {"asset_class": "crypto", "gap_policy": "no_trade"}
            found.append(
                Series(f"{code} {days[0]}", present, lean(dated=True), options, code, "1m", ".csv", source=source)
            )
    fx = {"asset_class": "forex", "calendar": "FX"}
    hours = "forex-daily-hourly/lean-forex-oanda-hour/eurusd.zip"
    quotes = lean(dated=False, quotes=True)
    found.append(Series("Oanda hours", (hours,), quotes, _LEAN_FOREX, "EUR-USD", "1h", ".csv", source=fx))
    for pair in ("eurusd", "gbpusd"):
        file = f"forex-daily-hourly/lean-forex-oanda-daily/{pair}.zip"
        found.append(Series(f"Oanda {pair} days", (file,), quotes, _LEAN_FOREX, pair, "1d", ".csv", source=fx))
    fxcm = {**_LEAN_FOREX, "lean_market": "forex/fxcm"}
    found.append(
        Series(
            "FXCM days", ("forex-daily-hourly/lean-forex-fxcm-daily/eurusd.zip",), quotes, fxcm, "EUR-USD", source=fx
        )
    )
    for market, preset, zone in (("oanda", _LEAN_FOREX, "UTC"), ("fxcm", fxcm, "Etc/GMT+5")):
        folder = f"forex-minute/lean-forex-{market}-minute/eurusd"
        options = {**preset, "path": f"{folder}/{{date}}_quote.zip", "missing_date": "empty"}
        files = tuple(str(file.relative_to(root)) for file in sorted((root / folder).glob("*_quote.zip")))
        layout = lean(zone, dated=True, quotes=True)
        found.append(Series(f"{market} minutes", files, layout, options, "EUR-USD", "1m", ".csv", zone=zone, source=fx))
    for code, ends, folder, market, zone, calendar in (
        ("ESZ13", "_201312.csv", "futures-minute/lean-future-cme-minute/es", "future/cme", "UTC", "CMES"),
        ("ESH14", "_201403.csv", "futures-minute/lean-future-cme-minute/es", "future/cme", "UTC", "CMES"),
        ("FESXM24", "_202406.csv", "dirty/lean-future-eurex-minute/fesx", "future/eurex", "Europe/Berlin", "24/5"),
        ("FESXU24", "_202409.csv", "dirty/lean-future-eurex-minute/fesx", "future/eurex", "Europe/Berlin", "24/5"),
        ("FESXZ24", "_202412.csv", "dirty/lean-future-eurex-minute/fesx", "future/eurex", "Europe/Berlin", "24/5"),
    ):
        holding = [file for file in sorted((root / folder).glob("*_trade.zip")) if _holds(file, ends)]
        options = {
            "preset": "lean",
            "lean_market": market,
            "path": f"{folder}/{{date}}_trade.zip",
            "missing_date": "empty",
        }
        source = {"asset_class": "future", "calendar": calendar, "gap_policy": "no_trade"}
        files = tuple(str(file.relative_to(root)) for file in holding)
        found.append(Series(code, files, lean(zone, dated=True), options, code, "1m", ends, zone=zone, source=source))
    btc = "crypto-daily-hourly/lean-crypto-coinbase-daily/btcusd_trade.zip"
    crypto = {"preset": "lean", "lean_market": "crypto/coinbase"}
    found.append(
        Series("Coinbase days", (btc,), lean(dated=False), crypto, "BTC-USD", "1d", source={"asset_class": "crypto"})
    )
    return found


def _holds(file: Path, ending: str) -> bool:
    with zipfile.ZipFile(file) as archive:
        return any(name.endswith(ending) for name in archive.namelist())


def dirty_series(root: Path) -> list[Series]:
    """The folder `dirty`, without its futures."""
    google = {"preset": "yahoo", "timestamp_format": "%d-%b-%y"}
    found = [
        Series(
            file.name,
            (str(file.relative_to(root)),),
            by_name("date", stamp=session("%d-%b-%y")),
            google,
            source={"calendar": "XNYS"},
        )
        for file in sorted(root.glob("dirty/orcl-2010-googlefinance*.csv"))
    ]
    for file in sorted(root.glob("dirty/yfinance-repair/*.csv")):
        ticker, length = re.fullmatch(r"(.+)-(1d|1wk|15m)-.*", file.name).groups()  # type: ignore[union-attr]
        resolution = {"1wk": "1w"}.get(length, length)
        stamp = _label if resolution == "1d" else _monday if resolution == "1w" else _instant
        source: dict[str, Any] = {
            "calendar": _EXCHANGES.get(ticker.rpartition("-")[2], "XNYS"),
            "precision": "wide",
            "extended_hours": resolution == "15m",
        }
        layout = by_name("datetime", "date", stamp=stamp)
        files = (str(file.relative_to(root)),)
        found.append(Series(file.name, files, layout, {"preset": "yfinance"}, resolution=resolution, source=source))
    return found


def _monday(text: str) -> datetime:
    return _label(text) - timedelta(days=_label(text).weekday())


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
