"""This module turns the frames of a run into rows of the tables and back, without changing a number or its type.

Floats go to a column of floats and decimals and integers to a column of exact numbers; what the types were is stated in the
`contents` of the run. What does not fit is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl

from gb_pipeline.errors import NaiveTimestamp, WindowRefused
from gb_pipeline.market.moments import INSTANT
from gb_pipeline.market.repeated import repeated
from gb_pipeline.market.result_schema import EXACT_DIGITS
from gb_pipeline.research.results.digests import frame_digest
from gb_pipeline.research.results.run import check_text

EXACT = pl.Decimal(*EXACT_DIGITS)
_DECIMAL = re.compile(r"Decimal\(precision=(\d+), scale=(\d+)\)")
_PLAIN: dict[str, pl.DataType] = {
    str(kind): kind
    for kind in (
        pl.Float64(), pl.Float32(), pl.Int8(), pl.Int16(), pl.Int32(), pl.Int64(), pl.Int128(),
        pl.UInt8(), pl.UInt16(), pl.UInt32(), pl.UInt64(),
    )
}  # fmt: skip
# Required and optional columns of numbers and of text.
_LAYOUTS = {
    "fills": (("quantity", "price"), ("fee",), ("side", "currency", "order_id")),
    "positions": (("quantity",), ("price", "value", "cost_basis"), ()),
}


@dataclass(frozen=True)
class Part:
    """One part of a run.

    Attributes:
        rows: columns of the table without the names of the run.
        contents: rows, columns with types as they were given, and the digest: what `contents` of the run says of it.
    """

    rows: pl.DataFrame
    contents: dict[str, Any]


def equity_part(frame: pl.DataFrame, where: str) -> Part:
    """Curves as one row per curve and moment.

    Raises:
        WindowRefused, NaiveTimestamp: moments are missing, twice there or finer than a microsecond, or a curve is no numbers.
    """
    stamps, order = _moments(frame, where)
    names = [name for name in frame.columns if name != "timestamp"]
    if not names:
        raise WindowRefused(f"{where} has no curve", fix="add a column of numbers, such as `equity`")
    numbers = stamps.cast(pl.Int64).to_numpy()
    same = numbers[1:] == numbers[:-1]
    if same.any():
        twice = stamps[1:].filter(pl.Series(same))[0]
        raise WindowRefused(f"{where} has {twice} more than once", fix="keep one row per moment")
    columns = {
        check_text(name, f"a curve of {where}"): _ordered(_split(frame[name], f"{where}: {name}"), order)
        for name in names
    }
    wide = pl.DataFrame([stamps, *(column.alias(name) for name, column in columns.items())])
    tall = [
        pl.DataFrame([repeated("name", name, pl.String(), wide.height), stamps, *_halves("value", wide[name])])
        for name in sorted(names)
    ]
    return Part(tall[0] if len(tall) == 1 else pl.concat(tall), _contents(frame, wide))


def restore_equity(rows: pl.DataFrame, contents: Mapping[str, Any]) -> pl.DataFrame:
    """The curves as they were given, sorted by time."""
    curves = {str(name): part for (name,), part in rows.partition_by("name", as_dict=True).items()}
    columns: dict[str, pl.Series] = {}
    for name, kind in contents["columns"]:
        if name == "timestamp":
            columns[name] = (
                next(iter(curves.values()))[name].cast(_type_of(kind))
                if curves
                else pl.Series(name, [], _type_of(kind))
            )
        else:
            half = curves.get(name, rows)
            columns[name] = _join("value", half, kind).alias(name)
    return pl.DataFrame(columns)


def events_part(what: str, frame: pl.DataFrame, where: str) -> Part:
    """Fills or positions, in the order in which they were given where moments are the same.

    Raises:
        WindowRefused, NaiveTimestamp: columns are missing or unknown, or of a type that cannot be kept.
    """
    required, optional, texts = _LAYOUTS[what]
    known = ("timestamp", "symbol", *required, *optional, *texts)
    missing = [name for name in ("timestamp", "symbol", *required) if name not in frame.columns]
    unknown = [name for name in frame.columns if name not in known]
    if missing or unknown:
        told = (
            f"no column {', '.join(missing)}"
            if missing
            else f"the column{'s' * (len(unknown) > 1)} {', '.join(unknown[:8])}"
        )
        raise WindowRefused(
            f"{where} has {told}",
            fix=f"name columns {', '.join(known)}; what has no place there can be saved as an artifact",
        )
    stamps, order = _moments(frame, where)
    columns: dict[str, pl.Series] = {"timestamp": stamps}
    rows: dict[str, pl.Series] = {"ordinal": pl.int_range(len(stamps), eager=True, dtype=pl.Int64), "timestamp": stamps}
    for name in known[1:]:
        if name in required or name in optional:
            numbers = _ordered(_split(frame[name], f"{where}: {name}"), order) if name in frame.columns else None
            if numbers is not None:
                columns[name] = numbers
            halves = _halves(name, repeated("none", None, pl.Float64(), len(stamps)) if numbers is None else numbers)
            rows |= {half.name: half for half in halves}
        else:
            text = (
                _ordered(frame[name], order)
                if name in frame.columns
                else repeated("none", None, pl.String(), len(stamps))
            )
            rows[name] = _text(text, f"{where}: {name}")
            if name in frame.columns:
                columns[name] = rows[name]
    if rows["symbol"].null_count():
        raise WindowRefused(f"{where} has a row without a symbol", fix="name what was traded")
    return Part(pl.DataFrame(rows), _contents(frame, pl.DataFrame(columns)))


def restore_events(rows: pl.DataFrame, contents: Mapping[str, Any]) -> pl.DataFrame:
    """Fills or positions as they were given."""
    columns = {}
    for name, kind in contents["columns"]:
        if name in rows.columns and not kind.startswith(("Decimal", *_PLAIN)):
            columns[name] = rows[name].cast(_type_of(kind))
        else:
            columns[name] = _join(name, rows, kind).alias(name)
    return pl.DataFrame(columns)


def metrics_part(metrics: Mapping[str, Any], where: str) -> Part:
    """Metrics as rows; the contents state which are floats, integers and decimals.

    Raises:
        WindowRefused: one is no number, or has more digits than are kept.
    """
    floats: list[float | None] = []
    exact: list[Decimal | None] = []
    types: dict[str, str] = {}
    names = sorted(metrics)
    for name in names:
        value = metrics[check_text(name, f"a metric of {where}")]
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
            raise WindowRefused(
                f"{where}: the metric {name} is {str(value)[:40]!r}, a {type(value).__name__}",
                fix="metrics are float, int or Decimal; keep other values as parameters or tags",
            )
        types[name] = "float" if isinstance(value, float) else "decimal" if isinstance(value, Decimal) else "int"
        floats.append(value if isinstance(value, float) else None)
        exact.append(None if isinstance(value, float) else _fitting(value, f"{where}: {name}"))
    nothing = repeated("value_exact", None, EXACT, len(names))
    rows = pl.DataFrame(
        [
            pl.Series("name", names, pl.String),
            pl.Series("value", floats, pl.Float64),
            pl.Series("value_exact", exact, EXACT) if any(item is not None for item in exact) else nothing,
        ]
    )
    return Part(rows, {"rows": len(names), "types": types, "digest": frame_digest(rows)})


def restore_metrics(rows: pl.DataFrame, contents: Mapping[str, Any]) -> dict[str, Any]:
    """Metrics as they were given; decimals without trailing zeros."""
    found: dict[str, Any] = {}
    for name, value, exact in rows.select("name", "value", "value_exact").iter_rows():
        kind = contents["types"][name]
        found[name] = value if kind == "float" else int(exact) if kind == "int" else _shortest(exact)
    return found


def plain_metrics(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Metrics as they come back: decimals without trailing zeros, Python's own numbers."""
    found = {name: value.item() if isinstance(value, np.generic) else value for name, value in metrics.items()}
    return {
        name: _shortest(value) if isinstance(value, Decimal) and value.is_finite() else value
        for name, value in found.items()
    }


def _shortest(value: Decimal) -> Decimal:
    text = f"{value:f}"
    return Decimal(text.rstrip("0").rstrip(".") if "." in text else text)


def _fitting(value: int | Decimal, where: str) -> Decimal:
    number = Decimal(value)
    if not number.is_finite():
        raise WindowRefused(f"{where} is {value}", fix="use a float for what is no number")
    digits, scale = EXACT_DIGITS
    if number.adjusted() >= digits - scale or (number and number.normalize().as_tuple().exponent < -scale):  # type: ignore[operator]
        raise _too_long(where, value)
    return number


def _too_long(where: str, value: object) -> WindowRefused:
    digits, scale = EXACT_DIGITS
    return WindowRefused(
        f"{where}: {value} has more than {digits - scale} digits before or {scale} behind the point",
        fix="round it, or use floats",
    )


def _ordered(column: pl.Series, order: pl.Series | None) -> pl.Series:
    return column if order is None else column.gather(order)


def _split(column: pl.Series, where: str) -> pl.Series:
    """A column of numbers as Float64, or exactly as decimals."""
    kind = column.dtype
    if kind == pl.Null or kind.is_float():
        return column.cast(pl.Float64)
    if not (kind.is_integer() or isinstance(kind, pl.Decimal)):
        raise WindowRefused(f"{where} is of type {kind}", fix="use floats, decimals or integers")
    exact = column.cast(EXACT, strict=False)
    back = exact.cast(kind, strict=False)
    wrong = ~back.eq_missing(column)
    if wrong.any():
        raise _too_long(where, column.filter(wrong)[0])
    return exact


def _halves(name: str, numbers: pl.Series) -> tuple[pl.Series, pl.Series]:
    """The columns of floats and of exact numbers; one of them is empty."""
    if numbers.dtype == pl.Float64:
        return numbers.alias(name), repeated(f"{name}_exact", None, EXACT, len(numbers))
    return repeated(name, None, pl.Float64(), len(numbers)), numbers.alias(f"{name}_exact")


def _join(name: str, rows: pl.DataFrame, kind: str) -> pl.Series:
    wanted = _type_of(kind)
    return rows[name if wanted.is_float() or wanted == pl.Null else f"{name}_exact"].cast(wanted)


def _type_of(text: str) -> pl.DataType:
    if match := _DECIMAL.fullmatch(text):
        return pl.Decimal(int(match[1]), int(match[2]))
    if text in _PLAIN:
        return _PLAIN[text]
    named: dict[str, pl.DataType] = {
        "Date": pl.Date(),
        "String": pl.String(),
        "Null": pl.Null(),
        "Categorical": pl.String(),
    }
    return named.get(text, INSTANT)


def _moments(frame: pl.DataFrame, where: str) -> tuple[pl.Series, pl.Series | None]:
    """Moments in microseconds, sorted, and the order of the rows by them; None where they lie in it."""
    if "timestamp" not in frame.columns:
        raise WindowRefused(f"{where} has no column timestamp", fix="name the moments `timestamp`")
    stamps = frame["timestamp"]
    if stamps.null_count():
        raise WindowRefused(f"{where} has a row without a moment", fix="give each row a timestamp")
    if isinstance(stamps.dtype, pl.Datetime):
        if stamps.dtype.time_zone is None:
            raise NaiveTimestamp(
                f"{where} has timestamps without a zone",
                fix='add one: frame.with_columns(pl.col("timestamp").dt.replace_time_zone("UTC"))',
            )
        if stamps.dtype.time_unit == "ns":
            fine = stamps.cast(pl.Datetime("us", stamps.dtype.time_zone)).cast(stamps.dtype) != stamps
            if fine.any():
                raise WindowRefused(
                    f"{where}: {stamps.filter(fine)[0]} is finer than a microsecond",
                    fix='use pl.col("timestamp").dt.cast_time_unit("us")',
                )
        if stamps.dtype != INSTANT:
            stamps = stamps.cast(pl.Datetime("us", stamps.dtype.time_zone)).dt.convert_time_zone("UTC")
    elif stamps.dtype == pl.Date:
        stamps = stamps.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    else:
        raise WindowRefused(f"{where} has timestamps of type {stamps.dtype}", fix="use Datetime with a zone, or Date")
    stamps = stamps.alias("timestamp")
    numbers = stamps.cast(pl.Int64).to_numpy()
    if not (numbers[1:] < numbers[:-1]).any():
        return stamps, None
    order = pl.Series(np.argsort(numbers, kind="stable").astype(np.uint32))
    return stamps.gather(order), order


def _text(column: pl.Series, where: str) -> pl.Series:
    if column.dtype in (pl.String, pl.Null) or isinstance(column.dtype, pl.Categorical | pl.Enum):
        return column.cast(pl.String)
    raise WindowRefused(f"{where} is of type {column.dtype}", fix="use text")


def _contents(given: pl.DataFrame, normal: pl.DataFrame) -> dict[str, Any]:
    columns = [[name, _type_text(kind)] for name, kind in given.schema.items()]
    return {"rows": normal.height, "columns": columns, "digest": frame_digest(normal)}


def _type_text(kind: pl.DataType) -> str:
    return (
        "String"
        if isinstance(kind, pl.Categorical | pl.Enum)
        else "Datetime"
        if isinstance(kind, pl.Datetime)
        else str(kind)
    )


def list_curves(contents: Mapping[str, Any]) -> Sequence[str]:
    """The names of the curves that a run has."""
    return [name for name, _ in contents.get("columns", []) if name != "timestamp"]
