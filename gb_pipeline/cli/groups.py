"""This module makes groups of commands, such as `gb rolls`, which all look alike."""

from __future__ import annotations

import typer


def command_group(name: str, about: str, *, needs_command: bool = True) -> typer.Typer:
    """A group of commands below `gb`.

    Args:
        name: as it is typed.
        about: one sentence for the help.
        needs_command: show the help where no command is named; else the group's own callback is called.

    Example:
        >>> command_group("rolls", "Show, make and store rolls of futures.").info.name
        'rolls'
    """
    return typer.Typer(
        name=name,
        help=about,
        no_args_is_help=needs_command,
        # Rich help would import Rich and its Markdown parser.
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
