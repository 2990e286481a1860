"""This module reads Alpha Vantage's answers about companies: reports, earnings, overviews and the list of listings.

An answer about a symbol of which the vendor has nothing is `{}`. Which function an answer belongs to shows in what it holds, so
that kept answers can be read without their questions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date
from typing import Any

import polars as pl

from gb_pipeline.errors import TransientVendorError
from gb_pipeline.market.fundamental_schema import FUNDAMENTALS_RECEIVED, LISTINGS_RECEIVED, PeriodKind, Statement, Unit
from gb_pipeline.providers.alpha_vantage import items, responses
from gb_pipeline.providers.alpha_vantage.symbols import equity

FUNCTIONS = {
    Statement.OVERVIEW: "OVERVIEW",
    Statement.INCOME_STATEMENT: "INCOME_STATEMENT",
    Statement.BALANCE_SHEET: "BALANCE_SHEET",
    Statement.CASH_FLOW: "CASH_FLOW",
    Statement.EARNINGS: "EARNINGS",
}
_STATEMENTS = {function: statement for statement, function in FUNCTIONS.items()}
# One item that no other function's reports have.
_TELLING = {
    "totalRevenue": Statement.INCOME_STATEMENT,
    "totalAssets": Statement.BALANCE_SHEET,
    "operatingCashflow": Statement.CASH_FLOW,
}
_REPORTS = {PeriodKind.ANNUAL: "annualReports", PeriodKind.QUARTERLY: "quarterlyReports"}
_EARNINGS = {PeriodKind.ANNUAL: "annualEarnings", PeriodKind.QUARTERLY: "quarterlyEarnings"}
_ENDING, _CURRENCY, _REPORTED = "fiscalDateEnding", "reportedCurrency", "reportedDate"
_WHOSE = {"symbol", "Symbol"}


def is_about_companies(function: str) -> bool:
    """Whether a function's answers are read here."""
    return function in _STATEMENTS


def check(answer: dict[str, Any], function: str, symbol: str) -> None:
    """Refuse an answer that is not one of this function about this symbol.

    Raises:
        TransientVendorError: it is another one, or broken.
    """
    found, asked = statement_of(answer), _STATEMENTS[function]
    if found is not None and found is not asked:
        raise _broken(f"with {found} instead of {asked}")
    read_answers([answer], symbol)


def statement_of(answer: dict[str, Any]) -> Statement | None:
    """What an answer is; None where it holds nothing that could tell.

    Raises:
        TransientVendorError: it is nothing that is known.
    """
    if not answer:
        return None
    if any(name in answer for name in _EARNINGS.values()):
        return Statement.EARNINGS
    if any(name in answer for name in _REPORTS.values()):
        reports = [report for name in _REPORTS.values() for report in _list(answer, name)]
        found = {statement for report in reports for item, statement in _TELLING.items() if item in report}
        if len(found) == 1:
            return found.pop()
        if not reports:
            return None
    if "Symbol" in answer and "AssetType" in answer:
        return Statement.OVERVIEW
    raise _broken(f"with {', '.join(sorted(answer))[:60]!r}")


def read_answers(answers: Sequence[dict[str, Any]], symbol: str) -> pl.DataFrame:
    """The rows of some answers about one company.

    Args:
        answers: of different functions, in any order.
        symbol: the vendor's spelling that was asked for.

    Returns:
        Columns of `FUNDAMENTALS_RECEIVED`. The day on which a quarter was reported, which EARNINGS tells, stands in every row about
        a fiscal period that ends with it.

    Raises:
        TransientVendorError: an answer about another symbol, or of another form.
    """
    frames = [pl.DataFrame(schema=FUNDAMENTALS_RECEIVED)]
    reported: dict[date | None, date | None] = {}
    for answer in answers:
        match statement_of(answer):
            case None:
                continue
            case Statement.OVERVIEW:
                _require_symbol(answer.get("Symbol"), symbol)
                frames.append(_overview(answer))
            case Statement.EARNINGS:
                _require_symbol(answer.get("symbol"), symbol)
                frames += [
                    _reports(answer, Statement.EARNINGS, kind, name, items.earnings_unit)
                    for kind, name in _EARNINGS.items()
                ]
                quarters = _list(answer, _EARNINGS[PeriodKind.QUARTERLY])
                reported |= {
                    responses.parse_day(row.get(_ENDING)): responses.parse_day(row.get(_REPORTED)) for row in quarters
                }
            case statement:
                _require_symbol(answer.get("symbol"), symbol)
                frames += [
                    _reports(answer, statement, kind, name, items.report_unit) for kind, name in _REPORTS.items()
                ]
    days = pl.DataFrame(
        {"fiscal_period_end": list(reported), "told": list(reported.values())},
        schema={"fiscal_period_end": pl.Date(), "told": pl.Date()},
    ).drop_nulls()
    rows = pl.concat(frames).join(days, on="fiscal_period_end", how="left", maintain_order="left")
    return rows.with_columns(pl.col("told").alias("reported_date")).drop("told")


def read_listings(bodies: Iterable[bytes], secrets: Iterable[str] = ()) -> pl.DataFrame:
    """The rows of LISTING_STATUS as columns of `LISTINGS_RECEIVED`; `symbol` is null where no canonical code can be made of it.

    Raises:
        VendorError: as `responses.listing_rows`; or there is not a single row.
    """
    rows = [row for body in bodies for row in responses.listing_rows(body, secrets=secrets)]
    if not rows:
        raise _broken("with an empty list of listings")
    names, *rest = zip(*rows, strict=True)
    symbols = [equity(name) for name in names]
    name, exchange, kind, first, last, status = rest
    columns = {
        "symbol": [None if symbol is None else symbol.code for symbol in symbols],
        "ipo_date": list(map(responses.parse_day, first)),
        "name": name,
        "exchange": exchange,
        "asset_type": kind,
        "delisting_date": list(map(responses.parse_day, last)),
        "status": [text.lower() for text in status],
        "vendor_symbol": names,
    }
    return pl.DataFrame(columns, schema=LISTINGS_RECEIVED)


def _reports(
    answer: dict[str, Any], statement: Statement, kind: PeriodKind, name: str, unit_of: Callable[[str], Unit]
) -> pl.DataFrame:
    reports = _list(answer, name)
    about = (_ENDING, _CURRENCY, _REPORTED)
    vendor_items = dict.fromkeys(item for report in reports for item in report if item not in about)
    if not vendor_items:
        return pl.DataFrame(schema=FUNDAMENTALS_RECEIVED)
    columns: dict[str, list[Any]] = {
        "fiscal_period_end": [responses.parse_day(report.get(_ENDING)) for report in reports],
        "currency": [_text(report.get(_CURRENCY)) for report in reports],
        **{item: [_text(report.get(item)) for report in reports] for item in vendor_items},
    }
    schema = {"fiscal_period_end": pl.Date(), **dict.fromkeys(("currency", *vendor_items), pl.String())}
    index = ["fiscal_period_end", "currency"]
    long = pl.DataFrame(columns, schema=schema).unpivot(index=index, variable_name="vendor", value_name="told")
    return _rows(long, statement, kind, {vendor: items.item_name(vendor) for vendor in vendor_items}, unit_of)


def _overview(answer: dict[str, Any]) -> pl.DataFrame:
    names = {vendor: items.item_name(vendor) for vendor in answer if vendor not in _WHOSE}
    currency = _text(answer.get("Currency"))
    long = pl.DataFrame(
        {
            "fiscal_period_end": [None] * len(names),
            "currency": [currency if name in items.PRICED else None for name in names.values()],
            "vendor": list(names),
            "told": [_text(answer[vendor]) for vendor in names],
        },
        schema={"fiscal_period_end": pl.Date(), **dict.fromkeys(("currency", "vendor", "told"), pl.String())},
    )
    return _rows(long, Statement.OVERVIEW, PeriodKind.SNAPSHOT, names, items.overview_unit)


def _rows(
    long: pl.DataFrame,
    statement: Statement,
    kind: PeriodKind,
    names: dict[str, str],
    unit_of: Callable[[str], Unit],
) -> pl.DataFrame:
    units = {vendor: unit_of(name).value for vendor, name in names.items()}
    unit = pl.col("vendor").replace_strict(units, return_dtype=pl.String())
    is_text, is_money = unit == Unit.TEXT.value, unit.is_in([Unit.MONEY.value, Unit.MONEY_PER_SHARE.value])
    return long.select(
        pl.lit(statement.value).alias("statement"),
        pl.lit(kind.value).alias("kind"),
        "fiscal_period_end",
        pl.col("vendor").replace_strict(names, return_dtype=pl.String()).alias("item"),
        pl.when(~is_text).then("told").alias("value"),
        pl.when(is_text).then("told").alias("text"),
        unit.alias("unit"),
        pl.when(is_money).then("currency").alias("currency"),
        pl.lit(None, pl.Date()).alias("reported_date"),
    ).cast(FUNDAMENTALS_RECEIVED)


def _list(answer: dict[str, Any], name: str) -> list[dict[str, Any]]:
    reports = answer.get(name, [])
    if not isinstance(reports, list) or any(not isinstance(report, dict) for report in reports):
        raise _broken(f"without a list of {name}")
    return reports


def _text(value: Any) -> str | None:
    """What stands there; the vendor quotes its numbers, and `None` is how it says that there is none."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise _broken(f"{str(value)[:20]!r} where a number or text belongs")


def _require_symbol(value: Any, symbol: str) -> None:
    if not isinstance(value, str) or value.upper() not in {symbol.upper(), symbol.upper().replace("-", ".")}:
        raise _broken(f"for {str(value)[:20]!r} instead of {symbol}")


def _broken(what: str) -> TransientVendorError:
    return TransientVendorError(
        f"{responses.WHO} answered {what}",
        fix="the vendor's protocol promises otherwise; the same call may succeed later",
    )
