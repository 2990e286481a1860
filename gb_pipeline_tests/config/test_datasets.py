"""Sources in the `defs.yaml` files of a project of `dg`: found as Dagster finds them, and refused with file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from gb_pipeline.config.project_incidents import ProjectIncidents
from gb_pipeline.config.settings import Settings
from gb_pipeline.config.source_facts import read_facts
from gb_pipeline.errors import ConfigError

LAKE = "type: gb_pipeline.components.MarketLake\n"
COIN = """type: gb_pipeline.components.MarketDataset
attributes:
  provider: csv
  calendar: XNYS
  start: "2024-01-02"
  symbols: [AAPL]
"""


class Project:
    """A project of `dg`; the names of its files are those below its `defs`."""

    def __init__(self, root: Path, settings: str = '[tool.dg]\ndirectory_type = "project"\n') -> None:
        self.root, self.defs = root, root / "src" / root.name / "defs"
        self.defs.mkdir(parents=True)
        (root / "pyproject.toml").write_text(settings, encoding="utf-8")
        (root / "gb.yaml").write_text("lake: data\n", encoding="utf-8")

    def write(self, name: str, text: str) -> Path:
        file = self.defs / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return file

    def sources(self, config: str = "gb.yaml") -> list[str]:
        return list(Settings.load(self.root / config).sources)

    def refusal(self) -> str:
        with pytest.raises(ConfigError) as caught:
            Settings.load(self.root)
        assert caught.value.fix
        return str(caught.value)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """One that has a lake."""
    monkeypatch.delenv("GB_CONFIG", raising=False)
    made = Project(tmp_path / "firm")
    made.write("lake/defs.yaml", LAKE)
    return made


def test_sources_of_both_are_there_and_say_where_they_are_written(project: Project):
    (project.root / "gb.yaml").write_text(f"sources:\n  own: {{{_inline(COIN)}}}\n", encoding="utf-8")
    file = project.write("coin/defs.yaml", COIN)
    settings = Settings.load(project.root)

    assert list(settings.sources) == ["own", "coin"]
    assert settings.source("coin").model_dump() | {"name": "own"} == settings.source("own").model_dump()
    assert settings.place_of("own") == (project.root / "gb.yaml", ("sources", "own"))
    assert settings.place_of("coin") == (file, ("attributes",))
    assert [facts.calendar for facts in read_facts(settings.path)] == ["XNYS", "XNYS"]
    with pytest.raises(ConfigError, match=r"gb\.yaml with 1 component has no source 'cion'.*\n.*did you mean coin"):
        settings.source("cion")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("coin/defs.yml", True),
        ("coin/component.yaml", True),
        ("vendors/crypto/coin/defs.yaml", True),
        ("coin/other.yaml", False),
        (".coin/defs.yaml", False),
        ("__pycache__/defs.yaml", False),
        ("lake/coin/defs.yaml", False),  # below another component
    ],
)
def test_files_are_those_that_dagster_loads(project: Project, name: str, found: bool):
    project.write(name, COIN.replace("attributes:", "attributes:\n  name: coin"))
    assert project.sources() == ["coin"] * found


def test_a_folder_component_is_searched_further(project: Project):
    project.write("all/defs.yaml", "type: dagster.DefsFolderComponent\n")
    project.write("all/coin/defs.yaml", COIN)
    assert project.sources() == ["coin"]


def test_several_components_may_stand_in_one_file_and_others_are_left_alone(project: Project):
    other = "type: firm.Other\nattributes: {a: &x 1, b: *x, c: '{{ anything }}'}\n"
    named = COIN.replace("attributes:", "attributes:\n  name: {}")
    text = "---\n".join([other, named.format("one"), named.format("two").replace("csv", "cvs_")])
    file = project.write("several/defs.yaml", text)
    assert project.sources() == ["one", "two"]

    file.write_text(text.replace("[AAPL]", "[AAPL, AAPL]", 2), encoding="utf-8")
    assert f"{file}:" in project.refusal()
    file.write_text(text.replace("2024-01-02", "2024-13-45"), encoding="utf-8")
    assert f"{file}:9: start" in project.refusal()


@pytest.mark.parametrize(
    "text",
    [
        f"# once: {LAKE}type: firm.Other\nattributes: {{a: &x 1, b: *x}}\n",
        f"type: firm.Other # not {COIN}",
        f"type: firm.Other\nattributes:\n  note: '{LAKE.strip()}'\n",
        f"type: firm.Other\nattributes:\n  inner: {{{LAKE.strip()}}}\n",
        f"type: firm.Other\nattributes:\n  note: |\n    {LAKE}",
    ],
)
def test_a_component_that_only_mentions_one_of_ours_is_none(project: Project, text: str):
    project.write("coin/defs.yaml", COIN)
    project.write("other/defs.yaml", text)
    assert project.sources() == ["coin"]


@pytest.mark.parametrize("kind", ["dg.toml", "defs_module", "flat"])
def test_the_project_says_where_its_components_are(tmp_path: Path, kind: str):
    settings = '[tool.dg]\ndirectory_type = "project"\n'
    if kind == "defs_module":
        settings += '[tool.dg.project]\nroot_module = "other"\ndefs_module = "firm.parts.mine"\n'
    project = Project(tmp_path / "firm", settings if kind != "dg.toml" else "")
    if kind == "dg.toml":
        (project.root / "dg.toml").write_text(
            'directory_type = "project"\n[project]\nroot_module = "firm"\n', encoding="utf-8"
        )
    if kind == "defs_module":
        project.defs = project.root / "src" / "firm" / "parts" / "mine"
    if kind == "flat":
        project.defs.rmdir()
        project.defs = project.root / "firm" / "defs"
    project.write("lake/defs.yaml", LAKE)
    project.write("coin/defs.yaml", COIN)
    assert project.sources() == ["coin"]


def test_datasets_belong_to_the_gb_yaml_that_their_lake_names(project: Project, monkeypatch: pytest.MonkeyPatch):
    project.write("coin/defs.yaml", COIN)
    for name in ("market/gb.yaml", "elsewhere/gb.yaml"):
        (project.root / name).parent.mkdir()
        (project.root / name).write_text("lake: data\n", encoding="utf-8")
    assert (project.sources(), project.sources("market/gb.yaml")) == (["coin"], [])
    monkeypatch.setenv("GB_CONFIG", str(project.root / "market"))
    assert (project.sources("market/gb.yaml"), project.sources("elsewhere/gb.yaml")) == (["coin"], [])

    monkeypatch.delenv("GB_CONFIG")
    project.write("lake/defs.yaml", f'{LAKE}attributes: {{config: \'{{{{ env("GB_PLACE", "market") }}}}/gb.yaml\'}}\n')
    assert (project.sources(), project.sources("market/gb.yaml")) == ([], ["coin"])


def test_what_is_no_project_of_dg_has_no_datasets(tmp_path: Path):
    project = Project(tmp_path / "firm", "[tool.dg\n")
    project.write("coin/defs.yaml", COIN)
    assert "pyproject.toml cannot be read" in project.refusal()
    (project.root / "pyproject.toml").write_text('[project]\nname = "firm"\n', encoding="utf-8")
    assert project.sources() == []


def test_variables_are_looked_up_as_those_of_gb_yaml_and_a_missing_one_is_named_with_its_line(project: Project):
    text = COIN.replace("start:", "options: {path: \"{{ env.FEED_PATH }}/{{ env('FEED_NAME', 'x') }}\"}\n  start:")
    file = project.write("coin/defs.yaml", text)
    said = project.refusal()
    assert said.startswith(f"{file}:5: options needs the environment variable FEED_PATH, which is not set")
    (project.root / ".env").write_text("FEED_PATH=/feed\n", encoding="utf-8")
    Path(project.root / ".env").chmod(0o600)
    assert Settings.load(project.root).source("coin").options == {"path": "/feed/x"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("XNYS", "XNYX"), "4: calendar: there is no calendar 'XNYX', did you mean XNYS"),
        (("calendar", "calender"), "4: calender is no setting (did you mean calendar?)"),
        (("[AAPL]", "\n    - AAPL\n    - {code: A, color: red}"), "8: symbols.1"),
        (("  provider: csv\n", ""), "2: provider is missing"),
        (("csv", "'{{ our_vendor }}'"), "3: provider is a template that only Dagster can render"),
        (("XNYS", "&a XNYS"), "defs.yaml is not YAML: line 4, column 13: aliases and anchors are not read"),
        (("attributes", "attribute"), "1: provider is missing"),
        ((COIN.partition("attributes:")[2], " hello\n"), "2: attributes is 'hello', and no settings with their names"),
        ((COIN.partition("attributes:")[2], " [provider, csv]\n"), "2: attributes is a list, and no settings"),
        ((COIN.partition("attributes:")[2], "\n"), "2: provider is missing"),
        (("[AAPL]", "{file: none.csv}"), "none.csv"),
        (("provider: csv", "provider: csv\n  name: A-B"), "4: name"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_line(project: Project, change: tuple[str, str], said: str):
    file = project.write("coin/defs.yaml", COIN.replace(*change))
    refusal = project.refusal()
    assert str(file) in refusal
    assert said in refusal


def test_a_name_that_there_is_already_is_refused_with_both_places(project: Project):
    first, second = project.write("a/coin/defs.yaml", COIN), project.write("b/coin/defs.yaml", COIN)
    assert project.refusal().startswith(f"{second}:2: there is a source coin already, in {first}:2")
    second.unlink()
    (project.root / "gb.yaml").write_text(f"sources:\n  coin: {{{_inline(COIN)}}}\n", encoding="utf-8")
    assert f"{first}:2: there is a source coin already, in {project.root / 'gb.yaml'}" in project.refusal()


def test_datasets_without_a_lake_and_a_second_lake_are_refused(project: Project):
    coin = project.write("coin/defs.yaml", COIN)
    pond = project.write("pond/defs.yaml", LAKE)
    assert f"{pond}:1: there is a MarketLake already, in {project.defs / 'lake' / 'defs.yaml'}:1" in project.refusal()
    for lake in (pond, project.defs / "lake" / "defs.yaml"):
        lake.unlink()
    assert f"{coin}:2: the dataset coin has no lake" in project.refusal()


def test_symbols_that_joined_are_there_after_a_reload(project: Project):
    project.write("coin/defs.yaml", COIN.replace("[AAPL]", "{file: symbols.csv}"))
    symbols = project.write("coin/symbols.csv", "code\nAAPL\n")
    settings = Settings.load(project.root)
    symbols.write_text("code\nAAPL\nMSFT\n", encoding="utf-8")
    assert [symbol.code for symbol in settings.reload().source("coin").instruments] == ["AAPL", "MSFT"]


def test_incidents_know_where_series_of_datasets_are_listed(project: Project):
    project.write("coin/defs.yaml", COIN.replace("[AAPL]", "[{code: AAPL, exchange: XNAS}]"))
    (project.root / "incidents.yaml").write_text(
        "- {from: 2024-01-03T15:00Z, to: 2024-01-03T16:00Z, exchange: XNAS, kind: halt, reason: news, evidence: x}\n",
        encoding="utf-8",
    )
    incidents = ProjectIncidents(project.root / "gb.yaml")()
    assert incidents.facts["coin"].calendar == "XNYS"
    assert incidents.exchanges == {("coin", "AAPL"): "XNAS"}


def _inline(component: str) -> str:
    """The attributes of a component as one line of gb.yaml."""
    return ", ".join(line.strip() for line in component.split("attributes:\n")[1].splitlines())
