"""This module names what stands in Alpha Vantage's reports: our name of each item, and its unit.

Names are the vendor's own, written in lower case with underscores; what that makes unreadable has a name here. Reports are money
except where this module says otherwise; which currency the overview's numbers about a business have, the vendor does not say.
"""

from __future__ import annotations

import re

from gb_pipeline.market.fundamental_schema import TEXT_ITEMS, Unit

_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_NAMES = {
    "costofGoodsAndServicesSold": "cost_of_goods_and_services_sold",
    "DilutedEPSTTM": "diluted_eps_ttm",
    "52WeekHigh": "week_52_high",
    "52WeekLow": "week_52_low",
    "50DayMovingAverage": "day_50_moving_average",
    "200DayMovingAverage": "day_200_moving_average",
}
# Of these the overview's `Currency` is the currency: they are made of prices.
PRICED = frozenset(
    {
        "market_capitalization", "analyst_target_price", "dividend_per_share", "week_52_high", "week_52_low",
        "day_50_moving_average", "day_200_moving_average",
    }
)  # fmt: skip
_OVERVIEW_UNITS = {
    **dict.fromkeys(("market_capitalization", "ebitda", "revenue_ttm", "gross_profit_ttm"), Unit.MONEY),
    **dict.fromkeys(
        ("book_value", "dividend_per_share", "eps", "revenue_per_share_ttm", "diluted_eps_ttm", *sorted(PRICED)),
        Unit.MONEY_PER_SHARE,
    ),
    "market_capitalization": Unit.MONEY,
    **dict.fromkeys(("shares_outstanding", "shares_float"), Unit.SHARES),
    **dict.fromkeys(("percent_insiders", "percent_institutions"), Unit.PERCENT),
    **dict.fromkeys(TEXT_ITEMS, Unit.TEXT),
}
_EARNINGS_UNITS = {"surprise_percentage": Unit.PERCENT, "report_time": Unit.TEXT}


def item_name(vendor: str) -> str:
    """Our name of an item.

    Example:
        >>> item_name("totalRevenue"), item_name("EVToEBITDA"), item_name("52WeekHigh")
        ('total_revenue', 'ev_to_ebitda', 'week_52_high')
    """
    return _NAMES.get(vendor) or _WORDS.sub("_", vendor).lower()


def overview_unit(item: str) -> Unit:
    """The unit of an item of the overview; analysts' ratings are counted, and what nobody knows is a plain number.

    Example:
        >>> str(overview_unit("pe_ratio")), str(overview_unit("sector"))
        ('ratio', 'text')
    """
    if item.startswith("analyst_rating"):
        return Unit.COUNT
    return _OVERVIEW_UNITS.get(item, Unit.RATIO)


def earnings_unit(item: str) -> Unit:
    """The unit of an item of the earnings: money per share, in a currency that the vendor does not say."""
    return _EARNINGS_UNITS.get(item, Unit.MONEY_PER_SHARE)


def report_unit(item: str) -> Unit:
    """The unit of an item of a statement."""
    return Unit.SHARES if item.endswith("shares_outstanding") else Unit.MONEY
