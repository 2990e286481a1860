"""This module lets a person confirm what cannot be taken back, by typing its name."""

from __future__ import annotations

import sys

import typer

from gb_pipeline.errors import ConfigError


def confirm(name: str, act: str, *, yes: bool) -> None:
    """Let a person type the name of what is about to change.

    Raises:
        ConfigError: nobody is there to do it, or something else was typed.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigError(f"nobody is there to confirm that {name} is to be changed", fix="add --yes in scripts")
    if typer.prompt(f"Type {name} to {act} this", default="", show_default=False, err=True).strip() != name:
        raise ConfigError(f"{name} was not typed; nothing was changed", fix="run it again")
