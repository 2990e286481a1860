"""`gb init` writes a new project from the files in `templates/`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gb_pipeline.cli.options import Json
from gb_pipeline.cli.output import ExitCode, note, print_json
from gb_pipeline.errors import ConfigError

GITIGNORE = ".gitignore"
ENV_EXAMPLE = ".env.example"
# Whoever has these already keeps them.
_NEVER_OVERWRITTEN = {GITIGNORE, ENV_EXAMPLE}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("init")(init)


def init(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="The project's folder; created if it does not exist.")
    ] = Path(),
    postgres: Annotated[
        bool, typer.Option("--postgres", help="A dagster.yaml that keeps Dagster's history in PostgreSQL.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Write gb.yaml and dagster.yaml for a new project.

    Also writes .env.example and .gitignore, unless they exist. Refuses to overwrite gb.yaml or dagster.yaml.
    """
    written = write_project(folder, postgres=postgres)
    if as_json:
        print_json({"written": written})
        return ExitCode.OK
    for path in written:
        note(f"wrote {path}")
    if postgres:
        names = ", ".join(f"DAGSTER_POSTGRES_{name}" for name in ("HOST", "DB", "USER", "PASSWORD"))
        note(f"set {names}, in {folder / '.env'} for example")
    note(f"next: gb doctor --config {folder}, then gb up --config {folder}")
    return ExitCode.OK


def read_template(name: str) -> str:
    """The text of a template."""
    return (Path(__file__).parent / "templates" / name).read_text(encoding="utf-8")


def write_project(folder: Path, *, postgres: bool = False) -> list[Path]:
    """Write gb.yaml, dagster.yaml, .env.example and .gitignore into a folder.

    Args:
        folder: created if need be.
        postgres: dagster.yaml keeps Dagster's history in PostgreSQL.

    Returns:
        What was written. An existing .gitignore or .env.example is left as it is.

    Raises:
        ConfigError: gb.yaml or dagster.yaml is there already, or the folder cannot be written.
    """
    from gb_pipeline.dagster_runtime.home import CONFIG, POSTGRES_CONFIG
    from gb_pipeline.dagster_runtime.home import read_template as read_dagster_template

    texts = {
        "gb.yaml": read_template("gb.yaml"),
        "dagster.yaml": read_dagster_template(POSTGRES_CONFIG if postgres else CONFIG),
        ENV_EXAMPLE: read_template("env.example"),
        GITIGNORE: read_template("gitignore"),
    }
    existing = [name for name in texts if (folder / name).exists() and name not in _NEVER_OVERWRITTEN]
    if existing:
        raise ConfigError(
            f"{folder.resolve()} already has a {' and a '.join(existing)}", fix="name another folder: gb init FOLDER"
        )
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            if not (folder / name).exists():
                (folder / name).write_text(text, encoding="utf-8")
                written.append(folder / name)
    except OSError as error:
        raise ConfigError(f"cannot write {error.filename}: {error.strerror}", fix="name another folder") from None
    return written
