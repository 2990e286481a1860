"""A look into the files of a source finds what a fetch would fail on."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.providers.csv.inspect import inspect

HEADER = "timestamp,open,high,low,close,volume\n"
BAR = "2024-01-02,1,2,1,1.5,1\n"


def look(root: Path, *symbols: str, **options: Any) -> list[str]:
    source = SourceSettings.model_validate({
        "name": "files", "provider": "csv", "start": "2024-01-01", "resolutions": ["1d"], "symbols": list(symbols) or ["KO"],
        "options": {"root": str(root), "path": "{symbol}.csv", **options},
    })  # fmt: skip
    return [str(problem) for problem in inspect(source)]


@pytest.mark.parametrize("packed", [False, True])
def test_files_that_read_have_no_problem(tmp_path: Path, packed: bool) -> None:
    text = (HEADER + BAR).encode()
    (tmp_path / "KO.csv").write_bytes(gzip.compress(text) if packed else text)
    assert look(tmp_path) == []


@pytest.mark.parametrize(
    ("text", "options", "says"),
    [
        (HEADER + BAR, {"timestam_format": "iso"}, "did you mean timestamp_format"),
        (HEADER + BAR, {"delimeter": ";"}, "did you mean delimiter"),
        (HEADER.replace("close", "last") + BAR, {}, "no column 'close'"),
        (HEADER + BAR, {"delimiter": ";"}, "no column"),
        (HEADER + BAR.replace("2024-01-02", "02.01.2024"), {}, "%d.%m.%Y would read all of them"),
        ("symbol," + HEADER + "KO," + BAR + "PEP," + BAR, {}, "holds 2 instruments"),
        (
            "symbol," + HEADER + "PEP," + BAR,
            {"columns": {"symbol": "symbol"}},
            "none of the source's symbols, it has PEP",
        ),
        ("", {}, "is empty"),
        (HEADER + "2024-01-02,1,2,1,1.5,58.41M\n", {}, "volume is no number in 1 of the first 1 lines"),
        (HEADER + "2024-01-02,1,2,1,1.123456789,1\n", {}, "close has more decimals than are stored"),
    ],
)
def test_what_a_fetch_would_fail_on_is_told(tmp_path: Path, text: str, options: dict[str, Any], says: str) -> None:
    (tmp_path / "KO.csv").write_text(text)
    (problem,) = look(tmp_path, **options)
    assert says in problem
    assert "\n  -> " in problem


def test_symbols_without_files_are_one_problem(tmp_path: Path) -> None:
    (tmp_path / "KO.csv").write_text(HEADER + BAR)
    (problem,) = look(tmp_path, "KO", "PEP", "IBM")
    assert "there is no file for PEP" in problem
    assert "those of 1 more of 3 symbols" in problem


def test_only_the_beginning_of_a_large_file_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "KO.csv").write_text(HEADER + BAR * 20_000 + "torn\n" * 20_000)
    assert look(tmp_path) == []
