"""An import that is killed anywhere is run again, and ends as if nothing had happened; in a folder, in a bucket, in a backup."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gb_pipeline import Lake
from gb_pipeline.errors import LakeError
from gb_pipeline.formats.importing import import_bars
from gb_pipeline.lake import fetches
from gb_pipeline.lake.backup import plan_copy
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.lake.verification import verify
from gb_pipeline.storage.fault_points import IMPORT_POINTS
from gb_pipeline_tests.formats.conftest import BUNDLE

ROWS, ON_HOLIDAYS = 24_646, 20
WORK = """
import sys
from gb_pipeline import Lake, import_bars
import_bars(Lake.open(sys.argv[1], create=True), "zipline", sys.argv[2], source="bundle")
"""
# Before the import, within each of its commits, and between them.
POINTS = [
    "import_written",
    *(
        pytest.param(point, marks=pytest.mark.long)
        for point in (*IMPORT_POINTS[:2], "entry_written:3", "committed:2", "before_ledger")
    ),
]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, market_data) -> str:
    """The fingerprint of an import that nobody killed."""
    lake = Lake.open(tmp_path_factory.mktemp("undisturbed"), create=True)
    import_bars(lake, "zipline", market_data(BUNDLE), source="bundle")
    return lake.fingerprint("bundle").whole


@pytest.mark.parametrize("point", POINTS)
def test_a_killed_import_converges(tmp_path: Path, bundle: Path, undisturbed: str, point: str) -> None:
    root = tmp_path / "lake"
    environment = {**os.environ, "GB_FAULT_POINT": point}
    killed = subprocess.run(
        [sys.executable, "-c", WORK, root, bundle],
        env=environment,
        cwd=Path(__file__).parents[2],
        check=False,
        timeout=120,
    )
    assert killed.returncode == -9, "the point was reached"
    lake = Lake.open(root, create=True)
    # Whatever is stored has its corporate actions, and everything is whole.
    if lake.symbols().height:
        assert lake.corporate_actions(kind="split").height == 5
    report = import_bars(lake, "zipline", bundle, source="bundle")
    assert report.total.stored + report.total.unchanged == ROWS - ON_HOLIDAYS
    assert lake.quarantine().height == ON_HOLIDAYS and lake.corporate_actions(kind="cash_dividend").height == 233
    assert lake.fingerprint("bundle").whole == undisturbed
    assert verify(lake.store).ok


def test_two_imports_at_once_are_never_mixed(lake, bundle, own_bundle):
    """Whoever comes while one is running is refused before anything is written, whichever files it has."""
    (own_bundle / "more.txt").write_text("another bundle", encoding="utf-8")
    refused = []

    def come_in_between(rows: int) -> None:
        for path in (bundle, own_bundle):
            with pytest.raises(LakeError, match="another import into source bundle is running"):
                import_bars(lake, "zipline", path, source="bundle")
            refused.append(path)
        # Into another source it may.
        import_bars(lake, "zipline", own_bundle, source="other", symbols=["AMD"])

    report = import_bars(lake, "zipline", bundle, source="bundle", symbols=["AAPL"], on_rows=come_in_between)
    assert refused and report.total.stored == lake.bars(None, "1d", source="bundle").height == 2769
    assert import_bars(lake, "zipline", bundle, source="bundle", symbols=["AAPL"]).total.unchanged == 2769


def test_what_somebody_else_has_fetched_since_is_not_mixed_with(lake, bundle):
    import_bars(lake, "zipline", bundle, source="bundle", symbols=["AAPL"])
    record = fetches.read(lake.store.tables, "bundle").row(-1, named=True)
    later = {
        name: record[name] for name in ("source", "symbol", "resolution", "window_start", "window_end", "fetched_at")
    }
    lake.store.record_fetches(
        [fetches.FetchRecord(**later, outcome=fetches.FetchOutcome.OK, received=1, run_id="a run")]
    )
    with pytest.raises(LakeError, match="not of this import"):
        import_bars(lake, "zipline", bundle, source="bundle")


def test_a_backup_has_what_was_imported(lake, bundle, tmp_path):
    import_bars(lake, "zipline", bundle, source="bundle", symbols=["AAPL", "DELL"])
    plan_copy(lake.store, LakeStore.at(tmp_path / "copy")).run()
    copy = Lake.open(tmp_path / "copy")
    assert copy.bars("AAPL", "1d").equals(lake.bars("AAPL", "1d"))
    assert (
        copy.quarantine().height == ON_HOLIDAYS and copy.corporate_actions().height == lake.corporate_actions().height
    )
    # The import is known where it is restored to, and goes on there.
    plan_copy(LakeStore.at(tmp_path / "copy"), LakeStore.at(tmp_path / "restored"), restore=True).run()
    restored = Lake.open(tmp_path / "restored")
    assert import_bars(restored, "zipline", bundle, source="bundle", symbols=["AAPL"]).total.unchanged == 2769
