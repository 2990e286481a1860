"""However much is ingested, memory holds one batch and the answers in flight; of bodies, those of the answers in flight."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.ingest import bars as pipeline
from gb_pipeline.ingest.job import Job
from gb_pipeline.lake import fetches
from gb_pipeline.lake.report import WriteReport
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import Adjustment
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.market.window import Window
from gb_pipeline.providers.base import Fetched
from gb_pipeline.storage.address import Storage
from gb_pipeline_tests.bars import minutes

SYMBOLS, AT_ONCE, BATCH, DAY_ROWS = 60, 3, 5000, 1440
START = date(2024, 1, 2)


class Held:
    """Rows that were answered and are not stored yet, and bodies that somebody still holds."""

    def __init__(self) -> None:
        self.rows = self.most_rows = self.bodies = self.most_bodies = 0

    def answered(self, rows: int) -> None:
        self.rows += rows
        self.most_rows = max(self.most_rows, self.rows)


class Body(bytes):
    """A body that counts itself."""

    held: Held

    def __del__(self) -> None:
        self.held.bodies -= 1


class Vendor:
    """A day of minutes per symbol, at once."""

    name, adjustment, normaliser = "vendor", Adjustment.RAW, "vendor/1"

    def __init__(self, held: Held) -> None:
        self.held = held
        self.day = minutes("2024-01-02T00:00", DAY_ROWS).drop("symbol")

    def supports(self, symbol: Symbol, resolution: Resolution) -> bool:
        return True

    def requests(self, window: Window, resolution: Resolution) -> int:
        return 1

    async def fetch_bars(self, symbol: Symbol, window: Window, resolution: Resolution) -> Fetched:
        await asyncio.sleep(0)
        body = Body(symbol.code.encode() * 100)
        body.held = self.held
        self.held.bodies += 1
        self.held.most_bodies = max(self.held.most_bodies, self.held.bodies)
        self.held.answered(self.day.height)
        return Fetched(self.day, hashlib.sha256(body).hexdigest(), len(body), 1, 0.0, (body,))

    def normalise(
        self, symbol: Symbol, window: Window, resolution: Resolution, bodies: Sequence[bytes]
    ) -> pl.DataFrame:
        return self.day

    async def aclose(self) -> None:
        """Nothing is open."""


class Watched(LakeStore):
    """A lake that says when rows are stored."""

    held: Held

    def write_bars(
        self, source: str, symbols: Any, resolution: Resolution, window: Window, frame: pl.DataFrame, **named: Any
    ) -> WriteReport:
        report = super().write_bars(source, symbols, resolution, window, frame, **named)
        self.held.rows -= frame.height
        return report


def test_memory_holds_one_batch_and_the_answers_in_flight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "BATCH_ROWS", BATCH)
    held = Held()
    store = Watched(Storage.at(tmp_path))
    store.held = held
    codes = [f"S{number:02d}-USD" for number in range(SYMBOLS)]
    settings = SourceSettings.model_validate({
        "name": "many", "provider": "ccxt", "asset_class": "crypto", "start": START, "symbols": codes,
        "max_concurrency": AT_ONCE, "keep_raw": True,
    })  # fmt: skip
    jobs = [Job(symbol, START, START + timedelta(days=1)) for symbol in settings.instruments]
    outcomes = pipeline.ingest(store, settings, Resolution.MINUTE, jobs, provider=Vendor(held))
    assert all(outcome.ok for outcome in outcomes)
    assert held.rows == 0, "everything was stored"
    assert BATCH <= held.most_rows <= BATCH + DAY_ROWS + AT_ONCE * DAY_ROWS
    assert held.bodies == 0
    # A thread that has just kept one lets go of it a moment after the next was asked for.
    assert 0 < held.most_bodies <= 2 * AT_ONCE
    assert fetches.read(store.tables)["raw"].list.len().to_list() == [1] * SYMBOLS
