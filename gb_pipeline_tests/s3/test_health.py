"""Standing checks of a lake in a bucket: what one machine verified and catalogued, another one knows."""

from __future__ import annotations

from pathlib import Path

from gb_pipeline.catalog.projection import refresh_catalog
from gb_pipeline.config.bucket import Bucket
from gb_pipeline.config.settings import Settings
from gb_pipeline.health.checkup import CHECKS, examine
from gb_pipeline.health.project_state import ProjectState
from gb_pipeline.health.result import State
from gb_pipeline.lake.verification import verify
from gb_pipeline.lake.verify_record import record_verification
from gb_pipeline_tests.bars import day, minutes
from gb_pipeline_tests.s3.conftest import Machine


def states(machine: Machine, bucket: Bucket, folder: Path, name: str) -> dict[str, State]:
    store = machine(name)
    source = {"name": "sim", "provider": "ccxt", "start": "2024-01-02", "end": "2024-01-03", "symbols": ["BTC-USD"]}
    content = {"path": folder / "gb.yaml", "lake": bucket, "state": store.storage.state, "sources": {"sim": source}}
    results = examine(ProjectState(Settings.model_validate(content), store))
    return {result.name: result.state for result in results}


def test_two_machines_say_the_same(machine: Machine, bucket: Bucket, tmp_path: Path) -> None:
    empty = states(machine, bucket, tmp_path, "a")
    assert list(empty) == list(CHECKS)
    assert (empty["missing_sessions"], empty["catalog"], empty["verification"]) == (
        State.FAIL, State.SKIPPED, State.SKIPPED,
    )  # fmt: skip
    store = machine("a")
    store.write_bars("sim", "BTC-USD", "1m", day("2024-01-02"), minutes("2024-01-02"))
    refresh_catalog(store)
    record_verification(store.storage, verify(store), store.clock())
    for name in ("a", "b"):
        found = states(machine, bucket, tmp_path, name)
        assert {check for check, state in found.items() if state not in {State.OK, State.SKIPPED}} == set()
        assert found["verification"] is State.OK
