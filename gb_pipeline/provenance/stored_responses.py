"""This module finds responses that were kept, and reads them again without the vendor.

It knows which fetches answered for a series, and makes validated rows of their bodies. What follows from a difference is in
`replay`; telling a person of it in `explain`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from gb_pipeline.errors import LakeError, PermanentVendorError
from gb_pipeline.ingest.body_redaction import HIDDEN
from gb_pipeline.lake import fetches
from gb_pipeline.lake.fetches import FetchOutcome
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.market.window import Window
from gb_pipeline.providers.base import Provider
from gb_pipeline.quality.bars import ValidationResult, validate
from gb_pipeline.quality.rules import BarRules
from gb_pipeline.storage.raw_responses import RawStore
from gb_pipeline.storage.table import Tables

_BARS = "bars"


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """A fetch of bars that a vendor answered.

    Attributes:
        symbol: canonical code.
        window: what was asked.
        fetched_at: when the call began.
        outcome: `ok`, or `empty` for a well-formed answer without rows.
        received: rows in it.
        calls: requests it took.
        latency_ms: milliseconds that the vendor took.
        bytes: size of its bodies.
        response_hash: SHA-256 over its bodies as they came.
        run_id: of the run that asked.
        normaliser: name and version of the code that read it then.
        raw: hash of each kept body in order; empty where nothing was kept.
    """

    symbol: str
    window: Window
    fetched_at: datetime
    outcome: str
    received: int
    calls: int
    latency_ms: int
    bytes: int
    response_hash: str | None
    run_id: str | None
    normaliser: str | None
    raw: tuple[str, ...]


def find_responses(
    tables: Tables, source: str, resolution: Resolution, symbols: Sequence[str], window: Window
) -> list[StoredResponse]:
    """Fetches of bars that were answered and asked for some part of a window, oldest first."""
    rows = fetches.read(tables, source, symbols).filter(
        pl.col("resolution") == resolution.value,
        pl.col("kind").fill_null(_BARS) == _BARS,
        pl.col("outcome").is_in([FetchOutcome.OK.value, FetchOutcome.EMPTY.value]),
        pl.col("window_start") < window.end,
        pl.col("window_end") > window.start,
    )
    return _to_responses(rows)


def find_answers(tables: Tables, source: str, kind: str, symbols: Sequence[str]) -> list[StoredResponse]:
    """Answered questions of another kind than bars, such as `fundamentals`, oldest first."""
    rows = fetches.read(tables, source, symbols).filter(
        pl.col("kind") == kind, pl.col("outcome").is_in([FetchOutcome.OK.value, FetchOutcome.EMPTY.value])
    )
    return _to_responses(rows)


def _to_responses(rows: pl.DataFrame) -> list[StoredResponse]:
    names = [name for name in StoredResponse.__slots__ if name not in {"window", "raw"}]
    return [
        StoredResponse(
            **{name: row[name] for name in names},
            window=Window(row["window_start"], row["window_end"]),
            raw=tuple(row["raw"] or ()),
        )
        for row in rows.sort("fetched_at", maintain_order=True).iter_rows(named=True)
    ]


def read_again(
    store: LakeStore, provider: Provider, symbol: Symbol, resolution: Resolution, response: StoredResponse
) -> pl.DataFrame:
    """The frame that a provider makes of the kept bodies of an answer; columns as of `fetch_bars`.

    Raises:
        LakeError: nothing was kept of it, a body is missing or damaged, or they are not those that came.
        VendorError: the provider cannot read these bodies.
    """
    bodies = read_bodies(store, response)
    return normalise_again(
        provider.normaliser, response, lambda: provider.normalise(symbol, response.window, resolution, bodies)
    )


def read_bodies(store: LakeStore, response: StoredResponse) -> list[bytes]:
    """The kept bodies of an answer, in the order of the calls.

    Raises:
        LakeError: nothing was kept of it, a body is missing or damaged, or they are not those that came.
    """
    if not response.raw:
        raise LakeError(
            f"no response was kept of the fetch of {response.symbol} at {response.fetched_at:%Y-%m-%d %H:%M:%S}",
            fix="set `keep_raw: true` for the source; it holds for fetches from then on",
        )
    raw = RawStore(store.storage)
    bodies = [raw.get(name) for name in response.raw]
    together = hashlib.sha256(b"".join(bodies)).hexdigest()
    if response.response_hash not in {None, together} and not any(HIDDEN in body for body in bodies):
        raise LakeError(
            f"the {len(bodies)} responses kept of the fetch of {response.symbol} at {response.fetched_at:%Y-%m-%d %H:%M:%S} are"
            " not all that it received",
            fix="fetch the window again",
        )
    return bodies


def normalise_again(normaliser: str, response: StoredResponse, read: Callable[[], pl.DataFrame]) -> pl.DataFrame:
    """What a provider makes of kept bodies; where it stumbles over them, that is the vendor's error.

    Raises:
        VendorError: the provider cannot read these bodies.
    """
    try:
        return read()
    except (LookupError, TypeError, ValueError, AttributeError, pl.exceptions.PolarsError) as error:
        # Another version of the code may stumble over what its predecessor understood.
        raise PermanentVendorError(
            f"{normaliser} cannot read what {response.normaliser} read on {response.fetched_at:%Y-%m-%d}: "
            f"{type(error).__name__}: {error}",
            fix="correct the normaliser, or fetch the window again",
        ) from error


def validate_response(frame: pl.DataFrame, rules: BarRules, response: StoredResponse) -> ValidationResult:
    """Validate an answer as of the moment when it was asked for: what was open then is open in it for ever.

    Raises:
        WindowRefused: the frame has wrong columns or types.
    """
    return validate(
        frame.with_columns(pl.lit(response.symbol).alias("symbol")), rules, response.window, now=response.fetched_at
    )
