"""Tables of the reference, made from what the program itself goes by when the site is built.

```` ```{settings} gb_pipeline.config.settings.Settings ```` is a table of a settings model, from its JSON schema;
```` ```{commands} ```` has every command of `gb`, from its parser.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pkgutil import resolve_name
from typing import Any

import typer
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from gb_pipeline.cli.app import app as gb

# What a reader of gb.yaml calls a model, which is the heading of its table.
SECTIONS = {
    "AlertSettings": "alerts",
    "DailyQuota": "daily_quota",
    "Discovery": "discover",
    "MemberList": "members",
    "HealthSettings": "health",
    "RateLimit": "rate_limit",
    "SourceSettings": "sources",
    "SymbolSettings": "symbols",
}
# Where they are left out, they are filled in before the model sees them.
FILLED_IN = {"lake": "`data`", "state": "`<lake>/state`"}
# Known from elsewhere than the mapping itself: where the file is, and under which name a source stands.
NOT_WRITTEN = {"Settings": {"path"}, "SourceSettings": {"name"}}
TYPES = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "`true` or `false`",
    "object": "mapping",
}
FORMATS = {"password": "text, secret", "date": "date", "path": "path"}
LIMITS = {"exclusiveMinimum": ">", "minimum": "≥", "exclusiveMaximum": "<", "maximum": "≤"}


def setup(app: Sphinx) -> None:
    """Add both directives."""
    app.add_directive("settings", SettingsTable)
    app.add_directive("commands", Commands)


class SettingsTable(SphinxDirective):
    """A table of one settings model: a row per setting."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The table."""
        return self.parse_text_to_nodes("\n".join(settings_table(resolve_name(self.arguments[0]))))


class Commands(SphinxDirective):
    """A section per command."""

    def run(self) -> list[nodes.Node]:
        """The sections."""
        return self.parse_text_to_nodes("\n".join(every_command()), allow_section_headings=True)


def settings_table(model: Any) -> Iterator[str]:
    """Lines of Markdown: setting, type, default and meaning."""
    schema = model.model_json_schema()
    yield from ("| setting | type | default | meaning |", "|---|---|---|---|")
    for name, field in schema["properties"].items():
        if name not in NOT_WRITTEN.get(model.__name__, ()):
            default = "required" if name in schema.get("required", ()) else _default(field)
            if model.__name__ == "Settings":
                default = FILLED_IN.get(name, default)
            yield f"| `{name}` | {_type(field, schema)} | {default} | {_escape(field['description'])} |"


def _type(field: dict[str, Any], schema: dict[str, Any]) -> str:
    match field:
        case {"$ref": reference}:
            name = reference.rpartition("/")[2]
            # A bucket is written as its address.
            kind = (
                "text" if name == "Bucket" else f"[{SECTIONS[name]}](#{SECTIONS[name]})" if name in SECTIONS else None
            )
            kind = kind or _type(schema["$defs"][name], schema)
        case {"anyOf": kinds}:
            kind = " or ".join(dict.fromkeys(_type(one, schema) for one in kinds if one.get("type") != "null"))
        case {"enum": values}:
            kind = ", ".join(f"`{value}`" for value in values)
        case {"type": "array", "items": items}:
            kind = f"list of {_type(items, schema)}"
        case {"additionalProperties": dict() as values}:
            kind = f"mapping of names to {_type(values, schema)}"
        case _:
            kind = FORMATS.get(field.get("format", ""), TYPES[field["type"]])
    return ", ".join([kind, *(f"{sign} {field[limit]:g}" for limit, sign in LIMITS.items() if limit in field)])


def _default(field: dict[str, Any]) -> str:
    value = field.get("default")
    if value is None or value in ("", [], {}):
        return "none"
    if isinstance(value, dict):
        return "as its own table says"
    if isinstance(value, list):
        return ", ".join(f"`{item or chr(39) * 2}`" for item in value)
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def every_command() -> Iterator[str]:
    """Lines of Markdown: a section per command, in the order of `gb --help`, those of a group below it."""
    root = typer.main.get_command(gb)
    yield from _sections(root, typer.Context(root, info_name="gb"))


def _sections(group: Any, context: typer.Context) -> Iterator[str]:
    for name, command in group.commands.items():
        within = typer.Context(command, info_name=name, parent=context)
        yield from ("", f"{'#' * (2 if context.parent is None else 3)} {within.command_path}", "")
        yield from _prose(command.help)
        if hasattr(command, "commands"):
            yield from _sections(command, within)
        else:
            yield from ("```text", command.get_usage(within).removeprefix("Usage: "), "```", "", "| | |", "|---|---|")
            for parameter in command.get_params(within):
                spelled, meaning = parameter.get_help_record(within)
                if spelled != "--help":
                    yield f"| `{spelled}` | {_escape(meaning)} |"


def _prose(text: str) -> Iterator[str]:
    yield from (_escape(text), "")


def _escape(text: str) -> str:
    """Text that a terminal shows as it is: no Markdown in it but names in backticks."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else re.sub(r"([*_<>\[\]|$\\])", r"\\\1", part) for part in parts)
