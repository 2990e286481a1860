"""`gb demo`: Dagster for a project."""

from __future__ import annotations
import typer
from gb_pipeline.cli.options import Config


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("demo")(demo)


def demo(config: Config = None) -> int:
    """Start."""
    return 0
