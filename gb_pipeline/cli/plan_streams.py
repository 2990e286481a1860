"""What streams add to a lake in a month, and what it costs to keep it, as `gb plan` prints it."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from gb_pipeline.cli.output import ExitCode, format_size, note, print_json, print_table

if TYPE_CHECKING:
    from gb_pipeline.collectors.growth import FeedGrowth
    from gb_pipeline.config.settings import Settings
    from gb_pipeline.lake.store import LakeStore

# Amazon S3 Standard in us-east-1, as https://aws.amazon.com/s3/pricing has them: a gigabyte for a month, and a thousand PUTs.
DEFAULT_PRICE = 0.023
_PUTS = 0.005
_GB = 1e9
_MONTH = timedelta(days=30)
_MONTHS_OF_YEAR = 12

OfStreams = Annotated[
    bool,
    typer.Option("--streams", help="The names are those of streams (`collect`), although sources are called so too."),
]
Price = Annotated[
    float, typer.Option("--price", help="Of streams: what a gigabyte costs for a month, in dollars.", min=0.0)
]


def streams_of(settings: Settings, names: list[str], *, wanted: bool) -> list[str]:
    """The streams that arguments name; none where they name something else.

    Args:
        settings: of the project.
        names: of streams, or of what a fetch takes.
        wanted: only streams are meant; otherwise a name that is also a source of bars is taken for that.

    Raises:
        ConfigError: streams are meant, and there is none of such a name.
    """
    from gb_pipeline.config.suggestions import suggest
    from gb_pipeline.errors import ConfigError

    streams = settings.collect.streams
    if wanted and (unknown := [name for name in names if name not in streams]):
        raise ConfigError(
            f"gb.yaml has no stream {unknown[0]!r} under `collect`",
            fix=suggest(unknown[0], list(streams), "its streams are"),
        )
    known = set(streams) if wanted else set(streams) - set(settings.sources)
    return list(dict.fromkeys(names)) if set(names) <= known else []


def plan_streams(store: LakeStore, settings: Settings, names: list[str], price: float, *, as_json: bool) -> ExitCode:
    """Print what some streams add to the lake."""
    from gb_pipeline.collectors.growth import estimate_growth

    feeds = estimate_growth(store.tables, settings.collect, store.clock(), names)
    month = sum(feed.bytes_per_month or 0.0 for feed in feeds)
    files = count_files(settings, feeds)
    if as_json:
        costs = {
            "bytes_per_month": round(month),
            "files_per_month": files,
            "dollars_of_a_month": round(month / _GB * price, 4),
        }
        print_json({"feeds": [asdict(feed) | {"bytes_per_month": feed.bytes_per_month} for feed in feeds]} | costs)
        return ExitCode.OK
    headings = ("stream", "table", "symbols", "rows a day", "bytes a row", "a month", "because")
    print_table(headings, [_row(feed) for feed in feeds])
    least = "at least " if any(feed.rows_per_day is None for feed in feeds) else ""
    year = month * _MONTHS_OF_YEAR
    note(
        f"{least}{format_size(round(month))} a month, {format_size(round(year))} after a year; at ${price:g} a GB and month it"
        f" costs ${month / _GB * price:,.2f} a month to keep a month of it, and ${year / _GB * price:,.2f} to keep a year"
    )
    note(
        f"some {files:,} files are written in a month (`flush.every`: {settings.collect.flush.every}), and then compacted; where a"
        f" thousand PUTs cost ${_PUTS:g}, that is ${files * _PUTS / 1000:,.2f}"
    )
    return ExitCode.OK


def count_files(settings: Settings, feeds: list[FeedGrowth]) -> int:
    """Files that a month of flushes writes: one for each instrument and table, and the entry of each table's log."""
    flushes = _MONTH / settings.collect.flush.every
    return round(flushes * sum(feed.symbols + 1 for feed in feeds if feed.rows_per_day != 0.0))


def _row(feed: FeedGrowth) -> tuple[object, ...]:
    month = feed.bytes_per_month
    return (
        feed.source,
        feed.table,
        feed.symbols,
        None if feed.rows_per_day is None else round(feed.rows_per_day),
        round(feed.bytes_per_row, 1),
        "?" if month is None else format_size(round(month)),
        feed.because,
    )
