"""The exchange on a loopback port: HTTP, the control endpoint, the request log, starting and stopping.

The first path segment is the vendor's real host, so one port serves every vendor:
`http://127.0.0.1:PORT/api.binance.com/api/v3/klines?...`. Everything can be planted from another process as well:

    POST   /_control/faults   a fault (`faults.Fault`)         DELETE: forget all
    POST   /_control/plant    {"kind", "symbol", ...} (`defects.Defect`)
    POST   /_control/now      {"now": "2024-01-02T12:00:00Z"}, or null for the wall clock
    POST   /_control/reset    no faults, no defects, no log, the wall clock
    GET    /_control/log      the requests so far              DELETE: forget them
    POST   /_control/stream_faults   of single messages of websockets (`streams.stream_faults`)   DELETE: forget all
    POST   /_control/say      {"body", "match"}: a vendor's message out of the blue, to the websockets that match
    POST   /_control/skew     {"ms", "match"}: a vendor's clock is wrong on the websockets that match
    POST   /_control/replay   {"paths", "host", "speed"}: recordings in the place of the market     GET: how far they are
    POST   /_control/drop     {"match"}: the websockets that match are gone without a word
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import date, datetime
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from gb_pipeline.errors import ConfigError, GbError
from gb_pipeline.simulation import alpaca, alpha_vantage, binance, coinbase, kalshi, kraken, massive, openfigi, yahoo
from gb_pipeline.simulation.defects import Defect
from gb_pipeline.simulation.exchange import Exchange
from gb_pipeline.simulation.failing import fail, respond, untrusted_tls
from gb_pipeline.simulation.fault_queue import FaultQueue
from gb_pipeline.simulation.faults import Fault
from gb_pipeline.simulation.prediction import PredictionMarket
from gb_pipeline.simulation.response import TROUBLES, Request, Response
from gb_pipeline.simulation.stock_actions import Action
from gb_pipeline.simulation.stock_fundamentals import ReportChange
from gb_pipeline.simulation.stocks import Stocks
from gb_pipeline.simulation.streams.alpaca import AlpacaSession
from gb_pipeline.simulation.streams.binance import BinanceSession
from gb_pipeline.simulation.streams.coinbase import CoinbaseExchangeSession, CoinbaseSession
from gb_pipeline.simulation.streams.hub import Hub
from gb_pipeline.simulation.streams.kalshi import KalshiSession
from gb_pipeline.simulation.streams.kraken import KrakenSession
from gb_pipeline.simulation.streams.massive import MassiveSession
from gb_pipeline.simulation.streams.session import Session
from gb_pipeline.simulation.ticker_changes import TickerChange

if TYPE_CHECKING:
    from aiohttp import web

LOOPBACK = "127.0.0.1"
# Which dialect answers for which host: crypto pairs from the simulated exchange, equities from the simulated stock market.
_CRYPTO: dict[str, Callable[[Exchange, Request], Response]] = {
    host: module.answer for module in (binance, coinbase, kraken) for host in module.HOSTS
}
_EQUITIES: dict[str, Callable[[Stocks, Request], Response]] = {
    host: module.answer for module in (yahoo, alpaca, massive, alpha_vantage, openfigi) for host in module.HOSTS
}
_EQUITY_STREAMS: dict[str, type[Session]] = {
    host: dialect for dialect in (AlpacaSession, MassiveSession) for host in dialect.HOSTS
}
_CRYPTO_STREAMS: dict[str, type[Session]] = {
    host: dialect
    for dialect in (BinanceSession, CoinbaseSession, CoinbaseExchangeSession, KrakenSession)
    for host in dialect.HOSTS
}
_LOGGED_HEADERS = ("User-Agent", "Accept-Encoding", "Authorization")
_LOG_LENGTH = 200_000


class Simulation:
    """The exchange in a thread of this process.

    Args:
        seed: the same seed makes the same market.
        symbols: canonical codes; a dozen cryptocurrencies against USDT and USD by default.
        port: 0 takes a free one.
        host: 127.0.0.1 and nothing else.
        stocks: tickers; a dozen well-known ones by default.
        tls: serve https, with a certificate that nobody trusts.

    Attributes:
        exchange: the market of crypto pairs.
        stocks: the market of equities; both have one clock.
        prediction: the market of contracts on prices of the exchange.
        faults: what happens to connections.
        streams: the open websockets, with faults of their own.
        requests: the log, oldest first: method, path, query, headers, `at` (epoch milliseconds of the simulated clock),
            `at_wall` (epoch seconds of arrival), status.

    Raises:
        ConfigError: another host, or the port is taken.

    Example:
        >>> with Simulation(seed=7, symbols=["BTC-USDT"]) as sim:
        ...     sim.plant("gap", "BTC-USDT", start="2024-01-02T10:00Z", end="2024-01-02T10:05Z").kind
        'gap'
    """

    def __init__(
        self,
        seed: int = 7,
        symbols: Sequence[str] | None = None,
        port: int = 0,
        host: str = LOOPBACK,
        stocks: Sequence[str] | None = None,
        *,
        tls: bool = False,
    ) -> None:
        """List the instruments; nothing listens yet."""
        if host != LOOPBACK:
            raise ConfigError(f"the simulated exchange would listen on {host}", fix=f"it only ever binds {LOOPBACK}")
        self.exchange = Exchange(seed, symbols)
        self.stocks = Stocks(seed, stocks, clock=self.exchange.clock)
        self.prediction = PredictionMarket(self.exchange)
        self.faults = FaultQueue(Fault)
        dialects: dict[str, tuple[Any, type[Session]]] = {
            **{host: (self.stocks, kind) for host, kind in _EQUITY_STREAMS.items()},
            **{host: (self.exchange, kind) for host, kind in _CRYPTO_STREAMS.items()},
            **dict.fromkeys(kalshi.HOSTS, (self.prediction, KalshiSession)),
        }
        self.streams = Hub(self.exchange.clock, dialects)
        self.requests: deque[dict[str, Any]] = deque(maxlen=_LOG_LENGTH)
        self._port = port
        self._tls = untrusted_tls() if tls else None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None

    def __enter__(self) -> Simulation:
        """Listen, in a background thread."""
        listening = threading.Event()
        errors: list[BaseException] = []

        def serve_in_thread() -> None:
            try:
                asyncio.run(self._serve(listening))
            except BaseException as error:
                errors.append(error)
            listening.set()

        self._thread = threading.Thread(target=serve_in_thread, name="simulated exchange", daemon=True)
        self._thread.start()
        listening.wait()
        if errors:
            raise _cannot_listen(self._port, errors[0])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all connections and the port."""
        self.stop()
        if self._thread is not None:
            self._thread.join()

    def stop(self) -> None:
        """Stop serving; from any thread, and as often as one likes."""
        if self._loop is not None and self._stop is not None:
            # The loop is already closed if `stop` was called before.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._stop.set)

    @property
    def url(self) -> str:
        """`http://127.0.0.1:PORT`, or `https://...` with TLS."""
        return f"{'http' if self._tls is None else 'https'}://{LOOPBACK}:{self._port}"

    def plant(self, kind: str, symbol: str, **body: Any) -> Defect | Action | TickerChange | ReportChange:
        """Plant a defect of the data (`defects.Defect`), of equities also corporate actions (`Stocks.plant`)."""
        if self.stocks.listing(symbol.upper()) is not None:
            return self.stocks.plant(kind, symbol, **body)
        return self.exchange.plant(kind, symbol, **body)

    def set_now(self, moment: datetime | date | str | int | None) -> None:
        """Stop the clock of everything at a moment; None lets it follow the wall clock again."""
        self.exchange.set_now(moment)

    def reset(self) -> None:
        """No faults, no defects, no log, and the wall clock."""
        self.faults.clear()
        self.streams.reset()
        self.exchange.reset()
        self.stocks.reset()
        self.requests.clear()

    async def _serve(self, listening: threading.Event | None, *, on_ready: Any = None) -> None:
        from aiohttp import web

        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application(client_max_size=2**20)
        app.router.add_route("*", "/{tail:.*}", self._handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await runner.setup()
        try:
            await web.TCPSite(runner, LOOPBACK, self._port, backlog=512, ssl_context=self._tls).start()
            self._port = runner.addresses[0][1]
            if on_ready is not None:
                on_ready()
            if listening is not None:
                listening.set()
            await self._stop.wait()
        finally:
            await runner.cleanup()

    # --- one request ------------------------------------------------------------------------------------------------

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if request.path.startswith("/_control/"):
            return await self._control(request)
        entry = {
            "method": request.method,
            "path": request.path,
            "query": dict(request.query),
            "headers": {name: request.headers[name] for name in _LOGGED_HEADERS if name in request.headers},
            "at": self.exchange.now,
            "at_wall": time.time(),
            "status": None,
        }
        self.requests.append(entry)
        fault = self.faults.take(request.path_qs)
        if fault is None and _is_websocket(request) and self.streams.serves(request.path.split("/", 2)[1]):
            entry["status"] = HTTPStatus.SWITCHING_PROTOCOLS
            response: web.StreamResponse = await self.streams.serve(request)
            entry["status"] = response.status
            return response
        trouble = fault.action if fault is not None and fault.action in TROUBLES else None
        vendor_request = await _to_vendor_request(request, trouble)
        recorded = await self.streams.answer(vendor_request.host, vendor_request.path, vendor_request.query)
        if recorded is not None and fault is None:
            response = respond(Response(200, recorded))
        elif fault is None:
            response = respond(await self._answer(vendor_request))
        else:
            response = await fail(request, fault, lambda: self._troubled(vendor_request, fault))
        entry["status"] = response.status
        return response

    async def _troubled(self, request: Request, fault: Fault) -> Response:
        """The answer to a request with a fault; a trouble that leaves its rows as they are has not hit it."""
        response = await self._answer(request)
        if request.trouble is not None and response.body == (await self._answer(replace(request, trouble=None))).body:
            fault.hits -= 1
        return response

    async def _answer(self, request: Request) -> Response:
        # The first question for decades of days takes a second, in which nobody else shall wait.
        return await asyncio.to_thread(self._ask, request) if request.host in _EQUITIES else self._ask(request)

    def _ask(self, request: Request) -> Response:
        try:
            if request.host in _EQUITIES:
                return _EQUITIES[request.host](self.stocks, request)
            if request.host in kalshi.HOSTS:
                return kalshi.answer(self.prediction, request)
            if request.host in _CRYPTO and request.method == "GET":
                return _CRYPTO[request.host](self.exchange, request)
        except (OverflowError, ValueError, OSError) as error:
            # Moments that no calendar has; whatever else goes wrong is a bug and shows as one.
            return Response.json({"error": f"no answer to such numbers: {error}"}, 400)
        if request.host in _CRYPTO:
            return Response.json({"error": "market data is read with GET"}, 405)
        hosts = sorted([*_CRYPTO, *_EQUITIES, *kalshi.HOSTS])
        return Response.json({"error": f"no such host here: {request.host}", "hosts": hosts}, 404)

    async def _control(self, request: web.Request) -> web.Response:
        action = request.path.removeprefix("/_control/")
        try:
            text = await request.text()
            body = json.loads(text) if text else {}
            result = self._command(request.method, action, body)
        except (GbError, ValueError, TypeError, KeyError) as error:
            return respond(Response.json({"error": str(error)}, 400))
        return respond(Response.json({"ok": True} if result is None else result, 200))

    def _command(self, method: str, action: str, body: dict[str, Any]) -> Any:
        if action in Hub.COMMANDS:
            return self.streams.command(method, action, body)
        match (method, action):
            case ("POST", "faults"):
                return asdict(self.faults.add(**body))
            case ("DELETE", "faults"):
                self.faults.clear()
            case ("POST", "plant"):
                return _with_iso_dates(asdict(self.plant(body.pop("kind"), body.pop("symbol"), **body)))
            case ("POST", "now"):
                self.exchange.set_now(body["now"])
            case ("POST", "reset"):
                self.reset()
            case ("GET", "log"):
                return list(self.requests)
            case ("DELETE", "log"):
                self.requests.clear()
            case ("GET", "ping"):
                return {
                    "now": self.exchange.now,
                    "seed": self.exchange.seed,
                    "symbols": list(self.exchange.instruments),
                    "stocks": [item.code for item in self.stocks.listings()],
                }
            case _:
                raise ConfigError(f"no such command: {method} {action}", fix="see gb_pipeline.simulation.server")
        return None


def run(
    host: str = LOOPBACK,
    port: int = 0,
    *,
    seed: int = 7,
    symbols: Sequence[str] | None = None,
    stocks: Sequence[str] | None = None,
    ready_file: Path | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM, in this process.

    Args:
        host: 127.0.0.1 and nothing else.
        port: 0 takes a free one.
        seed: the same seed makes the same market.
        symbols: canonical codes; a dozen cryptocurrencies against USDT and USD by default.
        stocks: tickers; a dozen well-known ones by default.
        ready_file: the URL is written here as soon as it answers; it is printed in any case.

    Raises:
        ConfigError: another host, or the port is taken.
    """
    simulation = Simulation(seed, symbols, port, host, stocks)

    def announce() -> None:
        if ready_file is not None:
            # Written beside and renamed: whoever waits for the file never reads half of it.
            temporary = ready_file.with_name(ready_file.name + ".part")
            temporary.write_text(simulation.url, encoding="utf-8")
            temporary.replace(ready_file)
        sys.stdout.write(simulation.url + "\n")
        sys.stdout.flush()

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, simulation.stop)
        await simulation._serve(None, on_ready=announce)

    try:
        asyncio.run(serve())
    except OSError as error:
        raise _cannot_listen(port, error) from None


def _cannot_listen(port: int, error: BaseException) -> BaseException:
    if isinstance(error, OSError):
        return ConfigError(
            f"cannot listen on {LOOPBACK}:{port}: {error.strerror}", fix="choose another port, or 0 for any"
        )
    return error


def _with_iso_dates(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value.isoformat() if isinstance(value, date) else value for name, value in values.items()}


def _is_websocket(request: web.Request) -> bool:
    return request.headers.get("Upgrade", "").lower() == "websocket"


async def _to_vendor_request(request: web.Request, trouble: str | None) -> Request:
    _, host, *rest = request.path.split("/", 2)
    body = await request.text() if request.method != "GET" else ""
    return Request(host, "/" + "".join(rest), request.query, request.headers, request.method, body, trouble)
