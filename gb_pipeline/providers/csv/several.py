"""This module knows whose lines are whose in a file that holds several instruments.

It refuses one that was taken for the file of one. Instruments side by side, a block of fields each, are left to `columns`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import polars as pl

from gb_pipeline.errors import PermanentVendorError
from gb_pipeline.market.spelling import list_some
from gb_pipeline.providers.csv.columns import Columns
from gb_pipeline.providers.csv.lines import field, split, whole
from gb_pipeline.providers.csv.options import CsvOptions

# What vendors call the column that says which instrument a line is of, in small letters without blanks and signs. Where one of the
# first names a single instrument the others are something else: the id of a continuous future changes at every roll.
_CERTAIN = frozenset({
    "symbol", "symbols", "sym", "ticker", "tickers", "tic", "ric", "isin", "cusip", "sedol", "figi", "wkn", "tscode", "epic",
    "tradingsymbol", "localsymbol", "actsymbol", "optionsymbol",
})  # fmt: skip
_LIKELY = frozenset({
    "instrument", "instruments", "instrumentid", "instrumentname", "instrumenttoken", "rawsymbol", "secid", "securityid",
    "security", "permno", "permco", "gvkey", "sid", "stock", "stockcode", "scrip", "code", "name", "asset", "assetid", "pair",
    "currencypair", "product", "productid", "coin", "crypto",
})  # fmt: skip
# A value that may be shown: the code of an instrument, and no line of a file that is none of bars.
_CODE = re.compile(r"[\w.:/^=&-]{1,24}(?: [\w.:/^=&-]{1,24}){0,3}")
_MARK = "mark of "
# So many pairs of lines that name nobody and instruments are compared at most; more such lines refuse the file in any case.
_MOST_PAIRS = 1_000_000
# Stamps that repeat in more lines than this share, told apart by one column, are those of several instruments.
_REPEATED = 0.2
# Bytes of lines that are looked at for such a column: all fields of a large file are never held at once.
_SAMPLE = 4 * 2**20
# Lines in which the source's own spellings are looked for, in columns of any name or none.
_FIRST_LINES = 1000


def owners(lines: pl.DataFrame, columns: Columns, known: frozenset[str]) -> tuple[pl.DataFrame, set[str]]:
    """The lines that are ours, with `owner`, and some of what instruments of other lines are called.

    Args:
        lines: with `fields` and `whole`.
        columns: where the instrument's name stands, if it does, and what a line must say.
        known: what our instruments are called.

    Returns:
        A line that is not whole stays, whatever stands in it: whose it was cannot be known, and it must not vanish.
    """
    for position, values in columns.filters.items():
        lines = lines.filter(~pl.col("whole") | field(position).is_in(values).fill_null(False))
    if columns.symbol is None:
        return lines.with_columns(owner=pl.lit(None, pl.String())), set()
    name = field(columns.symbol)
    lines = lines.with_columns(name.alias("owner"), name.is_in(list(known)).fill_null(False).alias("ours"))
    foreign = pl.col("whole") & ~pl.col("ours") & (pl.col("owner").fill_null("") != "")
    others = lines.filter(foreign)["owner"].unique().head(20)
    kept = lines.filter(~foreign).with_columns(owner=pl.when("ours").then("owner"))
    return kept.drop("ours"), {str(other) for other in others}


def place_unnamed(lines: pl.DataFrame) -> pl.DataFrame:
    """The lines with `unnamed`, each with an `owner` to whose account it goes; nothing of a line that names nobody is believed.

    Args:
        lines: with `timestamp`, `whole` and `owner`, null where a line names nobody.

    Returns:
        Such a line goes to the instrument of the line before it (the first ones: after it). Where that has a bar of the same stamp
        already, it goes to the first one that has none, whose bar it may be. Its `timestamp` is null, and `latest` if there is one.
    """
    nobodys = lines["owner"].is_null()
    near = lines["owner"].forward_fill().backward_fill()
    names = near.drop_nulls().unique().sort()
    lines = lines.with_columns(near, unnamed=nobodys & lines["whole"])
    some = lines.filter("unnamed").filter(pl.col("timestamp").is_not_null()).select("line", "timestamp", "owner")
    if some.height and len(names) > 1 and some.height * len(names) <= _MOST_PAIRS:
        present = lines.filter(~nobodys & lines["timestamp"].is_in(some["timestamp"].implode()))
        free = some.rename({"owner": "near"}).join(names.alias("owner").to_frame(), how="cross")
        free = free.join(present, on=["timestamp", "owner"], how="anti")
        free = free.with_columns(other=pl.col("near") != pl.col("owner")).sort("line", "other", "owner")
        chosen = free.unique("line", keep="first").select("line", pl.col("owner").alias("free"))
        lines = lines.join(chosen, on="line", how="left", maintain_order="left")
        lines = lines.with_columns(pl.coalesce("free", "owner").alias("owner")).drop("free")
    stamps = [name for name in ("timestamp", "latest") if name in lines.columns]
    return lines.with_columns(pl.when(~pl.col("unnamed")).then(name).alias(name) for name in stamps)


def marks(columns: Columns, first: pl.Series, known: frozenset[str], options: CsvOptions) -> dict[str, int]:
    """Columns that name an instrument although nobody mapped them: names under which their fields are kept, and positions.

    Args:
        columns: of the file.
        first: the first of its lines.
        known: what our instruments are called: a column that holds one of them names instruments, whatever its own name.
        options: with the preset filled in.
    """
    if columns.symbol is not None or columns.side_by_side:
        return {}
    fields = pl.DataFrame({"fields": split(first.head(_FIRST_LINES), options.delimiter)})
    ours = [at for at in columns.unused if fields.select(field(at).is_in(list(known)).any()).item()]
    named = [at for at, name in columns.unused.items() if re.sub(r"[\W_]", "", name.lower()) in _CERTAIN | _LIKELY]
    return {f"{_MARK}{at}": at for at in dict.fromkeys([*named, *ours])}


def refuse_several(
    lines: pl.DataFrame, columns: Columns, marked: Mapping[str, int], where: str, options: CsvOptions
) -> str | None:
    """The one instrument that a file of one names, None where it names none.

    Args:
        lines: all of them, with `timestamp`, `received` and the fields of `marked`.
        columns: of the file.
        marked: as from `marks`.
        where: the file's name.
        options: with the preset filled in.

    Raises:
        PermanentVendorError: it names several.
    """
    if columns.symbol is not None or columns.side_by_side:
        return None
    values = {at: _values(lines[mark]) for mark, at in marked.items()}
    certain = [at for at in values if re.sub(r"[\W_]", "", columns.name(at).lower()) in _CERTAIN]
    single = [values[at][0] for at in certain if len(values[at]) == 1]
    for at, names in values.items():
        if len(names) > 1 and (at in certain or not single):
            raise _several(where, columns.label(at), names)
    _refuse_interleaved(lines, columns, where, options)
    return next((names[0] for names in [*([single] if single else []), *values.values()] if names), None)


def refuse_unfiltered(first: pl.DataFrame, columns: Columns, where: str) -> PermanentVendorError:
    """The error for a filter that no line passes: an answer without rows would be taken for the truth.

    Args:
        first: some lines, with `fields`.
        columns: of the file.
        where: its name.
    """
    said = []
    for at, wanted in columns.filters.items():
        values = _values(first.select(field(at)).to_series())
        telling = all(_CODE.fullmatch(value) for value in values[:8])
        said.append(
            f"{columns.label(at)!r} is {' or '.join(wanted)}" + (f" (it is {list_some(values, 5)})" if telling else "")
        )
    return PermanentVendorError(f"{where} has no line whose {' and '.join(said)}", fix="check the option `filter`")


def _values(column: pl.Series) -> list[str]:
    return [value for value in column.drop_nulls().unique(maintain_order=True).to_list() if value != ""]


def _refuse_interleaved(lines: pl.DataFrame, columns: Columns, where: str, options: CsvOptions) -> None:
    """A column of any name that tells repeated stamps apart: `A` and `B` of each day."""
    stamps = lines["timestamp"].drop_nulls()
    if len(stamps) - stamps.n_unique() <= _REPEATED * len(stamps):
        return
    lines = lines.filter(pl.col("received").str.len_bytes().cum_sum() <= _SAMPLE)
    cut = lines.select("timestamp", "received").with_columns(split(lines["received"], options.delimiter))
    cut = cut.filter(whole(columns.width) & pl.col("timestamp").is_not_null())
    for position in columns.unused:
        column = cut.select(field(position)).to_series().alias("value")
        values = _values(column)
        # Few values, none of them a number, and each stamp once of each: that is a name.
        if not 1 < len(values) <= len(column) / 2 or any(
            re.fullmatch(r"[-+.,0-9eE%]*", value) for value in values[:50]
        ):
            continue
        pairs = cut.select("timestamp").with_columns(column)
        if pairs.n_unique() == pairs.height:
            raise _several(where, columns.label(position), values)


def _several(where: str, column: str | int, values: list[str]) -> PermanentVendorError:
    telling = all(_CODE.fullmatch(value) for value in values[:8])
    shown = f": {list_some(values, 5)}" if telling else ""
    example = values[0] if telling else "..."
    return PermanentVendorError(
        f"{where} holds {len(values)} instruments, by its column {column!r}{shown}",
        fix=f"`columns: {{symbol: {column}}}` reads the lines of each symbol, by its `vendor` spelling; "
        f"`filter: {{{column}: {example}}}` reads those of one",
    )
