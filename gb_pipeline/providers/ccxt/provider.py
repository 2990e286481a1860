"""This module fetches bars from every exchange of ccxt, by name: symbols and windows become requests, and candles a frame.

What is odd about an exchange is in `quirks`, what is odd about ccxt in `client`.

A window is cut into fixed pages of the exchange's size. A page is asked for as such, never from wherever the last answer
ended: the same window always makes the same requests, and rows outside of a page cannot come in twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Self

import polars as pl

from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.errors import (
    PermanentVendorError,
    TransientVendorError,
    UnknownSymbol,
)
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import Adjustment
from gb_pipeline.market.symbol import AssetClass, Symbol
from gb_pipeline.market.window import Window
from gb_pipeline.providers.base import Body, Fetched, Instrument, InstrumentsProvider, Provider
from gb_pipeline.providers.candles import read_candles
from gb_pipeline.providers.ccxt import client as ccxt_client
from gb_pipeline.providers.ccxt.markets import PERPETUAL, by_id, codes_of, instruments_of, turnovers_of
from gb_pipeline.providers.ccxt.pages import Page, Pages, pages
from gb_pipeline.providers.ccxt.quirks import quirks_of
from gb_pipeline.providers.ccxt.reader import Reader, description
from gb_pipeline.providers.http.policy import Policy
from gb_pipeline.providers.http.responses import read_json
from gb_pipeline.providers.http.transport import Transport

# Milliseconds between two bars, at least: pages of months are cut as if all were February.
_STEPS = {Resolution.DAY: 86_400_000, Resolution.WEEK: 7 * 86_400_000, Resolution.MONTH: 28 * 86_400_000}
_OPTIONS = frozenset({"exchange", "base_url"})


class CcxtProvider(Provider, InstrumentsProvider):
    """One exchange.

    An instance serves any number of symbols at once, within one event loop; close it with `aclose`.

    Args:
        exchange: a name of ccxt's list, `binance`, `coinbase`, `kraken`, ...
        base_url: `http://127.0.0.1:PORT` of a simulated exchange, to which every request then goes; nothing leaves
            loopback. The real exchange by default.
        policy: patience and pace; the vendor's documented pace where the policy sets none, and none on loopback.
        vendor_symbols: canonical code to ccxt's or the exchange's own spelling, where it cannot be derived.

    Raises:
        ConfigError: ccxt has no such exchange, or base_url is not on loopback.

    Example:
        >>> provider = CcxtProvider("kraken")
        >>> provider.supports(Symbol.crypto("BTC-USD"), Resolution.MINUTE)
        True
    """

    adjustment, normaliser = Adjustment.RAW, "ccxt/2"

    def __init__(
        self,
        exchange: str,
        *,
        base_url: str | None = None,
        policy: Policy | None = None,
        vendor_symbols: Mapping[str, str] | None = None,
    ) -> None:
        """Build the client; nothing is sent before the first fetch."""
        self.name = exchange
        policy = policy or Policy()
        self._transport = Transport(f"ccxt-{exchange}", policy)
        self._client: Any = ccxt_client.build_client(exchange, self._transport, base_url=base_url)
        self._quirks = quirks_of(self._client)
        self._transport.policy = policy.with_defaults(rate=None if base_url else self._quirks.rate)
        self._vendor_symbols = dict(vendor_symbols or {})
        self._markets: dict[str, str] = {}
        self._perpetuals_loaded = not self._quirks.perpetuals
        self._loading = asyncio.Lock()
        self._closed = False

    @classmethod
    def from_settings(cls, source: SourceSettings, *, state_dir: Path | None = None) -> Self:
        """From gb.yaml: `options: {exchange: binance, base_url: http://127.0.0.1:PORT}`, both optional.

        Args:
            source: the source; its own name is the exchange by default.
            state_dir: folder of the pace that all processes on this machine share.

        Raises:
            ConfigError: an unknown option or exchange.
        """
        source.only_options(*_OPTIONS)
        return cls(
            source.option("exchange") or source.name,
            base_url=source.option("base_url"),
            policy=Policy.of(source, rate=None, state_dir=state_dir),
            vendor_symbols=source.vendor_symbols,
        )

    def supports(self, symbol: Symbol, resolution: Resolution) -> bool:
        """Whether the exchange has such bars; whether it lists the symbol shows at the first fetch."""
        return symbol.asset_class in {AssetClass.CRYPTO, AssetClass.FOREX} and self._timeframe(resolution) is not None

    @property
    def policy(self) -> Policy:
        """Patience and pace that hold; for plans."""
        return self._transport.policy

    @property
    def setup_requests(self) -> int:
        """Requests for the list of markets, before the first bars; for plans."""
        return self._quirks.setup

    def requests(self, window: Window, resolution: Resolution) -> int:
        """One per page of the exchange's size."""
        return len(list(pages(window, self._quirks.page * _step(resolution))))

    async def fetch_bars(self, symbol: Symbol, window: Window, resolution: Resolution) -> Fetched:
        """All bars whose open lies in the window, sorted, in the vendor's own digits.

        Duplicates and rows whose time cannot be read are kept for the quality layer to validate; so is the bar in progress.

        Args:
            symbol: a pair such as `BTC-USDT`, or a perpetual such as `BTC-USDT-PERP`.
            window: any length; it is fetched page after page.
            resolution: one that `supports` says yes to.

        Raises:
            UnknownSymbol: the exchange does not list it; the error names near matches.
            HistoryNotAvailable: the exchange only has newer bars than asked for.
            PermanentVendorError: the exchange has no such resolution.
            TransientVendorError: it failed more often than the policy allows, or answered something else.
        """
        self._refuse(resolution)
        market = await self._market(symbol)
        described = b"" if self._quirks.layout else description(self._client, market)
        pages = self._pages(symbol, resolution, described)
        requests = pages.of(window)
        with self._transport.measure() as tally:
            if described:
                tally.accept(described)
            try:
                page = next(requests)
                while True:
                    frame, body = await self._fetch_page(pages, page, market, resolution)
                    tally.accept(body)
                    page = requests.send(frame)
            except StopIteration as done:
                frames = done.value
        return tally.fetched(self._concat(frames))

    def normalise(self, symbol: Symbol, window: Window, resolution: Resolution, bodies: Sequence[Body]) -> pl.DataFrame:
        """The frame of `fetch_bars` out of the bodies that it received, without the exchange.

        Bodies of exchanges whose layout is not known begin with what ccxt knew of the market (`reader`).

        Raises:
            PermanentVendorError: these bodies do not answer this window.
            VendorError: as `fetch_bars` does for such bodies.
        """
        self._refuse(resolution)
        left = iter(bodies)
        pages = self._pages(symbol, resolution, b"" if self._quirks.layout else next(left, b""))
        requests = pages.of(window)
        unfit = PermanentVendorError(
            f"{len(bodies)} bodies are not what {self.name} answers to {symbol} from {window.start} to {window.end}",
            fix="fetch the window again",
        )
        try:
            page = next(requests)
            while (body := next(left, None)) is not None:
                text = body.decode(errors="replace")
                page = requests.send(pages.read(page, text, read_json(self.name, 200, "", text)))
            raise unfit
        except StopIteration as done:
            frames = done.value
        if next(left, None) is not None:
            raise unfit
        return self._concat(frames)

    async def instruments(self, *, turnover: bool = False) -> list[Instrument]:
        """The spot pairs and perpetuals that the exchange lists now, by canonical code.

        `vendor` is ccxt's own symbol (`BTC/USDT`, `BTC/USDT:USDT`), `name` the exchange's identifier.

        Args:
            turnover: one more request for pairs, and one for perpetuals where there are any; exchanges that do not tell all
                turnovers at once tell none.

        Raises:
            VendorError: the list cannot be had.
        """
        await self._load(perpetuals=True)
        markets: dict[str, Any] = self._client.markets
        turnovers: dict[str, Decimal] = {}
        if turnover and self._client.has.get("fetchTickers"):
            kinds = {"swap" if markets[name].get("swap") else "spot" for name in self._markets.values()}
            for kind in sorted(kinds):
                turnovers |= await self._transport.call(lambda kind=kind: self._turnovers(kind))  # type: ignore[misc]
        from ccxt.base.decimal_to_precision import DECIMAL_PLACES

        in_digits = self._client.precisionMode == DECIMAL_PLACES
        return instruments_of(self.name, self._markets, markets, turnovers, decimal_places=in_digits)

    async def _turnovers(self, kind: str) -> dict[str, Decimal]:
        with ccxt_client.typed_errors(self.name):
            return turnovers_of(await self._client.fetch_tickers(None, {"type": kind}))

    def quota_left(self) -> int | None:
        """Calls that the vendor's day still has, for all processes; None where there is no quota."""
        return self._transport.quota_left()

    async def aclose(self) -> None:
        """Close connections. The provider can not be used afterwards."""
        self._closed = True
        await self._client.close()
        self._transport.close()

    def _refuse(self, resolution: Resolution) -> None:
        if self._timeframe(resolution) is None:
            raise PermanentVendorError(
                f"{self.name} has no bars of {resolution}", fix=f"use one of {', '.join(self._client.timeframes or ())}"
            )

    def _pages(self, symbol: Symbol, resolution: Resolution, described: bytes) -> Pages:
        reader = Reader(self.name, self._quirks.layout, described, self._timeframe(resolution) or "")
        return Pages(reader, self._quirks, who=self.name, market=symbol.code, step=_step(resolution))

    async def _fetch_page(
        self, pages: Pages, page: Page, market: str, resolution: Resolution
    ) -> tuple[pl.DataFrame, str]:
        async def once() -> tuple[pl.DataFrame, str]:
            with ccxt_client.typed_errors(self.name):
                rows = await self._client.fetch_ohlcv(market, self._timeframe(resolution), *pages.query(page))
            answer, body = ccxt_client.last_answer()
            return pages.read(page, body, answer, rows), body

        # The doubts are part of what is repeated: a wrong answer may be right the next time.
        return await self._transport.call(once)

    def _concat(self, frames: list[pl.DataFrame]) -> pl.DataFrame:
        frame = pl.concat(frames, how="vertical") if frames else read_candles([], self._quirks.layout)
        return frame.sort("timestamp", maintain_order=True)

    # --- symbols ------------------------------------------------------------------------------------------------------

    def _timeframe(self, resolution: Resolution) -> str | None:
        name = "1M" if resolution is Resolution.MONTH else resolution.value
        return name if name in (self._client.timeframes or {}) else None

    async def _market(self, symbol: Symbol) -> str:
        perpetual = symbol.code.endswith(PERPETUAL)
        await self._load(perpetuals=perpetual)
        spelled = self._vendor_symbols.get(symbol.code)
        if spelled is not None:
            market = spelled if spelled in self._client.markets else None
            market = market or by_id(self._client.markets_by_id.get(spelled) or (), perpetual=perpetual)
        else:
            market = self._markets.get(symbol.code)
        if market is None:
            near = get_close_matches(symbol.code, self._markets, 5, 0.6)
            hint = (
                f"did you mean {', '.join(near)}?"
                if near
                else "check the spelling: base, hyphen, quote, as in BTC-USDT"
            )
            raise UnknownSymbol(f"{self.name} does not list {spelled or symbol.code}", fix=hint)
        return str(market)

    async def _load(self, *, perpetuals: bool) -> None:
        async with self._loading:
            if self._closed:
                raise PermanentVendorError(f"the provider of {self.name} is closed", fix="build a new one")
            if self._markets and (self._perpetuals_loaded or not perpetuals):
                return
            if perpetuals:
                self._client.options.update(self._quirks.perpetuals)
            await self._transport.call(self._load_markets)
            self._perpetuals_loaded |= perpetuals

    async def _load_markets(self) -> None:
        # Markets are computed with, candles are not: only those keep their digits.
        self._client.number = float
        with ccxt_client.typed_errors(self.name):
            await self._client.load_markets(True)
        self._client.number = str
        self._markets = codes_of((self._client.markets or {}).values())
        if not self._markets:
            raise TransientVendorError(
                f"{self.name} answered that it lists nothing", fix="the same call may succeed later"
            )


def _step(resolution: Resolution) -> int:
    length = resolution.duration
    return _STEPS[resolution] if length is None else round(length.total_seconds() * 1000)
