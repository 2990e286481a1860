"""What may be asked, as models: the keywords of `Lake`'s methods with their types, for checking requests and for OpenAPI.

A name that no model has is refused. What a keyword means is said by the method of `Lake` that takes it.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from gb_pipeline.api.formats import Format
from gb_pipeline.errors import ConfigError
from gb_pipeline.reading.price_adjustment import PriceAdjustment

Name = Annotated[str, Field(max_length=200)]
Text = Annotated[str, Field(max_length=64)]
SymbolNames = Annotated[
    list[Name], Field(max_length=50_000, description="Codes; all of the source by default.", examples=[["BTC-USD"]])
]
ResolutionName = Annotated[str, Field(max_length=16, description="Such as 1m, 1h or 1d.", examples=["1m"])]
Moment = Annotated[
    str,
    Field(
        max_length=64,
        description="A date, ISO 8601 text with a zone, `today`, or a distance such as `-7d`.",
        examples=["2024-01-02"],
    ),
]
# Of trades and books also nanoseconds since 1970.
FineMoment = Annotated[
    int | str, Field(description="As of bars, or a whole number: nanoseconds since 1970 UTC.", examples=["2024-01-02"])
]
Columns = Annotated[list[Text], Field(max_length=100, description="Only these columns, in this order.")]


class Question(BaseModel):
    """What every question may say."""

    model_config = ConfigDict(extra="forbid")

    format: Annotated[
        Format | None, Field(description="Of the answer; by default what the header Accept says, else JSON.")
    ] = None

    def arguments(self) -> dict[str, Any]:
        """Keywords that were given, for the method of `Lake`."""
        return self.model_dump(exclude={"format"}, exclude_none=True)


class Source(Question):
    """One source, or all."""

    source: Annotated[Name | None, Field(description="The name under which a source is stored.")] = None


class Series(Source):
    """Some series, and a stretch of them."""

    symbols: SymbolNames | None = None
    resolution: ResolutionName | None = None
    start: Moment | None = None
    end: Annotated[Moment | None, Field(description="Exclusive.")] = None


class SeriesAsOf(Series):
    """The same as it was known at a moment."""

    as_of: Annotated[Moment | None, Field(description="What was known at this moment.")] = None


class Restatements(Series):
    """Changes that became known since a moment."""

    since: Moment | None = None


class Changes(Series):
    """What became known between two moments."""

    since: FineMoment | None = None
    until: FineMoment | None = None


class Symbols(Source):
    """Which series there are."""

    resolution: ResolutionName | None = None
    as_of: Moment | None = None


class Chosen(Source):
    """Some symbols of a source."""

    symbols: SymbolNames | None = None


class Extent(Source):
    """Bars of a range, to be counted."""

    resolution: ResolutionName
    symbols: SymbolNames | None = None
    start: Moment | None = None
    end: Moment | None = None
    as_of: Moment | None = None


class Latest(Source):
    """Series whose last bar is wanted."""

    resolution: ResolutionName
    symbols: SymbolNames | None = None
    columns: Columns | None = None
    as_of: Moment | None = None
    as_float: bool = False


class Bars(Extent):
    """Bars, as they are stored, adjusted or resampled."""

    columns: Columns | None = None
    as_float: Annotated[bool, Field(description="Prices and volumes as floats instead of decimals.")] = False
    adjustment: Annotated[
        str | None,
        Field(
            max_length=400,
            description="`none`, `splits`, `splits+dividends`, or the fields of a `PriceAdjustment` as JSON.",
            examples=["splits"],
        ),
    ] = None
    settled_only: bool = False
    resample: ResolutionName | None = None
    calendar: Text | None = None

    def arguments(self) -> dict[str, Any]:
        """Keywords that were given; an adjustment as a value where it is more than a name.

        Raises:
            ConfigError: it is none.
        """
        given = super().arguments()
        if self.adjustment is not None and self.adjustment.startswith("{"):
            given["adjustment"] = _adjustment(self.adjustment)
        return given


class Pins(Question):
    """All pins, or one."""

    name: Name | None = None


class Pinned(Question):
    """What a pin names."""

    pin: Name


class PinnedBars(Bars, Pinned):
    """Bars of what a pin names."""


def _adjustment(text: str) -> PriceAdjustment:
    try:
        return PriceAdjustment(**json.loads(text))
    except (ValueError, TypeError, RecursionError):
        raise ConfigError(
            "this is no adjustment", fix='write a name, or fields such as {"dividends": "ex_close", "anchor": "start"}'
        ) from None


class Actions(Source):
    """Splits, dividends, listings and delistings."""

    symbol: SymbolNames | None = None
    kind: Text | None = None
    start: Moment | None = None
    end: Moment | None = None
    as_of: Moment | None = None
    withdrawn: bool = False


class Instruments(Source):
    """What is known of instruments."""

    symbols: SymbolNames | None = None
    asset_class: Text | None = None
    when: Moment | None = None
    as_of: Moment | None = None
    versions: bool = False


class InstrumentBars(Source):
    """The bars of an instrument under all of its symbols."""

    instrument: Name
    resolution: ResolutionName
    start: Moment | None = None
    end: Moment | None = None
    as_of: Moment | None = None
    as_float: bool = False
    adjustment: Text | None = None
    columns: Columns | None = None
    settled_only: bool = False


class Fingerprints(SeriesAsOf):
    """The content of series as hashes."""

    part: Literal["sessions", "mismatches"] = "sessions"
    verify: Annotated[bool, Field(description="Read every bar and compare it with what was recorded.")] = False


class TwelveMonths(Source):
    """Items of statements over four quarters."""

    symbols: SymbolNames | None = None
    items: Columns | None = None
    statement: Text | None = None
    as_of: Moment | None = None
    published_by: Moment | None = None


class Fundamentals(TwelveMonths):
    """Items of statements."""

    start: Moment | None = None
    end: Moment | None = None
    kind: Text | None = None
    wide: bool = False
    versions: bool = False
    withdrawn: bool = False


class Listings(Source):
    """What was listed when."""

    symbols: SymbolNames | None = None
    on: Moment | None = None
    status: Text | None = None
    as_of: Moment | None = None
    withdrawn: bool = False


class Factors(Question):
    """Stored factors of a set."""

    name: Text
    start: Moment | None = None
    end: Moment | None = None
    columns: Columns | None = None
    symbols: SymbolNames | None = None
    as_of: Moment | None = None


class Contracts(Source):
    """The futures of a root."""

    root: Text
    as_of: Moment | None = None


class Rolls(Source):
    """Tables of rolls."""

    root: Text | None = None
    as_of: Moment | None = None


class Continuous(Source):
    """A continuous contract."""

    contracts: Text
    resolution: ResolutionName
    calendar: Text
    start: Moment | None = None
    end: Moment | None = None
    roll: Text = "calendar"
    days_before: Annotated[int, Field(ge=0, le=1000)] = 0
    join: Text = "none"
    anchor: Text = "end"
    depth: Annotated[int, Field(ge=0, le=100)] = 0
    as_float: bool = False
    as_of: Moment | None = None


class Stream(Source):
    """Trades, quotes or changes of books."""

    symbol: SymbolNames | None = None
    start: FineMoment | None = None
    end: FineMoment | None = None
    columns: Columns | None = None
    include_unsettled: bool = False
    collectors: Name | list[Name] | None = None
    as_float: bool = False
    as_datetime: bool = False


class Book(Source):
    """An order book at a moment."""

    symbol: SymbolNames
    at: FineMoment
    depth: Annotated[int | None, Field(ge=1, le=100_000)] = None
    collector: Name | None = None
    include_unsettled: bool = False
    across_holes: bool = False
    verify: bool = False
    as_float: bool = False


class TradeBars(Source):
    """Bars made of trades: by time, number, volume or value."""

    symbol: SymbolNames | None = None
    start: FineMoment | None = None
    end: FineMoment | None = None
    resolution: ResolutionName | None = None
    ticks: int | None = None
    volume: Text | None = None
    dollars: Text | None = None
    include_unsettled: bool = False
    collectors: Name | list[Name] | None = None
    as_float: bool = False


class StreamEvidence(Source):
    """What was heard of streams."""

    symbols: SymbolNames | None = None
    dataset: Text | None = None
    start: FineMoment | None = None
    end: FineMoment | None = None


class ValidMask(Source):
    """Whether all was heard of the windows that end at some moments."""

    symbol: Name
    timestamps: Annotated[list[FineMoment | None], Field(max_length=50_000, examples=[[1704186000000000000]])]
    window: Annotated[int | Text, Field(description="Nanoseconds, or text such as 5m.", examples=["5m"])]
    datasets: list[Text] = ["trades"]


class StreamFiles(Source):
    """Data files of streams."""

    symbols: SymbolNames | None = None
    prefix: Name | None = None
    table: Text | None = None
    start: FineMoment | None = None
    end: FineMoment | None = None


class Sql(Question):
    """One query in SQL."""

    query: Annotated[
        str,
        Field(
            max_length=200_000,
            description="One SELECT in DuckDB's SQL.",
            examples=["select source, symbol, resolution, record_count from symbol_data"],
        ),
    ]
    as_of: Moment | None = None


class SqlPlan(Sql):
    """What one query in SQL would read: its scans, DuckDB's steps, or by `both` the scans with a column of steps.

    Where nothing of the lake is read, `both` is one row without a table.
    """

    part: Literal["scans", "steps", "both"] = "scans"
