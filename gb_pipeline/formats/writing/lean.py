"""LEAN's data folder: zipped CSV files per market, a file per day of minutes and seconds, one for all hours or days.

Stamps are opens in the market's data time zone: milliseconds since midnight in the files of a day, `YYYYMMDD HH:MM` elsewhere.
Prices of equities are integers of a ten-thousandth, all others decimals. Forex and CFDs are quote bars: what a lake holds is the
bid, and the ask is left empty. Futures of one root share their files, a member for each contract month. Equities get a map file and
a factor file (`lean_factors`).

Source: `Common/Util/LeanData.cs` and the readmes under `Data/` of QuantConnect/Lean.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from typing import ClassVar

import polars as pl

from gb_pipeline.errors import ConfigError
from gb_pipeline.formats.writing.base import AS_STORED, NUMBERS, Converted, Exported, FormatWriter
from gb_pipeline.formats.writing.conversion import plain_text
from gb_pipeline.formats.writing.lean_factors import LeanFactors
from gb_pipeline.formats.writing.staging import StagedFolder
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import PRICES
from gb_pipeline.market.symbol import AssetClass
from gb_pipeline.providers.csv.presets import LEAN_MARKETS, LEAN_RESOLUTIONS, LeanMarket

_FUTURE = re.compile(r"([A-Z0-9]{1,6})([FGHJKMNQUVXZ])([0-9]{2})")
_MONTHS = "FGHJKMNQUVXZ"
_PERPETUAL = "-PERP"
# The same bytes for the same bars.
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)
_BY_DAY = frozenset({Resolution.MINUTE, Resolution.SECOND})
_TYPES = {
    AssetClass.EQUITY: "equity", AssetClass.CRYPTO: "crypto", AssetClass.FOREX: "forex", AssetClass.FUTURE: "future"
}  # fmt: skip


class LeanWriter(FormatWriter):
    """Writes zip files, map files and factor files."""

    resolutions: ClassVar = LEAN_RESOLUTIONS

    def __init__(self, market: str | None = None) -> None:
        """See `FormatWriter`."""
        super().__init__(market)
        self._waiting: dict[str, pl.DataFrame] = {}
        self._factors = LeanFactors()

    def adjustment_of(self, series: Exported) -> str:
        """As traded, where it is known what became of the shares: LEAN adjusts by its factor files."""
        return AS_STORED if series.actions is None else "none"

    def place_of(self, series: Exported) -> str:
        """The file, and the member for futures; of files of a day, their folder."""
        folder, ticker, _ = self._names(series)
        return f"{folder}/{ticker}{self._suffix(series)}"

    def convert(self, series: Exported, bars: pl.DataFrame) -> Converted:
        """Prices of equities in ten-thousandths; quotes have no volume, and read back as 0, which stands for unknown."""
        layout = self._layout(series)
        values = bars.select(NUMBERS)
        if layout.price_scale != 1:
            values = values.with_columns(pl.col(PRICES).round(len(str(layout.price_scale)) - 1))
        if layout.quotes:
            values = values.with_columns(pl.lit(0).cast(bars.schema["volume"]).alias("volume"))
        return Converted(bars, values)

    def inspect(self, series: Exported, bars: pl.DataFrame) -> None:
        """Take note of the closes that factors refer to."""
        if series.asset_class is AssetClass.EQUITY:
            self._factors.inspect(series, bars)

    def write(self, series: Exported, bars: pl.DataFrame, folder: StagedFolder) -> None:
        """Write whole days, and keep the last one until it is known to have ended; longer bars are kept until the end."""
        waiting = self._waiting.pop(series.name, None)
        lines = self._lines(series, bars)
        lines = lines if waiting is None else pl.concat([waiting, lines])
        if series.resolution in _BY_DAY:
            last = lines["day"][-1]
            self._write_days(series, lines.filter(pl.col("day") < last), folder)
            lines = lines.filter(pl.col("day") == last)
        self._waiting[series.name] = lines

    def end(self, series: Exported, folder: StagedFolder) -> None:
        """Write what is left, and what became of the shares."""
        lines = self._waiting.pop(series.name, None)
        if lines is None:
            return
        if series.resolution in _BY_DAY:
            self._write_days(series, lines, folder)
        else:
            path, ticker, kind = self._names(series)
            quoted = f"_{kind}" if self._type(series) in {"crypto", "cryptofuture", "future"} else ""
            member = f"{ticker}{f'_{kind}' if self._tag(series) else ''}{self._tag(series)}.csv"
            _add(folder, f"{path}/{ticker}{quoted}.zip", member, lines["line"], series)
        if series.asset_class is AssetClass.EQUITY:
            market = f"equity/{self._market(series)}"
            ticker = self._names(series)[1]
            folder.path(f"{market}/map_files/{ticker}.csv", series.name).write_text(
                self._factors.map_file(series, ticker), encoding="ascii"
            )
            factors = self._factors.factor_file(series)
            if factors is not None:
                folder.path(f"{market}/factor_files/{ticker}.csv", series.name).write_text(factors, encoding="ascii")

    def notes(self, series: Exported) -> list[str]:
        """What the files do not say."""
        found = []
        if self._layout(series).quotes:
            found.append("quote bars hold what is stored as the bid, and no ask; volumes are not written")
        if series.asset_class is AssetClass.EQUITY:
            found += self._factors.notes(series)
        return found

    def _write_days(self, series: Exported, lines: pl.DataFrame, folder: StagedFolder) -> None:
        path, ticker, kind = self._names(series)
        length = self.resolution_name(series)
        for (day,), rows in lines.partition_by("day", as_dict=True, maintain_order=True).items():
            member = f"{day}_{ticker}_{length}_{kind}{self._tag(series)}.csv"
            _add(folder, f"{path}/{ticker}/{day}_{kind}.zip", member, rows["line"], series)

    def _lines(self, series: Exported, bars: pl.DataFrame) -> pl.DataFrame:
        """`day` (text) and `line` of each bar."""
        layout = self._layout(series)
        local = bars["timestamp"].dt.convert_time_zone(layout.timezone if series.resolution.intraday else "UTC")
        texts = bars.select(
            *(_scaled(name, layout.price_scale) for name in PRICES), plain_text("volume"), local.alias("local")
        )
        if series.resolution in _BY_DAY:
            # The wall clock's time of day: LEAN writes it so also on days on which the clock is changed.
            of_day = pl.col("local").dt.replace_time_zone(None)
            stamp = (of_day - of_day.dt.truncate("1d")).dt.total_milliseconds().cast(pl.String)
        else:
            stamp = pl.col("local").dt.strftime("%Y%m%d %H:%M")
        prices = [stamp, *(pl.col(name) for name in PRICES)]
        line = (
            pl.concat_str(*prices, pl.lit("0,,,,,0"), separator=",")
            if layout.quotes
            else pl.concat_str(*prices, pl.col("volume"), separator=",")
        )
        return texts.select(pl.col("local").dt.strftime("%Y%m%d").alias("day"), line.alias("line"))

    def _names(self, series: Exported) -> tuple[str, str, str]:
        """Folder, ticker and `trade` or `quote`."""
        kind = "quote" if self._layout(series).quotes else "trade"
        folder = f"{self._type(series)}/{self._market(series)}/{self.resolution_name(series)}"
        ticker = series.symbol.lower()
        if series.asset_class is AssetClass.FUTURE:
            ticker = _contract(series)[0].lower()
        elif series.asset_class is not AssetClass.EQUITY:
            ticker = ticker.removesuffix(_PERPETUAL.lower()).replace("-", "")
        return folder, ticker, kind

    def _tag(self, series: Exported) -> str:
        """What ends the name of a member: the contract's month, or that it has none."""
        if series.asset_class is AssetClass.FUTURE:
            return f"_{_contract(series)[1]}"
        return "_perp" if self._type(series) == "cryptofuture" else ""

    def _suffix(self, series: Exported) -> str:
        return f" ({self._tag(series)[1:]})" if self._tag(series) else ""

    def _market(self, series: Exported) -> str:
        default = "usa" if series.asset_class is AssetClass.EQUITY else series.source
        return (self.market or default).lower()

    def _type(self, series: Exported) -> str:
        if series.asset_class is None:
            raise ConfigError(
                f"{series.name}: LEAN sorts files by the kind of an instrument, and nobody has said which this is",
                fix=f"say --asset-class {' or '.join(_TYPES)}",
            )
        kind = _TYPES.get(series.asset_class)
        if kind is None:
            raise ConfigError(
                f"{series.name}: {series.asset_class} is not written for LEAN", fix=f"there is {', '.join(_TYPES)}"
            )
        return "cryptofuture" if kind == "crypto" and series.symbol.endswith(_PERPETUAL) else kind

    def _layout(self, series: Exported) -> LeanMarket:
        kind, market = self._type(series), self._market(series)
        layout = LEAN_MARKETS.get(f"{kind}/{market}") or LEAN_MARKETS.get(kind)
        if layout is None:
            known = sorted(name.partition("/")[2] for name in LEAN_MARKETS if name.startswith(f"{kind}/"))
            raise ConfigError(
                f"{series.name}: LEAN's zone of the {kind} market {market!r} is not known",
                fix=f"say --market, one of {', '.join(known)}",
            )
        return layout


def _contract(series: Exported) -> tuple[str, str]:
    """Root and contract month, `ES` and `202612`; two digits of a year are of 1970 to 2069, as in LEAN."""
    found = _FUTURE.fullmatch(series.symbol)
    if found is None:
        raise ConfigError(
            f"{series.name} is no futures contract", fix="export contracts such as ESZ26, or say another --asset-class"
        )
    root, letter, digits = found.groups()
    year = int(digits) + (1900 if int(digits) >= 70 else 2000)
    return root, f"{year}{_MONTHS.index(letter) + 1:02d}"


def _scaled(name: str, scale: int) -> pl.Expr:
    if scale == 1:
        return plain_text(name)
    decimals = len(str(scale)) - 1
    # An integer without a product, which could be too large for the type.
    digits = pl.col(name).round(decimals).cast(pl.String)
    whole, part = _halves(digits)
    text = whole + part.str.slice(0, decimals).str.pad_end(decimals, "0")
    sign = pl.when(text.str.starts_with("-")).then(pl.lit("-")).otherwise(pl.lit(""))
    unsigned = text.str.strip_prefix("-").str.strip_chars_start("0")
    return pl.when(unsigned == "").then(pl.lit("0")).otherwise(sign + unsigned).alias(name)


def _halves(digits: pl.Expr) -> Iterator[pl.Expr]:
    parts = digits.str.split_exact(".", 1)
    yield parts.struct.field("field_0")
    yield parts.struct.field("field_1").fill_null("")


def _add(folder: StagedFolder, name: str, member: str, lines: pl.Series, series: Exported) -> None:
    path = folder.path(name, series.name)
    entry = zipfile.ZipInfo(member, _ZIP_TIME)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(entry, "\n".join(lines.to_list()) + "\n")
