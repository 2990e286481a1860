"""`gb delete` of trades, quotes and books, which are purged. How that is done is in `lake.stream_purging`."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from gb_pipeline.cli.confirming import confirm
from gb_pipeline.cli.names import select_one, stored_names, stream_names
from gb_pipeline.cli.options import split_series
from gb_pipeline.cli.output import ExitCode, format_size, note, print_table
from gb_pipeline.errors import ConfigError
from gb_pipeline.market.spelling import format_count

if TYPE_CHECKING:
    import polars as pl

    from gb_pipeline.config.settings import Settings
    from gb_pipeline.reading.lake import Lake

_ALL = "streams"
# What may stand for a resolution: a stream, or all of a symbol.
STREAMS = ("trades", "quotes", "book_updates", "book_snapshots", _ALL)


def purge_named_streams(
    lake: Lake,
    settings: Settings | None,
    series: str,
    kind: str,
    days: tuple[date | None, date | None],
    reason: str | None,
    *,
    purge: bool,
    undo: bool,
    dry_run: bool,
    yes: bool,
) -> int:
    """Remove streams of a symbol, or of a source as a whole (`SOURCE:*`), for good.

    Raises:
        ConfigError: what cannot be done with streams, or nobody confirmed it.
        UnknownSeries: the lake has none of it.
    """
    if undo:
        raise ConfigError("what was purged cannot be undone", fix="import or collect it again")
    if not purge:
        raise ConfigError(
            f"{kind} have no versions that could be read afterwards: they can only be removed for good",
            fix="say --purge, and look first with --dry-run",
        )
    if kind == "book_snapshots":
        raise ConfigError("snapshots belong to the book of its updates", fix="name book_updates, which takes both")
    source, symbol = _named(lake, series, settings)
    dataset = None if kind == _ALL else kind
    found = lake.store.purge_streams(source, symbol, dataset, *days, reason="", dry_run=True)
    if not dry_run and not (reason or "").strip():
        raise ConfigError("a removal needs a reason", fix='say why: --reason "..."')
    _print(found)
    if dry_run:
        note("nothing was changed")
        return ExitCode.OK
    _say_what_stays()
    name = f"{source}:{symbol or '*'}"
    confirm(name, "purge", yes=yes)
    gone = lake.store.purge_streams(source, symbol, dataset, *days, reason=str(reason))
    note(
        f"{format_count(int(gone['rows'].sum()), 'row')} of {name} gone; `gb vacuum` frees their files once they are old"
    )
    note("what they covered is a hole now, with the reason removed")
    stream = None if settings is None else settings.collect.streams.get(source)
    if stream is not None and (symbol is None or symbol in stream.symbols):
        note(f"gb.yaml still names {name} under `collect`: a collector goes on hearing it")
    return ExitCode.OK


def _named(lake: Lake, series: str, settings: Settings | None) -> tuple[str, str | None]:
    source, _, symbol = series.partition(":")
    if symbol == "*":
        return source, None
    split_series(series)
    if any(letter in series for letter in "*?["):
        raise ConfigError(f"{series[:80]!r} is a pattern", fix="name one symbol, as SOURCE:SYMBOL, or all as SOURCE:*")
    return select_one(lake, series, settings, also=stream_names(lake))


def refuse_streams_alone(lake: Lake, source: str, symbol: str) -> None:
    """Raise where a series has no bars, but streams: what is meant has to be said.

    Raises:
        ConfigError: it says how.
    """
    is_stream = symbol in stream_names(lake).get(source, ())
    if is_stream and symbol not in stored_names(lake).get(source, ()):
        raise ConfigError(
            f"{source}:{symbol} has trades, quotes or books, and no bars",
            fix=f"gb delete {source}:{symbol} streams --purge, or trades, quotes or book_updates instead of streams",
        )


def _print(found: pl.DataFrame) -> None:
    if found.is_empty():
        note("no row of it is stored now")
        return
    print_table(
        ("stream", "rows", "days", "size", "first (UTC)", "last (UTC)"),
        [
            (
                f"{row['source']}:{row['symbol']} {row['table']}" + (" wide" if row["precision"] == "wide" else ""),
                row["rows"], row["days"], format_size(row["bytes"]), row["first"], row["last"],
            )
            for row in found.iter_rows(named=True)
        ],
    )  # fmt: skip


def _say_what_stays() -> None:
    from gb_pipeline.lake.stream_purging import LEFT

    note("a purge cannot be undone. It also removes refused rows, and venues' messages about corrections.")
    note("It leaves:")
    for item in LEFT:
        note(f"  - {item}")
