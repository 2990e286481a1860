"""This module lists the instruments that a folder has files of: it reads path templates backwards, from names to symbols.

Files are opened here only where their names say nothing and the lines in them name their instruments.

A template loses something on its way to a name (`{ticker}` makes btcusd of BTC-USD), so whatever is read out of a name is
put back into the template: only what leads to that very file is told of.
"""

from __future__ import annotations

import logging
import re
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import polars as pl

from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.errors import GbError
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.symbol import AssetClass, Symbol
from gb_pipeline.providers.base import Instrument
from gb_pipeline.providers.csv.columns import find_columns
from gb_pipeline.providers.csv.files import base_of, fill, locate, read
from gb_pipeline.providers.csv.lines import field, pieces, split, whole
from gb_pipeline.providers.csv.options import CsvOptions
from gb_pipeline.providers.csv.panel import wide_fields
from gb_pipeline.providers.csv.unpacked import Bounds, archive, printable

log = logging.getLogger(__name__)
_MONTHS = "FGHJKMNQUVXZ"
_OF_A_SYMBOL = ("symbol", "symbol_lower", "vendor", "ticker", "underlying", "expiry", "right", "strike")
# What pairs without a separator end with, longest first.
_QUOTES = ("FDUSD", "USDT", "USDC", "BUSD", "TUSD", "USD", "EUR", "GBP", "JPY", "BTC", "ETH", "BNB")
_FORMS = {
    "date": "[0-9]{8}", "expiry": "[0-9]{6}(?:[0-9]{2})?", "right": "call|put", "strike": "[0-9]+0", "underlying": "[a-z0-9.]+",
    "ticker": "[a-z0-9]+",
}  # fmt: skip
_TOKEN = re.compile(r"\{(\w+)\}|(\[[^\]]*\])|(\*)|(\?)|(.)", re.DOTALL)


def instruments_of(source: SourceSettings, options: dict[Resolution, CsvOptions]) -> list[Instrument]:
    """Every instrument that has a file, by canonical code.

    Args:
        source: its asset class, and the symbols that it knows already: their codes are found again.
        options: of each resolution, presets filled in.
    """
    by_code: dict[str, Instrument] = {}
    unread: list[str] = []
    for resolution, own in options.items():
        for symbol, vendor in _list_symbols(source, own, resolution, unread):
            by_code.setdefault(symbol.code, Instrument(symbol, vendor))
    if unread:
        shown = ", ".join(sorted(set(unread))[:5])
        log.warning("%s: names of %d files say no symbol: %s", source.name, len(set(unread)), shown)
    return [by_code[code] for code in sorted(by_code)]


def _list_symbols(
    source: SourceSettings, options: CsvOptions, resolution: Resolution, unread: list[str]
) -> Iterator[tuple[Symbol, str]]:
    template, member, root = options.path or "", options.member or "", options.root.expanduser().absolute()
    look = partial(locate, root=root, within=base_of(template, root), follow_links=options.follow_links)
    known = [(symbol, source.symbol_settings(symbol).vendor or symbol.code) for symbol in source.instruments]
    for symbol, vendor in known:
        try:
            pattern = fill(template, symbol, vendor, resolution)
        except GbError:
            continue
        if look(pattern) and not (member and _names_symbol(member)):
            yield symbol, vendor
    if not _names_symbol(template) and not _names_symbol(member):
        # The file's name says nothing; what is in it may.
        yield from _list_named(source, options, resolution, unread)
        return
    seen: set[tuple[str, ...]] = set()
    base = Path(Path(template).anchor) if Path(template).is_absolute() else root
    relative = str(Path(template).relative_to(Path(template).anchor)) if Path(template).is_absolute() else template
    path_form = _pattern_of(relative, resolution)
    for file in look(_glob_of(template)):
        name_match = path_form.fullmatch(file.path.relative_to(base).as_posix())
        if name_match is None:
            continue
        for parts in _with_members(file.path, name_match.groupdict(), member, resolution):
            key = tuple(parts.get(name, "") for name in _OF_A_SYMBOL)
            if key in seen:
                continue
            seen.add(key)
            listed = _symbol(parts, source, dict(known))
            if listed is None or not _leads_back(template, *listed, resolution, base, file.path):
                unread.append(printable(str(file.path)))
            else:
                yield listed


def _list_named(
    source: SourceSettings, options: CsvOptions, resolution: Resolution, unread: list[str]
) -> Iterator[tuple[Symbol, str]]:
    """What files of several instruments call them: the oldest and the newest file are read."""
    if "symbol" not in options.columns and options.layout == "long" and options.preset != "yfinance":
        return
    root, of = options.root.expanduser().absolute(), wide_fields(options)[0]
    spelled = str(options.mapped.get(of, of)) if of else ""
    sample = Symbol.future("ESZ26")
    pattern = fill(options.path or "", sample, "", resolution, spelled)
    files = locate(pattern, root, within=base_of(options.path or "", root), follow_links=options.follow_links)
    known = {source.symbol_settings(symbol).vendor or symbol.code: symbol for symbol in source.instruments}
    names: set[str] = set()
    for file in dict.fromkeys([*files[:1], *files[-1:]]):
        content = read(file, options.member, options.encoding, Bounds(options.max_megabytes, options.max_ratio))
        for where, text in content.texts:
            names |= _names_in(text, where, options, of)
    for name in sorted(names):
        try:
            yield known.get(name) or Symbol.of(name, source.asset_class), name
        except GbError:
            unread.append(printable(name))


def _names_in(text: str, where: str, options: CsvOptions, of: str | None) -> set[str]:
    """Every instrument that a text names, in its header or in the mapped column."""
    held = list(pieces(text, options))
    columns = find_columns(held, options, where, of)
    if columns.symbol is None:
        return {block.owner for block in columns.blocks if block.owner is not None}
    names: set[str] = set()
    for lines in held:
        frame = pl.DataFrame({"fields": split(lines, options.delimiter)}).filter(whole(columns.width))
        names.update(frame.select(field(columns.symbol).unique()).to_series().drop_nulls())
    return names - {""}


def _with_members(path: Path, parts: dict[str, str], member: str, resolution: Resolution) -> Iterator[dict[str, str]]:
    if not _names_symbol(member):
        yield parts
        return
    form = _pattern_of(member, resolution)
    try:
        with path.open("rb") as raw, archive(raw, path) as opened:
            names = opened.namelist()
    except (zipfile.BadZipFile, OSError):
        return
    for name in names:
        name_match = form.fullmatch(name) or form.fullmatch(name.rpartition("/")[2])
        if name_match is not None:
            yield parts | name_match.groupdict()


def _symbol(parts: dict[str, str], source: SourceSettings, known: dict[Symbol, str]) -> tuple[Symbol, str] | None:
    """The symbol that these parts of a name stand for, and the vendor's spelling that leads to them."""
    if "symbol" in parts:
        text = vendor = parts["symbol"]
    elif "symbol_lower" in parts:
        text = vendor = parts["symbol_lower"].upper()
    elif "vendor" in parts:
        text = vendor = parts["vendor"]
    elif "underlying" in parts and "strike" in parts and "right" in parts:
        # OCC counts thousandths, LEAN ten-thousandths.
        terms = f"{parts['expiry'][2:]}{parts['right'][0].upper()}{int(parts['strike']) // 10:08}"
        text = vendor = f"{parts['underlying'].upper()}{terms}"
    elif "underlying" in parts and "expiry" in parts:
        if not re.fullmatch(r"[0-9]{4}(?:0[1-9]|1[0-2])", parts["expiry"]):
            return None
        year, month = parts["expiry"][2:4], int(parts["expiry"][4:])
        text = vendor = f"{parts['underlying'].upper()}{_MONTHS[month - 1]}{year}"
    elif "ticker" in parts:
        vendor = parts["ticker"]
        same = [pair for pair in known.items() if re.sub(r"[^a-z0-9]", "", pair[1].lower()) == vendor]
        if same:
            return same[0]
        text = _pair(vendor.upper()) if source.asset_class is AssetClass.CRYPTO else vendor.upper()
    else:
        return None
    spelled = next((symbol for symbol, own in known.items() if own == vendor), None)
    if spelled is not None:
        return spelled, vendor
    try:
        return Symbol.of(text, source.asset_class), vendor
    except GbError:
        return None


def _pair(text: str) -> str:
    """`BTCUSD` as `BTC-USD`; as it is where no well-known currency ends it."""
    quote = next((quote for quote in _QUOTES if text.endswith(quote) and text != quote), None)
    return f"{text.removesuffix(quote)}-{quote}" if quote else text


def _leads_back(template: str, symbol: Symbol, vendor: str, resolution: Resolution, base: Path, path: Path) -> bool:
    try:
        pattern = fill(template, symbol, vendor, resolution)
    except GbError:
        return False
    relative = str(Path(pattern).relative_to(Path(pattern).anchor)) if Path(pattern).is_absolute() else pattern
    return _pattern_of(relative, resolution).fullmatch(path.relative_to(base).as_posix()) is not None


def _names_symbol(template: str) -> bool:
    return any(f"{{{name}}}" in template for name in _OF_A_SYMBOL)


def _glob_of(template: str) -> str:
    """The template as a glob of everybody's files, `{date}` left in place."""
    parts = []
    for part in Path(template).parts:
        wide = re.sub(r"\{(?!date\})\w+\}", "*", part)
        parts.append(wide if wide == "**" and part == "**" else re.sub(r"\*+", "*", wide))
    return str(Path(*parts))


def _pattern_of(template: str, resolution: Resolution) -> re.Pattern[str]:
    """A regular expression of the names that a template makes, with a group per placeholder."""
    # Each placeholder by its own way, so that the forms are those of `fill`.
    sample = Symbol.future("ESZ26")
    words = {name: fill(f"{{{name}}}", sample, "", resolution) for name in ("resolution", "resolution_name")}
    seen: set[str] = set()

    def one(match: re.Match[str]) -> str:
        name, characters, star, mark, other = match.groups()
        if name in words:
            return re.escape(words[name])
        if name is not None:
            if name in seen:
                return f"(?P={name})"
            seen.add(name)
            return f"(?P<{name}>{_FORMS.get(name, '[^/]+')})"
        if characters is not None:
            inner = characters[1:-1].removeprefix("!").replace("\\", r"\\").replace("[", r"\[")
            return f"[{'^' if characters.startswith('[!') else ''}{inner}]"
        # What is not a star's own belongs to the placeholder beside it.
        return "[^/]*?" if star else "[^/]" if mark else re.escape(other)

    parts = ["(?:[^/]+/)*" if part == "**" else _TOKEN.sub(one, part) + "/" for part in Path(template).parts]
    return re.compile("".join(parts).removesuffix("/"))
