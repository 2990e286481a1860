"""YAML that can be read in one way only, within bounded memory.

This module reads the text of gb.yaml and refuses whatever could mean more than it shows: aliases that multiply, repeated keys,
endless nesting, documents of a size that nobody writes. `settings` says what the values mean.

No message quotes the text: it may be a password, or the file may be somebody else's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

import yaml

from gb_pipeline.errors import ConfigError

MOST_BYTES = 4 * 2**20
MOST_DEPTH = 32
# A value takes some 700 bytes while it is read. Lists of more symbols are files of their own.
MOST_VALUES = 100_000
MOST_CHARACTERS = 64 * 2**10

_MERGE = "tag:yaml.org,2002:merge"


def read(path: Path) -> Any:
    """What a YAML file says.

    Raises:
        ConfigError: it cannot be read, is not YAML, or is refused; the message names the line and never what it holds.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", fix="check its permissions") from None
    try:
        return parse(raw.decode("utf-8") if len(raw) <= MOST_BYTES else " " * len(raw), str(path))
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not YAML: it is not UTF-8", fix="save it as UTF-8") from None


def parse(text: str, where: str) -> Any:
    """What a YAML text says.

    Args:
        text: one document.
        where: whose it is, for messages.

    Raises:
        ConfigError: as `read`.

    Example:
        >>> parse("lake: data", "gb.yaml")
        {'lake': 'data'}
    """
    return _load(text, where, yaml.load)


def compose(text: str, where: str) -> yaml.Node | None:
    """The nodes of a YAML text, with their places in it; keys that stand twice are only refused by `parse`.

    Raises:
        ConfigError: as `read`.
    """
    node: yaml.Node | None = _load(text, where, yaml.compose)
    return node


def _load(text: str, where: str, load: Callable[..., Any]) -> Any:
    if len(text) > MOST_BYTES or len(text.encode("utf-8", "replace")) > MOST_BYTES:
        raise ConfigError(
            f"{where} has more than {MOST_BYTES // 2**20} MB",
            fix="put long lists of symbols into a CSV file: `symbols: {file: symbols.csv}`",
        )
    try:
        return load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ConfigError(f"{where} is not YAML: {_describe(error)}", fix="correct the line it names") from None
    except RecursionError:
        raise _refuse_depth(where) from None


class _Loader(yaml.SafeLoader):
    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self._depth = 0
        self._values = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        self._values += 1
        self._depth += 1
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            raise _Refused(
                event,
                "aliases and anchors are not read: write the value out; put a text that begins with & or * in quotes",
            )
        if self._depth > MOST_DEPTH:
            raise _Refused(event, f"more than {MOST_DEPTH} levels")
        if self._values > MOST_VALUES:
            raise _Refused(event, f"more than {MOST_VALUES:,} values; put lists of symbols into CSV files")
        if isinstance(event, yaml.ScalarEvent) and len(event.value) > MOST_CHARACTERS:
            raise _Refused(event, f"a text of more than {MOST_CHARACTERS:,} characters")
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, OverflowError):
            # 2024-13-45, or a number of more digits than Python reads.
            raise _Refused(node, "a number or a date that there is not; put a text in quotes") from None

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        first: dict[Hashable, int] = {}
        for key_node, _ in node.value:
            if key_node.tag == _MERGE:
                raise _Refused(key_node, "merge keys are not read; write the keys out")
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable):
                if key in first:
                    raise _Refused(key_node, f"a key that stands in line {first[key]} already")
                first[key] = key_node.start_mark.line + 1
        return super().construct_mapping(node, deep)


class _Refused(yaml.MarkedYAMLError):
    """YAML that is not read here; `problem` is our own text."""

    def __init__(self, node: Any, problem: str) -> None:
        super().__init__(problem=problem, problem_mark=node.start_mark)


def _refuse_depth(where: str) -> ConfigError:
    return ConfigError(f"{where} is not YAML: more than {MOST_DEPTH} levels", fix="nest it less deeply")


def _describe(error: yaml.YAMLError) -> str:
    """What is wrong in which line, without the line."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return "it holds characters that no text has"
    mark = error.problem_mark
    problem = error.problem or error.context or ""
    if not isinstance(error, _Refused):
        # What YAML quotes may be a password that begins with ! or %.
        problem = re.sub(r"'[^']{2,}'", "...", problem)
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}"
