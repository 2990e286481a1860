"""What every provider is to the rest of the package.

Belongs here: the protocol and the answer's type. Does not belong here: anything that knows a vendor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import polars as pl

from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.market.window import Window


@dataclass(frozen=True, slots=True)
class Fetched:
    """A vendor's whole answer for one symbol and window.

    Attributes:
        frame: columns of `market.schema.RECEIVED`, and any of `RECEIVED_OPTIONAL`; `timestamp` is the bar's open in UTC
            (null where it cannot be read), numbers are the vendor's own text. No rows means that the vendor's well-formed
            empty answer was seen; anything else raises.
        response_hash: SHA-256 over the bodies in the order of the calls.
        bytes: size of the bodies.
        calls: requests it took, retries included.
        latency: seconds until the last byte, without waiting for the rate limit.
    """

    frame: pl.DataFrame
    response_hash: str
    bytes: int
    calls: int
    latency: float


@runtime_checkable
class Provider(Protocol):
    """A vendor. Providers never write, and never return a partial answer: it is whole, or it is a `VendorError`."""

    name: str

    def supports(self, symbol: Symbol, resolution: Resolution) -> bool:
        """Whether the vendor has such bars at all; answered without a request."""
        ...

    async def fetch_bars(self, symbol: Symbol, window: Window, resolution: Resolution) -> Fetched:
        """All bars whose open lies in the window.

        Raises:
            VendorError: one of its kinds; the answer is never partial and never empty for want of a better one.
        """
        ...

    async def aclose(self) -> None:
        """Close connections. The provider can not be used afterwards."""
        ...
