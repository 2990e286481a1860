"""Alpha Vantage's answers about companies: overview, statements, earnings, and the list of listings at a date.

Every number is quoted, what there is none of is `None`, the newest report comes first, and of a fund or an unknown symbol the
answer is `{}`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime

from gb_pipeline.simulation.response import Response
from gb_pipeline.simulation.stock_fundamentals import BALANCE, CASH, INCOME, Report
from gb_pipeline.simulation.stock_listings import Listing
from gb_pipeline.simulation.stocks import Stocks

VENUES = {"XNAS": "NASDAQ", "XNYS": "NYSE", "ARCX": "NYSE ARCA"}
# The vendor's own limit.
_FIRST_DATE = date(2010, 1, 1)
_HUNDRED = 100


def vendor_code(item: Listing) -> str:
    """The vendor's spelling of a ticker: classes take hyphens."""
    return item.code.replace(".", "-")


def listing_status(stocks: Stocks, query: Mapping[str, str]) -> Response:
    """LISTING_STATUS, as it is now, or was on a date.

    Raises:
        ValueError: the date is none, or before 2010.
    """
    active = query.get("state", "active") == "active"
    today = datetime.fromtimestamp(stocks.now / 1000, UTC).date()
    on = date.fromisoformat(query["date"]) if "date" in query else today
    if on < _FIRST_DATE:
        raise ValueError("the vendor's lists begin in 2010")
    lines = ["symbol,name,exchange,assetType,ipoDate,delistingDate,status"]
    for item in stocks.listings():
        was_active = item.active or (item.delisted is not None and "date" in query and item.delisted > on)
        if item.list_date <= on and was_active is active:
            delisting_date = item.delisted.isoformat() if item.delisted and not active else "null"
            name = f'"{item.name}"' if "," in item.name else item.name
            kind, state = ("ETF" if item.kind == "etf" else "Stock"), ("Active" if active else "Delisted")
            cells = (vendor_code(item), name, VENUES[item.mic], kind, item.list_date.isoformat(), delisting_date, state)
            lines.append(",".join(cells))
    return Response(200, "\r\n".join(lines) + "\r\n", "application/x-download")


def _statement(function: str) -> Callable[[Stocks, Listing], dict[str, object]]:
    def answer(stocks: Stocks, item: Listing) -> dict[str, object]:
        def newest_first(reports: list[Report]) -> list[dict[str, str]]:
            return [
                {"fiscalDateEnding": each.ends.isoformat(), "reportedCurrency": each.currency, **each.values[function]}
                for each in reversed(reports)
            ]

        return {
            "annualReports": newest_first(stocks.companies.years(item, stocks.now)),
            "quarterlyReports": newest_first(stocks.companies.quarters(item, stocks.now)),
        }

    return answer


def _earnings(stocks: Stocks, item: Listing) -> dict[str, object]:
    quarters = [
        {
            "fiscalDateEnding": each.ends.isoformat(),
            "reportedDate": each.reported.isoformat(),
            "reportedEPS": _hundredths(each.eps),
            "estimatedEPS": _hundredths(each.estimated_eps),
            "surprise": _hundredths(each.eps - each.estimated_eps),
            "surprisePercentage": _percent(each.eps - each.estimated_eps, each.estimated_eps),
            "reportTime": "post-market" if each.reported.day % 2 else "pre-market",
        }
        for each in reversed(stocks.companies.quarters(item, stocks.now))
    ]
    years = [
        {"fiscalDateEnding": each.ends.isoformat(), "reportedEPS": _hundredths(each.eps)}
        for each in reversed(stocks.companies.years(item, stocks.now))
    ]
    return {"annualEarnings": years, "quarterlyEarnings": quarters}


def _overview(stocks: Stocks, item: Listing) -> dict[str, object]:
    quarters = stocks.companies.quarters(item, stocks.now)
    last = quarters[-1]
    year = quarters[-4:]
    whole = len(year) == 4
    shares = int(last.values[BALANCE]["commonStockSharesOutstanding"])
    # A price that moves with the day, in hundredths.
    price = round(item.price * _HUNDRED) + stocks.now // 86_400_000 % 500
    eps = sum(each.eps for each in year)
    return {
        "AssetType": "Common Stock",
        "Name": item.name,
        "Description": f"{item.name} is a company of the simulated market.",
        "CIK": str(320_193 + shares % 1000),
        "Exchange": VENUES[item.mic],
        "Currency": item.currency,
        "Country": "USA",
        "Sector": "TECHNOLOGY",
        "Industry": "ELECTRONIC COMPUTERS",
        "FiscalYearEnd": "December",
        "LatestQuarter": last.ends.isoformat(),
        "MarketCapitalization": str(shares * price // _HUNDRED),
        "EBITDA": str(sum(int(each.values[INCOME]["ebitda"]) for each in year)) if whole else "None",
        "PERatio": _hundredths(price * _HUNDRED // eps) if whole and eps > 0 else "None",
        "PEGRatio": "-",
        "EPS": _hundredths(eps) if whole else "None",
        "RevenueTTM": str(sum(int(each.values[INCOME]["totalRevenue"]) for each in year)) if whole else "None",
        "ProfitMargin": "0.243",
        "AnalystTargetPrice": _hundredths(price * 11 // 10),
        "AnalystRatingBuy": "17",
        "Beta": "1.244",
        "52WeekHigh": _hundredths(price + 1500),
        "52WeekLow": _hundredths(price - 1500),
        "50DayMovingAverage": _hundredths(price - 100),
        "SharesOutstanding": str(shares),
        "DividendDate": "None",
        "ExDividendDate": "None",
    }


_ANSWERS = {
    INCOME: ("symbol", _statement(INCOME)),
    BALANCE: ("symbol", _statement(BALANCE)),
    CASH: ("symbol", _statement(CASH)),
    "EARNINGS": ("symbol", _earnings),
    "OVERVIEW": ("Symbol", _overview),
}
COMPANY_FUNCTIONS = tuple(_ANSWERS)


def answer_about(stocks: Stocks, function: str, item: Listing | None, symbol: str) -> Response:
    """The answer of one of `COMPANY_FUNCTIONS` about a company.

    Args:
        item: as it is listed; None where nothing is.
        symbol: as it was asked for.
    """
    if item is None or not stocks.companies.quarters(item, stocks.now):
        return Response.json({})
    whose, make = _ANSWERS[function]
    return Response.json({whose: symbol.upper(), **make(stocks, item)})


def _hundredths(value: int) -> str:
    sign, number = ("-" if value < 0 else ""), abs(value)
    return f"{sign}{number // _HUNDRED}.{number % _HUNDRED:02d}"


def _percent(part: int, whole: int) -> str:
    return "None" if whole == 0 else f"{part * _HUNDRED / whole:.4f}"
