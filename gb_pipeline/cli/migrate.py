"""`gb migrate` brings a lake to the format of this release. `storage.lake_format` knows formats and steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gb_pipeline.cli.options import Config, Json, LakeFolder, lake_address_of
from gb_pipeline.cli.output import ExitCode, note, print_json
from gb_pipeline.errors import ConfigError

if TYPE_CHECKING:
    import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("migrate")(migrate)


def migrate(config: Config = None, lake: LakeFolder = None, as_json: Json = False) -> int:
    """Bring a lake to the format of this release.

    Nothing is done where it has it already. Back it up first, and let nobody write meanwhile. Cut off, the same command goes on.
    """
    from gb_pipeline.storage.address import Storage
    from gb_pipeline.storage.lake_format import migrate as migrate_lake

    storage = Storage.at(lake_address_of(config, lake))
    if not storage.exists:
        raise ConfigError(f"there is no lake at {storage.root} yet", fix="a new one has the format of this release")
    before, after = migrate_lake(storage.files, str(storage.root))
    if as_json:
        print_json({"lake": str(storage.root), "before": before, "after": after})
    elif before == after:
        note(f"{storage.root} has format {after}, that of this release: nothing to do")
    else:
        note(f"{storage.root} was brought from format {before} to {after}")
    return ExitCode.OK
