"""The check that ties a feed of trades out against a vendor's bars: those of yesterday are the same, where no trade is missing.

Bars of a source are compared with trades of a stream of the same name, or of the venue that the source asks. How they are
compared is up to `Lake.compare_bars_with_trades`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import dagster as dg
import polars as pl

from gb_pipeline.config.settings import Settings
from gb_pipeline.errors import ReadError
from gb_pipeline.health.result import SAMPLE
from gb_pipeline.lake.stream_evidence import read_watermarks
from gb_pipeline.market.moments import from_microseconds
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.tick_schema import StreamDataset
from gb_pipeline.orchestration.events.outcome import build_table
from gb_pipeline.orchestration.resources import LakeResource
from gb_pipeline.orchestration.streams.feeds import Feed
from gb_pipeline.reading.bar_comparison import BarComparison
from gb_pipeline.reading.lake import Lake

CHECK = "bars_agree"
DAILY = "streams_daily"
# When the bars of the day before have been fetched.
_CRON = "30 5 * * *"
# Instruments of one feed: a day of trades of each is read.
_MOST_SYMBOLS = 20
_DAY = timedelta(days=1)
_MEANING = (
    "The bars of the last whole day that are made of the trades heard are those of the vendor, in every number, where no trade is"
    f" missing; of the first {_MOST_SYMBOLS} instruments that both have."
)


@dataclass(frozen=True)
class TieOut:
    """What is compared.

    Attributes:
        feed: whose trades.
        bars_source, resolution: whose bars.
        symbols: that both have, in the order of gb.yaml.
    """

    feed: Feed
    bars_source: str
    resolution: Resolution
    symbols: tuple[str, ...]


def find_tie_outs(settings: Settings, feeds: Sequence[Feed]) -> list[TieOut]:
    """Feeds of trades for which gb.yaml has bars of the same market."""
    return [found for feed in feeds if feed.dataset is StreamDataset.TRADES and (found := _tie_out(settings, feed))]


def _tie_out(settings: Settings, feed: Feed) -> TieOut | None:
    for name, source in sorted(settings.sources.items(), key=lambda item: item[0] != feed.source):
        asked = str(source.options.get("exchange", name)) if source.provider == "ccxt" else source.provider
        if name != feed.source and asked != feed.stream.venue:
            continue
        known = {symbol.code for symbol in source.instruments}
        symbols = tuple(code for code in feed.stream.symbols if code in known)
        lengths = {item: item.duration for item in source.resolutions if item.duration and item.duration <= _DAY}
        if symbols and lengths:
            return TieOut(feed, name, min(lengths, key=lambda item: lengths[item]), symbols[:_MOST_SYMBOLS])
    return None


def tie_out_keys(settings: Settings, feeds: Sequence[Feed]) -> list[dg.AssetCheckKey]:
    """The checks of `build_tie_out`."""
    return [dg.AssetCheckKey(found.feed.key, CHECK) for found in find_tie_outs(settings, feeds)]


def build_tie_out(found: Sequence[TieOut]) -> dg.AssetChecksDefinition:
    """One check for each feed that can be tied out."""

    @dg.multi_asset_check(
        name="stream_tie_out",
        specs=[dg.AssetCheckSpec(CHECK, asset=item.feed.key, description=_MEANING) for item in found],
        can_subset=True,
    )
    def stream_tie_out(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> Iterator[dg.AssetCheckResult]:
        for item in found:
            if dg.AssetCheckKey(item.feed.key, CHECK) in context.selected_asset_check_keys:
                day = find_last_day(lake, item.feed)
                compared, missing = ([], []) if day is None else _compare(lake.reader, item, day)
                yield _evaluate(item, day, compared, missing)

    return stream_tie_out


def build_tie_out_schedule(checks: dg.AssetChecksDefinition) -> dg.ScheduleDefinition:
    """Every morning."""
    job = dg.define_asset_job(
        DAILY,
        selection=dg.AssetSelection.checks(checks),
        description="Compares vendors' bars with those made of trades.",
    )
    return dg.ScheduleDefinition(
        name=DAILY,
        job=job,
        cron_schedule=_CRON,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Compares yesterday's bars of vendors with those made of the trades that were heard.",
    )


def find_last_day(lake: LakeResource, feed: Feed) -> date | None:
    """The last whole day (UTC) of a feed that is committed; None where nothing is."""
    marks = read_watermarks(lake.open_store().tables, feed.source).filter(pl.col("dataset") == feed.dataset.value)
    if marks.is_empty():
        return None
    return from_microseconds(max(marks["through_time"]) // 1000).date() - _DAY


def _compare(lake: Lake, item: TieOut, day: date) -> tuple[list[BarComparison], list[str]]:
    """What came of each symbol, and symbols of which bars or trades are not there."""
    found, missing = [], []
    for symbol in item.symbols:
        try:
            found.append(
                lake.compare_bars_with_trades(
                    symbol,
                    item.resolution,
                    day.isoformat(),
                    (day + _DAY).isoformat(),
                    source=item.feed.source,
                    bars_source=item.bars_source,
                )
            )
        except ReadError:
            missing.append(symbol)
    return found, missing


def _evaluate(
    item: TieOut, day: date | None, found: Sequence[BarComparison], missing: Sequence[str]
) -> dg.AssetCheckResult:
    compared, equal = sum(one.compared for one in found), sum(one.equal for one in found)
    wrong = [one for one in found if one.differences.height]
    rows = (
        pl.concat([one.differences.select(pl.lit(one.symbol).alias("symbol"), pl.all()) for one in wrong[:SAMPLE]])
        if wrong
        else None
    )
    bars = f"bars of {item.resolution.value} of {item.bars_source}"
    if not compared:
        said = (
            f"nothing to compare: {bars}, or trades of the same time, are not stored"
            if day
            else "nothing was committed yet"
        )
    else:
        said = f"{equal:,} of {compared:,} {bars} on {day} are those that the trades make"
    metadata: dict[str, Any] = {
        "compared": compared,
        "equal": equal,
        "uncovered": sum(one.uncovered for one in found),
        "not_stored": len(missing),
    }
    return dg.AssetCheckResult(
        asset_key=item.feed.key,
        check_name=CHECK,
        passed=not wrong,
        severity=dg.AssetCheckSeverity.WARN,
        description=said,
        metadata=metadata | ({} if rows is None else {"differences": build_table(_as_text(rows.head(SAMPLE)))}),
    )


def _as_text(rows: pl.DataFrame) -> list[dict[str, Any]]:
    return rows.with_columns(pl.col("timestamp").dt.to_string("iso")).fill_null("").to_dicts()
