"""Processes that are killed, at every named point and at random moments: nothing is lost, doubled or half done."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random

import pytest

from gb_pipeline.storage.fault_points import POINTS
from gb_pipeline_tests.faults.kill_work import Worker
from gb_pipeline_tests.faults.kills import KillServer, Suspect, kill_server

# How often a point may be passed before the kill.
_UP_TO = {"catalog_built": 1, "checkpoint_written": 4, "checkpoint_sealed": 6, "compacted_file": 3}


def test_a_kill_at_every_named_point_leaves_everything_whole(tmp_path: Path) -> None:
    suspect, chance = Suspect(tmp_path / "lake", seed=1), Random(1)
    with kill_server(tmp_path) as server:
        for point in POINTS:
            ends = [suspect.attempt(server, point=f"{point}:{chance.randint(1, _UP_TO.get(point, 6))}")]
            while not ends[-1].killed:
                assert len(ends) < 10, f"{point} is never reached"
                ends.append(suspect.attempt(server, point=point))
        finish(suspect, server)


# The test above kills at every point; these are for moments between them and for what several kills in a row leave behind.
@pytest.mark.parametrize("kills", [12, pytest.param(500, marks=pytest.mark.long)])
def test_kills_at_points_and_at_random_moments_lose_nothing_and_double_nothing(tmp_path: Path, kills: int) -> None:
    chance, killed, attempts = Random(kills), Counter[str](), 0
    suspect = Suspect(tmp_path / "lake", seed=2)
    with kill_server(tmp_path) as server:
        whole = suspect.attempt(server).seconds
        while killed.total() < kills:
            attempts += 1
            assert attempts < 3 * kills, f"most processes end before they are killed: {killed}"
            point = chance.choice(POINTS) if attempts % 2 else None
            if point:
                end = suspect.attempt(server, point=f"{point}:{chance.randint(1, _UP_TO.get(point, 6))}")
            else:
                end = suspect.attempt(server, seconds=chance.uniform(0, whole))
            killed[point or "at a random moment"] += end.killed
            if attempts % 12 == 0:
                finish(suspect, server)
    assert killed["at a random moment"] >= kills / 4
    print(f"{killed.total()} kills in {attempts} processes, {suspect.next} steps: {dict(killed)}")


def finish(suspect: Suspect, server: KillServer) -> None:
    """What was cut off is taken up again and finished; a vacuum removes what killed processes left."""
    suspect.attempt(server)
    suspect.expect_whole()
    Worker(suspect.root).vacuum()
    suspect.expect_no_leftovers()
    suspect.expect_whole()
