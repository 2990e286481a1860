"""`Fundamentals`: what companies reported, as columns of a pipeline.

At each session a column is the number of the newest fiscal period that was published before the session opened, in the version that
the public had then. What was published when is decided in `lake.fundamentals`, and computed in `reading.fundamental_events`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from functools import cached_property

import polars as pl
from polars.datatypes import DataType

from gb_pipeline.errors import ReadError
from gb_pipeline.lake import fundamentals
from gb_pipeline.market.fundamental_schema import SUMMED_STATEMENTS, TEXT_ITEMS, PeriodKind, Statement
from gb_pipeline.market.moments import INSTANT, instant_literal
from gb_pipeline.reading.fundamental_events import EVENT, ROW, newest_periods, select_items, to_events, trailing_sums
from gb_pipeline.research.factors.datasets import Dataset, LoadRequest
from gb_pipeline.research.factors.holders import SINCE, UNTIL, Holders
from gb_pipeline.research.factors.terms import Classifier, Factor, Filter

_TRAILING = "_ttm"
_DAY = timedelta(days=1)
# Between a symbol and the days of its holder, where it had several.
_HOLDER = "|"


class _Columns(Mapping[str, DataType]):
    """Every item that a vendor may have: texts and numbers."""

    def __getitem__(self, name: str) -> DataType:
        item = name.rpartition(".")[2]
        if not item.isidentifier():
            raise KeyError(name)
        return pl.String() if item in TEXT_ITEMS else pl.Float64()

    def __iter__(self) -> Iterator[str]:
        return iter(("total_revenue", f"total_revenue{_TRAILING}", "cash_flow.net_income"))

    def __len__(self) -> int:
        return len(list(iter(self)))


@dataclass(frozen=True)
class FundamentalsLoader:
    """Reads fundamentals of a lake for a pipeline.

    Attributes:
        kind: `quarterly`, `annual`, or `snapshot` for the overview.
        statement: whose items are meant; None for whichever statement has them.
        source: whose word it is; None where the lake has one source of them.
        currency: of money; numbers in another one are null. None where all of a column have the same.
        max_age: how long after its publication a number is still seen; None for ever. Each column has an age of its own.
    """

    kind: PeriodKind = PeriodKind.QUARTERLY
    statement: Statement | None = None
    source: str | None = None
    currency: str | None = None
    max_age: timedelta | None = None

    def load(self, request: LoadRequest) -> pl.DataFrame:
        """See `datasets.Loader`; `session` is the day on which a row became known.

        Raises:
            UnknownSeries: no report of these symbols has such an item.
            ReadError: a column would mix sources, statements or currencies.
        """
        items = {name: self._item(name) for name in request.columns}
        statements = [self.statement.value] if self.statement else None
        rows = fundamentals.read(
            request.lake.store.tables, self.source, list(request.symbols), request.as_of,
            statements=statements, versions=True, withdrawn=True,
        ).filter(pl.col("kind") == self.kind.value)  # fmt: skip
        holders = Holders.of(request.lake, request.symbols, request.source, request.as_of)
        # What no session sees cannot change or refuse anything.
        until = datetime.combine(request.end, time(), UTC) + 2 * _DAY
        chosen = _by_holder(select_items(rows, list(items.values())), holders)
        events = to_events(chosen, strict=request.strict)
        events = events.filter(pl.col(EVENT) < instant_literal(until))
        columns = {name: self._column(name, item, events) for name, item in items.items()}
        moments = (
            pl.concat([column.select("symbol", EVENT) for column in columns.values()]).unique().sort(EVENT, "symbol")
        )
        for name, column in columns.items():
            moments = moments.join_asof(column.rename({"told": name}), on=EVENT, by="symbol", check_sortedness=False)
        return _within_stays(moments, holders).select(
            "symbol",
            pl.col(EVENT).dt.date().alias("session"),
            pl.col(EVENT).cast(INSTANT).alias("known_at"),
            *columns,
        )

    def _item(self, name: str) -> str:
        return name.removesuffix(_TRAILING) if self._is_sum(name) else name

    def _is_sum(self, name: str) -> bool:
        return self.kind is PeriodKind.QUARTERLY and name.endswith(_TRAILING)

    def _column(self, name: str, item: str, events: pl.DataFrame) -> pl.DataFrame:
        """`symbol, event_at, told`: how a column changes, sorted by moment."""
        statement, _, short = item.rpartition(".")
        own = events.filter(pl.col("item") == short, *([pl.col("statement") == statement] if statement else []))
        for what in ("statement", "source"):
            found = own[what].unique().sort().to_list()
            if len(found) > 1:
                fix = (
                    f"Fundamentals.{found[0]}.{short}"
                    if what == "statement"
                    else f"Fundamentals.of(source={found[0]!r})"
                )
                raise ReadError(f"{name} stands in {' and in '.join(found)}", fix=f"say which is meant: {fix}")
        if self._is_sum(name):
            if own.height and own["statement"][0] not in SUMMED_STATEMENTS:
                raise ReadError(f"{short} is of a balance sheet: it is not summed over quarters", fix=f"use {short}")
            told = trailing_sums(own)
        else:
            told = newest_periods(own)
        currencies = told["currency"].drop_nulls().unique().sort().to_list()
        if self.currency is None and len(currencies) > 1:
            raise ReadError(
                f"{name} is told in {' and in '.join(currencies)}",
                fix=f"say in which it is wanted, the others are null then: Fundamentals.of(currency={currencies[0]!r})",
            )
        value = pl.col("text") if short in TEXT_ITEMS else pl.col("value")
        fits = (
            pl.lit(True)
            if self.currency is None
            else pl.col("currency").is_null() | (pl.col("currency") == self.currency)
        )
        shown = told.select("symbol", EVENT, pl.when(fits).then(value).alias("told")).sort(EVENT, maintain_order=True)
        return shown if self.max_age is None else _forget(shown, self.max_age)


def _by_holder(rows: pl.DataFrame, holders: Holders) -> pl.DataFrame:
    """Rows whose symbols say which holder a report is of: whoever stood under the symbol when the lake was told of it."""
    if not holders.changes or rows.is_empty():
        return rows
    spans = holders.with_spans(rows.with_columns(day=pl.col("known_at").dt.date()), "day")
    lent = pl.col(SINCE).is_not_null() | pl.col(UNTIL).is_not_null()
    days = [pl.col(name).cast(pl.String).fill_null("") for name in (SINCE, UNTIL)]
    named = pl.when(lent).then(pl.concat_str("symbol", *days, separator=_HOLDER)).otherwise("symbol")
    named_rows = spans.with_columns(symbol=named).select(rows.columns)
    # That a vendor no longer tells of who had the symbol before is no word about who has it now.
    return named_rows.filter((~pl.col("withdrawn")).any().over(list(ROW)))


def _within_stays(moments: pl.DataFrame, holders: Holders) -> pl.DataFrame:
    """Of each holder what can be seen while he stands under the symbol; what was told of him before, from his first day on."""
    if not holders.changes:
        return moments
    parts = pl.col("symbol").str.splitn(_HOLDER, 3)
    edges = {
        name: parts.struct.field(f"field_{place}")
        .replace("", None)
        .str.to_date(strict=False)
        .cast(moments.schema[EVENT])
        for place, name in ((1, SINCE), (2, UNTIL))
    }
    told = moments.with_columns(**edges).with_columns(
        pl.max_horizontal(EVENT, SINCE).alias(EVENT), symbol=parts.struct.field("field_0")
    )
    told = told.filter(pl.col(UNTIL).is_null() | (pl.col(EVENT) < pl.col(UNTIL)))
    return told.unique(["symbol", EVENT], keep="last", maintain_order=True).select(moments.columns)


def _forget(shown: pl.DataFrame, max_age: timedelta) -> pl.DataFrame:
    """A column that shows nothing once its newest number is older than an age."""
    forgotten = pl.col(EVENT) + max_age + timedelta(microseconds=1)
    until = pl.col(EVENT).shift(-1).over("symbol")
    ends = shown.filter(until.is_null() | (until > forgotten))
    ends = ends.with_columns(forgotten.alias(EVENT), pl.lit(None, shown.schema["told"]).alias("told"))
    return pl.concat([shown, ends]).sort(EVENT, maintain_order=True)


@dataclass(frozen=True)
class FundamentalColumns:
    """Columns of one kind of reports: an attribute for each item, and for each statement.

    Attributes:
        loader: reads them.

    Example:
        >>> margin = Fundamentals.income_statement.net_income_ttm / Fundamentals.total_revenue_ttm
        >>> Pipeline({"margin": margin, "sector": Fundamentals.overview.sector})
    """

    loader: FundamentalsLoader = FundamentalsLoader()

    def of(
        self, *, source: str | None = None, currency: str | None = None, max_age: timedelta | None = None
    ) -> FundamentalColumns:
        """The same columns of one source, in one currency, or no older than some age.

        Example:
            >>> dollars = Fundamentals.of(source="alpha_vantage", currency="USD", max_age=timedelta(days=200))
        """
        return FundamentalColumns(replace(self.loader, source=source, currency=currency, max_age=max_age))

    @cached_property
    def dataset(self) -> Dataset:
        """The dataset behind the columns."""
        loader = self.loader
        parts = (loader.kind.value, loader.statement, loader.source, loader.currency, loader.max_age)
        name = " ".join(["fundamentals", *(str(part) for part in parts if part is not None)])
        return Dataset(name, _Columns(), loader, loader.max_age)

    @cached_property
    def annual(self) -> FundamentalColumns:
        """Reports of fiscal years."""
        return replace(self, loader=replace(self.loader, kind=PeriodKind.ANNUAL))

    @cached_property
    def overview(self) -> FundamentalColumns:
        """What the vendor showed of a company on a day, such as `sector` or `pe_ratio`: from the first fetch on."""
        return self._part(Statement.OVERVIEW, PeriodKind.SNAPSHOT)

    @cached_property
    def income_statement(self) -> FundamentalColumns:
        """Items of the income statement."""
        return self._part(Statement.INCOME_STATEMENT, self.loader.kind)

    @cached_property
    def balance_sheet(self) -> FundamentalColumns:
        """Items of the balance sheet."""
        return self._part(Statement.BALANCE_SHEET, self.loader.kind)

    @cached_property
    def cash_flow(self) -> FundamentalColumns:
        """Items of the cash flow."""
        return self._part(Statement.CASH_FLOW, self.loader.kind)

    @cached_property
    def earnings(self) -> FundamentalColumns:
        """Items of the earnings."""
        return self._part(Statement.EARNINGS, self.loader.kind)

    def _part(self, statement: Statement, kind: PeriodKind) -> FundamentalColumns:
        return replace(self, loader=replace(self.loader, statement=statement, kind=kind))

    def __getitem__(self, name: str) -> Factor | Filter | Classifier:
        """The term of an item; `total_revenue_ttm` is the sum of the four newest quarters, null unless all four are known.

        Raises:
            ConfigError: it is no name of an item.
        """
        return self.dataset[name]

    def __getattr__(self, name: str) -> Factor | Filter | Classifier:
        """The term of an item, by attribute."""
        if name.startswith("_"):
            raise AttributeError(name)
        return self[name]


Fundamentals = FundamentalColumns()
