"""This module adds codes to a list in gb.yaml or a `defs.yaml` and takes them out, without touching anything else in the file.

It knows where in the text a list stands, and the few characters that change: every comment, space and quote stays as it was
written. Which list it is, `editing` says. The edited text is read again and must say exactly what was meant; if it does not, it
is refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import yaml

from gb_pipeline.config import strict_yaml
from gb_pipeline.errors import ConfigError

Keys = tuple[str, ...]


def add(text: str, keys: Keys, codes: Sequence[str]) -> str:
    """The text with codes appended to the list under `keys`, which is made where it is not there.

    Args:
        text: of a YAML file.
        keys: from the top: `("sources", "coinbase", "symbols")`. All but the last one must be there.
        codes: as they should be read; quoted where YAML would read something else.

    Raises:
        ConfigError: the list cannot be edited without changing something else.
    """
    wanted = strict_yaml.parse(text, "gb.yaml")
    parent = _value_at(wanted, keys[:-1])
    if not isinstance(parent, dict):
        raise _not_editable(keys)
    parent[keys[-1]] = [*(parent.get(keys[-1]) or []), *codes]
    written = [_quote(code) for code in codes]
    node = _node_at(text, keys)
    if node is None:
        return _verify(_insert_key(text, keys, written), wanted, keys)
    if isinstance(node, yaml.ScalarNode) and node.tag.endswith(":null"):
        # `symbols:` with nothing, or a word for nothing, behind it.
        start, end = node.start_mark.index, node.end_mark.index
        space = "" if text[:start].endswith(" ") else " "
        return _verify(text[:start] + space + f"[{', '.join(written)}]" + text[end:], wanted, keys)
    if not isinstance(node, yaml.SequenceNode):
        raise _not_editable(keys)
    if node.flow_style:
        if node.value:
            at = node.value[-1].end_mark.index
            changed = text[:at] + "".join(f", {item}" for item in written) + text[at:]
        else:
            at = node.start_mark.index + 1
            changed = text[:at] + ", ".join(written) + text[at:]
    else:
        at = _end_of_line(text, _last_leaf(node.value[-1]).end_mark.index)
        indent, newline = " " * node.start_mark.column, _newline(text)
        changed = text[:at] + "".join(f"{newline}{indent}- {item}" for item in written) + text[at:]
    return _verify(changed, wanted, keys)


def remove(text: str, keys: Keys, positions: Sequence[int]) -> str:
    """The text without some items of the list under `keys`; a comment on an item's own line goes with it.

    Raises:
        ConfigError: the list cannot be edited without changing something else.
    """
    wanted = strict_yaml.parse(text, "gb.yaml")
    parent, gone = _value_at(wanted, keys[:-1]), set(positions)
    parent[keys[-1]] = [item for number, item in enumerate(parent[keys[-1]]) if number not in gone]
    node = _node_at(text, keys)
    if not isinstance(node, yaml.SequenceNode):
        raise _not_editable(keys)
    if node.flow_style:
        changed = _remove_from_flow(text, node, gone)
    elif len(gone) == len(node.value):
        # A list without items has to say so.
        first, last = node.start_mark.index, _end_of_line(text, _last_leaf(node.value[-1]).end_mark.index)
        key_end = len(text[:first].rstrip())
        changed = text[:key_end] + " []" + text[last:]
    else:
        changed = text
        for number in sorted(gone, reverse=True):
            item = node.value[number]
            start = changed.rfind("\n", 0, item.start_mark.index) + 1
            end = _end_of_line(changed, _last_leaf(item).end_mark.index)
            end += len(re.match(r"\r?\n?", changed[end:])[0])  # type: ignore[index]
            changed = changed[:start] + changed[end:]
    return _verify(changed, wanted, keys)


def _remove_from_flow(text: str, node: yaml.SequenceNode, gone: set[int]) -> str:
    for number in sorted(gone, reverse=True):
        item = node.value[number]
        start, end = item.start_mark.index, item.end_mark.index
        behind = re.match(r"\s*,[ \t]*", text[end:])
        if behind is not None:
            end += len(behind[0])
        else:
            # The last one: the comma before it goes.
            before = re.search(r",\s*$", text[:start])
            start = before.start() if before is not None else start
        text = text[:start] + text[end:]
    return text


def _insert_key(text: str, keys: Keys, written: list[str]) -> str:
    parent = _node_at(text, keys[:-1])
    if not isinstance(parent, yaml.MappingNode):
        raise _not_editable(keys)
    item = f"{keys[-1]}: [{', '.join(written)}]"
    if parent.flow_style:
        at = parent.start_mark.index + 1
        return text[:at] + item + (", " if parent.value else "") + text[at:]
    at = parent.start_mark.index
    return text[:at] + item + _newline(text) + " " * parent.start_mark.column + text[at:]


def _verify(changed: str, wanted: Any, keys: Keys) -> str:
    try:
        parsed = strict_yaml.parse(changed, "gb.yaml")
    except ConfigError:
        raise _not_editable(keys) from None
    if parsed != wanted:
        raise _not_editable(keys)
    return changed


def _not_editable(keys: Keys) -> ConfigError:
    return ConfigError(
        f"{'.'.join(keys)} cannot be changed without changing something else", fix="edit the file by hand"
    )


def _value_at(data: Any, keys: Keys) -> Any:
    for key in keys:
        data = data.get(key) if isinstance(data, dict) else None
    return data


def _node_at(text: str, keys: Keys) -> yaml.Node | None:
    node = strict_yaml.compose(text, "gb.yaml")
    for key in keys:
        if not isinstance(node, yaml.MappingNode):
            return None
        node = next((value for name, value in node.value if name.value == key), None)
    return node


def _last_leaf(node: yaml.Node) -> yaml.Node:
    """The last thing that is written of a node: the end of a block is where the next token begins, comments included."""
    while isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        node = last[1] if isinstance(last, tuple) else last
    return node


def _end_of_line(text: str, at: int) -> int:
    line_end = re.search(r"\r?\n", text[at:])
    return at + line_end.start() if line_end else len(text)


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _quote(code: str) -> str:
    """A code as it has to be written: ON, NO, 0700 and 1E5 in quotes."""
    return code if yaml.safe_load(f"[{code}]") == [code] else f"'{code}'"
