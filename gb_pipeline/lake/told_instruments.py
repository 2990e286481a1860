"""This module reads what somebody tells of instruments, a frame of any origin, into the columns that a lake stores, or refuses it.

What it means for the stored rows is decided in `instrument_changes`.
"""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from gb_pipeline.config import strict_yaml
from gb_pipeline.errors import ConfigError, InvalidSymbol, WindowRefused
from gb_pipeline.lake.datasets import INSTRUMENTS
from gb_pipeline.market.schema import polars_schema
from gb_pipeline.market.spelling import list_some, near_names
from gb_pipeline.market.symbol import AssetClass, symbol_code
from gb_pipeline.market.symbology import EARLIEST_DAY

_TYPES = polars_schema(INSTRUMENTS.columns)
# What can be told; whose word it is and since when is known to who writes it.
TOLD = pl.Schema({name: kind for name, kind in _TYPES.items() if name not in {"source", "fetched_at"}})
NUMBERS = ("tick_size", "multiplier", "strike")
_DATES = tuple(name for name, kind in TOLD.items() if kind == pl.Date())
_CODES = ("symbol", "instrument", "root", "underlying")
_CLASSES = [kind.value for kind in AssetClass]
# An option as the OCC writes it: underlying, day of expiry, right, and strike in thousandths.
_OCC = r"^([A-Z0-9.]{1,6})([0-9]{6})([CP])([0-9]{8})$"
_OCC_PARTS = ("underlying", "expiry", "option_right", "strike")
# A future: root, letter of the month, and year.
_CONTRACT = r"^([A-Z0-9]{1,6})[FGHJKMNQUVXZ][0-9]{2}$"
_RIGHTS = {"C": "call", "P": "put", "CALL": "call", "PUT": "put"}


def read_told(frame: pl.DataFrame) -> pl.DataFrame:
    """A frame as columns of `TOLD`.

    Args:
        frame: `symbol` and any other column of `TOLD`: dates also as ISO text, numbers also as text, integers or floats.
            Texts that are empty are not told.

    Returns:
        All columns of `TOLD`; `instrument` and `valid_from` null where they were not told.

    Raises:
        WindowRefused: a column that there is not, or a value that it cannot hold; its row is named.
    """
    unknown = [name for name in frame.columns if name not in TOLD]
    if unknown:
        near = near_names(unknown[0], TOLD.names())
        raise WindowRefused(
            f"instruments have no column {unknown[0]!r:.40}",
            fix=f"did you mean {near[0]}?" if near else f"use {', '.join(TOLD)}",
        )
    if "symbol" not in frame.columns:
        raise WindowRefused("the instruments have no column 'symbol'", fix="name the symbol of each row")
    texts = [name for name, kind in frame.schema.items() if kind == pl.String()]
    # A name is one line, whatever a vendor or a file has in it.
    line = {name: pl.col(name).str.replace_all(r"\p{C}+", " ").str.strip_chars().replace("", None) for name in texts}
    frame = frame.with_columns(**line)
    told = pl.DataFrame([_cast(frame, name) for name in TOLD], schema=TOLD)
    told = told.with_columns(
        _told_class(told),
        pl.col("option_right").str.to_uppercase().replace_strict(_RIGHTS, default=pl.col("option_right")),
    )
    told = _read_codes(told)
    _check(told)
    return told


def _read_codes(told: pl.DataFrame) -> pl.DataFrame:
    """What the code of an option or a future says, where nothing else was told: `AAPL260116C00190000`, `ESZ26`."""
    is_option = pl.col("asset_class") == AssetClass.OPTION.value
    is_future = pl.col("asset_class") == AssetClass.FUTURE.value
    part = {name: pl.col("symbol").str.extract(_OCC, number) for number, name in enumerate(_OCC_PARTS, 1)}
    said = {
        "underlying": part["underlying"],
        "expiry": (pl.lit("20") + part["expiry"]).str.to_date("%Y%m%d", strict=False),
        "option_right": part["option_right"].replace_strict(_RIGHTS, default=None),
        "strike": (part["strike"].str.head(5) + "." + part["strike"].str.tail(3)).cast(TOLD["strike"], strict=False),
    }
    root = pl.col("symbol").str.extract(_CONTRACT)
    return told.with_columns(
        *(pl.when(is_option).then(pl.coalesce(name, said[name])).otherwise(name).alias(name) for name in said),
        pl.when(is_future).then(pl.coalesce("root", root)).otherwise("root").alias("root"),
    )


def _cast(frame: pl.DataFrame, name: str) -> pl.Series:
    kind = TOLD[name]
    if name not in frame.columns:
        return pl.Series(name, [None], kind).new_from_index(0, frame.height)
    column = frame[name]
    source = column.cast(pl.String) if name in NUMBERS and column.dtype.is_float() else column
    if kind == pl.Date() and column.dtype == pl.String():
        read = column.str.to_date("%Y-%m-%d", strict=False)
    else:
        read = source.cast(kind, strict=False)
    lost = column.is_not_null() & read.is_null()
    if lost.any():
        row = lost.arg_max() or 0
        wanted = "a date such as 2022-06-09" if kind == pl.Date() else "a number" if name in NUMBERS else "text"
        raise WindowRefused(f"row {row + 1}: {name} {str(column[row])[:40]!r} cannot be read", fix=f"write {wanted}")
    return read.alias(name)


def _told_class(told: pl.DataFrame) -> pl.Series:
    """The asset class; what was not told follows from what only a class has."""
    return told.select(
        pl.coalesce(
            "asset_class",
            pl.when(pl.col("strike").is_not_null()).then(pl.lit(AssetClass.OPTION.value)),
            pl.when(pl.col("root").is_not_null()).then(pl.lit(AssetClass.FUTURE.value)),
            pl.lit(AssetClass.EQUITY.value),
        ).alias("asset_class")
    ).to_series()


def _check(told: pl.DataFrame) -> None:
    for name in _CODES:
        for code in told[name].drop_nulls().unique():
            try:
                symbol_code(code)
            except InvalidSymbol as error:
                row = (told[name] == code).arg_max() or 0
                raise WindowRefused(f"row {row + 1}: {name}: {error.what}", fix=error.fix) from None
    _refuse(told, pl.col("symbol").is_null(), lambda _: "no symbol", "name one")
    _refuse(
        told, ~pl.col("asset_class").is_in(_CLASSES), lambda row: f"{row['asset_class']!r:.40} is no asset class",
        f"use one of {', '.join(_CLASSES)}",
    )  # fmt: skip
    _refuse(
        told, ~pl.col("option_right").is_in(["call", "put"]), lambda row: f"option_right {row['option_right']!r:.40}",
        "use call or put",
    )  # fmt: skip
    _refuse(
        told, pl.any_horizontal(pl.col(name) <= 0 for name in ("tick_size", "multiplier")),
        lambda row: f"{row['symbol']} has a tick size of {row['tick_size']} and a multiplier of {row['multiplier']}",
        "use numbers above 0, or leave them out",
    )  # fmt: skip
    _refuse(
        told, pl.any_horizontal(pl.col(name) < EARLIEST_DAY for name in _DATES),
        lambda row: f"a date of {row['symbol']} lies before {EARLIEST_DAY}", "leave valid_from empty where it is not known",
    )  # fmt: skip
    _refuse(
        told, pl.col("valid_from") >= pl.col("valid_until"),
        lambda row: f"{row['symbol']} is valid from {row['valid_from']} until {row['valid_until']}, which is no day",
        "valid_until is the first day without the symbol",
    )  # fmt: skip
    twice = told.filter(pl.struct("symbol", "valid_from").is_duplicated())
    if twice.height:
        names = [
            f"{symbol} from {first or 'the beginning'}"
            for symbol, first in twice.select("symbol", "valid_from").unique().sort("symbol").rows()
        ]
        raise WindowRefused(f"told twice: {list_some(names)}", fix="name each symbol and day it begins on once")


def _refuse(told: pl.DataFrame, wrong: pl.Expr, what: Callable[[dict[str, object]], str], fix: str) -> None:
    rows = told.with_row_index("row", 1).filter(wrong)
    if rows.height:
        row = rows.row(0, named=True)
        raise WindowRefused(f"row {row['row']}: {what(row)}", fix=fix)


def read_file(text: bytes, name: str) -> pl.DataFrame:
    """Instruments from a file, as columns of `TOLD` that it has.

    Args:
        text: what is in it: CSV with a header, or YAML with a list of mappings.
        name: of the file; its ending says which.

    Raises:
        ConfigError: it is neither, or cannot be read.
    """
    import io

    suffix = name.rpartition(".")[2].lower()
    if suffix == "csv":
        try:
            return pl.read_csv(io.BytesIO(text), infer_schema=False, truncate_ragged_lines=False)
        except pl.exceptions.PolarsError as error:
            raise ConfigError(
                f"{name} cannot be read: {str(error).splitlines()[0]:.200}", fix="write CSV with a header"
            ) from None
    if suffix in {"yaml", "yml"}:
        return _read_yaml(text, name)
    raise ConfigError(f"{name} is neither CSV nor YAML", fix="name a file that ends in .csv or .yaml")


def _read_yaml(text: bytes, name: str) -> pl.DataFrame:
    """Scalars as they are written: ON is a ticker, and a price is no float."""
    import yaml

    try:
        written = text.decode()
    except UnicodeDecodeError:
        raise ConfigError(f"{name} is not UTF-8", fix="save it as UTF-8") from None
    strict_yaml.parse(written, name)
    tree = strict_yaml.compose(written, name)
    mappings = tree.value if isinstance(tree, yaml.SequenceNode) else [tree]
    if not all(isinstance(item, yaml.MappingNode) for item in mappings):
        raise ConfigError(
            f"{name} is not a list of instruments", fix="write one a line: - {symbol: FB, valid_from: 2012-05-18}"
        )
    rows = []
    for number, item in enumerate(mappings, 1):
        if not all(isinstance(node, yaml.ScalarNode) for pair in item.value for node in pair):
            raise ConfigError(
                f"entry {number} of {name} holds more than texts and numbers", fix="write one value for each"
            )
        rows.append({key.value: None if node.tag.endswith(":null") else node.value for key, node in item.value})
    names = list(dict.fromkeys(key for row in rows for key in row))
    return pl.DataFrame(
        {key: [row.get(key) for row in rows] for key in names}, schema=dict.fromkeys(names, pl.String())
    )
