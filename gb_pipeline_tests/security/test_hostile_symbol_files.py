"""A file of symbols is small and says what its columns say; another file is refused, and nothing of it is shown."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from gb_pipeline_tests.security.bounded import run

SECRET = "root-of-somebody"
HEADER = "code,vendor\n"
HOSTILE = {
    "more than there is room for": (HEADER + "A,\n" * (12 * 2**20), "more than 32 MB"),
    "a line of megabytes": (HEADER + "A," + SECRET * 2**20, "line 2 has more than 65,536 characters"),
    "a million columns": (f"code,{SECRET}" + "," * 1_000_000, "line 1 has more than 65,536 characters"),
    "thousands of columns": (f"code,{SECRET}" + "," * 60_000, "means nothing here|has twice"),
    "a quote that never closes": (HEADER + 'A,"' + f"{SECRET}\n" * 20_000, "line"),
    "zeros": (HEADER + "A,\0\n", "line 2"),
    "somebody's passwords": (f"{SECRET}:x:0:0:root:/root:/bin/bash\n" * 3, "lacks code; it has 1 column"),
    "somebody's key": (f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n", "lacks code"),
    "somebody's table": (f"user,password\n{SECRET},{SECRET}\n", "lacks code; it has 2 columns"),
    "a picture": ("\ufffd" + SECRET, "lacks code"),
}  # fmt: skip


@pytest.mark.parametrize("way", ["file: {path}", "members: {{file: {path}, from: vendor, until: vendor}}"])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_of_symbols_is_refused_within_bounded_memory(tmp_path: Path, name: str, way: str) -> None:
    text, says = HOSTILE[name]
    path = tmp_path / "symbols.csv"
    path.write_text(text, encoding="utf-8")
    (tmp_path / "gb.yaml").write_text(
        "sources: {s: {provider: csv, start: 2024-01-01, options: {path: '{symbol}.csv'}, symbols: "
        + f"{{{way.format(path=path)}}}"
        + "}}"
    )
    ended = run("from gb_pipeline.config.settings import Settings", f"Settings.load({str(tmp_path)!r})")
    assert ended.error == "ConfigError", ended
    if way.startswith("file"):
        assert re.search(says, ended.text), ended.text
    assert SECRET * 3 not in ended.text
    if name.startswith("somebody"):
        assert SECRET not in ended.text
    assert ended.megabytes < 400


@pytest.mark.parametrize("kind", ["zero", "pipe", "folder"])
def test_what_is_no_file_is_not_opened(tmp_path: Path, kind: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    path = "/dev/zero" if kind == "zero" else str(tmp_path / kind)
    (tmp_path / "gb.yaml").write_text(
        f"sources: {{s: {{provider: csv, start: 2024-01-01, options: {{path: a.csv}}, symbols: {{file: {path}}}}}}}"
    )
    ended = run("from gb_pipeline.config.settings import Settings", f"Settings.load({str(tmp_path)!r})")
    assert (ended.error, "is no file" in ended.text) == ("ConfigError", True)
    assert ended.megabytes < 100
