"""`gb fetch` tells the project's Dagster, `gb adopt` marks what it does not know, and who has no Dagster does not wait for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from gb_pipeline.simulation import Simulation
from gb_pipeline_tests.cli.console import Gb

DAYS = ("--start", "2024-01-05", "--end", "2024-01-08")


def materialized(project: Path, symbol: str) -> set[str]:
    with dg.DagsterInstance.from_config(str(project / ".dagster")) as instance:
        return set(instance.get_materialized_partitions(dg.AssetKey(["sim", "bars_1m", symbol])))


def test_a_new_instance_adopts_the_lake_and_hears_of_every_fetch(gb: Gb, project: Path) -> None:
    gb("fetch", "sim", *DAYS, "-c", project)
    assert not (project / ".dagster").exists()
    told = gb("adopt", "sim:BTC-USDT", "-c", project)
    assert (told.code, "sim 1m: 3 partitions marked as materialised" in told.err) == (0, True)
    stored = {"2024-01-05", "2024-01-06", "2024-01-07"}
    assert materialized(project, "BTC-USDT") == stored
    assert materialized(project, "ETH-USDT") == set()
    assert gb("adopt", "--json", "-c", project).json == {"sim 1m": 3, "sim 1h": 0}
    assert "nothing to do" in gb("adopt", "-c", project).err
    assert materialized(project, "ETH-USDT") == stored

    assert gb("fetch", "sim", "BTC-USDT", "--start", "2024-01-08", "--end", "2024-01-09", "-c", project).code == 0
    assert materialized(project, "BTC-USDT") == {*stored, "2024-01-08"}


def test_what_the_pages_show_is_worked_out_before_anybody_looks(gb: Gb, project: Path) -> None:
    """As after an upgrade, or a new holiday: what Dagster has kept of a series is of another definition."""
    gb("fetch", "sim", "BTC-USDT", *DAYS, "-c", project)
    gb("adopt", "-c", project)
    key = dg.AssetKey(["sim", "bars_1m", "BTC-USDT"])
    with dg.DagsterInstance.from_config(str(project / ".dagster")) as instance:
        known = instance.get_asset_records([key])[0].asset_entry.cached_status
        instance.wipe_asset_cached_status([key])
        assert instance.get_asset_records([key])[0].asset_entry.cached_status is None

    assert "nothing to do" in gb("adopt", "-c", project).err

    with dg.DagsterInstance.from_config(str(project / ".dagster")) as instance:
        assert known is not None
        assert instance.get_asset_records([key])[0].asset_entry.cached_status == known


def test_bars_are_stored_also_when_dagster_cannot_be_told(
    gb: Gb, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gb("adopt", "-c", project)
    index = project / ".dagster" / "history" / "runs" / "index.db"
    assert index.is_file()
    index.write_bytes(b"this is no database" * 1000)
    told = gb("fetch", "sim", "BTC-USDT", *DAYS, "-c", project)
    assert told.code == 0
    assert "complete" in told.out
    assert "Dagster could not be told" in told.err
    assert "gb adopt" in told.err


def test_without_an_instance_dagster_is_not_even_imported(project: Path, exchange: Simulation) -> None:
    program = (
        "import sys; from gb_pipeline.cli.app import run; code = run(sys.argv[1:]);"
        " print(sorted(name for name in sys.modules if name.partition('.')[0] in {'dagster', 'sqlalchemy'})[:3]);"
        " sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "fetch", "sim", "BTC-USDT", *DAYS, "-c", str(project)],
        env=os.environ | {"GB_SIM_URL": exchange.url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
