"""Lakes to damage; an exchange, a project and processes that ingest from the one into the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import polars as pl
import pytest
import yaml

from gb_pipeline.config.settings import Settings
from gb_pipeline.ingest.bars import ingest
from gb_pipeline.ingest.job import Job
from gb_pipeline.lake.ledger import current
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.reading.lake import Lake
from gb_pipeline.simulation import Simulation
from gb_pipeline_tests.bars import stored
from gb_pipeline_tests.faults.forked import Forked
from gb_pipeline_tests.faults.ingesting import ingest_when_told
from gb_pipeline_tests.faults.specimen import Specimen, fresh, settled

SYMBOLS = ["BTC-USDT", "ETH-USDT"]


@dataclass
class Yard:
    """A project, and the processes that work on it."""

    folder: Path
    simulation: Simulation
    started: list[Forked] = field(default_factory=list)

    @property
    def store(self) -> LakeStore:
        """A fresh look at the lake, as another process has it."""
        return LakeStore.at(self.folder / "data")

    def ready(self, symbols: list[str], start: str, end: str) -> Callable[[], Forked]:
        """A process that is about to ingest; the returned call lets it begin."""
        name = f"process-{len(self.started)}"
        process = Forked(self.folder / f"{name}.log", ingest_when_told, self.folder, symbols, start, end, name)
        self.started.append(process)

        def begin() -> Forked:
            process.hears("ready")
            process.connection.send("go")
            return process

        return begin

    def logs(self) -> str:
        return "\n".join(path.read_text(encoding="utf-8")[-1500:] for path in sorted(self.folder.glob("*.log")))

    def bars(self) -> pl.DataFrame:
        """Every row that holds, doubles included: straight from the table's files."""
        store = self.store
        if store.tables.newest("bars_1m").version < 0:
            return pl.DataFrame(schema={"symbol": pl.String, "timestamp": pl.Datetime("us", "UTC")})
        return stored(store)

    def claims(self) -> pl.DataFrame:
        """What the ledger says of every session: `symbol, session, actual, fingerprint, status`."""
        return current(self.store.tables).select("symbol", "session", "actual", "fingerprint", "status")

    def expected(self, symbols: list[str], start: str, end: str) -> pl.DataFrame:
        """The same days, ingested undisturbed into another lake."""
        settings = Settings.load(self.folder)
        source, lake = settings.source("sim"), self.folder / f"undisturbed-{len(list(self.folder.iterdir()))}"
        jobs = [
            Job(symbol, date.fromisoformat(start), date.fromisoformat(end))
            for symbol in source.instruments
            if symbol.code in symbols
        ]
        ingest(LakeStore.at(lake), source, Resolution.MINUTE, jobs)
        return Lake.open(lake).bars(symbols, "1m", source="sim")

    def assert_same(self, stored: pl.DataFrame, expected: pl.DataFrame) -> None:
        """Equal but for the moment at which each became known."""
        names = [name for name in expected.columns if name != "known_at"]
        assert stored.select(names).equals(expected.select(names))


@pytest.fixture(scope="session")
def specimens(tmp_path_factory: pytest.TempPathFactory) -> list[Specimen]:
    """Two lakes with everything in them, of which only copies are damaged."""
    folder = tmp_path_factory.mktemp("specimens")
    return [settled(folder / "settled"), fresh(folder / "fresh")]


@pytest.fixture
def yard(tmp_path) -> Iterator[Yard]:
    with Simulation(seed=11, symbols=SYMBOLS) as simulation:
        source = {
            "provider": "ccxt",
            "options": {"exchange": "binance", "base_url": simulation.url},
            "asset_class": "crypto",
            "start": "2024-01-01",
            "symbols": SYMBOLS,
            "rate_limit": {"calls": 1000},
        }
        (tmp_path / "gb.yaml").write_text(yaml.safe_dump({"sources": {"sim": source}}), encoding="utf-8")
        made = Yard(tmp_path, simulation)
        try:
            yield made
        finally:
            for process in made.started:
                process.kill()
