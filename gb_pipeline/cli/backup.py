"""`gb backup`, `gb restore` and `gb sync` copy a lake to another place, a folder or a bucket. `lake.backup` does it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gb_pipeline.cli.options import Config, Json, LakeFolder, open_lake
from gb_pipeline.cli.output import ExitCode, format_size, note, print_error, print_json, print_table
from gb_pipeline.cli.progress import progress
from gb_pipeline.errors import ConfigError
from gb_pipeline.market.spelling import format_count

if TYPE_CHECKING:
    from gb_pipeline.lake.backup import Copy, CopyReport
    from gb_pipeline.lake.store import LakeStore

Place = Annotated[str, typer.Argument(metavar="PLACE", help="A folder, or s3://bucket/prefix.", show_default=False)]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]
BackupPlace = Annotated[
    str | None,
    typer.Argument(
        metavar="[PLACE]", help="A folder, or s3://bucket/prefix; `backup` of gb.yaml by default.", show_default=False
    ),
]
Verify = Annotated[bool, typer.Option("--verify", help="Read every byte of the copy, and copy again what is damaged.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("backup")(backup)
    app.command("restore")(restore)
    app.command("sync")(sync)


def backup(
    place: BackupPlace = None,
    dry_run: DryRun = False,
    verify: Verify = False,
    config: Config = None,
    lake: LakeFolder = None,
    as_json: Json = False,
) -> int:
    """Copy to PLACE what is not there yet.

    Nothing is removed there. The copy is read as any lake, and written by backups only. Others may write meanwhile: it is the
    state at one moment. Cut off anywhere, the same command goes on. At the end both places are compared, by what is recorded of
    every session.
    """
    from gb_pipeline.lake.backup import plan_copy

    source = open_lake(config, lake).store
    other = _open_backup(config) if place is None else _open_other(place, config)
    copy = plan_copy(source, other, every_byte=verify, dry_run=dry_run)
    return _run(copy, dry_run, verify, as_json)


def sync(
    place: Place,
    dry_run: DryRun = False,
    verify: Verify = False,
    config: Config = None,
    lake: LakeFolder = None,
    as_json: Json = False,
) -> int:
    """Make PLACE equal to the lake.

    As backup, and what the lake does not need any more is removed there.
    """
    from gb_pipeline.lake.backup import plan_copy

    source = open_lake(config, lake).store
    copy = plan_copy(source, _open_other(place, config), every_byte=verify, dry_run=dry_run)
    return _run(copy, dry_run, verify, as_json, remove=True)


def restore(
    place: Place,
    dry_run: DryRun = False,
    verify: Verify = False,
    config: Config = None,
    lake: LakeFolder = None,
    as_json: Json = False,
) -> int:
    """Copy a lake from PLACE to where it belongs.

    That is where gb.yaml or --lake says: an empty place, or an earlier state of the same lake. What is damaged in the copy stops
    nothing: it comes along as it is, is named, and `gb verify --repair` mends it afterwards.
    """
    from gb_pipeline.cli.options import lake_address_of
    from gb_pipeline.lake.backup import plan_copy
    from gb_pipeline.lake.store import LakeStore
    from gb_pipeline.reading.opening import about_lake, refuse_no_lake

    source = _open_other(place, config)
    try:
        refuse_no_lake(source.storage)
    except ConfigError as error:
        raise ConfigError(error.what, fix="name the place of a backup, which holds `lake/`") from None
    root = lake_address_of(config, lake)
    destination = LakeStore.at(root, state=about_lake(root, config)[0])
    copy = plan_copy(source, destination, restore=True, every_byte=verify, dry_run=dry_run)
    return _run(copy, dry_run, verify, as_json)


def _open_backup(config: Path | None) -> LakeStore:
    """The backup that gb.yaml names."""
    from gb_pipeline.cli.options import load_settings
    from gb_pipeline.lake.store import LakeStore

    settings = load_settings(config)
    address = settings.backup_address()
    if address is None:
        raise ConfigError(
            "no place is named, and gb.yaml names none", fix="`gb backup PLACE`, or `backup: PLACE` in gb.yaml"
        )
    return LakeStore.at(address)


def _open_other(place: str, config: Path | None) -> LakeStore:
    """The lake at another place; a bucket is reached as gb.yaml says of its own, else as the variables of AWS say."""
    from gb_pipeline.config.places import other_address
    from gb_pipeline.lake.store import LakeStore

    return LakeStore.at(other_address(place, config))


def _run(copy: Copy, dry_run: bool, verify: bool, as_json: bool, *, remove: bool = False) -> int:
    from gb_pipeline.lake.backup import CopyReport
    from gb_pipeline.lake.verification import verify as verify_lake

    if dry_run:
        report = CopyReport(copy.plans, copy.beside, copy.surplus if remove else (), "")
    else:
        total = copy.files + (len(copy.surplus) if remove else 0)
        with progress("files", quiet=as_json) as bar:
            task = bar.add_task("copying", total=total)
            report = copy.run(remove=remove, on_file=lambda _name, _size: bar.advance(task))
    place = str(copy.destination.storage.root)
    verified = verify_lake(type(copy.destination)(copy.destination.storage)) if verify and not dry_run else None
    if as_json:
        print_json(_to_dict(report, place, dry_run=dry_run, ok=None if verified is None else verified.ok))
    else:
        _print(report, place, dry_run=dry_run)
        if verified is not None and verified.ok:
            note(f"{format_count(verified.files, 'file')} of the copy read, every byte as it was written")
    if report.damaged:
        print_error(
            f"{format_count(len(report.damaged), 'file')} of the backup damaged or missing, such as {report.damaged[0]}",
            "run `gb verify --repair`, which keeps what can be read and fetches the rest; everything else was restored",
        )
        return ExitCode.FAILED
    if verified is not None and not verified.ok:
        damage = verified.damages[0]
        print_error(
            f"{damage.table} of the copy: {damage.problem}" + (f" ({damage.file})" if damage.file else ""),
            f"check the disk, and `gb verify --lake {place}` lists all; then copy to an empty place",
        )
        return ExitCode.FAILED
    return ExitCode.OK


def _print(report: CopyReport, place: str, *, dry_run: bool) -> None:
    rows = [
        (plan.table, plan.version, len(plan.data), len(plan.log), format_size(plan.bytes))
        for plan in report.plans
        if plan.data or plan.log
    ]
    if rows:
        print_table(("table", "version", "files", "of the log", "size"), rows)
    said = f"{format_count(report.files, 'file')}, {format_size(report.bytes)}"
    note(f"{said} {'would be copied' if dry_run else 'copied'} to {place}")
    if report.removed:
        note(f"{format_count(len(report.removed), 'file')} {'would be removed' if dry_run else 'removed'} there")
    if report.fingerprint:
        note(f"both hold the same{' bars' if report.streams else ''}:\n  {report.fingerprint}")
    if report.streams:
        note(f"both hold the same streams:\n  {report.streams}")


def _to_dict(report: CopyReport, place: str, *, dry_run: bool, ok: bool | None) -> dict[str, object]:
    return {
        "place": place,
        "dry_run": dry_run,
        "files": report.files,
        "bytes": report.bytes,
        "removed": len(report.removed),
        "fingerprint": report.fingerprint or None,
        "streams_fingerprint": report.streams or None,
        "verified": ok,
        "damaged": list(report.damaged),
        "tables": [
            {
                "table": plan.table,
                "version": plan.version,
                "data_files": len(plan.data),
                "log_files": len(plan.log),
                "bytes": plan.bytes,
            }
            for plan in report.plans
        ],
    }
