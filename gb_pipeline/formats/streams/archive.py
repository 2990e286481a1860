"""What a reader of trades, quotes and books hands over: files that are read lazily, and what they cannot tell.

Nothing here reads a file, and nothing writes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from gb_pipeline.errors import ConfigError, InvalidSymbol
from gb_pipeline.market.schema import polars_schema
from gb_pipeline.market.symbol import AssetClass, Symbol
from gb_pipeline.market.tick_schema import STREAM_INTERVALS

# Rows that a reader yields at once, about: flat memory, whatever the file holds.
CHUNK_ROWS = 500_000
INTERVALS = pl.Schema(
    {
        name: kind
        for name, kind in polars_schema(STREAM_INTERVALS).items()
        if name not in {"source", "timestamp", "collector"}
    }
)
# Currencies in which pairs are quoted, the longer names first.
_QUOTES = (
    "FDUSD", "USDT", "USDC", "BUSD", "TUSD", "USDP", "DAI", "USD", "EUR", "GBP", "JPY", "TRY", "BRL", "AUD", "BTC", "ETH", "BNB",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """What a user says about files that do not say it themselves; None where nothing was said.

    Attributes:
        asset_class: the kind of the instruments.
        names: canonical codes by the files' own spelling.
        symbol: of a file that does not name its instrument.
        timezone: of times that have no zone.
    """

    asset_class: AssetClass | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    symbol: str | None = None
    timezone: str | None = None

    def canonical(self, name: str, asset_class: AssetClass, *, suffix: str = "") -> str:
        """The canonical code of an instrument of the files: as the user says, else by its own letters.

        Args:
            name: as the files have it, such as BTCUSDT.
            asset_class: of it.
            suffix: for what the name does not say, such as -PERP.

        Raises:
            InvalidSymbol: it can be none.

        Example:
            >>> StreamOptions().canonical("BTCUSDT", AssetClass.CRYPTO)
            'BTC-USDT'
        """
        if (said := self.names.get(name)) is not None:
            return Symbol.of(said, asset_class).code
        text = name.strip().upper()
        if asset_class is AssetClass.CRYPTO and text.isalnum():
            quote = next((quote for quote in _QUOTES if text.endswith(quote) and text != quote), None)
            text = f"{text.removesuffix(quote)}-{quote}" if quote else text
        return Symbol.of(f"{text}{suffix}", self.asset_class or asset_class).code

    def canonical_names(
        self, names: Iterator[str] | list[str], asset_class: AssetClass, skipped: dict[str, str], *, suffix: str = ""
    ) -> dict[str, str]:
        """Canonical codes of several instruments; those that can be none are named in `skipped`."""
        found = {}
        for name in names:
            try:
                found[name] = self.canonical(name, asset_class, suffix=suffix)
            except InvalidSymbol as error:
                skipped[name] = f"{error.what}; say its name, such as --name {name}=BTC-USD"
        return found

    def one_symbol(self, place: object, asset_class: AssetClass) -> str:
        """The instrument of a file that does not say it.

        Raises:
            ConfigError: the user does not say it either.
        """
        if self.symbol is None:
            raise ConfigError(f"{place} does not say whose trades it has", fix="say it, such as --symbols BTC-USD")
        return Symbol.of(self.symbol, asset_class).code


@dataclass(frozen=True, slots=True)
class StreamChunk:
    """Some rows of one table.

    Attributes:
        table: `trades`, `book_updates`, `book_snapshots` or `quotes`.
        rows: `symbol`, the columns of the table as far as the file has them (numbers as text, decimals or integers, times Int64
            ns), and `record`, which record of `raw` a row comes from.
        raw: the records as they were read, for those that are refused.
        first: number of the first record in its file, from 0.
        broken: lines that are no record.
        broken_symbol: whose they are; `*` where nobody knows.
        unnamed: records, of the columns of `raw`, that do not say whose they are.
        refused: rows that the reader refused itself: `symbol`, `timestamp`, `reasons` and `row` as text.
    """

    table: str
    rows: pl.DataFrame
    raw: pl.DataFrame
    first: int = 0
    broken: tuple[str, ...] = ()
    broken_symbol: str = "*"
    unnamed: pl.DataFrame | None = None
    refused: pl.DataFrame | None = None


@dataclass(frozen=True, slots=True)
class StreamFile:
    """One file.

    Attributes:
        place: its name below the path that was given.
        read: its chunks, in the order of the file; raises `FormatRefused` where it is not what it should be.
    """

    place: str
    read: Callable[[], Iterator[StreamChunk]]


def no_intervals() -> pl.DataFrame:
    """A file proves what it holds, and not that nothing is missing."""
    return pl.DataFrame(schema=INTERVALS)


@dataclass(frozen=True, slots=True)
class StreamArchive:
    """All that a path holds.

    Attributes:
        parts: what is read, lazily, in the order of time.
        files: what it is read from: their names and sizes tell whether an import is the same one again.
        asset_class: of all instruments, as far as the files tell.
        intervals: what the numbers of the files prove once all of them are read; columns of `INTERVALS`.
        notes: what the format cannot tell, and what was done about it; a sentence each.
        skipped: what is there and was not read, and why.
    """

    parts: tuple[StreamFile, ...]
    files: tuple[Path, ...]
    asset_class: AssetClass = AssetClass.CRYPTO
    intervals: Callable[[], pl.DataFrame] = no_intervals
    notes: tuple[str, ...] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)


StreamReader = Callable[[Path, StreamOptions], StreamArchive]
