"""This module says what every provider is to the rest of the package: the protocols, and the types of what they return.

A provider requests and reads. Reading is a pure function of its own, `normalise`: the same bodies always make the same frame,
with or without the vendor, which is what `gb replay` stands on. Nothing here knows a vendor; `rest` holds what most of them share.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

import polars as pl

from gb_pipeline.config.settings import DailyQuota, SourceSettings
from gb_pipeline.market.fundamental_schema import Statement
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import Adjustment
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.market.window import Window
from gb_pipeline.providers.http.policy import Policy
from gb_pipeline.quality.read_rows import FileRows, ReadRows

Body = bytes
"""What a vendor sent in answer to one request, unchanged."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A vendor's whole answer for one symbol.

    Attributes:
        frame: for bars, columns of `market.schema.RECEIVED`, and any of `RECEIVED_OPTIONAL`; `timestamp` is the bar's open in
            UTC (null where it cannot be read), numbers are the vendor's own text. For corporate actions, columns of
            `ACTIONS_RECEIVED`. No rows means that the vendor's well-formed empty answer was seen; anything else raises.
        response_hash: SHA-256 over the bodies in the order of the calls.
        bytes: size of the bodies.
        calls: requests it took, retries included.
        latency: seconds until the last byte, without waiting for the rate limit.
        bodies: what `normalise` read, in its order; empty unless the source keeps raw responses.
        rows_read: rows of everything that was read for it, where that is more than the window's rows in `frame`, such as all
            lines of a csv file; bad rows are a share of these. None where `frame` is all of it.
        files: of what was read from files: how many rows each has, and how many of them lie outside of the window.
    """

    frame: pl.DataFrame
    response_hash: str
    bytes: int
    calls: int
    latency: float
    bodies: tuple[Body, ...] = ()
    rows_read: int | None = None
    files: tuple[FileRows, ...] = ()

    @property
    def read_rows(self) -> ReadRows:
        """The rows that were read for it, and those of them that lie outside of the window.

        Raises:
            LakeError: what a provider counted does not add up, which is a bug of it.
        """
        received = self.frame.height
        read = max(received, self.rows_read or 0)
        outside = sum(item.outside for item in self.files) if self.files else read - received
        return ReadRows(read, received, outside, self.files)


@dataclass(frozen=True, slots=True)
class Instrument:
    """What a vendor lists, or listed.

    Attributes:
        symbol: canonical code, asset class and exchange.
        vendor: the vendor's own spelling.
        name: what people call it.
        active: whether it trades now.
        quote: the currency of its prices, `USDT`, `USD`; empty where the vendor does not say.
        listed_from: first session, where the vendor says.
        listed_until: first session without it, where the vendor says.
        turnover: quote volume of the last 24 hours, where it was asked for and the vendor says.
        vendor_id: the vendor's own id of the instrument, which stays when its symbol changes; empty where there is none.
        composite_figi, share_class_figi: FIGIs, where the vendor says.
        tick_size, multiplier: smallest step of the price, and units of the underlying of one contract, where the vendor says.
    """

    symbol: Symbol
    vendor: str
    name: str = ""
    active: bool = True
    quote: str = ""
    listed_from: date | None = None
    listed_until: date | None = None
    turnover: Decimal | None = None
    vendor_id: str = ""
    composite_figi: str = ""
    share_class_figi: str = ""
    tick_size: Decimal | None = None
    multiplier: Decimal | None = None


@runtime_checkable
class Provider(Protocol):
    """A vendor. Providers never write, and never return a partial answer: it is whole, or it is a `VendorError`.

    Providers are subclasses: what is abstract they implement, and everything else has a default that they may override. Those
    that are asked over HTTP extend `RestProvider`, which implements most of it.

    Attributes:
        name: for messages.
        adjustment: what the vendor did to its prices.
        normaliser: name and version of `normalise`, such as `massive/1`; a change of what it makes of the same bodies is a
            new version.
        credentials: options of gb.yaml without which nothing can be sent, such as `("key",)`.
        quota: requests of a day, as the vendor documents them; None where it documents no such limit.
    """

    name: str
    adjustment: Adjustment
    normaliser: str
    credentials: ClassVar[tuple[str, ...]] = ()
    quota: ClassVar[DailyQuota | None] = None

    @classmethod
    @abstractmethod
    def from_settings(cls, source: SourceSettings, *, state_dir: Path | None = None) -> Provider:
        """Build it from gb.yaml; nothing is sent, and no credential is needed yet.

        Args:
            source: the source whose `provider` names this class.
            state_dir: folder of the state that all processes on this machine share, such as the pace of requests.

        Raises:
            ConfigError: unusable options.
        """
        ...

    @abstractmethod
    def supports(self, symbol: Symbol, resolution: Resolution) -> bool:
        """Whether the vendor has such bars at all; answered without a request."""
        ...

    @abstractmethod
    def requests(self, window: Window, resolution: Resolution) -> int:
        """How many requests `fetch_bars` makes for one symbol and window when nothing goes wrong; for plans."""
        ...

    def requests_together(self, windows: Sequence[Window], resolution: Resolution) -> int:
        """How many requests several windows of one symbol take; fewer than their sum where one answer serves many."""
        return sum(self.requests(window, resolution) for window in windows)

    @property
    def setup_requests(self) -> int:
        """Requests that an instance makes once, whatever it is asked for; for plans."""
        return 0

    @property
    def stamp_zone(self) -> str | None:
        """The time zone in which stamps without an offset are read, where gb.yaml can say it (`timezone`)."""
        return None

    @property
    def policy(self) -> Policy | None:
        """Patience and pace that hold; None where nobody is called, as for files."""
        return None

    def quota_left(self) -> int | None:
        """Calls that the vendor's day still has, for all processes; None where there is no quota.

        Raises:
            ConfigError: a credential is missing, and with it the account whose day it is; or the shared state cannot be used.
        """
        return None

    @abstractmethod
    async def fetch_bars(self, symbol: Symbol, window: Window, resolution: Resolution) -> Fetched:
        """All bars whose open lies in the window.

        Raises:
            VendorError: one of its kinds; the answer is never partial and never empty for want of a better one.
        """
        ...

    @abstractmethod
    def normalise(self, symbol: Symbol, window: Window, resolution: Resolution, bodies: Sequence[Body]) -> pl.DataFrame:
        """The frame of `fetch_bars` out of the bodies that it received, without the vendor.

        Raises:
            VendorError: as `fetch_bars` does for such bodies.
        """
        ...

    @abstractmethod
    async def aclose(self) -> None:
        """Close connections. The provider can not be used afterwards."""
        ...


@runtime_checkable
class ActionsProvider(Protocol):
    """A vendor that knows splits, cash dividends or listing dates."""

    async def fetch_corporate_actions(self, symbol: Symbol, start: date, end: date) -> Fetched:
        """All actions of a symbol with an ex date in [start, end); columns of `market.schema.ACTIONS_RECEIVED`.

        Raises:
            VendorError: one of its kinds.
        """
        ...


@runtime_checkable
class FundamentalsProvider(Protocol):
    """A vendor that knows what companies reported."""

    def fundamentals_requests(self, statements: Sequence[Statement]) -> int:
        """How many requests `fetch_fundamentals` makes for one symbol when nothing goes wrong; for plans."""
        ...

    async def fetch_fundamentals(self, symbol: Symbol, statements: Sequence[Statement]) -> Fetched:
        """Everything that the vendor has of some statements; columns of `market.fundamental_schema.FUNDAMENTALS_RECEIVED`.

        Raises:
            VendorError: one of its kinds; the answer is never partial.
        """
        ...

    def normalise_fundamentals(self, symbol: Symbol, bodies: Sequence[Body]) -> pl.DataFrame:
        """The frame of `fetch_fundamentals` out of the bodies that it received, without the vendor.

        Raises:
            VendorError: as `fetch_fundamentals` does for such bodies.
        """
        ...


@runtime_checkable
class ListingsProvider(Protocol):
    """A vendor that tells everything that is and was listed, delisted companies included."""

    async def fetch_listings(self, on: date | None = None) -> Fetched:
        """The whole list; columns of `market.fundamental_schema.LISTINGS_RECEIVED`.

        Args:
            on: as it was on this day; the newest by default.

        Raises:
            VendorError: one of its kinds.
        """
        ...

    def normalise_listings(self, bodies: Sequence[Body]) -> pl.DataFrame:
        """The frame of `fetch_listings` out of the bodies that it received, without the vendor.

        Raises:
            VendorError: as `fetch_listings` does for such bodies.
        """
        ...


@runtime_checkable
class InstrumentsProvider(Protocol):
    """A vendor that can say what it lists."""

    async def instruments(self, *, turnover: bool = False) -> list[Instrument]:
        """Everything that the vendor lists, by canonical code; delisted ones included where the vendor tells of them.

        Args:
            turnover: ask for the turnover as well, which may take more requests.

        Raises:
            VendorError: one of its kinds.
        """
        ...


@runtime_checkable
class SymbolHistoryProvider(Protocol):
    """A vendor that knows under which symbols an instrument stood before."""

    async def symbol_history(self, symbol: Symbol) -> list[Instrument]:
        """Every symbol that an instrument has had, oldest first; `listed_from` and `listed_until` are those of the symbol.

        Args:
            symbol: under which it stands now, or stood last.

        Raises:
            UnknownSymbol: the vendor lists no such symbol.
            VendorError: one of its kinds.
        """
        ...


@runtime_checkable
class SearchProvider(Protocol):
    """A vendor that has no list but can be asked for a word."""

    async def search(self, text: str) -> list[Instrument]:
        """What the vendor finds under a name or the beginning of a code.

        Raises:
            VendorError: one of its kinds.
        """
        ...
