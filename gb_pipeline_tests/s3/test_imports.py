"""Another tool's files come into a lake in a bucket as into a folder, whatever machine goes on with it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Barrier, BrokenBarrierError

import pytest

from gb_pipeline.errors import LakeError
from gb_pipeline.formats import importing
from gb_pipeline.formats.importing import import_bars
from gb_pipeline.lake import fetches
from gb_pipeline.reading.lake import Lake
from gb_pipeline_tests.formats.conftest import bundle, own_bundle

__all__ = ["bundle", "own_bundle"]


def test_another_machine_goes_on_with_an_import(machine, bundle, own_bundle):
    first = import_bars(machine("a"), "zipline", bundle, source="bundle", symbols=["AAPL", "DELL"])
    assert (first.total.stored, first.total.quarantined) == (5243, 20)
    second = import_bars(machine("b"), "zipline", bundle, source="bundle", symbols=["DELL", "AMD"])
    assert (second.total.unchanged, second.total.stored) == (2474, 2769)
    (own_bundle / "more.txt").write_text("other files", encoding="utf-8")
    with pytest.raises(LakeError, match="not of this import"):
        import_bars(machine("c"), "zipline", own_bundle, source="bundle")
    assert Lake(machine("c")).bars("AMD", "1d", source="bundle").height == 2769


def test_of_two_machines_that_begin_at_once_with_different_files_one_is_refused(
    machine, bundle, own_bundle, monkeypatch
):
    """Both have seen an empty source before either says that it begins."""
    (own_bundle / "more.txt").write_text("other files", encoding="utf-8")
    refuse_others, both = importing._Import._refuse_others, Barrier(2, timeout=60)

    def look_together(own: importing._Import) -> None:
        refuse_others(own)
        with suppress(BrokenBarrierError):
            both.wait()
            both.abort()

    monkeypatch.setattr(importing._Import, "_refuse_others", look_together)

    def run(name: str, files: Path) -> int | str:
        try:
            return import_bars(machine(name), "zipline", files, source="bundle", symbols=["AAPL"]).total.stored
        except LakeError as error:
            return str(error)

    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(run, ("a", "b"), (bundle, own_bundle)))
    (refused,) = [outcome for outcome in outcomes if isinstance(outcome, str)]
    assert "another import into source bundle began" in refused or "not of this import" in refused
    lake = Lake(machine("c"))
    assert outcomes.count(2769) == 1 and lake.bars("AAPL", "1d", source="bundle").height == 2769
    assert fetches.read(lake.store.tables, "bundle")["run_id"].n_unique() == 1


def test_one_that_has_not_ended_keeps_other_files_out_until_it_does(machine, bundle, own_bundle):
    (own_bundle / "more.txt").write_text("other files", encoding="utf-8")
    refused = []

    def come_in_between(rows: int) -> None:
        with pytest.raises(LakeError) as caught:
            import_bars(machine("b"), "zipline", own_bundle, source="bundle")
        refused.append(caught.value.what)
        # The same files are the same import, on whatever machine.
        same = import_bars(machine("c"), "zipline", bundle, source="bundle", symbols=["AAPL"])
        assert same.total.unchanged == 2769

    import_bars(machine("a"), "zipline", bundle, source="bundle", symbols=["AAPL"], on_rows=come_in_between)
    assert refused == [
        "source bundle has bars already that are not of this import: of other files, or of these before they changed"
    ]


def test_one_that_was_killed_before_it_stored_anything_goes_on_and_keeps_its_name(
    machine, bundle, own_bundle, monkeypatch
):
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    (own_bundle / "more.txt").write_text("other files", encoding="utf-8")
    with monkeypatch.context() as patch:
        patch.setattr(importing._Import, "_write_actions", die)
        with pytest.raises(KeyboardInterrupt):
            import_bars(machine("a"), "zipline", bundle, source="bundle", symbols=["AAPL"])
    for dry in (True, False):
        with pytest.raises(LakeError, match=r"began at .* UTC, and has not ended"):
            import_bars(machine("b"), "zipline", own_bundle, source="bundle", dry_run=dry)
    assert import_bars(machine("b"), "zipline", bundle, source="bundle", symbols=["AAPL"]).total.stored == 2769
