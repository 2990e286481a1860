"""Edits of gb.yaml change the code and nothing else, or nothing at all."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gb_pipeline.errors import ConfigError
from gb_pipeline.universe import yaml_edit

KEYS = ("sources", "s", "symbols")


def inside(symbols: str) -> str:
    return f"# top\nsources:\n  s:\n    provider: csv   # who\n    symbols{symbols}\n    start: 2024-01-01  # when\n  t: {{a: 1}}\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (": [A, B]   # here", ": [A, B, C]   # here"),
        (": []", ": [C]"),
        (": [ A,\n      B,  # second\n    ]", ": [ A,\n      B, C,  # second\n    ]"),
        (": [{code: A}]", ": [{code: A}, C]"),
        (":", ": [C]"),
        (": # none yet", ": [C] # none yet"),
        (": null", ": [C]"),
        (":\n      - A\n      - B  # last\n      # none", ":\n      - A\n      - B  # last\n      - C\n      # none"),
        (":\n    - A", ":\n    - A\n    - C"),
        (":\n      - code: A\n        vendor: x  # his", ":\n      - code: A\n        vendor: x  # his\n      - C"),
        (":\n      - {code: A,\n         vendor: x}", ":\n      - {code: A,\n         vendor: x}\n      - C"),
        (":\n\n      -   'A'\n", ":\n\n      -   'A'\n      - C\n"),
    ],
)  # fmt: skip
def test_a_code_is_added_where_the_list_ends(before: str, after: str) -> None:
    assert yaml_edit.add(inside(before), KEYS, ["C"]) == inside(after)
    windows = inside(before).replace("\n", "\r\n")
    assert yaml_edit.add(windows, KEYS, ["C"]) == inside(after).replace("\n", "\r\n")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (": [A, B, C]   # here", ": [A, C]   # here"),
        (": [B]", ": []"),
        (": [B, C]", ": [C]"),
        (": [A, B]", ": [A]"),
        (": [A,\n      B]", ": [A]"),
        (":\n      - A\n      - B  # b\n      - C", ":\n      - A\n      - C"),
        (":\n      - B  # b\n      # of c\n      - C", ":\n      # of c\n      - C"),
        (":\n      - B", ": []"),
        (":\n      - A\n      - code: B\n        vendor: x\n\n      - C", ":\n      - A\n\n      - C"),
    ],
)
def test_an_item_is_taken_out_with_its_own_line_only(before: str, after: str) -> None:
    items = yaml.safe_load(inside(before))["sources"]["s"]["symbols"]
    at = next(n for n, item in enumerate(items) if item == "B" or (isinstance(item, dict) and item["code"] == "B"))
    assert yaml_edit.remove(inside(before), KEYS, [at]) == inside(after)


def test_codes_that_yaml_reads_otherwise_are_quoted() -> None:
    text = yaml_edit.add(inside(": [A]"), KEYS, ["ON", "0700", "1E5", "NO", "NULL", "2024-01-02", "BRK.B"])
    assert "[A, 'ON', '0700', 1E5, 'NO', 'NULL', '2024-01-02', BRK.B]" in text
    assert yaml.safe_load(text)["sources"]["s"]["symbols"][1:3] == ["ON", "0700"]


def test_a_list_that_is_not_there_is_made() -> None:
    block = inside(":\n      discover:\n        quote: USD  # money")
    made = yaml_edit.add(block, (*KEYS, "list"), ["A"])
    assert made == inside(":\n      list: [A]\n      discover:\n        quote: USD  # money")
    flow = yaml_edit.add(inside(": {discover: {quote: USD}}"), (*KEYS, "discover", "exclude"), ["A"])
    assert flow == inside(": {discover: {exclude: [A], quote: USD}}")
    assert yaml_edit.add(inside(": {discover: {}}"), (*KEYS, "discover", "exclude"), ["A"]) == inside(
        ": {discover: {exclude: [A]}}"
    )


@pytest.mark.parametrize(
    "text",
    [
        "sources:\n  s: null\n",
        "sources:\n  s:\n    symbols: {file: a.csv}\n",
    ],
)
def test_what_would_change_something_else_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="without changing something else"):
        yaml_edit.add(text, KEYS, ["B"])


@pytest.mark.parametrize(
    "text",
    [
        "base: &b [A]\nsources:\n  s:\n    symbols: *b\n  t: *b\n",
        "base: &b {symbols: [A]}\nsources:\n  s:\n    <<: *b\n",
        "sources:\n  s: {symbols: [A], symbols: [B]}\n",
    ],
)
def test_what_gb_yaml_may_not_say_is_not_edited(text: str) -> None:
    with pytest.raises(ConfigError, match=r"gb\.yaml is not YAML: line"):
        yaml_edit.add(text, KEYS, ["B"])


CODES = st.lists(st.from_regex(r"[A-Z0-9](?:[A-Z0-9.-]{0,4}[A-Z0-9])?", fullmatch=True), max_size=6, unique=True)


@given(before=CODES, new=CODES, block=st.booleans(), comment=st.sampled_from(["", "  # why", "  # a: [b]"]))
def test_adding_and_taking_out_again_leaves_the_same_bytes(
    before: list[str], new: list[str], block: bool, comment: str
) -> None:
    codes = [f"'{code}'" for code in before]
    listed = (
        ":" + "".join(f"\n      - {code}{comment}" for code in codes)
        if block and codes
        else f": [{', '.join(codes)}]{comment}"
    )
    text = inside(listed)
    changed = yaml_edit.add(text, KEYS, new)
    assert yaml.safe_load(changed)["sources"]["s"]["symbols"] == before + new
    positions = range(len(before), len(before + new))
    assert yaml_edit.remove(changed, KEYS, positions) == text


def test_the_projects_own_gb_yaml_keeps_every_byte() -> None:
    text = (Path(__file__).resolve().parents[2] / "gb.yaml").read_text(encoding="utf-8")
    keys = ("sources", "coinbase", "symbols")
    changed = yaml_edit.add(text, keys, ["LTC-USD"])
    lines, new = text.splitlines(), changed.splitlines()
    assert [line for line in new if line not in lines] == ["      - LTC-USD"]
    assert len(new) == len(lines) + 1
    assert yaml_edit.remove(changed, keys, [3]) == text
