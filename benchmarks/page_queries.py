"""The queries of Dagster's own page, read from the scripts that the installed webserver sends to the browser."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

# A definition begins a line of a template that the scripts hold as an escaped text.
_DEFINITION = re.compile(r"\\n\s*(?:query|fragment) (\w+)(?= on |\(| \{)")
_SPREAD = re.compile(r"\.\.\.(\w+)")
_ESCAPED = re.compile(r"\\(.)")


def read_document(name: str) -> str:
    """The GraphQL document of a query, such as `PartitionHealthQuery`, with the fragments that it uses.

    Raises:
        LookupError: the page has no such query any more.
    """
    parts, wanted = _parts(), [name]
    found: dict[str, str] = {}
    while wanted:
        if (one := wanted.pop()) not in found:
            if one not in parts:
                raise LookupError(f"Dagster's page has no query or fragment {one}")
            found[one] = parts[one]
            wanted += _SPREAD.findall(parts[one])
    return "\n".join(found.values())


@cache
def _parts() -> dict[str, str]:
    """Each query and fragment of the page by name."""
    import dagster_webserver

    chunks = Path(dagster_webserver.__file__).parent / "webapp" / "build" / "_next" / "static" / "chunks"
    found: dict[str, str] = {}
    for script in chunks.rglob("*.js"):
        text = script.read_text(encoding="utf-8")
        found |= {match[1]: _cut(text, match.start()) for match in _DEFINITION.finditer(text)}
    return found


def _cut(text: str, start: int) -> str:
    """From a place up to the brace that closes the first selection, without escapes."""
    place, depth = text.index("{", start), 0
    while True:
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        place += 1
        if not depth:
            return _ESCAPED.sub(lambda match: "\n" if match[1] == "n" else match[1], text[start:place]).strip()
