"""A disk that is full stops a write; it takes nothing away and leaves nothing half done."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gb_pipeline.errors import LakeError
from gb_pipeline.lake import ledger
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline_tests.bars import day, every_version, minutes

# The kernel refuses to let any file of the process grow beyond the limit, as a full disk would.
WRITE_WITH_LITTLE_SPACE = """
import resource, sys
from gb_pipeline.errors import LakeError
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline_tests.bars import day, minutes
frame = minutes("2024-01-03", 1440 * 20)
store = LakeStore.at(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (4_000, 4_000))
try:
    store.write_bars("sim", "BTC-USD", Resolution.MINUTE, day("2024-01-03", 20), frame)
except LakeError as error:
    print(error)
    sys.exit(7)
"""


def test_a_write_that_finds_no_space_says_so_and_can_be_repeated(tmp_path: Path) -> None:
    store = LakeStore.at(tmp_path)
    store.write_bars("sim", "BTC-USD", Resolution.MINUTE, day("2024-01-02"), minutes("2024-01-02"))
    before = every_version(store)
    command = [sys.executable, "-c", WRITE_WITH_LITTLE_SPACE, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, "could not be written" in done.stdout, "free space" in done.stdout) == (7, True, True), (
        done
    )
    assert every_version(store).equals(before)
    frame = minutes("2024-01-03", 1440 * 20)
    store.write_bars("sim", "BTC-USD", Resolution.MINUTE, day("2024-01-03", 20), frame)
    after = every_version(store)
    assert (after.height, after["timestamp"].is_unique().all()) == (21 * 1440, True)
    assert ledger.current(store.tables)["status"].to_list() == ["complete"] * 21


def test_a_root_that_is_a_file_or_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(LakeError):
        LakeStore.at("/proc/nowhere").write_bars(
            "sim", "BTC-USD", Resolution.MINUTE, day("2024-01-02"), minutes("2024-01-02")
        )
