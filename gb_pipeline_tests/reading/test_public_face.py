"""The names that `import gb_pipeline` promises."""

from __future__ import annotations

import inspect
import subprocess
import sys
from importlib.metadata import version

import gb_pipeline
from gb_pipeline import errors


def test_every_promised_name_is_there_and_no_other():
    assert sorted(gb_pipeline.__all__) == gb_pipeline.__all__
    for name in set(gb_pipeline.__all__) - {"__version__"}:
        # Columns of a pipeline (`EquityPricing`) are objects without a name of their own.
        assert getattr(getattr(gb_pipeline, name), "__name__", name) == name
    assert dir(gb_pipeline) == gb_pipeline.__all__


def test_every_error_is_public():
    raised = {name for name, kind in vars(errors).items() if inspect.isclass(kind) and issubclass(kind, errors.GbError)}
    assert raised <= set(gb_pipeline.__all__)


def test_what_a_writer_of_bars_needs_is_public(tmp_path):
    """A program that imports from `gb_pipeline` alone validates by a calendar, stores and reads the report."""
    code = """
import sys
from datetime import date
import polars as pl
from gb_pipeline import (
    Adjustment, Alignment, BarRules, Calendar, GapPolicy, GapReason, Lake, LakeStore, Precision, Resolution, SessionStatus,
    Symbol, Window, WriteReport, get_calendar,
)
calendar = get_calendar("XNYS")
assert isinstance(calendar, Calendar)
rules = BarRules(
    resolution=Resolution.DAY, calendar=calendar, alignment=Alignment.SESSION, gap_policy=GapPolicy.NO_TRADE,
    precision=Precision.WIDE, adjustment=Adjustment.SPLIT,
)
prices = dict.fromkeys(("open", "high", "low", "close", "volume"), ["1.5"])
stamps = pl.Series([date(2024, 1, 2)]).cast(pl.Datetime("us", "UTC"))
frame = pl.DataFrame({"timestamp": stamps, **prices})
window = Window.of("2024-01-02", "2024-01-04")
report = LakeStore.at(sys.argv[1]).write_bars("mine", Symbol.equity("AAPL"), Resolution.DAY, window, frame, rules=rules)
assert isinstance(report, WriteReport)
assert [session.status for session in report.sessions] == [SessionStatus.COMPLETE, SessionStatus.EMPTY]
assert report.sessions[1].gaps[0].reason is GapReason.VENDOR_EMPTY
print(Lake.open(sys.argv[1]).bars("AAPL", "1d").height)
"""
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("1", "")


def test_damage_can_be_told_from_other_errors_of_a_lake():
    for kind in (gb_pipeline.DamagedFile, gb_pipeline.DamagedLog):
        assert issubclass(kind, gb_pipeline.LakeError)


def test_the_version_is_that_of_the_installed_package():
    assert gb_pipeline.__version__ == version("gb_pipeline")


def test_every_public_name_is_documented():
    assert all(inspect.getdoc(getattr(gb_pipeline, name)) for name in gb_pipeline.__all__)


def test_importing_the_package_imports_nothing_heavy():
    heavy = "{'polars', 'pyarrow', 'deltalake', 'duckdb', 'pandas', 'numpy', 'dagster', 'ccxt', 'pydantic'}"
    code = f"import sys, gb_pipeline; gb_pipeline.Symbol; gb_pipeline.Window; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_an_unknown_name_is_an_attribute_error():
    assert not hasattr(gb_pipeline, "Nope")
