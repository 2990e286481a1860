"""The machinery of the fault matrix: one run of a vendor, from gb.yaml into a lake, and what must be true afterwards.

What the parts of the matrix share lies here; facts about vendors are in `vendors`, and the faults in the tests.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import polars as pl
import pytest

from gb_pipeline.errors import NoDataInRange, TransientVendorError, UnknownSeries, VendorError
from gb_pipeline.ingest.bars import ingest
from gb_pipeline.ingest.job import Job, Outcome
from gb_pipeline.lake import fetches
from gb_pipeline.lake.report import SessionStatus
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.providers.http.policy import Policy
from gb_pipeline.reading.lake import Lake
from gb_pipeline.simulation import Simulation
from gb_pipeline.simulation.faults import Fault
from gb_pipeline_tests.ingest.clock import stop_at
from gb_pipeline_tests.providers.vendors import DAY, VENDORS, Truth, Vendor

NOW = "2024-06-13T01:00:00Z"
ALL = [pytest.param(vendor, id=vendor.name) for vendor in VENDORS]
OF_SHARES = [param for vendor, param in zip(VENDORS, ALL, strict=True) if vendor.shares]
# One vendor of each: how a connection fails is the same for all that share a transport.
BY_TRANSPORT = [
    pytest.param(next(vendor for vendor in VENDORS if vendor.transport == transport), id=transport)
    for transport in ("ccxt", "yahoo", "http")
]


@contextmanager
def hasty() -> Iterator[None]:
    """Repeats come at once: how long they wait is specified elsewhere."""
    made = Policy.of

    def of(*given: Any, **named: Any) -> Policy:
        return replace(made(*given, **named), shortest_wait=0.001, longest_wait=0.002)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Policy, "of", of)
        yield


class Run:
    """What one or several ingestions of one vendor led to, in a lake of their own."""

    def __init__(self, vendor: Vendor, sim: Simulation, root: Path, resolution: Resolution | None = None) -> None:
        self.vendor, self.sim = vendor, sim
        self.store = LakeStore.at(root)
        self.resolution = resolution or vendor.resolution
        self.outcomes: dict[str, Outcome] = {}
        self.truths: dict[str, Truth] = {}
        self.runs = 0

    def ingest(self, *symbols: Symbol, day: date = DAY, days: int = 1, **settings: Any) -> Outcome:
        """Run it; the outcome of the first symbol."""
        source = self.vendor.source(self.sim, symbols=[symbol.code for symbol in symbols], **settings)
        jobs = [Job(symbol, day, day + timedelta(days=days)) for symbol in symbols]
        # Calls are told apart by their time.
        self.runs += 1
        now = datetime.fromtimestamp(self.sim.stocks.now / 1000 + self.runs / 1000, UTC)
        outcomes = ingest(stop_at(self.store, now), source, self.resolution, jobs)
        self.outcomes |= {symbol.code: outcome for symbol, outcome in zip(symbols, outcomes, strict=True)}
        self.truths |= {symbol.code: self.vendor.truth(self.sim, symbol, self.resolution, day) for symbol in symbols}
        vars(self).pop("stored", None)
        return outcomes[0]

    @cached_property
    def stored(self) -> dict[str, Truth]:
        """All bars of the lake, by symbol."""
        try:
            known = Lake(self.store).bars(None, self.resolution, source=self.vendor.name)
        except (UnknownSeries, NoDataInRange):
            return {}
        rows = known.select("symbol", pl.col("timestamp").dt.epoch("ms"), "open", "high", "low", "close", "volume")
        found: dict[str, Truth] = {}
        for code, stamp, *values in rows.iter_rows():
            found.setdefault(code, {})[stamp] = tuple(values)
        return found

    def fetched(self, symbol: Symbol, kind: str = "bars") -> list[tuple[str, int, str | None]]:
        """The rows of `fetches` of a kind: outcome, rows, error."""
        rows = fetches.read(self.store.tables, symbols=[symbol.code]).filter(pl.col("kind") == kind)
        return rows.select("outcome", "received", "error").rows()

    def requests(self, symbol: Symbol) -> list[dict[str, Any]]:
        """The requests for rows of a symbol, in the order of their arrival."""
        asks = re.compile(self.vendor.asks(symbol))
        return [entry for entry in self.sim.requests if asks.search(f"{entry['path']}?{urlencode(entry['query'])}")]

    def check_exact(self, symbol: Symbol) -> None:
        outcome, truth = self.outcomes[symbol.code], self.truths[symbol.code]
        assert outcome.error is None
        assert truth
        assert self.stored.get(symbol.code) == truth
        assert outcome.sessions[0].status is SessionStatus.COMPLETE
        assert self.fetched(symbol)[-1] == ("ok", outcome.counts.received, None)

    def check_error(self, symbol: Symbol, kind: type[VendorError]) -> None:
        outcome = self.outcomes[symbol.code]
        assert isinstance(outcome.error, kind), outcome.error
        assert outcome.error.what
        assert outcome.error.fix
        assert symbol.code not in self.stored
        assert [session.status for session in outcome.sessions] == [SessionStatus.FAILED]
        # A vendor of adjusted prices is asked for splits first, and for no bars where it does not answer.
        bars, actions = self.fetched(symbol), self.fetched(symbol, "corporate_actions")
        assert (bars or actions)[-1] == ("error", 0, type(outcome.error).__name__)
        assert all(row[0] == "error" for row in bars)


@dataclass(frozen=True)
class Trouble:
    """What happens to a request, and what becomes of it.

    Attributes:
        fault: of the simulation.
        kind: the error where it lasts.
        passes: whether the next attempt may succeed; None where nobody is hurt just once.
        most_hits: of a fault that lasts, where clients may ask again by themselves.
    """

    fault: dict[str, Any]
    kind: type[VendorError] = TransientVendorError
    passes: bool | None = True
    most_hits: int = 0


class Hurt(Run):
    """One run with all troubles of a kind at once: two symbols each, and one that nothing happens to.

    The first symbol of a trouble is hurt for good and the second once. All share one run, so that each case also shows that
    the others are left alone.
    """

    def __init__(
        self, troubles: dict[str, Trouble], vendor: Vendor, sim: Simulation, root: Path, **settings: Any
    ) -> None:
        super().__init__(vendor, sim, root)
        sim.reset()
        sim.set_now(NOW)
        self.troubles = troubles
        *symbols, last = vendor.symbols(2 * len(troubles) + 1)
        # Spelled differently by every vendor of shares.
        self.well = Symbol.equity("BRK.B") if vendor.shares else last
        self.cases = {name: (symbols[2 * at], symbols[2 * at + 1]) for at, name in enumerate(troubles)}
        self.faults: dict[str, tuple[Fault, Fault]] = {}
        for name, trouble in troubles.items():
            lasting, passing = (vendor.asks(symbol) for symbol in self.cases[name])
            self.faults[name] = (
                sim.faults.add(match=lasting, times=-1, **trouble.fault),
                sim.faults.add(match=passing, times=int(trouble.passes is not None), **trouble.fault),
            )
        self.ingest(*symbols, self.well, **settings)

    def check(self, name: str) -> None:
        """That a trouble has hit, and did what it had to and no more."""
        trouble, (hurt, delayed), (lasting, passing) = self.troubles[name], self.cases[name], self.faults[name]
        attempts = 2 if trouble.passes else 1
        assert attempts <= lasting.hits <= max(attempts, trouble.most_hits)
        assert passing.hits == int(trouble.passes is not None)
        self.check_error(hurt, trouble.kind)
        if trouble.passes is False:
            self.check_error(delayed, trouble.kind)
        else:
            self.check_exact(delayed)
        self.check_exact(self.well)
