"""This module says which series a person means by names on the command line, and refuses names that there are not.

A name is a source (`mine`), a series (`mine:S03`), a symbol of any source (`S03`), or a pattern of these (`mine:S0*`,
`*:BTC-USD`). Symbols that follow a source's name are symbols of that source: `mine S03 S04`. No name means everything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated

import typer

from gb_pipeline.errors import ConfigError, InvalidSymbol, UnknownSeries
from gb_pipeline.market.spelling import did_you_mean, list_some, near_names
from gb_pipeline.market.symbol import Symbol

if TYPE_CHECKING:
    import polars as pl

    from gb_pipeline.config.settings import Settings, SourceSettings
    from gb_pipeline.reading.lake import Lake

Names = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="NAME",
        help="A source, SOURCE:SYMBOL or a symbol; * and ? stand for any letters. Everything by default.",
        show_default=False,
    ),
]
OneSeries = Annotated[
    str, typer.Argument(metavar="SERIES", help="SOURCE:SYMBOL, such as coinbase:BTC-USD.", show_default=False)
]
OneBar = Annotated[
    str,
    typer.Argument(
        metavar="TIMESTAMP",
        help="The bar's open, such as 2024-01-02T09:30Z, or 2024-01-02 for daily bars.",
        show_default=False,
    ),
]
StoredResolution = Annotated[
    str | None, typer.Option("--resolution", "-r", help="Resolution, such as 1m; the finest one stored by default.")
]
SymbolsBySource = Mapping[str, Sequence[str]]
_ANY = "*"
_GLOB = re.compile(r"[*?\[]")
# What can stand before the colon; `BTC/USDT:USDT` is a vendor's spelling of one symbol.
_SOURCE_PATTERN = re.compile(r"[A-Za-z0-9_*?\[\]!-]+")


def select(names: Sequence[str], known: SymbolsBySource, place: str) -> dict[str, list[str]]:
    """The series that names mean, as symbols by source.

    Args:
        names: as a person writes them; none for everything.
        known: the symbols of every source; a source may have none.
        place: who knows them, for messages: `the lake`, `gb.yaml`.

    Returns:
        Symbols by source, both in the order of `known`; a source that is named as a whole is there even without a symbol.

    Raises:
        UnknownSeries: names that match nothing, all of them; `near` lists what resembles them.

    Example:
        >>> select(["mine:S0*"], {"mine": ["S01", "S02", "S11"], "sim": ["S01"]}, "gb.yaml")
        {'mine': ['S01', 'S02']}
    """
    if not names:
        return {source: list(symbols) for source, symbols in known.items()}
    chosen: dict[str, set[str]] = {}
    unknown: list[UnknownSeries] = []
    for source_pattern, symbol_pattern in _patterns(names, known):
        matches = _matches(source_pattern, symbol_pattern, known)
        if not matches:
            unknown.append(_unknown_error(source_pattern, symbol_pattern, known, place))
        for source, symbols in matches.items():
            chosen.setdefault(source, set()).update(symbols)
    if unknown:
        raise UnknownSeries(
            "; ".join(dict.fromkeys(error.what for error in unknown)),
            near=list(dict.fromkeys(name for error in unknown for name in error.near)),
            fix="; ".join(dict.fromkeys(error.fix for error in unknown)),
        )
    return {
        source: [symbol for symbol in symbols if symbol in chosen[source]]
        for source, symbols in known.items()
        if source in chosen
    }


def select_configured(settings: Settings, names: Sequence[str]) -> dict[str, list[Symbol]]:
    """The series of gb.yaml that names mean, as symbols by source.

    Raises:
        ConfigError: names that gb.yaml does not have, with what resembles them.

    Example:
        >>> select_configured(settings, ["mine:S03"])
        {'mine': [Symbol(code='S03', asset_class=<AssetClass.EQUITY: 'equity'>, exchange='')]}
    """
    symbols = {
        name: {symbol.code: symbol for symbol in source.instruments} for name, source in settings.sources.items()
    }
    try:
        chosen = select(names, {name: list(codes) for name, codes in symbols.items()}, settings.written_in)
    except UnknownSeries as error:
        raise ConfigError(error.what, fix=error.fix) from None
    return {source: [symbols[source][code] for code in codes] for source, codes in chosen.items()}


def select_symbols(source: SourceSettings, names: Sequence[str], *, also: Sequence[str] = ()) -> list[Symbol]:
    """Symbols of one source of gb.yaml; names are codes, patterns of them, or `SOURCE:SYMBOL`. None means all of gb.yaml.

    Args:
        source: of gb.yaml.
        names: as a person writes them.
        also: codes that may be named although gb.yaml does not have them, such as stored ones.

    Raises:
        ConfigError: names that the source does not have, with what resembles them.
    """
    symbols = {symbol.code: symbol for symbol in source.instruments}
    if not names:
        return list(symbols.values())
    symbols = {code: Symbol(code, source.asset_class) for code in also} | symbols
    prefix = f"{source.name}:"
    try:
        chosen = select(
            [name if name.startswith(prefix) else prefix + name for name in names],
            {source.name: list(symbols)},
            "gb.yaml",
        )
    except UnknownSeries as error:
        raise ConfigError(error.what, fix=error.fix) from None
    return [symbols[code] for code in chosen.get(source.name, [])]


def select_stored(
    lake: Lake, names: Sequence[str], settings: Settings | None = None, *, also: SymbolsBySource | None = None
) -> dict[str, list[str]]:
    """The series of a lake that names mean, as symbols by source; series of which nothing but gaps is known count.

    Args:
        lake: to be read.
        names: as a person writes them; none for everything.
        settings: of the lake's project, so that a name that is only not fetched yet is told from one that is misspelled.
        also: what else the lake has, such as `stream_names`.

    Raises:
        UnknownSeries: names that the lake does not have, with what resembles them.
    """
    known = unite_names(stored_names(lake), also or {})
    try:
        return select(names, known, "the lake")
    except UnknownSeries as error:
        missing = [] if settings is None else _only_configured(settings, names, known)
        if not missing:
            raise
        raise UnknownSeries(
            f"nothing is stored of {list_some(missing)} yet", near=error.near, fix=f"fetch it: `gb fetch {names[0]}`"
        ) from None


def keep_named(
    rows: pl.DataFrame, lake: Lake, names: Sequence[str] | None, settings: Settings | None = None
) -> pl.DataFrame:
    """Those of some rows whose series a name means; all of them without a name. Series of the rows, and streams, count as well.

    Args:
        rows: with `source` and `symbol`.
        lake, names, settings: see `select_stored`.

    Raises:
        UnknownSeries: as `select_stored`.
    """
    import polars as pl

    if not names:
        return rows
    own: dict[str, list[str]] = {}
    for source, symbol in rows.select("source", "symbol").unique().sort("source", "symbol").rows():
        own.setdefault(source, []).append(symbol)
    for name in names:
        source, colon, symbol = name.partition(":")
        if colon and _ANY in own.get(source, ()) and not _GLOB.search(symbol):
            # What is about all symbols of a source is about this one, too, also where nothing else is left of it.
            own[source].append(symbol)
    chosen = select_stored(lake, names, settings, also=unite_names(stream_names(lake), own))
    series = [f"{source}:{symbol}" for source, symbols in chosen.items() for symbol in symbols]
    is_of_all = (pl.col("symbol") == _ANY) & pl.col("source").is_in(list(chosen))
    return rows.filter(pl.concat_str("source", pl.lit(":"), "symbol").is_in(series) | is_of_all)


def select_one(
    lake: Lake, name: str, settings: Settings | None = None, *, also: SymbolsBySource | None = None
) -> tuple[str, str]:
    """The one series of a lake that a name means, as source and symbol.

    Raises:
        UnknownSeries: the lake has nothing of that name.
        ConfigError: it has several.
    """
    chosen = select_stored(lake, [name], settings, also=also)
    series = [(source, symbol) for source, symbols in chosen.items() for symbol in symbols]
    if len(series) != 1:
        names = [f"{source}:{symbol}" for source, symbol in series]
        raise ConfigError(
            f"{name[:80]!r} names {len(series):,} series, and one is needed", fix=f"name one of {list_some(names)}"
        )
    return series[0]


def _only_configured(settings: Settings, names: Sequence[str], known: SymbolsBySource) -> list[str]:
    """The series among some names that gb.yaml has and a lake has not; none where gb.yaml does not have all the names."""
    try:
        chosen = select_configured(settings, names)
    except ConfigError:
        return []
    series = [(source, symbol.code) for source, symbols in chosen.items() for symbol in symbols]
    return [f"{source}:{code}" for source, code in series if code not in known.get(source, ())] or list(chosen)


def stored_names(lake: Lake) -> dict[str, list[str]]:
    """The symbols of every source of a lake, those of which only gaps are known among them; no file of bars is opened."""
    from gb_pipeline.reading.series import known_series

    known: dict[str, list[str]] = {}
    series = known_series(lake.store.tables, open_bars=False).select("source", "symbol").unique()
    for source, symbol in series.sort("source", "symbol").rows():
        known.setdefault(source, []).append(symbol)
    return known


def stream_names(lake: Lake) -> dict[str, list[str]]:
    """The symbols of every source of which trades, quotes or books are stored or were heard; no file of rows is opened."""
    from gb_pipeline.lake.stream_targets import list_streams

    known: dict[str, list[str]] = {}
    for source, symbol in list_streams(lake.store.tables):
        known.setdefault(source, []).append(symbol)
    return known


def unite_names(known: SymbolsBySource, more: SymbolsBySource) -> dict[str, list[str]]:
    """All symbols of all sources of both, sorted where both have some."""
    united = {source: list(symbols) for source, symbols in known.items()}
    for source, symbols in more.items():
        united[source] = sorted({*united[source], *symbols}) if source in united else list(symbols)
    return united


def _patterns(names: Sequence[str], known: SymbolsBySource) -> Iterator[tuple[str, str | None]]:
    """What the names say of sources and of symbols; no symbol means the source as a whole."""
    named_source: str | None = None
    for position, name in enumerate(names):
        text = name.strip()
        before, colon, after = text.partition(":")
        if colon and _SOURCE_PATTERN.fullmatch(before):
            named_source = None
            yield before, after or None
        elif text in known or (_is_pattern(text) and any(fnmatchcase(source, text) for source in known)):
            named_source = None if _is_pattern(text) else text
            # `mine S03` means one series; `mine` alone, or before another source, all of them.
            following = names[position + 1].strip() if position + 1 < len(names) else ""
            if named_source is None or not following or ":" in following or following in known:
                yield text, None
        else:
            yield named_source or _ANY, text


def _is_pattern(text: str) -> bool:
    return _GLOB.search(text) is not None


def _matches(source_pattern: str, symbol_pattern: str | None, known: SymbolsBySource) -> dict[str, set[str]]:
    sources = [source for source in known if _fits(source, source_pattern)]
    if symbol_pattern is None:
        return {source: set(known[source]) for source in sources}
    if _is_pattern(symbol_pattern):
        pattern = symbol_pattern.upper()
        matches = {source: {code for code in known[source] if fnmatchcase(code, pattern)} for source in sources}
    else:
        codes = _spellings(symbol_pattern)
        matches = {source: codes.intersection(known[source]) for source in sources}
    return {source: found for source, found in matches.items() if found}


def _fits(source: str, pattern: str) -> bool:
    return source == pattern or (_is_pattern(pattern) and fnmatchcase(source, pattern))


def _spellings(text: str) -> set[str]:
    """The canonical codes that a person may write like this: `btc/usd` is BTC-USD."""
    codes = {text.upper()}
    for helper in (Symbol.crypto, Symbol.forex, Symbol.option):
        with suppress(InvalidSymbol):
            codes.add(helper(text).code)
    return codes


def _unknown_error(source: str, symbol: str | None, known: SymbolsBySource, place: str) -> UnknownSeries:
    if not known:
        stored = place == "the lake"
        begin = (
            "fetch something: `gb fetch SOURCE`" if stored else "add a source with symbols; `gb init` writes examples"
        )
        return UnknownSeries(f"{place} has no series yet", fix=begin)
    written = source if symbol is None else symbol if source == _ANY else f"{source}:{symbol}"
    sources = [name for name in known if _fits(name, source)]
    near = near_names(source if source != _ANY else written, known, 2) if source == _ANY or not sources else []
    there_is = f"its sources are {list_some(list(known))}"
    if symbol is not None and sources:
        codes = list(dict.fromkeys(code for name in sources for code in known[name]))
        spellings = _spellings(symbol)
        near += [f"{name}:{code}" for name, others in known.items() for code in sorted(spellings.intersection(others))]
        prefix = f"{source}:" if source in known else ""
        near += [] if _is_pattern(symbol) else [prefix + code for code in near_names(symbol, codes)]
        if source != _ANY:
            there_is = f"{source} has {list_some(codes)}" if codes else f"{source} has no symbols yet"
    elif symbol is not None:
        near = [f"{name}:{symbol}" for name in near]
    return UnknownSeries(
        f"{place} has nothing that is called {written[:80]!r}", near=near, fix=did_you_mean(near, there_is)
    )
