"""This module picks the rows of one instrument out of files that were parsed, whether they hold one or several.

A file that names somebody else than it was read for is refused: its numbers must not be stored under another name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl

from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.errors import PermanentVendorError, UnknownSymbol
from gb_pipeline.market.spelling import did_you_mean, list_some, near_names
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.providers.csv.cache import ParsedFile
from gb_pipeline.providers.csv.options import CsvOptions
from gb_pipeline.providers.csv.unpacked import printable

OF_A_SYMBOL = ("{symbol", "{vendor}", "{ticker}", "{underlying}", "{expiry}", "{strike}")


def names_symbol(options: CsvOptions) -> bool:
    """Whether each symbol has files or members of its own, by their names."""
    template = f"{options.path or ''} {options.member or ''}"
    return any(part in template for part in OF_A_SYMBOL)


def spellings(source: SourceSettings) -> frozenset[str]:
    """What the vendor calls the instruments of a source."""
    return frozenset(spelling(source, symbol) for symbol in source.instruments)


def spelling(source: SourceSettings, symbol: Symbol) -> str:
    """What the vendor calls one instrument."""
    return source.symbol_settings(symbol).vendor or symbol.code


def own_rows(
    source: SourceSettings,
    symbol: Symbol,
    options: CsvOptions,
    files: Sequence[tuple[Path, ParsedFile]],
    named_elsewhere: Callable[[str], bool],
) -> list[pl.DataFrame]:
    """The rows of one instrument in each of the files, columns of `cache.empty_rows`.

    Args:
        source: whose files, and what its instruments are called.
        symbol: whose rows.
        options: with the preset filled in.
        files: what was read.
        named_elsewhere: whether other files of the source name an instrument, by its spelling: one that a day's file does not
            name did not trade on it.

    Raises:
        UnknownSymbol: files of several instruments, and none of them names it.
        PermanentVendorError: a file of one instrument names another one of the source, or does not say whose it is.
    """
    vendor, known = spelling(source, symbol), spellings(source)
    for path, item in files:
        if wrong := [name for name in item.named if name != vendor and name in known]:
            raise PermanentVendorError(
                f"{path} names {wrong[0]} and was read for {symbol}",
                fix="check `path` and the `vendor` spellings, or map the column that names it: `columns: {symbol: ...}`",
            )
    whole = [item.frame for _, item in files]
    owners = {owner for _, item in files for owner in item.owners}
    if not owners and "symbol" not in options.columns and options.layout == "long":
        if len(source.symbols) > 1 and not names_symbol(options) and any(item.frame.height for _, item in files):
            raise PermanentVendorError(
                f"{files[0][0]} does not say which of the {len(source.symbols)} symbols its lines are of",
                fix="put {symbol} into `path`, or map the column that names them: `columns: {symbol: ...}`",
            )
        return whole
    # A file of one ticker, whatever the vendor calls it.
    alone = len(owners) == 1 and options.layout == "long" and "symbol" not in options.columns
    if alone and not owners & (known - {vendor}) and (names_symbol(options) or len(source.symbols) == 1):
        return whole
    others = sorted({*owners, *(name for _, item in files for name in item.others)})
    if vendor not in owners and others and not named_elsewhere(vendor):
        raise UnknownSymbol(
            f"{files[-1][0]} has no {vendor!r} among its instruments, it has {list_some([printable(n) for n in others])}",
            fix=did_you_mean(near_names(vendor, others), "set the symbol's `vendor` to the file's own spelling"),
        )
    return [item.by_owner.get(vendor, item.frame.clear()) for _, item in files]
