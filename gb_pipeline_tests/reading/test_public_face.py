"""The names that `import gb_pipeline` promises."""

from __future__ import annotations

import inspect
import subprocess
import sys

import gb_pipeline
from gb_pipeline import errors


def test_every_promised_name_is_there_and_no_other():
    assert sorted(gb_pipeline.__all__) == gb_pipeline.__all__
    for name in gb_pipeline.__all__:
        assert getattr(gb_pipeline, name).__name__ == name
    assert dir(gb_pipeline) == gb_pipeline.__all__


def test_every_error_is_public():
    raised = {name for name, kind in vars(errors).items() if inspect.isclass(kind) and issubclass(kind, errors.GbError)}
    assert raised <= set(gb_pipeline.__all__)


def test_every_public_name_is_documented():
    assert all(inspect.getdoc(getattr(gb_pipeline, name)) for name in gb_pipeline.__all__)


def test_importing_the_package_imports_nothing_heavy():
    heavy = "{'polars', 'pyarrow', 'deltalake', 'duckdb', 'pandas', 'numpy', 'dagster', 'ccxt', 'pydantic'}"
    code = f"import sys, gb_pipeline; gb_pipeline.Symbol; gb_pipeline.Window; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_an_unknown_name_is_an_attribute_error():
    assert not hasattr(gb_pipeline, "Nope")
