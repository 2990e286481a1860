"""What the simulated companies report: quarters, their days of report, and numbers that hang together.

This module computes reports out of seed and ticker, and keeps what is planted. How a vendor lays them out is in its dialect.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from gb_pipeline.errors import ConfigError
from gb_pipeline.market.window import instant
from gb_pipeline.simulation.defects import to_milliseconds
from gb_pipeline.simulation.stock_listings import Listing
from gb_pipeline.simulation.stock_sessions import local_ms

REPORT_KINDS = ("restated_report", "report_currency")
INCOME, BALANCE, CASH = "INCOME_STATEMENT", "BALANCE_SHEET", "CASH_FLOW"
_FIELDS = {
    "restated_report": {"period", "function", "item", "value", "at"},
    "report_currency": {"start", "currency", "at"},
}
_QUARTERS = 80
_DAY = timedelta(days=1)
# Shares of the revenue, in thousandths; of items that follow from others there are none here.
_INCOME_PARTS = {
    "costOfRevenue": 560, "costofGoodsAndServicesSold": 540, "sellingGeneralAndAdministrative": 120, "researchAndDevelopment": 70,
    "interestIncome": 5, "interestExpense": 12, "depreciationAndAmortization": 40, "otherNonOperatingIncome": 3,
}  # fmt: skip
_BALANCE_PARTS = {
    "cashAndCashEquivalentsAtCarryingValue": 600, "inventory": 150, "currentNetReceivables": 450, "goodwill": 800,
    "propertyPlantEquipment": 1500, "totalCurrentAssets": 1700, "totalCurrentLiabilities": 1400, "longTermDebt": 1300,
    "retainedEarnings": 900,
}  # fmt: skip
_CASH_PARTS = {
    "capitalExpenditures": 60, "cashflowFromInvestment": -90, "cashflowFromFinancing": -80, "dividendPayout": 30,
    "depreciationDepletionAndAmortization": 40,
}  # fmt: skip
# What a company may leave out.
_OPTIONAL = ("researchAndDevelopment", "inventory", "goodwill", "dividendPayout", "otherNonOperatingIncome")


@dataclass(frozen=True, slots=True)
class Report:
    """One fiscal quarter, or year, of one company.

    Attributes:
        ends: last day of the period.
        reported: the day on which it is reported.
        currency: of its money.
        values: by function and vendor's item; text, `None` where the company says none.
        eps, estimated_eps: earnings per share in hundredths, as reported and as expected before.
    """

    ends: date
    reported: date
    currency: str
    values: Mapping[str, Mapping[str, str]]
    eps: int
    estimated_eps: int


@dataclass(frozen=True, slots=True)
class ReportChange:
    """A number that is restated, or a currency that changes.

    Attributes:
        kind: one of `REPORT_KINDS`.
        code: canonical code.
        known: epoch milliseconds from which on vendors show it, None where they always do.
        body: what was planted.
    """

    kind: str
    code: str
    known: int | None
    body: Mapping[str, Any]


class Companies:
    """What companies report, as it is visible at a moment.

    Args:
        seed: the same seed makes the same reports.
    """

    def __init__(self, seed: int) -> None:
        """Nothing is computed yet."""
        self._seed = seed
        self._planted: list[ReportChange] = []
        self._lock = threading.Lock()

    def plant(self, kind: str, code: str, body: Mapping[str, Any]) -> ReportChange:
        """Plant a restated number, or a change of the currency.

        Args:
            kind: `restated_report` (period: its last day, function: such as `INCOME_STATEMENT`, item, value: text, at: from then on
                it shows) or `report_currency` (start: periods that end then or later, currency, at).
            code: canonical code.
            body: the arguments of the kind.

        Raises:
            ConfigError: an unknown or missing argument.
        """
        unknown, missing = sorted(set(body) - _FIELDS[kind]), sorted(_FIELDS[kind] - {"at"} - set(body))
        if unknown or missing:
            raise ConfigError(
                f"a {kind} of {code} {'has unknown ' + ', '.join(unknown) if unknown else 'lacks ' + ', '.join(missing)}",
                fix=f"it has {', '.join(sorted(_FIELDS[kind]))}",
            )
        at = body.get("at")
        planted = ReportChange(kind, code, None if at is None else to_milliseconds(at), dict(body))
        with self._lock:
            self._planted.append(planted)
        return planted

    def reset(self) -> None:
        """Forget all that was planted."""
        with self._lock:
            self._planted.clear()

    def quarters(self, listing: Listing, now: int) -> list[Report]:
        """Reports of quarters that are public at a moment, oldest first; a fund has none.

        Args:
            now: epoch milliseconds; a report is public from the end of its day on, in New York.
        """
        if listing.kind != "stock":
            return []
        today = datetime.fromtimestamp(now / 1000, UTC).date()
        planted = self._visible(listing.identity, now)
        reports = (self._quarter(listing, ends, planted) for ends in _quarter_ends(today) if ends > listing.list_date)
        return [report for report in reports if is_public(report.reported, now)]

    def years(self, listing: Listing, now: int) -> list[Report]:
        """Reports of fiscal years, which end in December: sums of four quarters, and balances of the last one; oldest first."""
        quarters = self.quarters(listing, now)
        planted = [
            item for item in self._visible(listing.identity, now) if item.body.get("function", "").startswith("ANNUAL ")
        ]
        return [
            _restated(_year(quarters[last - 3 : last + 1]), planted, "ANNUAL ")
            for last in range(3, len(quarters))
            if quarters[last].ends.month == 12
        ]

    def _visible(self, code: str, now: int) -> list[ReportChange]:
        with self._lock:
            return [item for item in self._planted if item.code == code and (item.known is None or item.known <= now)]

    def _quarter(self, listing: Listing, ends: date, planted: list[ReportChange]) -> Report:
        draw = _draws(f"{self._seed} {listing.identity} {ends}")
        number = (ends.year - 2000) * 4 + ends.month // 3
        # A minute's turnover says how large a company is; it grows by a hundredth a quarter.
        revenue = int(listing.turnover) * 400 * (100 + number) // 100 * (950 + draw(100)) // 1000
        income = _parts(revenue, _INCOME_PARTS, draw)
        operating = (
            revenue
            - income["costOfRevenue"]
            - income["sellingGeneralAndAdministrative"]
            - income["researchAndDevelopment"]
        )
        tax = operating * 21 // 100
        net = operating - tax
        income |= {
            "totalRevenue": revenue, "grossProfit": revenue - income["costOfRevenue"], "operatingIncome": operating,
            "incomeBeforeTax": operating, "incomeTaxExpense": tax, "netIncome": net, "ebit": operating,
            "ebitda": operating + income["depreciationAndAmortization"],
        }  # fmt: skip
        balance = _parts(revenue, _BALANCE_PARTS, draw)
        assets, shares = revenue * 5, max(revenue // int(max(listing.price, 1) * 10), 1)
        equity = assets * (35 + draw(10)) // 100
        balance |= {
            "totalAssets": assets, "totalLiabilities": assets - equity, "totalShareholderEquity": equity,
            "commonStockSharesOutstanding": shares,
        }  # fmt: skip
        operating_cash = net + income["depreciationAndAmortization"]
        cash = _parts(revenue, _CASH_PARTS, draw) | {"operatingCashflow": operating_cash, "netIncome": net}
        values = {INCOME: income, BALANCE: balance, CASH: cash}
        texts = {name: {item: str(value) for item, value in part.items()} for name, part in values.items()}
        for item in _OPTIONAL:
            for part in texts.values():
                if item in part and draw(100) < 30:
                    part[item] = "None"
        eps = net * 100 // shares
        changes = [
            item for item in planted if item.kind == "report_currency" and ends >= instant(item.body["start"]).date()
        ]
        currency = str(changes[-1].body["currency"]) if changes else listing.currency
        report = Report(ends, _report_day(ends, draw), currency, texts, eps, eps + draw(21) - 10)
        return _restated(report, planted, "")


def is_public(reported: date, now: int) -> bool:
    """Whether a report of a day is public at a moment."""
    return now >= local_ms(reported + _DAY, time())


def _quarter_ends(today: date) -> Iterator[date]:
    """The last days of the quarters that have ended, oldest first."""
    first = today.year * 4 + (today.month - 1) // 3 - _QUARTERS
    for number in range(first, first + _QUARTERS):
        year, quarter = divmod(number, 4)
        begins_next = date(year + quarter // 3, (quarter * 3 + 3) % 12 + 1, 1)
        yield begins_next - _DAY


def _report_day(ends: date, draw: Any) -> date:
    day = ends + timedelta(days=20 + draw(20))
    # On a weekend nobody reports.
    return day + max(0, 8 - day.isoweekday()) * _DAY if day.isoweekday() > 5 else day


def _parts(revenue: int, shares: Mapping[str, int], draw: Any) -> dict[str, int]:
    return {item: revenue * share // 1000 * (900 + draw(200)) // 1000 for item, share in shares.items()}


def _year(quarters: list[Report]) -> Report:
    last = quarters[-1]
    values = {
        name: dict(part)
        if name == BALANCE
        else {item: _sum([each.values[name][item] for each in quarters]) for item in part}
        for name, part in last.values.items()
    }
    eps, estimated = sum(each.eps for each in quarters), sum(each.estimated_eps for each in quarters)
    return Report(last.ends, last.reported, last.currency, values, eps, estimated)


def _sum(texts: list[str]) -> str:
    return "None" if "None" in texts else str(sum(map(int, texts)))


def _restated(report: Report, planted: list[ReportChange], prefix: str) -> Report:
    values = {name: dict(part) for name, part in report.values.items()}
    for item in planted:
        function = str(item.body.get("function", ""))
        if (
            item.kind == "restated_report"
            and function.startswith(prefix)
            and instant(item.body["period"]).date() == report.ends
        ):
            values.get(function.removeprefix(prefix), {})[str(item.body["item"])] = str(item.body["value"])
    return Report(report.ends, report.reported, report.currency, values, report.eps, report.estimated_eps)


def _draws(text: str) -> Any:
    """Whole numbers below a limit, drawn one after the other; the same text draws the same."""
    state = [0]

    def draw(limit: int) -> int:
        state[0] += 1
        digest = hashlib.sha256(f"{text} {state[0]}".encode()).digest()
        return int.from_bytes(digest[:8], "big") % limit

    return draw
