"""The site of docs/ is built with warnings as errors, and has what a reader looks up."""

from __future__ import annotations

import pkgutil
import posixpath
import re
import shutil
import subprocess
import sys
from html import unescape
from importlib import import_module
from pathlib import Path

import pytest
import typer
from pydantic import BaseModel
from sphinx.util.inventory import InventoryFile

from gb_pipeline import config
from gb_pipeline.cli.app import app as gb
from gb_pipeline.config.settings import Settings, SourceSettings
from gb_pipeline.providers.csv.options import CsvOptions

DOCS = Path(__file__).resolve().parents[1] / "docs"
# What is wrong with each of them, as the build says it.
BROKEN = {
    "[a page](nowhere.md)": "nowhere.md",
    "[a heading](index.md#nowhere)": "nowhere",
    "![a picture](images/nowhere.png)": "image file not readable: images/nowhere.png",
    "```{eval-rst}\n.. autoclass:: gb_pipeline.Nowhere\n```": "failed to import 'Nowhere' from module 'gb_pipeline'",
    "```nolanguage\n```": "nolanguage",
}


def build(pages: Path, out: Path) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-q",
        "-W",
        "--keep-going",
        "-d",
        str(out / "state"),
        str(pages),
        str(out),
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole site, built as `.ci/run` builds it."""
    out = tmp_path_factory.mktemp("site")
    built = build(DOCS, out)
    assert built.returncode == 0, built.stderr
    return out


def test_every_public_name_has_an_entry_of_its_own(site: Path) -> None:
    with (site / "objects.inv").open("rb") as file:
        entries = InventoryFile.load(file, "", posixpath.join)
    documented = {name for kind in ("class", "exception", "function", "data") for name in entries[f"py:{kind}"]}
    for module in ("gb_pipeline", "gb_pipeline.providers"):
        names = set(import_module(module).__all__) - {"__version__"}
        # Some names can be imported from both; they stand in one place.
        assert not {name for name in names if not documented & {f"gb_pipeline.{name}", f"gb_pipeline.providers.{name}"}}


def test_every_setting_has_its_row_and_every_command_its_section(site: Path) -> None:
    settings = plain(site / "reference" / "settings.html")
    squeezed = re.sub(r"\W+", "", settings)
    for model in models_of_settings():
        for name, field in model.model_fields.items():
            if (model, name) not in {(Settings, "path"), (SourceSettings, "name")}:
                assert field.description, f"{model.__name__}.{name} has no description"
                meaning = re.sub(r"\W+", "", field.description)
                assert f"{field.alias or name}" in settings and meaning in squeezed, f"{model.__name__}.{name}"
    commands = plain(site / "reference" / "commands.html")
    assert "gb gaps [OPTIONS] [NAME]... NAME <list[str]> A source, SOURCE:SYMBOL or a symbol" in commands
    assert "--reason <list[str]> Only this reason, such as unknown or no_trade" in commands
    assert not [name for name in typer.main.get_command(gb).commands if f" gb {name} " not in commands]


def plain(page: Path) -> str:
    """The text of a page, with single spaces."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", page.read_text(encoding="utf-8"))).split())


def models_of_settings() -> set[type[BaseModel]]:
    """Every model that a part of gb.yaml is read into."""
    models: set[type[BaseModel]] = {CsvOptions}
    for file in pkgutil.walk_packages(config.__path__, f"{config.__name__}."):
        module = import_module(file.name)
        models |= {kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, BaseModel)}
    return {kind for kind in models if kind.__module__.startswith("gb_pipeline.") and not kind.__name__.startswith("_")}


def test_a_fence_that_names_a_file_shows_its_name_and_no_page_shows_who_proves_it(site: Path) -> None:
    start = (site / "index.html").read_text(encoding="utf-8")
    assert '<span class="caption-text">gb.yaml</span>' in start
    for page in site.rglob("*.html"):
        assert "proven-by" not in page.read_text(encoding="utf-8"), page


def test_names_in_prose_and_in_signatures_lead_to_their_entries(site: Path) -> None:
    assert 'href="reference/api/reading.html#gb_pipeline.Lake.bars"' in (site / "reading.html").read_text(
        encoding="utf-8"
    )
    api = (site / "reference" / "api" / "reading.html").read_text(encoding="utf-8")
    assert 'href="values.html#gb_pipeline.Symbol" title="gb_pipeline.market.symbol.Symbol"' in api


def test_whatever_leads_nowhere_fails_the_build(tmp_path: Path) -> None:
    pages = tmp_path / "docs"
    shutil.copytree(DOCS / "_static", pages / "_static")
    shutil.copytree(DOCS / "_ext", pages / "_ext")
    shutil.copy(DOCS / "conf.py", pages)
    (pages / "_toc.yml").write_text("root: index\n", encoding="utf-8")
    (pages / "index.md").write_text("# A page\n\n" + "\n\n".join(BROKEN), encoding="utf-8")

    built = build(pages, tmp_path / "site")

    assert built.returncode != 0
    warnings = built.stderr.splitlines()
    for wrong in BROKEN.values():
        assert [line for line in warnings if "WARNING" in line and wrong in line], (wrong, built.stderr)
