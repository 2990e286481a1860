"""README and guides: every block of code in them runs, every name, setting and link in them exists.

A block's first line decides: ```` ```python ```` and ```` ```bash ```` are run, in order, in one folder per page;
```` ```yaml gb.yaml ```` is written to that file first; `proven-by=` names the test that runs what is too large for here.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Container, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import polars as pl
import pytest
import yaml
from pydantic import BaseModel

from gb_pipeline.cli.app import run
from gb_pipeline.config import settings
from gb_pipeline.config.symbols.spec import Discovery
from gb_pipeline.providers.csv.options import CsvOptions
from gb_pipeline.reading.lake import Lake
from gb_pipeline.simulation import Simulation

ROOT = Path(__file__).resolve().parents[1]
DOCS = [page for page in sorted((ROOT / "docs").rglob("*.md")) if "_build" not in page.parts]
# The page of reasons and the reference have nothing to run.
GUIDES = [page for page in DOCS if page.name != "design.md" and "reference" not in page.parts]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", *GUIDES]
ALL_PAGES = [README, ROOT / "CONTRIBUTING.md", *DOCS, ROOT / "SECURITY.md", ROOT / "CHANGELOG.md"]
BLOCK = re.compile(r"^```(\w+)(?: ([^\n]*))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# What stands behind a command, and with which codes it may end then; and what only a shell understands.
ENDS = {("||", "true"): range(256), ("||", "test", "$?", "=", "1"): range(1, 2)}
SHELL = {"|", "||", ">", ">>", "&&", "&", ";"}
# Shown, not run: output, and pieces of other projects' files.
SHOWN = {"text", "toml"}


@dataclass(frozen=True)
class Block:
    """A fenced block; `argument` is what stands behind its language."""

    language: str
    argument: str
    body: str
    line: int


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [Block(m[1], m[2] or "", m[3], text[: m.start()].count("\n") + 2) for m in BLOCK.finditer(text)]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.fixture(scope="module")
def exchange() -> Iterator[Simulation]:
    codes = ["BTC-USD", "ETH-USD", "BTC-USDT", "BTC-USDT-PERP", "ETH-USDT-PERP"]
    with Simulation(symbols=codes) as simulation:
        yield simulation


def on_loopback(text: str, url: str) -> str:
    """The same gb.yaml with its vendors simulated: no test leaves the machine."""
    content = yaml.safe_load(text)
    for source in content.get("sources", {}).values():
        if source["provider"] != "csv":
            source.setdefault("options", {})["base_url"] = url
    for stream in content.get("collect", {}).get("streams", {}).values():
        stream.setdefault("options", {})["base_url"] = url
    return yaml.safe_dump(content)


def run_block(page: Path, block: Block, names: dict[str, Any], exchange: Simulation, folder: Path) -> None:
    where = f"{name(page)}:{block.line}"
    if block.argument.startswith("proven-by="):
        left = unproven(block)
        assert not left, f"{where}: {block.argument} has nothing of {', '.join(left)}"
    elif block.argument:
        file = folder / block.argument
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(
            on_loopback(block.body, exchange.url) if file.name == "gb.yaml" else block.body, encoding="utf-8"
        )
        if file.name == "gb.yaml":
            settings.Settings.load(file)
    elif block.language == "python":
        # The line numbers of a traceback are those of the page.
        exec(compile("\n" * (block.line - 1) + block.body, where, "exec", dont_inherit=True), names)
    elif block.language == "bash" and page != README and (commands := commands_of(block)):
        for command, codes in commands:
            ended = (
                run(command[1:]) if command[0] == "gb" else subprocess.run(command, cwd=folder, check=False).returncode
            )
            assert ended in codes, f"{where}: {' '.join(command)} ended with {ended}"
    elif block.language == "bash":
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        command = ["bash", "-euo", "pipefail", "-c", block.body]
        done = subprocess.run(
            command, cwd=folder, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{where}\n{done.stdout}{done.stderr}"
    else:
        assert block.language in SHOWN, f"{where}: nobody runs {block.language}"


def commands_of(block: Block) -> list[tuple[list[str], Container[int]]]:
    """The command of each line and how it may end, if all of them call `gb` or move files, and leave nothing else to a shell.

    `gb` is run in this process, which has imported everything already. README's commands run as a reader runs them.
    """
    commands = []
    for line in block.body.splitlines():
        words, codes = shlex.split(line, comments=True), range(1)
        for end, allowed in ENDS.items():
            if words[-len(end) :] == list(end):
                words, codes = words[: -len(end)], allowed
        if not words:
            continue
        if words[0] not in {"gb", "mv", "rm"} or SHELL & set(words):
            return []
        commands.append((words, codes))
    return commands


def unproven(block: Block) -> list[str]:
    """The programs that a block calls, and the commands of `gb`, of which the file that is named as its proof has nothing."""
    file, _, test = block.argument.removeprefix("proven-by=").partition("::")
    text = (ROOT / file).read_text(encoding="utf-8")
    if test:
        return [] if f"def {test}(" in text else [test]
    called = {word for word in re.findall(r"\buv run (?!--)(\w[\w-]*)", block.body) if word != "gb"}
    commands = set(re.findall(r"\bgb ((?:--)?[a-z][a-z-]*)", block.body))
    said = [*(word for word in called if f" {word}" not in text)]
    return sorted(said + [f"gb {word}" for word in commands if f'"{word}"' not in text and f"gb {word}" not in text])


@pytest.mark.parametrize(
    ("argument", "body", "left"),
    [
        ("proven-by=.ci/run", "pip install uv\nuv run pytest\n", []),
        ("proven-by=.ci/run", "uv run gb adopt", ["gb adopt"]),
        ("proven-by=gb_pipeline_tests/cli/test_adopt.py", "gb adopt\ngb compact", ["gb compact"]),
        ("proven-by=gb_pipeline_tests/test_docs.py::test_nobody_wrote", "gb adopt", ["test_nobody_wrote"]),
    ],
)
def test_a_proof_has_something_of_every_command_that_it_proves(argument: str, body: str, left: list[str]) -> None:
    assert unproven(Block("bash", argument, body, 1)) == left


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_block_runs(page: Path, exchange: Simulation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("GB_CONFIG", "GB_LAKE", "GB_STATE", "GB_SIM_URL", "DAGSTER_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "page"}
    # What a page imports is what it wrote.
    monkeypatch.syspath_prepend(tmp_path)
    found = blocks(page)
    assert found, "a guide without an example"
    for variable in re.findall(r"\$\{(\w+_KEY)\}", "".join(block.body for block in found)):
        monkeypatch.setenv(variable, "some-key-of-a-reader")
    for block in found:
        run_block(page, block, names, exchange, tmp_path)


def headings(page: Path) -> set[str]:
    """What links to a page may name behind `#`."""
    lines = re.findall(r"^#+ (.+)$", BLOCK.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", line.lower()).replace(" ", "-") for line in lines}


@pytest.mark.parametrize("page", ALL_PAGES, ids=name)
def test_every_link_leads_somewhere(page: Path) -> None:
    prose = BLOCK.sub("", page.read_text(encoding="utf-8"))
    for target, heading in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", prose):
        if not target.startswith("https://"):
            assert (page.parent / target).exists(), target
            other = page if not target else (page.parent / target).resolve()
            assert not heading or heading in headings(other), f"{target}#{heading}"


@pytest.mark.parametrize("page", ALL_PAGES, ids=name)
def test_every_module_that_is_named_exists(page: Path) -> None:
    for module in re.findall(r"`(gb_pipeline(?:\.\w+)+)`", page.read_text(encoding="utf-8")):
        assert resolve_name(module), module


@pytest.mark.parametrize("page", ALL_PAGES, ids=name)
def test_every_view_and_macro_that_is_named_is_in_the_catalog(page: Path, catalog: set[str]) -> None:
    text = page.read_text(encoding="utf-8")
    for view in re.findall(r"\b(?:best_)?(?:bars_\d\w+?|corporate_actions?)_(?:history|as_of)\b", text):
        assert re.sub(r"bars_\d(?:m|h|d|mo|w|s)_", "bars_1d_", view) in catalog, view


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Names of the views and macros of a lake with a bar and no corporate action."""
    lake = Lake.open(tmp_path_factory.mktemp("lake") / "data", create=True)
    bar = {"date": [date(2024, 1, 2)], "open": ["1"], "high": ["1"], "low": ["1"], "close": ["1"], "volume": ["1"]}
    lake.put(pl.DataFrame(bar), source="own", resolution="1d", symbol="AAPL", calendar="XNYS")
    question = "select view_name from duckdb_views() union all select function_name from duckdb_functions()"
    return set(lake.sql(question).to_series())


@pytest.mark.parametrize("page", ALL_PAGES, ids=name)
def test_every_test_that_is_named_exists(page: Path) -> None:
    for file, test in re.findall(r"`(gb_pipeline_tests/[\w/]+\.py)::(\w+)`", page.read_text(encoding="utf-8")):
        assert f"def {test}(" in (ROOT / file).read_text(encoding="utf-8"), f"{file}::{test}"


def rows(text: str, heading: str) -> dict[str, str]:
    """Setting to default, as the table under a heading has them."""
    table = text.split(f"| {heading} | default | meaning |")[1].split("\n\n", maxsplit=1)[0]
    return {cells[1].strip(" `"): cells[2].strip() for line in table.splitlines()[2:] if (cells := line.split("|"))}


@pytest.mark.parametrize(
    ("page", "heading", "model", "elsewhere"),
    [
        ("README.md", "of a source", settings.SourceSettings, {"name"}),
        ("README.md", "of a symbol", settings.SymbolSettings, set()),
        ("README.md", "top level", settings.Settings, {"path"}),
        ("docs/sources.md", "option of csv", CsvOptions, set()),
        ("docs/sources.md", "condition of discover", Discovery, set()),
    ],
)
def test_every_setting_is_explained_with_its_default(
    page: str, heading: str, model: type[BaseModel], elsewhere: set[str]
) -> None:
    told = rows((ROOT / page).read_text(encoding="utf-8"), heading)
    assert set(told) == set(model.model_fields) - elsewhere
    for setting, field in model.model_fields.items():
        default = field.default
        if setting in told and isinstance(default, bool | int | float | str) and default != "":
            assert told[setting] == f"`{str(default).lower() if isinstance(default, bool) else default}`", setting


@pytest.mark.parametrize("model", [settings.SourceSettings, settings.SymbolSettings])
def test_the_default_project_mentions_every_setting(model: type[BaseModel]) -> None:
    text = (ROOT / "gb.yaml").read_text(encoding="utf-8")
    for setting in set(model.model_fields) - {"name"}:
        assert re.search(rf"^[ #-]*{setting}:", text, re.MULTILINE), setting
