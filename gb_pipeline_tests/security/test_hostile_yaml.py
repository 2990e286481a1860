"""gb.yaml says one thing only: what multiplies, repeats, nests without end or is huge is refused in a bounded way."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gb_pipeline.config import strict_yaml
from gb_pipeline.config.places import lake_address
from gb_pipeline.config.settings import Settings
from gb_pipeline.errors import ConfigError
from gb_pipeline_tests.security.bounded import run

SECRET = "hunter2-of-somebody"
LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(9)
)
SOURCE = "provider: csv, start: 2024-01-01, options: {path: a.csv}"
HOSTILE = {
    "a billion laughs": (LAUGHS, "aliases"),
    "an alias": (f"lake: &l data\nx: *l\ny: {SECRET}", "aliases"),
    "an anchor": (f"lake: &{SECRET} data", "aliases"),
    "an alias of itself": ("a: &a [*a]", "aliases"),
    "a merge key": (f"a: {{<<: {{lake: {SECRET}}}}}", "merge"),
    "a key twice": (f"lake: one\nsources: {{}}\nlake: {SECRET}", "line 1 already"),
    "a source twice": (f"sources:\n  s: {{{SOURCE}}}\n  s: {{{SOURCE}}}", "line 2 already"),
    "a key twice in two spellings": ("a: {1: x, 0x1: y}", "line 1 already"),
    "lists in lists": ("[" * 100_000, "levels"),
    "mappings in mappings": ("{a: " * 10_000, "levels"),
    "blocks in blocks": ("\n".join("- " * n + "-" for n in range(1, 40)), "levels"),
    "keys in keys": ("? " * 3000, "levels"),
    "a million values": ("[" + "a," * 1_000_000 + "]", "values"),
    "a million keys": ("\n".join(f"k{n}: 1" for n in range(200_000)), "values"),
    "a long text": (f"lake: {SECRET}{'x' * 200_000}", "characters"),
    "a long key": (f"{'x' * 200_000}: 1", "simple keys|expected|characters|could not find"),
    "more than there is room for": ("# " + "x" * (5 * 2**20), "more than 4 MB"),
    "a day that there is not": ("a: 2024-13-45", "line 1, column 4"),
    "a number without end": ("a: " + "9" * 60_000, "line 1, column 4"),
    "an object of Python": ("a: !!python/object/apply:os.system [echo]", "constructor"),
    "zeros": ("\0" * 100, "characters that no text has"),
    "two documents": ("a: 1\n---\nb: 2", "another document"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_gb_yaml_is_refused_within_bounded_memory(tmp_path: Path, name: str) -> None:
    text, says = HOSTILE[name]
    (tmp_path / "gb.yaml").write_text(text, encoding="utf-8")
    ended = run("from gb_pipeline.config.settings import Settings", f"Settings.load({str(tmp_path)!r})")
    assert ended.error == "ConfigError", ended
    assert re.search(says, ended.text), ended.text
    assert SECRET not in ended.text
    assert ended.megabytes < 200
    with pytest.raises(ConfigError):
        lake_address(tmp_path)


def test_what_people_write_is_read_as_ever(tmp_path: Path) -> None:
    codes = [f"S{number:05}" for number in range(10_000)]
    (tmp_path / "gb.yaml").write_text(
        yaml.safe_dump({"sources": {"s": {"provider": "csv", "start": "2024-01-01", "symbols": codes,
                                          "options": {"path": "{symbol}.csv"}}}})
    )  # fmt: skip
    assert len(Settings.load(tmp_path).source("s").instruments) == 10_000


def test_the_projects_own_gb_yaml_is_read() -> None:
    text = (Path(__file__).resolve().parents[2] / "gb.yaml").read_text(encoding="utf-8")
    assert strict_yaml.parse(text, "gb.yaml") == yaml.safe_load(text)


KEYS = st.text(st.characters(codec="ascii", min_codepoint=97), max_size=5)
PLAIN = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(10**9), 10**9), st.dates(), st.text(max_size=10)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=20,
)


@given(PLAIN, st.booleans())
def test_whatever_says_one_thing_is_read_as_yaml_reads_it(value: object, flow: bool) -> None:
    class Plain(yaml.SafeDumper):
        def ignore_aliases(self, data: object) -> bool:
            return True

    text = yaml.dump(value, Dumper=Plain, default_flow_style=flow)
    assert strict_yaml.parse(text, "it") == yaml.safe_load(text)


@given(st.text(max_size=60))
def test_any_text_is_yaml_or_an_error_of_ours_that_does_not_show_it(text: str) -> None:
    try:
        strict_yaml.parse(text, "it")
    except ConfigError as error:
        assert error.fix
        assert len(text) < 12 or text not in str(error)
