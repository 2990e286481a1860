"""Every exchange of ccxt, by name.

Belongs here: symbols and windows to requests, and candles to a frame with the vendor's own digits.
Does not belong here: what is odd about an exchange (`ccxt_quirks`) or about ccxt (`ccxt_client`), repeats (`transport`).

A window is cut into fixed pages of the exchange's size. A page is asked for as such, never from wherever the last answer
ended: the same window always makes the same requests, and rows outside of a page cannot come in twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import polars as pl

from gb_pipeline.errors import (
    ConfigError,
    HistoryNotAvailable,
    PermanentVendorError,
    TransientVendorError,
    UnknownSymbol,
)
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.symbol import AssetClass, Symbol
from gb_pipeline.market.window import Window
from gb_pipeline.providers import ccxt_client
from gb_pipeline.providers.base import Fetched
from gb_pipeline.providers.ccxt_candles import read_candles
from gb_pipeline.providers.ccxt_quirks import Quirks, quirks_of
from gb_pipeline.providers.transport import Policy, Transport
from gb_pipeline.settings import RateLimit, SourceSettings

_PERPETUAL = "-PERP"
# Milliseconds between two bars, at least: pages of months are cut as if all were February.
_STEPS = {Resolution.DAY: 86_400_000, Resolution.WEEK: 7 * 86_400_000, Resolution.MONTH: 28 * 86_400_000}
_OPTIONS = frozenset({"exchange", "base_url"})


class CcxtProvider:
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
        self._client, self._quirks = _client(exchange, self._transport, base_url)
        if policy.rate is None and base_url is None:
            self._transport.policy = _paced(policy, self._quirks.rate)
        self._vendor_symbols = dict(vendor_symbols or {})
        self._markets: dict[str, str] = {}
        self._perpetuals_loaded = not self._quirks.perpetuals
        self._loading = asyncio.Lock()
        self._closed = False

    @classmethod
    def from_settings(cls, source: SourceSettings, *, state_dir: Path | None = None) -> CcxtProvider:
        """From gb.yaml: `options: {exchange: binance, base_url: http://127.0.0.1:PORT}`, both optional.

        Args:
            source: the source; its own name is the exchange by default.
            state_dir: folder of the pace that all processes on this machine share.

        Raises:
            ConfigError: an unknown option or exchange.
        """
        unknown = sorted(set(source.options) - _OPTIONS)
        if unknown:
            raise ConfigError(
                f"source {source.name}: ccxt has no option {', '.join(unknown)}",
                fix=f"options are {', '.join(sorted(_OPTIONS))}",
            )
        base_url = source.options.get("base_url")
        return cls(
            str(source.options.get("exchange", source.name)),
            base_url=None if base_url is None else str(base_url),
            policy=Policy.of(source, rate=None, state_dir=state_dir),
            vendor_symbols={
                symbol.code: item.vendor
                for symbol, item in zip(source.instruments, source.symbols, strict=True)
                if item.vendor
            },
        )

    def supports(self, symbol: Symbol, resolution: Resolution) -> bool:
        """Whether the exchange has such bars; whether it lists the symbol shows at the first fetch."""
        return symbol.asset_class in {AssetClass.CRYPTO, AssetClass.FOREX} and self._timeframe(resolution) is not None

    async def fetch_bars(self, symbol: Symbol, window: Window, resolution: Resolution) -> Fetched:
        """All bars whose open lies in the window, sorted, in the vendor's own digits.

        Duplicates and rows whose time cannot be read are kept for the quality layer to judge; so is the bar in progress.

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
        timeframe = self._timeframe(resolution)
        if timeframe is None:
            raise PermanentVendorError(
                f"{self.name} has no bars of {resolution}", fix=f"use one of {', '.join(self._client.timeframes or ())}"
            )
        market = await self._market(symbol)
        step = _step(resolution)
        with self._transport.measure() as tally:
            parts: list[pl.DataFrame] = []
            for start, stop in _pages(window, self._quirks.page * step):
                ask = _Page(self, market, timeframe, step, start, stop)
                for frame, body in await ask.whole():
                    parts.append(frame)
                    tally.accept(body)
        frame = pl.concat(parts, how="vertical") if parts else read_candles([], self._quirks.layout)
        return Fetched(
            frame.sort("timestamp", maintain_order=True), tally.response_hash, tally.bytes, tally.calls, tally.latency
        )

    async def instruments(self) -> list[Symbol]:
        """The spot pairs and perpetuals that the exchange lists now.

        Raises:
            VendorError: the list cannot be had.
        """
        await self._load(perpetuals=True)
        return [Symbol.crypto(code, self.name) for code in sorted(self._markets)]

    async def aclose(self) -> None:
        """Close connections. The provider can not be used afterwards."""
        self._closed = True
        await self._client.close()
        self._transport.close()

    # --- symbols ------------------------------------------------------------------------------------------------------

    def _timeframe(self, resolution: Resolution) -> str | None:
        name = "1M" if resolution is Resolution.MONTH else resolution.value
        return name if name in (self._client.timeframes or {}) else None

    async def _market(self, symbol: Symbol) -> str:
        perpetual = symbol.code.endswith(_PERPETUAL)
        await self._load(perpetuals=perpetual)
        spelled = self._vendor_symbols.get(symbol.code)
        if spelled is not None:
            found = spelled if spelled in self._client.markets else None
            by_id = self._client.markets_by_id.get(spelled) or []
            found = found or (by_id[0]["symbol"] if by_id else None)
        else:
            found = self._markets.get(symbol.code)
        if found is None:
            near = get_close_matches(symbol.code, self._markets, 5, 0.6)
            hint = f"did you mean {', '.join(near)}?" if near else f"`gb symbols {self.name}` lists what there is"
            raise UnknownSymbol(f"{self.name} does not list {spelled or symbol.code}", fix=hint)
        return str(found)

    async def _load(self, *, perpetuals: bool) -> None:
        async with self._loading:
            if self._closed:
                raise PermanentVendorError(f"the provider of {self.name} is closed", fix="build a new one")
            if self._markets and (self._perpetuals_loaded or not perpetuals):
                return
            if perpetuals:
                self._client.options.update(self._quirks.perpetuals)
            self._client.number = float
            await self._transport.call(lambda: self._client.load_markets(True))
            # Only from here on: markets are computed with, candles are not.
            self._client.number = str
            self._markets = _codes(self._client.markets.values())
            self._perpetuals_loaded |= perpetuals
            if not self._markets:
                raise TransientVendorError(
                    f"{self.name} answered that it lists nothing", fix="the same call may succeed later"
                )


class _Page:
    """One fixed stretch of a window, [start, stop) in epoch milliseconds."""

    def __init__(self, owner: CcxtProvider, market: str, timeframe: str, step: int, start: int, stop: int) -> None:
        self._client, self._quirks, self._transport = owner._client, owner._quirks, owner._transport
        self._who, self._market, self._timeframe, self._step = owner.name, market, timeframe, step
        self._start, self._stop = start, stop

    async def whole(self) -> list[tuple[pl.DataFrame, str]]:
        """Its rows, with the bodies they came in."""
        answers = [await self._ask(self._start, self._stop)]
        if self._quirks.trusted:
            return answers
        # Some exchanges serve fewer bars than ccxt says, the oldest or the newest of those asked for.
        while (known := _span(answers)) and known[1] + self._step < self._stop:
            more = await self._ask(known[1] + self._step, self._stop)
            if more[0].is_empty():
                break
            answers.append(more)
        while (known := _span(answers)) and known[0] > self._start:
            more = await self._ask(self._start, known[0])
            if more[0].is_empty():
                break
            answers.append(more)
        return answers

    async def _ask(self, start: int, stop: int) -> tuple[pl.DataFrame, str]:
        limit = -(-(stop - start) // self._step)
        until = {"until": stop - 1} if self._quirks.until else {}
        rows, answer, body = await self._transport.call(lambda: self._candles(start, limit, until))
        frame = _read(self._who, rows, self._quirks)
        if not rows and not _says_nothing(answer):
            raise TransientVendorError(
                f"{self._who} answered no list of bars of {self._market}: {body[:60]!r}",
                fix="empty is only believed where the vendor says so; the same call may succeed later",
            )
        opens = frame["timestamp"].dt.epoch("ms")
        inside = frame.filter(opens.is_null() | ((opens >= start) & (opens < stop)))
        self._refuse_other_times(opens, inside, start)
        return inside, body

    async def _candles(self, start: int, limit: int, until: dict[str, int]) -> tuple[list[Any], Any, str]:
        try:
            rows = await self._client.fetch_ohlcv(self._market, self._timeframe, start, limit, until)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise TransientVendorError(
                f"{self._who} answered something that ccxt cannot read: {type(error).__name__}: {error}",
                fix="the same call may succeed later; if it does not, the vendor changed its protocol: update ccxt",
            ) from error
        return rows, *(ccxt_client.last_answer() or (None, ""))

    def _refuse_other_times(self, opens: pl.Series, inside: pl.DataFrame, start: int) -> None:
        first, last = opens.min(), opens.max()
        if first is None or last is None:
            return
        first, last = int(first), int(last)  # type: ignore[arg-type]
        full = len(opens) >= self._quirks.page
        now = int(datetime.now(UTC).timestamp() * 1000)
        newest_only = not self._quirks.deep_history or (not self._quirks.trusted and last >= now - 2 * self._step)
        if full and first > start and newest_only:
            begins = datetime.fromtimestamp(first / 1000, UTC)
            raise HistoryNotAvailable(
                f"{self._who} only has the newest {len(opens)} bars of {self._market}, from {begins:%Y-%m-%d %H:%M} on",
                first=begins,
                fix="fetch more often, a coarser resolution, or from another source",
            )
        # Exchanges that do not know `until` answer what comes next where the page itself is empty.
        if inside.is_empty() and (last < start or (self._quirks.trusted and self._quirks.until)):
            raise TransientVendorError(
                f"{self._who} answered bars of {datetime.fromtimestamp(first / 1000, UTC):%Y-%m-%d %H:%M} "
                f"when asked for {datetime.fromtimestamp(start / 1000, UTC):%Y-%m-%d %H:%M}",
                fix="the same call may succeed later",
            )


def _client(exchange: str, transport: Transport, base_url: str | None) -> tuple[Any, Quirks]:
    client = ccxt_client.build(exchange, transport, base_url=base_url)
    return client, quirks_of(client)


def _paced(policy: Policy, rate: RateLimit | None) -> Policy:
    from dataclasses import replace

    return replace(policy, rate=rate)


def _step(resolution: Resolution) -> int:
    length = resolution.duration
    return _STEPS[resolution] if length is None else round(length.total_seconds() * 1000)


def _pages(window: Window, size: int) -> Iterator[tuple[int, int]]:
    # Rounded up: a bar that opens in the middle of a millisecond does not exist.
    start, end = (-(-round(moment.timestamp() * 1_000_000) // 1000) for moment in (window.start, window.end))
    while start < end:
        stop = min(end, start + size)
        yield start, stop
        start = stop


def _codes(markets: Any) -> dict[str, str]:
    codes: dict[str, str] = {}
    for market in markets:
        base, quote = market.get("base"), market.get("quote")
        if not base or not quote:
            continue
        if market.get("spot"):
            codes[f"{base}-{quote}".upper()] = market["symbol"]
        elif market.get("swap") and (market.get("linear") or f"{base}-{quote}{_PERPETUAL}".upper() not in codes):
            # Where both exist, the perpetual that settles in its quote currency is meant.
            codes[f"{base}-{quote}{_PERPETUAL}".upper()] = market["symbol"]
    return codes


def _read(who: str, rows: list[Any], quirks: Quirks) -> pl.DataFrame:
    try:
        return read_candles(rows, quirks.layout)
    except (LookupError, TypeError, ValueError) as error:
        raise TransientVendorError(
            f"{who} answered bars of another form than it documents: {str(rows[:1])[:80]}",
            fix="the same call may succeed later; if it does not, the vendor changed its protocol",
        ) from error


def _span(answers: list[tuple[pl.DataFrame, str]]) -> tuple[int, int] | None:
    stamps = pl.concat([frame["timestamp"] for frame, _ in answers]).dt.epoch("ms").drop_nulls()
    return None if stamps.is_empty() else (int(stamps.min()), int(stamps.max()))  # type: ignore[arg-type]


def _says_nothing(answer: Any, *, name: str = "") -> bool:
    # A well-formed empty answer holds an empty list of something else than errors.
    if isinstance(answer, list):
        return not answer and "err" not in name.lower() and "warn" not in name.lower()
    if isinstance(answer, dict):
        return any(_says_nothing(value, name=str(key)) for key, value in answer.items())
    return False
