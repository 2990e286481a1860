"""A data folder of LEAN: one market of it, in all the lengths that it has, with the map and factor files of shares.

The files of bars are found and read by `providers.csv`. Several markets, such as `crypto/coinbase` and `forex/oanda`, are imported
one by one, because each has its own calendar.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import polars as pl

from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.errors import FormatRefused, HistoryNotAvailable, UnknownSymbol, VendorError
from gb_pipeline.formats.archive import Archive, ArchiveSeries, ReadOptions
from gb_pipeline.formats.lean.events import read_actions
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.spelling import list_some
from gb_pipeline.market.symbol import AssetClass, Symbol
from gb_pipeline.market.window import Window
from gb_pipeline.providers.csv.files import fill, lists, locate
from gb_pipeline.providers.csv.options import CsvOptions
from gb_pipeline.providers.csv.presets import LEAN_MARKETS, LEAN_RESOLUTIONS, fill_preset
from gb_pipeline.providers.csv.provider import CsvProvider
from gb_pipeline.quality.reasons import PART_OF_SESSION

_KINDS = {
    "equity": AssetClass.EQUITY, "index": AssetClass.EQUITY, "crypto": AssetClass.CRYPTO, "cryptofuture": AssetClass.CRYPTO,
    "forex": AssetClass.FOREX, "cfd": AssetClass.FOREX, "future": AssetClass.FUTURE, "option": AssetClass.OPTION,
    "indexoption": AssetClass.OPTION,
}  # fmt: skip
_CALENDARS = {
    "equity/usa": "XNYS", "option/usa": "XNYS", "indexoption/usa": "XNYS", "index/usa": "XNYS", "equity/india": "XBOM",
    "index/india": "XBOM", "index/ose": "XTKS", "index/eurex": "XETR", "index/hkfe": "XHKG", "future/cme": "CMES",
    "future/cbot": "CMES", "future/comex": "CMES", "future/nymex": "CMES", "future/eurex": "XETR", "future/hkfe": "XHKG",
    "crypto": "24/7", "cryptofuture": "24/7", "forex": "FX", "cfd": "FX",
}  # fmt: skip
# Whose sessions begin on the evening before.
_AROUND_THE_CLOCK = frozenset({"future", "forex", "cfd"})
# What to do where the provider of text files would have an option of its source changed.
_FIXES = {
    "root": "put the file itself in its place, or import a copy of the folder that holds it",
    "member": "get it again: LEAN has one file of bars in it",
    "encoding": "get it again: LEAN writes plain text",
    "max_": "look at it, and get it again: LEAN cuts its files by day or symbol",
}
_RESOLUTION_OF = {name: resolution for resolution, name in LEAN_RESOLUTIONS.items()}
_EVER = Window(datetime(1700, 1, 2, tzinfo=UTC), datetime(2199, 12, 30, tzinfo=UTC))
T = TypeVar("T")
# Files of so many days are read together.
_DAYS = 30


def open_folder(path: Path, options: ReadOptions) -> Archive:
    """One market of a data folder; see `archive.Reader`."""
    root, markets = _find_markets(path)
    if len(markets) != 1:
        found = list_some([f"{path}/{name}" for name in sorted(markets)], 4)
        raise FormatRefused(
            f"{path} has {'several markets' if markets else 'no market of LEAN'}",
            fix=f"name one of them: {found}"
            if markets
            else "name a folder such as Data/equity/usa, with minute/ or daily/ in it",
        )
    ((name, resolutions),) = markets.items()
    kind = name.partition("/")[0]
    market = LEAN_MARKETS.get(name) or LEAN_MARKETS[kind]
    calendar = options.calendar or _CALENDARS.get(name) or _CALENDARS.get(kind) or "24/7"
    with _words_of_an_import():
        provider, symbols = _open_provider(root, name, resolutions, _KINDS[kind], calendar)
    series = [
        ArchiveSeries(symbol, resolution, f"{name}/{LEAN_RESOLUTIONS[resolution]}/{symbol.code.lower()}", read)
        for resolution in resolutions
        for symbol, days in symbols[resolution].items()
        for read in [partial(_read, provider, symbol, resolution, days)]
    ]
    notes = [f"Times are those of {market.timezone}, as LEAN keeps {name}."]
    if market.quotes:
        notes.append("There are only quotes: the bid is stored, and a volume of 0, which stands for unknown.")
    if market.price_scale != 1:
        notes.append(
            f"Prices are integers of 1/{market.price_scale:,}: digits beyond the fourth were lost when they were made."
        )
    if Resolution.DAY in resolutions and kind in _AROUND_THE_CLOCK and calendar != "24/7":
        notes.append(
            f"Days end at midnight {market.timezone}: where a session begins on the evening before, such as on Sunday, that evening"
            f" is a bar of its own, quarantined as {PART_OF_SESSION}; --calendar 24/7 stores all of them."
        )
    actions = None
    if kind == "equity":
        codes = {symbol.code for by_symbol in symbols.values() for symbol in by_symbol}
        actions, said = read_actions(root / name, codes, calendar)
        notes += said
    base = root / name
    return Archive(
        series=tuple(series),
        files=tuple(file for file in sorted(base.rglob("*")) if file.is_file() and _is_wanted(file, base, resolutions)),
        asset_class=_KINDS[kind],
        calendar=calendar,
        # LEAN's minutes of American shares are those of 04:00 to 20:00.
        extended_hours=name == "equity/usa" and calendar == "XNYS",
        actions=actions,
        notes=tuple(notes),
    )


def _find_markets(path: Path) -> tuple[Path, dict[str, list[Resolution]]]:
    """The data folder, and its markets with their lengths: the path may be the folder, a kind, a market, or one length of it."""
    whole = path.resolve()
    if not whole.is_dir():
        raise FormatRefused(
            f"{path} is no folder", fix="name LEAN's data folder, or one market of it such as Data/equity/usa"
        )
    for up, root in enumerate([whole, *whole.parents][:4]):
        below = whole.parts[len(root.parts) :]
        if up and below[0] not in _KINDS:
            continue
        pattern = "/".join([*below, *["*"] * (3 - up)])
        found: dict[str, list[Resolution]] = {}
        for folder in sorted(root.glob(pattern)):
            kind, market, length = folder.parts[-3:]
            if folder.is_dir() and kind in _KINDS and length in _RESOLUTION_OF and any(folder.iterdir()):
                name = f"{kind}/{market}"
                if name in LEAN_MARKETS or kind in LEAN_MARKETS:
                    found.setdefault(name, []).append(_RESOLUTION_OF[length])
        if found:
            return root, found
    return whole, {}


def _is_wanted(file: Path, base: Path, resolutions: list[Resolution]) -> bool:
    names = {LEAN_RESOLUTIONS[resolution] for resolution in resolutions} | {"map_files", "factor_files"}
    return file.relative_to(base).parts[0] in names


def _open_provider(
    root: Path, name: str, resolutions: list[Resolution], asset_class: AssetClass, calendar: str
) -> tuple[CsvProvider, dict[Resolution, dict[Symbol, list[date]]]]:
    """The provider of the market's files, and its symbols with the days that have a file of their own."""
    options = {"preset": "lean", "root": str(root), "lean_market": name, "missing_date": "empty"}
    body: dict[str, Any] = {
        "name": "lean", "provider": "csv", "options": options, "asset_class": asset_class, "calendar": calendar,
        "start": "1900-01-01", "symbols": [], "resolutions": [str(resolution) for resolution in resolutions],
    }  # fmt: skip
    lister = CsvProvider.from_settings(SourceSettings.model_validate(body))
    listed = _wait(lister.instruments())
    body["symbols"] = [{"code": item.symbol.code, "vendor": item.vendor} for item in listed]
    provider = CsvProvider.from_settings(SourceSettings.model_validate(body))
    symbols: dict[Resolution, dict[Symbol, list[date]]] = {}
    for resolution in resolutions:
        own = fill_preset(CsvOptions.read(options), resolution)
        found = symbols.setdefault(resolution, {})
        for item in listed:
            files = locate(fill(own.path or "", item.symbol, item.vendor, resolution), root, within=root)
            member = None if own.member is None else fill(own.member, item.symbol, item.vendor, resolution)
            files = [file for file in files if member is None or lists(file, member)]
            if files:
                found[item.symbol] = sorted({file.day for file in files if file.day is not None})
    return provider, symbols


def _read(provider: CsvProvider, symbol: Symbol, resolution: Resolution, days: list[date]) -> Iterator[pl.DataFrame]:
    windows = [_EVER]
    if days:
        # A file's date is that of its zone: the windows touch, and whichever holds a bar has it once.
        starts = [datetime.combine(day, datetime.min.time(), UTC) - timedelta(days=1) for day in days[::_DAYS]]
        ends = [*starts[1:], datetime.combine(days[-1], datetime.min.time(), UTC) + timedelta(days=3)]
        windows = [Window(start, end) for start, end in zip(starts, ends, strict=True)]
    for window in windows:
        try:
            with _words_of_an_import():
                answer = _wait(provider.fetch_bars(symbol, window, resolution))
        except (HistoryNotAvailable, UnknownSymbol):
            continue
        if answer.frame.height:
            yield answer.frame


@contextmanager
def _words_of_an_import() -> Iterator[None]:
    """What is wrong with a file, in words of `gb import`, which has no options of a source of gb.yaml."""
    try:
        yield
    except (HistoryNotAvailable, UnknownSymbol):
        raise
    except VendorError as error:
        fix = error.fix
        if "`" in fix or "option" in fix:
            fix = next(
                (words for option, words in _FIXES.items() if option in fix), "get it again: LEAN writes it otherwise"
            )
        raise FormatRefused(error.what, fix=fix) from None


def _wait(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run it in a thread of its own: in a notebook a loop is running already."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()
