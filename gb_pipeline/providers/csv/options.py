"""This module validates what gb.yaml says about a folder of delimited text files: the `options` of a CSV source.

What vendors' files look like is in `presets`; files are read by `files`, `rows` and `stamps`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from gb_pipeline.config.suggestions import describe_problems, suggest_zone
from gb_pipeline.errors import ConfigError
from gb_pipeline.providers.csv.stamp_format import EPOCHS, StampFormat

if TYPE_CHECKING:
    from gb_pipeline.config.settings import SourceSettings

PLACEHOLDERS = (
    "symbol", "symbol_lower", "vendor", "ticker", "underlying", "expiry", "right", "strike", "resolution", "resolution_name",
    "date", "field",
)  # fmt: skip
Column = str | int
ColumnName = Literal[
    "timestamp", "date", "time", "symbol", "open", "high", "low", "close", "volume", "trade_count", "vwap", "ask_close"
]
# Our own names, so that a file written with them needs no mapping; the first of several names that is there wins.
DEFAULT_COLUMNS: dict[str, Column | list[Column]] = {
    "timestamp": ["timestamp", "datetime", "date"],
    **{name: name for name in ("open", "high", "low", "close", "volume")},
}


class CsvOptions(BaseModel):
    """Options of a source with `provider: csv`; unset ones come from the preset.

    Example:
        >>> CsvOptions.read({"path": "/data/{symbol}.csv", "timezone": "America/New_York"}).stamp
        'open'
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    preset: Literal["generic", "yahoo", "yfinance", "wiki", "investing", "ninjatrader", "lean"] = Field(
        default="generic", description="a vendor's layout; every other option overrides it"
    )
    root: Path = Field(
        default=Path(), description="folder that `path` starts from, relative to gb.yaml, whose own by default"
    )
    path: str | None = Field(
        default=None,
        min_length=1,
        description="files of one symbol, with globs (* ? ** [..]) and {symbol} BTC-USD, {symbol_lower} btc-usd, "
        "{ticker} btcusd, {vendor} the symbol's own vendor spelling, {underlying} es and {expiry} 201312 of the future "
        "ESZ13, {underlying}, {expiry} 20240119, {right} call and {strike} 1900000 of an option as LEAN writes them, "
        "{resolution} 1m, {resolution_name} minute, {date} YYYYMMDD of a file that holds one day, {field} close of a wide "
        "layout with a file for each number",
    )
    member: str | None = Field(
        default=None, description="files inside a zip, same globs and placeholders; needed when it holds several"
    )
    lean_market: str | None = Field(
        default=None, description="with preset lean: type/market as in LEAN's folders, such as forex/oanda"
    )
    quote_side: Literal["bid", "ask"] | None = Field(
        default=None, description="with preset lean: read quote bars and store this side; bid notices crossed quotes"
    )
    delimiter: str = Field(default=",", description="one character, or `whitespace` for any run of spaces and tabs")
    header: bool = Field(default=True, description="the first line names the columns")
    columns: dict[ColumnName, Column | list[Column]] = Field(
        default_factory=dict,
        description="our name -> the file's column: its name, its 0-based position, or a list of which the first "
        "present counts. `timestamp`, or `date` and `time` where they are apart; `symbol` names the instrument of each line, "
        "by its `vendor` spelling",
    )
    layout: Literal["long", "wide"] = Field(
        default="long",
        description="wide: a column for each instrument, by its `vendor` spelling; its cells are what {field} in `path` "
        "says, or else all four prices",
    )
    filter: dict[Column, str | list[str]] = Field(
        default_factory=dict, description="the file's column -> its value, or values, in the lines that are read"
    )
    timezone: str | None = Field(
        default=None, description="zone of stamps that carry no offset; needed for them unless bars are daily or longer"
    )
    ambiguous: Literal["earliest", "latest", "order"] | None = Field(
        default=None,
        description="which one a local time that occurs twice means, or `order` (`infer`): the lines before the clock goes back "
        "are of the first hour, those behind of the second; unset: such rows are quarantined",
    )
    stamp: Literal["open", "close"] = Field(default="open", description="which end of the bar the stamp is")
    timestamp_format: str = Field(
        default="iso", description="iso, a strptime format, unix_s, unix_ms, unix_us, unix_ns, unix_auto, or ms_of_day"
    )
    date_format: str = Field(
        default="%Y%m%d", description="strptime format of the `date` column beside ms_of_day stamps"
    )
    price_scale: int = Field(
        default=1, description="prices are integers of this unit: 10000 stores 123400 as 12.34, exactly; a power of ten"
    )
    decimal_comma: bool = Field(default=False, description="numbers are written 12,34")
    thousands: Literal[",", ".", " ", "'"] | None = Field(default=None, description="what groups digits: 1,234.5")
    suffixes: bool = Field(default=False, description="numbers may end in K, M, B or T: 58.41M is 58410000")
    null_values: tuple[str, ...] = Field(
        default=("", "null", "Null", "NULL", "None", "NaN", "nan", "NA", "N/A", "n/a", "#N/A", "<NA>"),
        description="texts that stand for an absent number",
    )
    volume: Literal["column", "none"] = Field(
        default="column", description="none: the vendor has no volume (a 0 there means unknown), 0 is stored"
    )
    skip_rows: int = Field(default=0, ge=0, description="lines to skip before the header or the first row")
    comment: str | None = Field(default=None, min_length=1, description="lines that start so are no rows")
    encoding: str = Field(default="utf-8", description="of the text, any codec of Python; a byte-order mark is removed")
    missing_date: Literal["refuse", "empty"] = Field(
        default="refuse", description="what a session without its {date} file is: an error, or no bars"
    )

    max_megabytes: int = Field(
        default=1024,
        gt=0,
        description="a file that holds more is refused, counted unpacked; reading takes some five times that",
    )
    max_ratio: int = Field(
        default=100,
        gt=0,
        description="a packed file that grows more than so many times is refused: text packs 5 to 20 times",
    )
    follow_links: bool = Field(default=False, description="whether links may lead out of `root`")

    @property
    def mapped(self) -> dict[str, Column | list[Column]]:
        """`columns`, by plain names."""
        return {str(name): column for name, column in self.columns.items()}

    @classmethod
    def read(cls, raw: dict[str, Any], where: str = "options") -> CsvOptions:
        """Validate what stands in gb.yaml.

        Raises:
            ConfigError: an unknown name or an unusable value; the message names it, `where` says whose it is.
        """
        try:
            return cls.model_validate(raw)
        except ValidationError as error:
            raise ConfigError(
                f"{where} of the csv provider: {describe_problems(error, cls)}",
                fix=f"options are {', '.join(cls.model_fields)}",
            ) from None

    @classmethod
    def of_source(cls, source: SourceSettings) -> CsvOptions:
        """The options of a source of gb.yaml, their `root` made absolute.

        Raises:
            ConfigError: unusable options; the message names source and option.
        """
        options = cls.read(source.options, f"options of source {source.name!r}")
        return options.model_copy(update={"root": source.folder / options.root.expanduser()})

    @field_validator("delimiter")
    @classmethod
    def _one_character(cls, value: str) -> str:
        if value != "whitespace" and (len(value) != 1 or value in '\n\r"'):
            raise ValueError("use one character, or `whitespace`")
        return value

    @field_validator("path", "member")
    @classmethod
    def _known_placeholders(cls, value: str | None) -> str | None:
        unknown = sorted(set(re.findall(r"\{([^{}]*)\}", value or "")) - set(PLACEHOLDERS))
        if unknown:
            raise ValueError(f"unknown placeholder {unknown[0]!r}; use {', '.join(PLACEHOLDERS)}")
        if ".." in re.split(r"[/\\\\]", value or ""):
            raise ValueError("`..` leads out of `root`; set `root` to the folder of the files")
        if "**" in (value or "").partition("{date}")[2]:
            raise ValueError("`**` cannot follow {date}")
        return value

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str | None) -> str | None:
        try:
            return value and ZoneInfo(value).key
        except (ZoneInfoNotFoundError, ValueError, OSError):
            near = suggest_zone(str(value), "write Europe/Berlin, UTC, or Etc/GMT+5 for UTC-05")
            raise ValueError(f"{value!r} is no IANA zone; {near}") from None

    @field_validator("ambiguous", mode="before")
    @classmethod
    def _pandas_word(cls, value: Any) -> Any:
        return "order" if value == "infer" else value

    @field_validator("filter", mode="before")
    @classmethod
    def _values_are_texts(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        # What YAML reads as a number or a truth value stands as text in a file.
        if any(isinstance(item, bool | float) or item is None for own in value.values() for item in _listed(own)):
            raise ValueError("put values into quotes")
        return {name: [str(item) for item in _listed(own)] for name, own in value.items()}

    @field_validator("timestamp_format", "date_format")
    @classmethod
    def _known_codes(cls, value: str) -> str:
        if value not in EPOCHS and value not in {"iso", "ms_of_day"}:
            StampFormat.compile(value)
        return value

    @field_validator("encoding")
    @classmethod
    def _known_codec(cls, value: str) -> str:
        try:
            "".encode(value)
        except LookupError:
            raise ValueError(f"unknown encoding {value!r}") from None
        return value

    @field_validator("price_scale")
    @classmethod
    def _power_of_ten(cls, value: int) -> int:
        # Only tenths end: a price divided by 32 or 3 could not be stored as the exact text that the file implies.
        if not re.fullmatch(r"10{0,12}", str(value)):
            raise ValueError("use a power of ten, such as 10000")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> CsvOptions:
        if {"date", "time"} & set(self.columns) and "timestamp" in self.columns:
            raise ValueError("columns: give timestamp, or date and time, not both")
        if self.thousands == ("," if self.decimal_comma else "."):
            raise ValueError(f"thousands: {self.thousands!r} is the decimal sign; set `decimal_comma` or another one")
        if "{field}" in (self.path or "") and self.layout != "wide":
            raise ValueError("path: {field} belongs to `layout: wide`")
        if self.layout == "wide" and "symbol" in self.columns:
            raise ValueError("columns: in a wide layout the header names the symbols, not a column")
        if (self.lean_market or self.quote_side) and self.preset != "lean":
            raise ValueError("lean_market and quote_side belong to preset lean")
        if self.preset == "lean" and not self.lean_market:
            raise ValueError("preset lean needs lean_market, such as crypto/coinbase")
        if self.path is None and self.preset != "lean":
            raise ValueError("path is missing: say where a symbol's file is, such as data/{symbol}.csv")
        return self


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
