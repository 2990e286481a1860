"""Which formats there are. What a format needs beyond this package is imported when it is used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from gb_pipeline.config.suggestions import suggest
from gb_pipeline.errors import ConfigError
from gb_pipeline.formats.archive import Reader
from gb_pipeline.formats.streams.archive import StreamReader


@dataclass(frozen=True, slots=True)
class Format:
    """A format of another tool.

    Attributes:
        name: on the command line.
        title: what it is.
        reader: `module:function` that opens a path, where it can be read; see `archive.Reader`.
        writer: `module:function` that writes it, where it can be written.
        stream_reader: likewise of a format of trades, quotes and books; see `streams.archive.StreamReader`.
        stream_writer: likewise, what writes such a format; see `streams.writer.StreamWriter`.
        extra: what has to be installed besides, as `gb_pipeline[extra]`.
    """

    name: str
    title: str
    reader: str | None = None
    writer: str | None = None
    stream_reader: str | None = None
    stream_writer: str | None = None
    extra: str | None = None

    def open_reader(self) -> Reader:
        """What opens a path of this format.

        Raises:
            ConfigError: it cannot be read, or what it needs is not installed.
        """
        if self.reader is None and self.stream_reader is not None:
            raise ConfigError(
                f"{self.name} has trades, quotes and books, no bars", fix="import it with `import_streams`"
            )
        if self.reader is None:
            raise ConfigError(f"{self.name} is not read", fix=f"formats that are read: {', '.join(readable())}")
        reader: Reader = self._load(self.reader)
        return reader

    def open_writer(self) -> Any:
        """What writes this format.

        Raises:
            ConfigError: it cannot be written, or what it needs is not installed.
        """
        if self.writer is None:
            raise ConfigError(f"{self.name} is not written", fix=f"formats that are written: {', '.join(writable())}")
        return self._load(self.writer)

    def open_stream_reader(self) -> StreamReader:
        """What opens a path of this format of trades, quotes or books.

        Raises:
            ConfigError: it has none, or what it needs is not installed.
        """
        if self.stream_reader is None:
            names = [item.name for item in _ALL if item.stream_reader]
            raise ConfigError(
                f"{self.name} has no trades, quotes or books that are read",
                fix=f"formats that have: {', '.join(names)}",
            )
        reader: StreamReader = self._load(self.stream_reader)
        return reader

    def open_stream_writer(self) -> Any:
        """What writes trades, quotes or books in this format.

        Raises:
            ConfigError: none are written, or what it needs is not installed.
        """
        if self.stream_writer is None:
            names = [item.name for item in _ALL if item.stream_writer]
            raise ConfigError(
                f"{self.name} is not written with trades, quotes or books", fix=f"formats that are: {', '.join(names)}"
            )
        return self._load(self.stream_writer)

    def _load(self, place: str) -> Any:
        module, _, name = place.partition(":")
        try:
            return vars(import_module(module))[name]
        except ModuleNotFoundError as error:
            raise self.not_installed(error) from error

    def not_installed(self, error: ModuleNotFoundError) -> ConfigError:
        """What to install."""
        return ConfigError(
            f"{self.name} needs the package {error.name}, which is not installed",
            fix=f"install it: uv pip install 'gb_pipeline[{self.extra}]'"
            if self.extra
            else f"install it: uv pip install {error.name}",
        )


_READ = "gb_pipeline.formats."
_WRITE = "gb_pipeline.formats.writing."
_STREAMS = "gb_pipeline.formats.streams."
_ALL = (
    Format("zipline", "zipline bundle: bcolz and SQLite", reader=_READ + "zipline.bundle:open_bundle", extra="formats"),
    Format("csvdir", "CSV files of zipline's csvdir bundle", writer=_WRITE + "csvdir:CsvdirWriter"),
    Format(
        "lean",
        "LEAN data folder, one market of it",
        reader=_READ + "lean.folder:open_folder",
        writer=_WRITE + "lean:LeanWriter",
    ),
    Format(
        "freqtrade",
        "freqtrade candles: Feather, Parquet, JSON, HDF5; written as Feather",
        reader=_READ + "freqtrade:open_folder",
        writer=_WRITE + "freqtrade:FreqtradeWriter",
        extra="formats",
    ),
    Format("freqtrade-json", "freqtrade candles as JSON", writer=_WRITE + "freqtrade:FreqtradeJsonWriter"),
    Format("dbn", "Databento DBN files of bars", reader=_READ + "dbn.files:open_files", extra="formats"),
    Format(
        "nautilus",
        "NautilusTrader catalog",
        reader=_READ + "nautilus.catalog:open_catalog",
        writer=_WRITE + "nautilus:NautilusWriter",
    ),
    Format("qlib", "Qlib data folder (bin)", reader=_READ + "qlib:open_folder", writer=_WRITE + "qlib:QlibWriter"),
    Format("arctic", "ArcticDB on LMDB; needs the package arcticdb", reader=_READ + "arctic:open_store"),
    Format("hdf5", "HDF5 stores of pandas, a frame per key", reader=_READ + "hdf5.store:open_store", extra="formats"),
    Format("tardis", "Tardis CSV: trades, quotes, books", stream_reader=_STREAMS + "tardis:open_files"),
    Format(
        "binance-public",
        "Binance's public zips: trades, aggTrades, bookTicker",
        stream_reader=_STREAMS + "binance_public:open_files",
    ),
    Format(
        "dbn-ticks",
        "Databento DBN files of trades, tbbo, mbp-1 and mbp-10",
        stream_reader=_READ + "dbn.ticks:open_files",
        extra="formats",
    ),
    Format(
        "recordings",
        "raw recordings of cryptofeed and of hftbacktest's collector",
        stream_reader=_STREAMS + "recordings:open_files",
        extra="collect",
    ),
    Format("lean-ticks", "LEAN's ticks, one market of a data folder", stream_reader=_STREAMS + "lean:open_folder"),
    Format(
        "hftbacktest",
        "hftbacktest's event arrays (npz), written",
        stream_writer=_STREAMS + "hftbacktest:HftBacktestWriter",
    ),
    Format(
        "nautilus-ticks",
        "NautilusTrader catalog of trades, quotes and books",
        stream_writer=_STREAMS + "nautilus:NautilusTicksWriter",
    ),
    Format(
        "streams-csv",
        "CSV of trades, quotes and books, every column exact",
        stream_reader=_STREAMS + "plain_files:open_files",
        stream_writer=_STREAMS + "plain_files:CsvWriter",
    ),
    Format(
        "streams-parquet",
        "Parquet of the same",
        stream_reader=_STREAMS + "plain_files:open_files",
        stream_writer=_STREAMS + "plain_files:ParquetWriter",
    ),
    Format(
        "streams-arrow",
        "Arrow files of the same",
        stream_reader=_STREAMS + "plain_files:open_files",
        stream_writer=_STREAMS + "plain_files:ArrowWriter",
    ),
    Format("trades-csv", "CSV files of trades", stream_reader=_STREAMS + "trades_csv:open_files"),
)
FORMATS: Mapping[str, Format] = {item.name: item for item in _ALL}


def readable() -> tuple[str, ...]:
    """Formats that can be read, in the order in which they are listed."""
    return tuple(item.name for item in _ALL if item.reader)


def writable() -> tuple[str, ...]:
    """Formats that can be written, in the order in which they are listed."""
    return tuple(item.name for item in _ALL if item.writer)


def stream_writable() -> tuple[str, ...]:
    """Formats in which trades, quotes and books can be written, in the order in which they are listed."""
    return tuple(item.name for item in _ALL if item.stream_writer)


def get_format(name: str) -> Format:
    """The format of this name.

    Raises:
        ConfigError: there is none.

    Example:
        >>> get_format("zipline").title
        'zipline bundle: bcolz and SQLite'
    """
    found = FORMATS.get(name.strip().lower())
    if found is None:
        raise ConfigError(f"there is no format {name[:40]!r}", fix=suggest(name, list(FORMATS), "formats are"))
    return found


def require_path(path: Path) -> Path:
    """A path that is there.

    Raises:
        ConfigError: nothing is there.
    """
    if not path.exists():
        raise ConfigError(f"there is no file or folder {path}", fix="check the path")
    return path
