"""What a vendor of equities would answer: bars, corporate actions and listings as they are visible at a moment.

This module keeps what is planted, and decides when it is visible. Each vendor's layout has a module of its own, HTTP is in
`server`.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time
from typing import Any

from gb_pipeline.errors import ConfigError
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.simulation.clock import Clock
from gb_pipeline.simulation.defects import Defect, insert_bad_rows, make_defect, to_grid_units, to_milliseconds
from gb_pipeline.simulation.market import MINUTE_MS
from gb_pipeline.simulation.stock_actions import ACTION_KINDS, Action, make_action, visible_actions
from gb_pipeline.simulation.stock_bars import VOLUME_DIGITS, Splits, StockBar
from gb_pipeline.simulation.stock_fundamentals import REPORT_KINDS, Companies, ReportChange
from gb_pipeline.simulation.stock_listings import DEFAULT_TICKERS, PRICE_DIGITS, Listing, make_listing
from gb_pipeline.simulation.stock_sessions import Session, days_since_epoch, local_ms, midnight, sessions
from gb_pipeline.simulation.stock_view import StockView
from gb_pipeline.simulation.ticker_changes import TickerChange, TickerChanges, make_ticker_change

# Minutes of the intraday intervals; days, weeks and months are New York's.
STOCK_INTERVALS = {"1m": 1, "5m": 5, "15m": 15, "30m": 30, "1h": 60}
LONG_INTERVALS = ("1d", "1w", "1mo")
_OPEN = time(9, 30)
_FOREVER = 2**62


class Stocks:
    """A stock market at the simulated now.

    Args:
        seed: the same seed makes the same market.
        symbols: tickers; a dozen well-known ones by default.
        clock: the simulated now, shared with the simulated exchange.

    Attributes:
        clock: the simulated now.
        companies: what the companies report.
        page_limit: at most so many bars in one answer of a dialect that has pages, whatever the vendor documents.
    """

    def __init__(self, seed: int = 7, symbols: Sequence[str] | None = None, *, clock: Clock | None = None) -> None:
        """List the stocks; nothing is computed yet."""
        self.seed = seed
        self.clock = Clock() if clock is None else clock
        listed = [make_listing(code) for code in (DEFAULT_TICKERS if symbols is None else symbols)]
        self.companies = Companies(seed)
        self.page_limit: int | None = None
        self._listed: dict[str, Listing] = {item.code: item for item in listed}
        self._defects: list[Defect] = []
        self._actions: list[Action] = []
        self._tickers = TickerChanges()
        self._lock = threading.Lock()

    @property
    def now(self) -> int:
        """Epoch milliseconds of the simulated clock."""
        return self.clock.now

    def set_now(self, moment: datetime | date | str | int | None) -> None:
        """Stop the clock at a moment; None lets it follow the wall clock again."""
        self.clock.set_now(moment)

    # --- what is planted --------------------------------------------------------------------------------------------

    def plant(self, kind: str, symbol: str, **body: Any) -> Defect | Action | TickerChange | ReportChange:
        """Plant a corporate action, a change of a report, or a defect.

        Args:
            kind: `split` (ex_date, to, from_=1, announced: shown by vendors from that moment on, applied: whether
                adjusted prices have it), `dividend` (ex_date,
                amount, label="regular", announced, declared, record, pay; planted again with `at`, the amount is
                corrected from that moment on), `delisting` (start: first day without trading, announced), `ticker_change` (old:
                the ticker before, ex_date: first day under that of the listing), `fractional` (start: volumes have millionths
                of a share from there on), a kind of `stock_fundamentals.Companies.plant`, or a kind of `defects.Defect`.
            symbol: a listed ticker.
            body: the arguments of the kind.

        Raises:
            ConfigError: it makes no sense, or the stock is not listed.
        """
        code = Symbol.equity(symbol).code
        if code not in self._listed:
            raise ConfigError(f"{code} is not listed", fix="start the simulation with it")
        if kind == "ticker_change":
            change = make_ticker_change(code, body, list(self._listed))
            with self._lock:
                others = tuple(item for item in self._tickers.changes if item.code != code)
                self._tickers = TickerChanges((*others, change))
            return change
        if kind in REPORT_KINDS:
            return self.companies.plant(kind, code, body)
        if kind in ACTION_KINDS:
            planted_action = make_action(kind, code, body)
            with self._lock:
                self._actions.append(planted_action)
            return planted_action
        planted = _fractional(code, body) if kind == "fractional" else make_defect(kind, code, body)
        if planted.interval not in {"1m", "1d"}:
            raise ConfigError(f"a {kind} of {code} at {planted.interval}", fix="interval is 1m or 1d")
        if kind == "restatement":
            for name, value in planted.values.items():
                to_grid_units(value, VOLUME_DIGITS if name == "volume" else PRICE_DIGITS)
        with self._lock:
            self._defects.append(planted)
        return planted

    def reset(self) -> None:
        """Forget all that was planted and let the clock run."""
        with self._lock:
            self._defects.clear()
            self._actions.clear()
            self._tickers = TickerChanges()
        self.companies.reset()
        self.clock.set_now(None)
        self.page_limit = None

    # --- what is listed and what happens ----------------------------------------------------------------------------

    def listings(self) -> list[Listing]:
        """All stocks as they are known now, delisted ones with `active` false, by ticker."""
        return sorted((self._as_known_now(item) for item in self._listed.values()), key=lambda item: item.code)

    def listing(self, code: str) -> Listing | None:
        """One stock as it is known now; None where no stock stands, or stood last, under the ticker."""
        item = self._listed.get(self._tickers.stock(code))
        known = None if item is None else self._as_known_now(item)
        return known if known is not None and known.code == code else None

    def has_bars(self, code: str) -> bool:
        """Whether a stock stands under a ticker, or ever stood under it."""
        return self._tickers.stock(code) in self._listed

    def tickers(self, item: Listing) -> list[tuple[date, str]]:
        """Every ticker that a stock has had by now, and since when, newest first."""
        return self._tickers.events(item.identity, item.list_date, self.now)

    def actions(self, code: str, start: date, end: date) -> list[Action]:
        """Corporate actions with an ex-date in [start, end) that vendors show now, by ex-date.

        Some vendors show an action only once it happened: ask `happened`.
        """
        stock, (first, last) = self._tickers.stock(code), self._tickers.span(code)
        known_actions = visible_actions(self._planted_actions(stock), self.now)
        inside = [item for item in known_actions if start <= item.ex_date < end]
        return [replace(item, code=code) for item in inside if first <= midnight(item.ex_date) < last]

    def happened(self, item: Action) -> bool:
        """Whether the market has opened (or would have) on the action's ex-date."""
        return self.now >= local_ms(item.ex_date, _OPEN)

    def sessions(self, start: date, end: date) -> list[Session]:
        """The trading days of [start, end) with their hours, also future ones."""
        table = sessions()
        return [table.at(position) for position in range(table.from_day(start), table.from_day(end))]

    # --- bars -------------------------------------------------------------------------------------------------------

    def bars(
        self,
        code: str,
        interval: str,
        start_ms: int,
        end_ms: int,
        *,
        extended: bool = False,
        adjusted: bool = False,
        limit: int | None = None,
        aligned: str = "clock",
        count_call: bool = True,
    ) -> list[StockBar]:
        """Bars that open within [start_ms, end_ms), epoch milliseconds, oldest first, the bar in progress included.

        Args:
            code: a listed ticker.
            interval: 1m 5m 15m 30m 1h (stamped with their open), 1d 1w 1mo (stamped with 00:00 in New York of the
                session, the Monday, the first of the month).
            start_ms: first stamp.
            end_ms: end (exclusive); nothing later than now is ever shown.
            extended: from 04:00 to 20:00 in New York instead of the regular hours; intraday only.
            adjusted: prices divided and volumes multiplied by the splits that have happened until now, as exact text of
                up to 12 decimals. Raw prices have two.
            limit: the first so many.
            aligned: `clock`: hours begin at full hours, the first one of a day holds the open; `session`: they are
                counted from 04:00, from the open and from the close.
            count_call: whether this answer counts for restatements from a certain call on.

        Raises:
            ConfigError: an unknown ticker, interval or alignment.
        """
        ticker, code = code, self._tickers.stock(code)
        if code not in self._listed:
            raise ConfigError(f"{ticker} is not listed", fix="start the simulation with it")
        if interval not in STOCK_INTERVALS and interval not in LONG_INTERVALS:
            known = ", ".join([*STOCK_INTERVALS, *LONG_INTERVALS])
            raise ConfigError(f"no bars of {interval}", fix=f"use one of {known}")
        if aligned not in {"clock", "session"}:
            raise ConfigError(f"no alignment {aligned!r}", fix="use clock or session")
        # What lies beyond all sessions need not fit into 64 bits.
        start_ms, end_ms = (max(-_FOREVER, min(moment, _FOREVER)) for moment in (start_ms, end_ms))
        first, last = self._tickers.span(ticker)
        start_ms, end_ms = max(start_ms, first), min(end_ms, last)
        splits = self._splits(code)
        applied_splits = tuple(item for item in splits if item.applied and self.happened(item)) if adjusted else ()
        ratios = tuple((days_since_epoch(item.ex_date), item.ratio) for item in applied_splits)
        view = self._view(code, splits, count_call=count_call)
        max_rows = _FOREVER if limit is None else limit
        if interval in LONG_INTERVALS:
            rows = view.long(interval, start_ms, end_ms, ratios).where(slice(0, max_rows)).rows()
        else:
            rows = []
            size, from_open = STOCK_INTERVALS[interval], aligned == "session"
            for part in view.intraday(size, start_ms, end_ms, extended=extended, from_open=from_open):
                rows += part.where(slice(0, max_rows - len(rows))).adjusted(ratios).rows()
                if len(rows) >= max_rows:
                    break
        return insert_bad_rows(rows, view.bad(interval))[:max_rows]

    def whole_minute(self, code: str, start: int) -> StockBar | None:
        """The bar of the minute that begins at `start`, epoch milliseconds, as it is once it is over; None where nothing trades.

        Streams make the minute's trades of it while it lasts.
        """
        code = self._tickers.stock(code)
        if code not in self._listed:
            return None
        view = replace(self._view(code, self._splits(code), count_call=False), now=start + MINUTE_MS)
        for part in view.intraday(1, start, start + MINUTE_MS, extended=True, from_open=False):
            for bar in part.rows():
                return bar
        return None

    # --- how --------------------------------------------------------------------------------------------------------

    def _view(self, code: str, splits: Sequence[Action], *, count_call: bool) -> StockView:
        with self._lock:
            defects = [item for item in self._defects if item.symbol == code]
        ends = [item.ex_date for item in self._planted_actions(code) if item.kind == "delisting"]
        # Trading ends on that day, whether or not vendors know of it already.
        traded_listing = replace(self._as_known_now(self._listed[code]), code=code, delisted=min(ends, default=None))
        ratios: Splits = tuple((days_since_epoch(item.ex_date), item.ratio) for item in splits)
        return StockView(self.seed, traded_listing, self.now, ratios, defects, count_call)

    def _as_known_now(self, item: Listing) -> Listing:
        with self._lock:
            starts = [one.start for one in self._defects if one.kind == "listing" and one.symbol == item.identity]
        if starts:
            item = replace(item, list_date=datetime.fromtimestamp(max(starts) / 1000, UTC).date())
        for one in visible_actions(self._planted_actions(item.identity), self.now):
            ended = self.now >= midnight(one.ex_date)
            if one.kind == "delisting" and (ended or one.known is not None):
                item = replace(item, delisted=one.ex_date, active=not ended)
        return replace(item, code=self._tickers.ticker(item.identity, self.now))

    def _planted_actions(self, code: str) -> list[Action]:
        with self._lock:
            return [item for item in self._actions if item.code == code]

    def _splits(self, code: str) -> list[Action]:
        latest = {item.ex_date: item for item in self._planted_actions(code) if item.kind == "split"}
        return [item for _, item in sorted(latest.items())]


def _fractional(code: str, body: Mapping[str, Any]) -> Defect:
    if set(body) != {"start"}:
        raise ConfigError(f"fractional volumes of {code} begin somewhere", fix="give start and nothing else")
    return Defect("fractional", code, to_milliseconds(body["start"]), _FOREVER)
