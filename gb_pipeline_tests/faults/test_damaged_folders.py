"""Files that vanish or change places, and tables that vanish: found when they are used and by `verify`, and named."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from gb_pipeline.errors import LakeError
from gb_pipeline.lake.store import LakeStore
from gb_pipeline_tests.faults.damage import Case, harmless_without, removed, swapped
from gb_pipeline_tests.faults.specimen import Specimen


def test_files_that_vanished_are_named(tmp_path: Path, specimens: list[Specimen]) -> None:
    _, specimen = specimens
    for kind, names in specimen.files.items():
        # Of a log the oldest and the newest differ; of data all are the same.
        for name in {names[0], names[-1]} if not kind.startswith("data") else {names[-1]}:
            case = removed(specimen, tmp_path / f"{kind} {name.name}", name)
            case.run(harmless=harmless_without(specimen, name))


@pytest.mark.parametrize("lake", [pytest.param(0, marks=pytest.mark.long, id="settled"), pytest.param(1, id="fresh")])
def test_files_that_changed_places_are_named(tmp_path: Path, specimens: list[Specimen], lake: int) -> None:
    specimen = specimens[lake]
    for kind, names in specimen.files.items():
        pair = names[0], names[-1]
        if len({(specimen.root / name).read_bytes() for name in pair}) == 2:
            swapped(specimen, tmp_path / kind, pair).run()


@pytest.mark.parametrize("what", ["data", "entry", "mirror", "checkpoint", "seal"])
def test_files_that_changed_places_with_those_of_another_table_are_named(
    tmp_path: Path, specimens: list[Specimen], what: str
) -> None:
    files = specimens[1].files
    swapped(specimens[1], tmp_path / "copy", (files[f"{what} bars_1d"][0], files[f"{what} sessions"][0])).run()


@pytest.mark.parametrize("table", ["bars_1m", "bars_1d", "sessions", "quarantine", "corporate_actions"])
def test_a_table_that_vanished_is_missed(tmp_path: Path, specimens: list[Specimen], table: str) -> None:
    for number, specimen in enumerate(specimens):
        copy = specimen.copy(tmp_path / str(number))
        shutil.rmtree(copy / "lake" / table)
        names = (specimen.files[f"entry {table}"][0],)
        assert Case(specimen, copy, names, "loss of the whole table").run()
        with pytest.raises(LakeError, match=f"table {table}: .*(missing|vanished|lost)"):
            LakeStore.at(copy).tables.newest(table)
