"""`RemoteLake`, a lake on another machine. Its methods have the signatures of `Lake`'s, and the same frames and exceptions.

What is computed from bars alone, such as `wide` and `returns`, is computed here; everything else is answered by the server.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

import polars as pl

from gb_pipeline.client.arguments import calendar_name, to_document
from gb_pipeline.client.bars_asked import BarsAsked
from gb_pipeline.client.composed import ComposedReader
from gb_pipeline.client.replays import RemoteReplay, open_replay
from gb_pipeline.client.transport import Transport
from gb_pipeline.client.uploads import upload
from gb_pipeline.config.source_facts import SourceFacts
from gb_pipeline.errors import ConfigError
from gb_pipeline.lake.pins import Pin
from gb_pipeline.lake.put import as_polars
from gb_pipeline.lake.report import WriteReport
from gb_pipeline.market.calendar import Calendar
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.market.window import Window, as_window
from gb_pipeline.reading.lake import Lake

_TIMEOUT = 120.0
P = ParamSpec("P")


def remote(
    path: str, like: Callable[Concatenate[Any, P], pl.DataFrame]
) -> Callable[Concatenate[RemoteLake, P], pl.DataFrame]:
    """A method that asks the server for a table; its signature and documentation are those of a method of `Lake`."""
    signature = inspect.signature(like)

    @wraps(like)
    def ask(self: RemoteLake, *args: P.args, **kwargs: P.kwargs) -> pl.DataFrame:
        bound = signature.bind(self, *args, **kwargs)
        given = dict(bound.arguments)
        given.pop("self")
        given |= given.pop("options", {})
        return self.transport.table(path, to_document(given))

    return ask  # type: ignore[return-value] # `wraps` keeps the first argument's name


class RemoteLake(BarsAsked, ComposedReader):
    """A lake that `gb serve` serves.

    Methods, frames and exceptions are those of `Lake`. Questions are asked again where a connection breaks; bars that are sent are
    stored once, however often it breaks. Moments such as `-7d` count from the server's present.

    Example:
        >>> lake = RemoteLake("https://lake.example.com", token=os.environ["GB_TOKEN"])
        >>> lake.bars("BTC-USD", "1m", "2024-01-02", "2024-01-03", as_float=True)["close"].mean()
        42011.5
    """

    def __init__(
        self, url: str, token: str | None = None, *, timeout: float = _TIMEOUT, allow_http: bool = False
    ) -> None:
        """Nothing is connected before the first question.

        Args:
            url: `http://127.0.0.1:8321`, `https://lake.example.com`, or with a path below which a proxy serves it.
            token: as `gb token create` printed it; None where the server asks for none.
            timeout: seconds without a byte after which a connection counts as broken.
            allow_http: send the token without TLS also to other machines, on a network that nobody else is on.

        Raises:
            ConfigError: the URL cannot be used, or the token would travel in the clear.
        """
        self._transport = Transport(url, token, timeout, allow_http=allow_http)

    def __repr__(self) -> str:
        """Where it is."""
        return f"RemoteLake({self._transport.url!r})"

    @property
    def transport(self) -> Transport:
        """The connection."""
        return self._transport

    @property
    def source_facts(self) -> tuple[SourceFacts, ...]:
        """What is known of the sources, such as their calendars; the one that is asked first at the beginning."""
        told = self._transport.ask("GET", "/sources").json()
        return tuple(
            SourceFacts(
                item["source"], item["calendar"], item["extended_hours"], item["alignment"], item["settle_days"]
            )
            for item in told
            if item["is_known"]
        )

    bars = remote("/bars", Lake.bars)
    extent = remote("/extent", Lake.extent)
    latest = remote("/latest", Lake.latest)
    symbols = remote("/symbols", Lake.symbols)
    # A keyword may not be called `self`, which a signature with `**options` does not say.
    continuous = remote("/continuous", Lake.continuous)  # type: ignore[arg-type]
    coverage = remote("/coverage", Lake.coverage)
    gaps = remote("/gaps", Lake.gaps)
    restatements = remote("/restatements", Lake.restatements)
    withdrawn = remote("/withdrawn", Lake.withdrawn)
    quarantine = remote("/quarantine", Lake.quarantine)
    settled = remote("/settled", Lake.settled)
    changes = remote("/changes", Lake.changes)
    overrides = remote("/overrides", Lake.overrides)
    removals = remote("/removals", Lake.removals)
    corporate_actions = remote("/corporate-actions", Lake.corporate_actions)
    instruments = remote("/instruments", Lake.instruments)
    instrument_bars = remote("/instrument-bars", Lake.instrument_bars)  # type: ignore[arg-type]
    fundamentals = remote("/fundamentals", Lake.fundamentals)
    trailing_twelve_months = remote("/trailing-twelve-months", Lake.trailing_twelve_months)
    listings = remote("/listings", Lake.listings)
    factors = remote("/factors", Lake.factors)
    contracts = remote("/contracts", Lake.contracts)
    rolls = remote("/rolls", Lake.rolls)
    trades = remote("/trades", Lake.trades)
    quotes = remote("/quotes", Lake.quotes)
    l2 = remote("/l2", Lake.l2)
    book_snapshots = remote("/book-snapshots", Lake.book_snapshots)
    book = remote("/book", Lake.book)
    bars_from_trades = remote("/bars-from-trades", Lake.bars_from_trades)
    stream_coverage = remote("/stream-coverage", Lake.stream_coverage)
    stream_gaps = remote("/stream-gaps", Lake.stream_gaps)
    stream_statistics = remote("/stream-statistics", Lake.stream_statistics)
    stream_files = remote("/stream-files", Lake.stream_files)
    stream_data = remote("/stream-data", Lake.stream_data)
    stream_status = remote("/stream-status", Lake.stream_status)
    watermarks = remote("/watermarks", Lake.watermarks)
    sql = remote("/sql", Lake.sql)

    def replay(self, pin: Pin | Path | str, *, verify: bool = True) -> RemoteReplay:
        """What a pin names, once the server has compared every bar of it with its fingerprint; see `Lake.replay`.

        Args:
            pin: its name, itself, or a file that holds its `to_json`; the lake has to have it under this name.
            verify: compare.

        Raises:
            PinRefused: bars are not as they were, and `differences` lists them; or the lake names something else so.
            ConfigError: there is no such pin.
        """
        return open_replay(self._transport, pin, verify=verify)

    def put(
        self,
        frame: object,
        *,
        source: str,
        resolution: Resolution | str,
        symbol: Symbol | str | None = None,
        calendar: Calendar | str = "24/7",
        window: Window | tuple[Any, Any] | None = None,
        decimals: int | None = None,
        **rules: Any,
    ) -> WriteReport:
        """Validate and store a frame of your own; see `Lake.put`. It is sent in parts, and stored as one write.

        Raises:
            WindowRefused, NaiveTimestamp, ConfigError: as `Lake.put`.
            ServerUnavailable: no connection holds; the same call again stores the bars once.
        """
        span = None if window is None else as_window(window)
        bars = {
            "source": source,
            "resolution": str(resolution.value if isinstance(resolution, Resolution) else resolution),
            "symbol": symbol.code if isinstance(symbol, Symbol) else symbol,
            "calendar": calendar_name(calendar),
            "window": None if span is None else [span.start.isoformat(), span.end.isoformat()],
            "decimals": decimals,
            "rules": {name: _rule(name, value) for name, value in rules.items()},
        }
        return upload(self._transport, as_polars(frame), bars)

    def close(self) -> None:
        """Close the connection of this thread; the next question opens another one."""
        self._transport.close()

    def __enter__(self) -> RemoteLake:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()


def _rule(name: str, value: Any) -> str | float | bool:
    if isinstance(value, str | float | bool | int):
        return str(value) if isinstance(value, str) else value
    raise ConfigError(f"{name} cannot be sent", fix="leave it out, or store the bars on the server itself")
