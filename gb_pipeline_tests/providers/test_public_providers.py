"""The names that `gb_pipeline.providers` promises to authors of providers."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

from gb_pipeline import providers

ROOT = Path(__file__).resolve().parents[2]


def test_every_promised_name_is_there_and_no_other() -> None:
    assert len(set(providers.__all__)) == len(providers.__all__)
    for name in providers.__all__:
        assert getattr(providers, name) is not None
    assert dir(providers) == sorted(providers.__all__)
    assert not hasattr(providers, "Nope")


def test_authors_need_no_other_module() -> None:
    """What the example and the guide import is public."""
    public = {"gb_pipeline": set(__import__("gb_pipeline").__all__), "gb_pipeline.providers": set(providers.__all__)}
    guide = (ROOT / "docs" / "adding-a-vendor.md").read_text(encoding="utf-8")
    sources = [(ROOT / "examples" / "gb-provider-tiingo" / "gb_provider_tiingo.py").read_text(encoding="utf-8")]
    sources += re.findall(r"^```python[^\n]*\n(.*?)^```$", guide, re.MULTILINE | re.DOTALL)
    assert len(sources) >= 3
    for source in sources:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("gb_pipeline"):
                assert {item.name for item in node.names} <= public[str(node.module)]


def test_importing_them_imports_no_vendor() -> None:
    heavy = "{'ccxt', 'yfinance', 'curl_cffi', 'httpx', 'aiohttp', 'polars'}"
    code = f"import sys, gb_pipeline.providers; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
