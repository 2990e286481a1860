"""A feed is one table of one source that a collector fills: an external asset, with a partition for each day in UTC.

There is one asset for all instruments of a feed: hundreds of symbols would be hundreds of assets that nobody can run. No history
of any symbol is looked through here; where the days begin is read from the tables' logs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property

import dagster as dg

from gb_pipeline.config.collect import StreamSettings
from gb_pipeline.config.settings import Settings
from gb_pipeline.errors import GbError
from gb_pipeline.lake.datasets import stream_dataset
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.lake.stream_evidence import STREAM_OF_TABLE, measure_stored
from gb_pipeline.market.tick_schema import StreamDataset
from gb_pipeline.orchestration.asset_facts import describe_columns

GROUP = "streams"
_MEANINGS = {
    "trades": "All trades",
    "book_updates": "All changes of order books",
    "book_snapshots": "Whole order books",
    "quotes": "All changes of the best bid and offer",
}


@dataclass(frozen=True)
class Feed:
    """One table of one source.

    Attributes:
        source: under which it is stored.
        table: a name of `STREAM_TABLES`.
        stream: what gb.yaml says of the source.
        start: its first day.
    """

    source: str
    table: str
    stream: StreamSettings
    start: date

    @property
    def key(self) -> dg.AssetKey:
        """`["kraken", "trades"]`."""
        return dg.AssetKey([self.source, self.table])

    @property
    def dataset(self) -> StreamDataset:
        """The stream that fills it, of which watermarks and intervals speak."""
        return STREAM_OF_TABLE[self.table]

    @property
    def has_evidence(self) -> bool:
        """Whether evidence speaks of the table itself: snapshots come with updates."""
        return self.dataset.value == self.table

    @cached_property
    def partitions(self) -> dg.DailyPartitionsDefinition:
        """Days in UTC, the one in progress included: it is committed every hour."""
        return dg.DailyPartitionsDefinition(start_date=self.start.isoformat(), timezone="UTC", end_offset=1)


def list_feeds(settings: Settings, today: date) -> list[Feed]:
    """The feeds that gb.yaml asks for under `collect`.

    Args:
        settings: of the project.
        today: the present; where nothing is stored yet, days begin with its month.
    """
    if not settings.collect.streams:
        return []
    start = find_first_day(settings, today)
    return [
        Feed(source, table, stream, start)
        for source, stream in settings.collect.streams.items()
        for table in _tables(stream)
    ]


def _tables(stream: StreamSettings) -> Iterator[str]:
    for dataset in stream.datasets:
        yield dataset.value
        if dataset is StreamDataset.BOOK_UPDATES:
            yield "book_snapshots"


def has_trades(feeds: Sequence[Feed]) -> bool:
    """Whether any of some feeds holds trades, whose holes can be closed afterwards."""
    return any(feed.dataset is StreamDataset.TRADES for feed in feeds)


def find_first_day(settings: Settings, today: date) -> date:
    """The first of the month of the oldest row that is stored of any feed.

    The first of a month: Dagster computes what it shows of every partition anew when the days begin elsewhere.
    """
    try:
        stored = measure_stored(LakeStore.of_project(settings).tables)
    except (GbError, OSError):
        # A lake that cannot be read now fails the checks, not the page.
        return today.replace(day=1)
    own = stored.filter(stored["source"].is_in(list(settings.collect.streams)))
    return date.fromisoformat(min([*own["day"], today.isoformat()])).replace(day=1)


def build_feed_spec(settings: Settings, feed: Feed) -> dg.AssetSpec:
    """The asset of a feed."""
    stream = feed.stream
    heard = [f"{len(stream.symbols):,} instruments"] if stream.symbols else []
    heard += [f"contracts of {', '.join(stream.series)}"] if stream.series else []
    return dg.AssetSpec(
        feed.key,
        group_name=GROUP,
        partitions_def=feed.partitions,
        kinds={"delta", "parquet"},
        owners=settings.owners,
        tags={"venue": stream.venue},
        description=f"{_MEANINGS[feed.table]} that collectors hear of `{feed.source}` ({stream.venue}), {' and '.join(heard)}."
        " `gb collect` stores them, beside Dagster; a day is told here each time that more of it was committed.",
        metadata={
            "dagster/column_schema": describe_columns(stream_dataset(feed.table).columns),
            "dagster/table_name": f"{feed.table} (source={feed.source})",
            "dagster/storage_kind": "deltalake",
        },
    )
