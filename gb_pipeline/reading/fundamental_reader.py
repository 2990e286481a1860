"""`FundamentalReader`, the methods of a lake about companies: what they reported, and where they are listed.

What could be seen at a moment is computed in `fundamental_events`. What few reads need is imported by the methods that do: whoever
reads bars does not wait for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING

import polars as pl

from gb_pipeline.errors import ConfigError, ReadError, UnknownSeries
from gb_pipeline.lake import fetches
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.fundamental_schema import SUMMED_STATEMENTS, PeriodKind, Statement, Unit
from gb_pipeline.market.spelling import did_you_mean, near_names
from gb_pipeline.reading.arguments import Moment, Symbols, moment, named_source, named_symbols

if TYPE_CHECKING:
    from gb_pipeline.reading.fundamental_events import Items

_MONEY = (Unit.MONEY.value, Unit.MONEY_PER_SHARE.value)
_WIDE_KEY = ["source", "symbol", "kind", "fiscal_period_end"]


class FundamentalReader:
    """Reports of companies, sums over four quarters, and listings."""

    _store: LakeStore

    def fundamentals(
        self,
        symbols: Symbols | None = None,
        items: Items | None = None,
        start: Moment | None = None,
        end: Moment | None = None,
        *,
        source: str | None = None,
        statement: Statement | str | None = None,
        kind: PeriodKind | str | None = None,
        as_of: Moment | None = None,
        published_by: Moment | None = None,
        wide: bool = False,
        versions: bool = False,
        withdrawn: bool = False,
    ) -> pl.DataFrame:
        """What companies reported: a row for each number or text of a report.

        Args:
            symbols: one or several; all by default.
            items: names such as `total_revenue`, or `cash_flow.net_income` where two statements have an item of one name.
            start, end: half-open range of the ends of fiscal periods; snapshots have none, and are left out of any range.
            source: whose word it is.
            statement: `overview`, `income_statement`, `balance_sheet`, `cash_flow` or `earnings`.
            kind: `annual`, `quarterly` or `snapshot`.
            as_of: what this lake knew at this moment.
            published_by: what the public could have at this moment, in the version that it had then. Together with `as_of` of the
                same moment: what a live system had.
            wide: a row for each report, a column for each item.
            versions: every version, with `superseded_at`.
            withdrawn: also what the vendor no longer said by then.

        Returns:
            `source, symbol, statement, kind, fiscal_period_end` (Date, null of a snapshot), `item, value` (Decimal(38,18), null
            where the vendor says none), `text, unit, currency, reported_date, published_at` (Datetime us UTC), `withdrawn,
            fetched_at, known_at`, sorted by these. Wide: `source, symbol, kind, fiscal_period_end, currency, published_at` (the
            latest of its items), and a column per item: Decimal(38,18), or String of texts.

        Raises:
            UnknownSeries: fundamentals of a symbol that is named were never fetched, or no symbol has such an item.
            ConfigError: no such statement or kind; or options that exclude each other.
            ReadError: wide, and an item stands in two statements, or a report has money in two currencies.

        Example:
            >>> lake.fundamentals("IBM", ["total_revenue", "net_income"], kind="quarterly", statement="income_statement", wide=True)
        """
        from gb_pipeline.reading.fundamental_events import EVENT, in_periods, select_items, to_events, visible_at

        statements = _chosen(Statement, statement, "statement")
        kinds = _chosen(PeriodKind, kind, "kind of period")
        if versions and (wide or published_by is not None):
            raise ConfigError(
                "versions are neither wide nor those of a moment", fix="leave out `wide` and `published_by`"
            )
        if wide and withdrawn:
            raise ConfigError("a wide row does not say what of it is withdrawn", fix="leave out `wide`")
        clock = self._store.clock
        by = moment(published_by, clock)
        rows = self._fundamentals_of(symbols, source, statements, as_of, versions=versions or by is not None)
        rows = rows if kinds is None else rows.filter(pl.col("kind").is_in(kinds))
        rows = in_periods(rows, _day(moment(start, clock)), _day(moment(end, clock)))
        rows = select_items(rows, items)
        if by is not None:
            rows = visible_at(to_events(rows), by).drop(EVENT, "superseded_at")
        elif not withdrawn:
            rows = rows.filter(~pl.col("withdrawn"))
        return _widen(rows, items) if wide else rows

    def trailing_twelve_months(
        self,
        symbols: Symbols | None = None,
        items: Items | None = None,
        *,
        source: str | None = None,
        statement: Statement | str | None = None,
        as_of: Moment | None = None,
        published_by: Moment | None = None,
    ) -> pl.DataFrame:
        """The sum of the four newest quarters, only where all four are known, and in one currency.

        Args:
            symbols, items, source, statement, as_of, published_by: as in `fundamentals`; only items of the income statement, the
                cash flow and the earnings can be summed.

        Returns:
            `source, symbol, statement, item, fiscal_period_end` (of the newest quarter), `value` (Decimal(38,18); null where one
            of the four quarters has no number, or another currency), `currency, unit`, and `published_at` (Datetime us UTC: since
            when the sum could be seen); one row for each series, sorted.

        Raises:
            UnknownSeries, ConfigError: as in `fundamentals`; or the statement is a balance sheet or an overview.

        Example:
            >>> lake.trailing_twelve_months("IBM", "total_revenue", published_by="2024-05-01")["value"].item()
            Decimal('62069000000.000000000000000000')
        """
        from gb_pipeline.reading.fundamental_events import EVENT, select_items, to_events, trailing_sums

        statements = _chosen(Statement, statement, "statement")
        if statements is not None and statements[0] not in SUMMED_STATEMENTS:
            raise ConfigError(
                f"items of the {statements[0]} are not summed over quarters", fix=f"use {', '.join(SUMMED_STATEMENTS)}"
            )
        clock = self._store.clock
        by = moment(published_by, clock)
        wanted = statements or [item.value for item in SUMMED_STATEMENTS]
        rows = self._fundamentals_of(symbols, source, wanted, as_of, versions=True)
        rows = select_items(
            rows.filter(pl.col("kind") == PeriodKind.QUARTERLY.value, pl.col("unit").is_in(_MONEY)), items
        )
        sums = trailing_sums(to_events(rows)).rename({EVENT: "published_at"}).drop("kind")
        if by is not None:
            sums = sums.filter(pl.col("published_at") <= by)
        return sums.group_by("source", "symbol", "statement", "item", maintain_order=True).last().select(sums.columns)

    def listings(
        self,
        symbols: Symbols | None = None,
        *,
        source: str | None = None,
        on: Moment | None = None,
        status: str | None = None,
        as_of: Moment | None = None,
        withdrawn: bool = False,
    ) -> pl.DataFrame:
        """Which companies and funds are and were listed, delisted ones included: a universe without the bias of survivors.

        Args:
            symbols: one or several; all by default.
            source: whose word it is.
            on: only what was listed on this day.
            status: `active` or `delisted`, as of what is known.
            as_of: what this lake knew at this moment.
            withdrawn: also what the vendor no longer lists.

        Returns:
            `source, symbol, ipo_date` (Date, null where nobody says), `name, exchange, asset_type, delisting_date, status,
            vendor_symbol, withdrawn, fetched_at, known_at`, sorted by source, symbol and first day.

        Raises:
            ConfigError: no such status.

        Example:
            >>> lake.listings(on="2008-09-15").filter(pl.col("symbol") == "LEH")["delisting_date"].item()
            datetime.date(2008, 9, 18)
        """
        from gb_pipeline.lake import listings

        if status not in {None, "active", "delisted"}:
            raise ConfigError(f"{str(status)[:40]!r} is not a status of a listing", fix="use active or delisted")
        clock = self._store.clock
        rows = listings.read(
            self._store.tables, named_source(source), named_symbols(symbols), moment(as_of, clock), withdrawn=withdrawn
        )
        if status is not None:
            rows = rows.filter(pl.col("status") == status)
        day = _day(moment(on, clock))
        if day is None:
            return rows
        begun, ended = pl.col("ipo_date") <= day, pl.col("delisting_date") <= day
        return rows.filter(begun.fill_null(True), ~ended.fill_null(False))

    def _fundamentals_of(
        self,
        symbols: Symbols | None,
        source: str | None,
        statements: Sequence[str] | None,
        as_of: Moment | None,
        *,
        versions: bool,
    ) -> pl.DataFrame:
        from gb_pipeline.lake import fundamentals

        codes, of, known_at = named_symbols(symbols), named_source(source), moment(as_of, self._store.clock)
        tables = self._store.tables
        rows = fundamentals.read(tables, of, codes, known_at, statements=statements, versions=versions, withdrawn=True)
        missing = [code for code in codes or () if code not in rows["symbol"]]
        if missing:
            asked = fetches.read(tables, of, missing).filter(pl.col("kind") == fundamentals.TABLE)["symbol"]
            stored = fundamentals.read(tables, of, missing, withdrawn=True)["symbol"]
            known = {*asked, *stored}
            for code in missing:
                if code not in known:
                    every = fundamentals.read(tables, of, withdrawn=True)["symbol"].unique().sort().to_list()
                    near = near_names(code, every)
                    fix = did_you_mean(near, "fetch them: gb fundamentals fetch SOURCE SYMBOL")
                    raise UnknownSeries(f"fundamentals of {code} were never fetched", near=near, fix=fix)
        return rows


def _chosen(names: type[Statement] | type[PeriodKind], value: str | None, what: str) -> list[str] | None:
    if value is None:
        return None
    if str(value) not in list(names):
        raise ConfigError(f"{str(value)[:40]!r} is not a {what}", fix=f"use one of {', '.join(names)}")
    return [str(value)]


def _day(instant: datetime | None) -> date | None:
    return None if instant is None else instant.date()


def _widen(rows: pl.DataFrame, items: Items | None) -> pl.DataFrame:
    """A row for each report, a column for each item."""
    from gb_pipeline.reading.fundamental_events import named_items

    named = [] if items is None else named_items(items)
    qualified = pl.concat_str("statement", pl.lit("."), "item")
    rows = rows.with_columns(pl.when(qualified.is_in(named)).then(qualified).otherwise("item").alias("column"))
    twice = rows.group_by("column").agg(pl.col("statement").unique().sort()).filter(pl.col("statement").list.len() > 1)
    if twice.height:
        column, statements = twice.sort("column").row(0)
        raise ReadError(
            f"{column} stands in {' and in '.join(statements)}",
            fix=f"name the statement, or ask for {statements[0]}.{column}",
        )
    told = rows.filter(pl.col("currency").is_not_null()).group_by(_WIDE_KEY).agg(pl.col("currency").unique().sort())
    mixed = told.filter(pl.col("currency").list.len() > 1)
    if mixed.height:
        row = mixed.sort(_WIDE_KEY).row(0, named=True)
        raise ReadError(
            f"the report of {row['symbol']} for {row['fiscal_period_end'] or 'now'} has money in {' and '.join(row['currency'])}",
            fix="leave out `wide`: each number has its currency there",
        )
    texts = set(rows.filter(pl.col("unit") == Unit.TEXT.value)["column"].unique())
    columns = named or sorted(rows["column"].unique())
    numbers = [
        pl.col("text" if name in texts else "value").filter(pl.col("column") == name).first().alias(name)
        for name in columns
    ]
    about = [pl.col("currency").drop_nulls().first(), pl.col("published_at").max()]
    return rows.group_by(_WIDE_KEY).agg(*about, *numbers).sort(_WIDE_KEY)
