"""`gb instruments set` tells a lake one row by hand: a new one, or a correction of what it knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from gb_pipeline.cli.instrument_report import open_to_write, report_written
from gb_pipeline.cli.options import Config, Json, LakeFolder, parse_day
from gb_pipeline.errors import ConfigError, WindowRefused

if TYPE_CHECKING:
    from datetime import date

    import polars as pl

    from gb_pipeline.lake.store import LakeStore


def set_row(
    code: Annotated[str, typer.Argument(metavar="SYMBOL", help="Such as META.", show_default=False)],
    values: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME=VALUE",
            help="Such as valid_until=2022-06-09; docs/symbology.md has the names.",
            show_default=False,
        ),
    ],
    row: Annotated[
        str | None, typer.Option(help="The row that begins on this day, to give it another one.", show_default=False)
    ] = None,
    source: Annotated[str, typer.Option(help="Whose word it is; `own` holds for every source.")] = "own",
    config: Config = None,
    lake: LakeFolder = None,
    as_json: Json = False,
) -> int:
    """Tell the lake one row by hand.

    The row of the symbol is changed: the one that begins at valid_from, or on the day of --row. Where only a vendor has told of it,
    your word begins with a copy of all that the vendor says of the instrument. With a valid_from at which no row begins, one is
    added.
    """
    said: dict[str, str] = {}
    for text in values:
        name, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"{text[:60]!r} is not NAME=VALUE", fix="write it as valid_from=2022-06-09")
        said[name.strip()] = value.strip()
    day = row or said.get("valid_from")
    first = None if not day else parse_day(day, "--row" if row else "valid_from")
    store = open_to_write(config, lake)
    frame, telling = _rows_with(store, source, code.strip().upper(), said, first, must_be=row is not None)
    try:
        report = store.write_instruments(frame, source=source, telling=telling)
    except WindowRefused as error:
        raise ConfigError(error.what.partition(": ")[2] or error.what, fix=error.fix) from None
    return report_written(report, as_json=as_json)


def _rows_with(
    store: LakeStore, source: str, code: str, said: dict[str, str], first: date | None, *, must_be: bool
) -> tuple[pl.DataFrame, str]:
    """What is to be told, and how: all rows of the instrument with one changed, or a row of its own.

    Raises:
        ConfigError: there are several rows, or none begins on the day that was named.
    """
    import polars as pl

    from gb_pipeline.lake import instruments
    from gb_pipeline.lake.told_instruments import TOLD
    from gb_pipeline.market.symbology import OWN, believed

    rows = instruments.read(store.tables)
    own = rows.filter(pl.col("source") == source)
    known = own if code in own["symbol"] else believed(rows, source) if source == OWN else own
    of_code = known.filter(pl.col("symbol") == code)
    days = of_code["valid_from"].unique().sort().to_list()
    chosen = of_code if first is None else of_code.filter(pl.col("valid_from") == first)
    if len(days) > 1 and first is None:
        listed = "say which one: " + " or ".join(f"--row {day}" for day in days)
        raise ConfigError(
            f"{code} stands in several rows of {' and '.join(of_code['source'].unique().sort())}", fix=listed
        )
    if must_be and chosen.is_empty():
        raise ConfigError(
            f"no row of {code} begins on {first}",
            fix=f"there is one from {' and '.join(map(str, days))}" if days else "",
        )
    changed: dict[str, Any] = {"symbol": code} | said
    if chosen.is_empty():
        return pl.DataFrame([changed]), "rows"
    [old] = chosen.head(1).select(TOLD.names()).cast(pl.String).to_dicts()
    new = pl.DataFrame([old | changed])
    if "instrument" in said:
        return new, "rows"
    others = known.filter(pl.col("instrument") == old["instrument"]).select(TOLD.names()).cast(pl.String)
    others = others.filter(~((pl.col("symbol") == code) & (pl.col("valid_from") == old["valid_from"])))
    return pl.concat([others, new.select(pl.all().cast(pl.String))], how="diagonal"), "history"
