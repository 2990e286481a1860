"""An I/O manager hands downstream assets the bars of their partition, as the frame that their signature names.

It reads and never writes: bars are written by the assets that fetch them, and results belong elsewhere. It needs a lake and no
gb.yaml, so a project of its own can have it.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from functools import cached_property
from typing import Any

import dagster as dg
import polars as pl
from pydantic import Field

from gb_pipeline.config.settings import Grain, Settings
from gb_pipeline.config.source_facts import SourceFacts
from gb_pipeline.errors import ConfigError, InvalidResolution, NoDataInRange, ReadError
from gb_pipeline.lake.report import UNSTORED
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.orchestration.partitions import Partitioning
from gb_pipeline.orchestration.resources import LakeResource
from gb_pipeline.reading.lake import Lake

_GRAINS = {4: Grain.YEAR, 7: Grain.MONTH, 10: Grain.DAY}
# What `metadata` of an `AssetIn` may say of the bars; each is a keyword of `Lake.bars`.
_OPTIONS = frozenset({"columns", "as_float", "adjustment", "settled_only", "as_of"})
_BARS = "bars_"
_LISTED = 3
# Of a source whose span is not known.
_EARLIEST = date(1900, 1, 1)


class LakeIOManager(dg.ConfigurableIOManager):
    """Bars of the lake as inputs of assets.

    An input whose asset is `[source, "bars_1d", symbol]` gets the bars of that series, one whose asset is `[source, "bars_1d"]`
    those of all series of the source. It gets the sessions of the partitions that the mapping names, or everything where the
    input has no partitions. A session without a bar gives no rows; a session that is not stored is an error, as nobody knows
    whether it has bars.

    The annotation of the argument decides what it gets: `polars.DataFrame` (also without one), `polars.LazyFrame`,
    `pyarrow.Table` or `pandas.DataFrame`; columns, dtypes, units and time zones are those of `Lake.bars`, `Lake.scan_bars`,
    `Lake.arrow` and `Lake.pandas`. `metadata` of the `AssetIn` takes some of their keywords: `columns`, `as_float`, `adjustment`,
    `settled_only`, `as_of`.

    Raises:
        ConfigError: the input is no series of bars, its annotation or its metadata is not understood, or there is no lake.
        ReadError: sessions of the partition are not stored; and what `Lake.bars` raises.

    Example:
        >>> @dg.asset(
        ...     partitions_def=SeriesGroup.of(settings, "coinbase", "1d").partitions,
        ...     ins={"bars": dg.AssetIn(["coinbase", "bars_1d", "BTC-USD"], input_manager_key="bars_io")},
        ... )
        ... def highest(bars: pl.DataFrame) -> dg.MaterializeResult:
        ...     return dg.MaterializeResult(metadata={"high": float(bars["high"].max())})
    """

    root: str = Field(description="folder or s3:// address of the lake")
    state: str = Field(default="", description="as of the LakeResource")
    config: str = Field(default="", description="as of the LakeResource")
    spans: dict[str, Any] = Field(
        default={},
        description="`[start, end]` of sources, as gb.yaml says: what lies outside of it is not wanted, so the month that a source"
        " begins in is whole without the days before; no end: null",
    )

    @classmethod
    def of(cls, settings: Settings) -> "LakeIOManager":
        """For the lake that gb.yaml names."""
        spans = {
            name: [str(source.start), None if source.end is None else str(source.end)]
            for name, source in settings.sources.items()
        }
        return cls(root=str(settings.lake), state=str(settings.state), config=str(settings.path), spans=spans)

    @cached_property
    def lake(self) -> LakeResource:
        """What is read."""
        return LakeResource(root=self.root, state=self.state, config=self.config)

    def load_input(self, context: dg.InputContext) -> Any:
        """The bars of an input, as its annotation wants them."""
        source, resolution, symbol = _parse_key(context.asset_key)
        read = _find_reader(context.dagster_type.typing_type, context.name)
        options = _read_options(context.definition_metadata or {}, context.name)
        lake, facts = self.lake.reader, self._facts_of(source)
        ranges: Sequence[tuple[date, date]] = ()
        if context.has_asset_partitions:
            keys = list(context.asset_partition_keys)
            ranges = [span for span in self._partitioning(facts, keys).join_ranges(keys) if span[0] < span[1]]
            if not ranges:
                raise ConfigError(
                    f"the partition {keys[0]} lies outside of the span of source {source}",
                    fix="correct the partitions of the input, or the `spans` of the LakeIOManager",
                )
            _refuse_what_is_not_stored(lake, facts, resolution, symbol, ranges)
        windows = [facts.trading_calendar.window(first, end, resolution) for first, end in ranges]
        spans: list[tuple[Any, Any]] = [(window.start, window.end) for window in windows] or [(None, None)]
        parts = [read(lake, symbol, resolution, start, end, source=source, **options) for start, end in spans]
        return parts[0] if len(parts) == 1 else _concat(parts)

    def _facts_of(self, source: str) -> SourceFacts:
        for facts in self.lake.source_facts:
            if facts.name == source:
                return facts
        raise ConfigError(
            f"which calendar the source {source} has is not known in {self.lake.root}",
            fix="correct the key of the input; where it is right, materialise `catalog` once, or name a gb.yaml as `config`",
        )

    def _partitioning(self, facts: SourceFacts, keys: Sequence[str]) -> Partitioning:
        grain = _GRAINS.get(len(keys[0]))
        if grain is None:
            raise ConfigError(
                f"the partition {keys[0]!r} names no session, month or year",
                fix="give the input a partition mapping to the partitions of the bars",
            )
        start, end = (*self.spans.get(facts.name, ()), None, None)[:2]
        return Partitioning(
            facts.trading_calendar,
            grain,
            date.fromisoformat(start) if start else _EARLIEST,
            date.fromisoformat(end) if end else None,
        )

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Nothing is written.

        Raises:
            ConfigError: always, unless there is nothing to write.
        """
        if obj is not None:
            raise ConfigError(
                f"{context.asset_key.to_user_string()} returned {type(obj).__name__}, and this I/O manager only reads",
                fix="use it as `input_manager_key` of an input, and give the asset an `io_manager_key` of its own; bars of your"
                " own are stored by `Lake.put`",
            )


def _parse_key(key: dg.AssetKey) -> tuple[str, Resolution, str | None]:
    """Source, resolution and symbol of an asset; no symbol for all of them."""
    path = list(key.path)
    if len(path) in {2, 3} and path[1].startswith(_BARS):
        try:
            return path[0], Resolution.parse(path[1].removeprefix(_BARS)), path[2] if len(path) == 3 else None
        except InvalidResolution:
            pass
    raise ConfigError(
        f"{key.to_user_string()} is no series of bars",
        fix="use this I/O manager for inputs such as source / bars_1d / SYMBOL, or source / bars_1d for all of them",
    )


def _find_reader(wanted: Any, name: str) -> Callable[..., Any]:
    kind = f"{getattr(wanted, '__module__', '')}.{getattr(wanted, '__name__', '')}".split(".")
    readers: dict[tuple[str, str], Callable[..., Any]] = {
        ("polars", "DataFrame"): _read_frame,
        ("polars", "LazyFrame"): Lake.scan_bars,
        ("pyarrow", "Table"): _read_arrow,
        ("pandas", "DataFrame"): _read_pandas,
    }
    if wanted is None or kind[-1] in {"Any", "object"}:
        return _read_frame
    if (reader := readers.get((kind[0], kind[-1]))) is None:
        raise ConfigError(
            f"the input {name} is annotated with {'.'.join(kind).strip('.')}, which bars cannot be read as",
            fix="annotate it with polars.DataFrame, polars.LazyFrame, pyarrow.Table or pandas.DataFrame",
        )
    return reader


def _read_options(metadata: Mapping[str, Any], name: str) -> dict[str, Any]:
    if unknown := sorted(set(metadata) - _OPTIONS):
        raise ConfigError(
            f"the metadata of input {name} says {', '.join(unknown)}, which reading bars does not understand",
            fix=f"use {', '.join(sorted(_OPTIONS))}",
        )
    return {key: getattr(value, "value", value) for key, value in metadata.items()}


def _refuse_what_is_not_stored(
    lake: Lake, facts: SourceFacts, resolution: Resolution, symbol: str | None, ranges: Sequence[tuple[date, date]]
) -> None:
    """Of all symbols where none is named only sessions count that nobody has."""
    calendar, now = facts.trading_calendar, lake.store.clock()
    for first, end in ranges:
        bars = calendar.expected(first, end, resolution, facts.alignment)
        over = bars.filter(calendar.bar_ends(bars["timestamp"], resolution) <= now)["session"].unique()
        known = lake.coverage(facts.name, symbol, resolution, str(first), str(end))
        stored = known.filter(~pl.col("status").is_in(UNSTORED))["session"]
        absent = over.filter(~over.is_in(stored.implode())).sort()
        if absent.len():
            days = ", ".join(str(day) for day in absent.head(_LISTED)) + (", ..." if absent.len() > _LISTED else "")
            series = f"{facts.name}:{symbol or '*'} {resolution}"
            raise ReadError(
                f"{series}: {absent.len():,} sessions are not stored: {days}",
                fix="materialise these partitions of the bars first (`gb status` says what is stored); where the source begins"
                " later or has ended, say so in the `spans` of the LakeIOManager",
            )


def _read_frame(lake: Lake, symbol: str | None, resolution: Resolution, *span: Any, **options: Any) -> pl.DataFrame:
    try:
        return lake.bars(symbol, resolution, *span, **options)
    except NoDataInRange:
        return lake.scan_bars(symbol, resolution, *span, **options).collect()


def _read_arrow(lake: Lake, symbol: str | None, resolution: Resolution, *span: Any, **options: Any) -> Any:
    try:
        return lake.arrow(symbol, resolution, *span, **options)
    except NoDataInRange:
        import pyarrow as pa

        empty = lake.scan_bars(symbol, resolution, *span, **options).collect().to_arrow()
        nanoseconds = pa.timestamp("ns", "UTC")
        fields = [
            field.with_type(nanoseconds) if pa.types.is_timestamp(field.type) else field for field in empty.schema
        ]
        return empty.cast(pa.schema(fields))


def _read_pandas(lake: Lake, symbol: str | None, resolution: Resolution, *span: Any, **options: Any) -> Any:
    from gb_pipeline.reading.shapes import to_pandas, with_index

    try:
        return lake.pandas(symbol, resolution, *span, **options)
    except NoDataInRange:
        if options.get("columns") is not None:
            options["columns"] = with_index(options["columns"])
        return to_pandas(lake.scan_bars(symbol, resolution, *span, as_float=True, **options).collect())


def _concat(parts: Sequence[Any]) -> Any:
    if isinstance(parts[0], pl.DataFrame | pl.LazyFrame):
        return pl.concat(parts)
    if type(parts[0]).__module__.startswith("pyarrow"):
        import pyarrow as pa

        return pa.concat_tables(parts)
    import pandas as pd

    return pd.concat(parts)
