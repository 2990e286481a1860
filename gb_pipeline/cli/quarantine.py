"""`gb quarantine` lists refused rows, shows one, and decides about them. `lake.deciding` does it; `refused_rows` prints."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gb_pipeline.cli.groups import command_group
from gb_pipeline.cli.names import Names, keep_named
from gb_pipeline.cli.options import Config, Json, LakeFolder, open_lake, parse_moment, project_of, refresh_catalog
from gb_pipeline.cli.output import ExitCode, format_value, note, print_json
from gb_pipeline.cli.overrides import rules_of
from gb_pipeline.cli.refused_rows import print_list, print_rows
from gb_pipeline.errors import ConfigError
from gb_pipeline.market.spelling import format_count

if TYPE_CHECKING:
    from pathlib import Path

    import polars as pl

    from gb_pipeline.reading.lake import Lake

_LIMIT = 20
Ids = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="ID", help="Ids, or beginnings of them; - reads them from stdin, as lines or JSON.", show_default=False
    ),
]
Reason = Annotated[str, typer.Option(help="Why, for whoever reads it in a year.", show_default=False)]
AllOf = Annotated[
    list[str] | None,
    typer.Option("--all-of", metavar="NAME", help="All open rows of a source or series.", show_default=False),
]
ReasonCode = Annotated[
    list[str] | None,
    typer.Option(
        "--reason-code", metavar="CODE", help="With --all-of: only rows refused for this.", show_default=False
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say which rows these are.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = command_group("quarantine", "List refused rows, release them or drop them.")
    group.command("list")(list_rows)
    group.command("show")(show)
    group.command("release")(release)
    group.command("drop")(drop)
    group.command("reopen")(reopen)
    app.add_typer(group)


def list_rows(
    names: Names = None,
    reason: Annotated[
        list[str] | None,
        typer.Option("--reason", metavar="CODE", help="Only rows refused for this.", show_default=False),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(help="Only what was refused after this moment, such as --since=-7d.", show_default=False),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also rows that were released or dropped.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="How many rows to print, newest first; all as JSON.")] = _LIMIT,
    config: Config = None,
    lake: LakeFolder = None,
    as_json: Json = False,
) -> int:
    """List refused rows that nobody has decided about.

    Their numbers by reason come first, then the rows, newest first: `gb quarantine show ID` prints one whole. --all has those that
    were released or dropped as well, with the reason that was given.
    """
    import polars as pl

    from gb_pipeline.market.moments import instant_literal

    opened_lake = open_lake(config, lake)
    rows = _select(opened_lake, names or [], reason or [], config)
    if since is not None and (moment := parse_moment(since)) is not None:
        rows = rows.filter(pl.col("quarantined_at") > instant_literal(moment))
    if not everything:
        rows = rows.filter(pl.col("decision") == "open")
    rows = rows.sort("quarantined_at", "timestamp", descending=True, maintain_order=True)
    if as_json:
        print_json(rows.to_dicts())
    elif rows.is_empty():
        note("no refused row" + ("" if everything else " is open"))
    else:
        print_list(rows, limit, decisions=everything, ids=_all_ids(opened_lake))
    return ExitCode.OK


def show(ids: Ids = None, config: Config = None, lake: LakeFolder = None, as_json: Json = False) -> int:
    """Show refused rows as they were received.

    Says which rules each breaks, what is stored at its moment now, and what can be done.
    """
    from gb_pipeline.lake.decisions import find

    opened_lake = open_lake(config, lake)
    rows = find(opened_lake.store.tables, _read_ids(ids))
    if as_json:
        print_json(rows.to_dicts())
    else:
        print_rows(opened_lake, rows)
    return ExitCode.OK


def release(
    ids: Ids = None,
    reason: Reason = ...,  # type: ignore[assignment]
    open_: Annotated[str | None, typer.Option("--open", help="The right open.", show_default=False)] = None,
    high: Annotated[str | None, typer.Option("--high", help="The right high.", show_default=False)] = None,
    low: Annotated[str | None, typer.Option("--low", help="The right low.", show_default=False)] = None,
    close: Annotated[str | None, typer.Option("--close", help="The right close.", show_default=False)] = None,
    volume: Annotated[str | None, typer.Option("--volume", help="The right volume.", show_default=False)] = None,
    all_of: AllOf = None,
    reason_code: ReasonCode = None,
    dry_run: DryRun = False,
    config: Config = None,
    lake: LakeFolder = None,
) -> int:
    """Make bars of refused rows.

    The bar holds from now on, also where the vendor sends the same row again; --as-of a moment before it there is none. What a
    person can vouch for is waived; where a row's values make no bar, name the right ones. `gb quarantine reopen` takes it back.
    """
    given = {"open": open_, "high": high, "low": low, "close": close, "volume": volume}
    values = {name: value for name, value in given.items() if value is not None}
    opened_lake = open_lake(config, lake)
    rows = _choose(opened_lake, ids, all_of, reason_code, config)
    if dry_run:
        return _say_chosen(rows, "released")
    reports = opened_lake.store.release_quarantined(
        rows["row_id"].to_list(), reason, values, rules=lambda source, kind: rules_of(opened_lake, source, kind, config)
    )
    refresh_catalog(opened_lake, config)
    released = rows.height
    stored = sum(report.stored for report in reports)
    note(f"{format_count(released, 'row')} released: {format_count(stored, 'bar')} stored")
    _say_bars(rows)
    return ExitCode.OK


def drop(
    ids: Ids = None,
    reason: Reason = ...,  # type: ignore[assignment]
    all_of: AllOf = None,
    reason_code: ReasonCode = None,
    dry_run: DryRun = False,
    config: Config = None,
    lake: LakeFolder = None,
) -> int:
    """Decide that refused rows need nothing more.

    They stay on record, and are no longer listed as open, also where the vendor sends them again. `gb quarantine reopen` takes it
    back.
    """
    opened_lake = open_lake(config, lake)
    rows = _choose(opened_lake, ids, all_of, reason_code, config)
    if dry_run:
        return _say_chosen(rows, "dropped")
    opened_lake.store.drop_quarantined(rows["row_id"].to_list(), reason)
    refresh_catalog(opened_lake, config)
    note(f"{format_count(rows.height, 'row')} dropped")
    return ExitCode.OK


def reopen(
    ids: Ids = None,
    reason: Reason = ...,  # type: ignore[assignment]
    config: Config = None,
    lake: LakeFolder = None,
) -> int:
    """Take decisions about refused rows back.

    A released row is no bar any more, unless the vendor has sent a good one since.
    """
    opened_lake = open_lake(config, lake)
    rows = opened_lake.store.reopen_quarantined(
        _read_ids(ids), reason, rules=lambda source, kind: rules_of(opened_lake, source, kind, config)
    )
    refresh_catalog(opened_lake, config)
    note(f"{format_count(rows.height, 'row')} open again")
    return ExitCode.OK


def _select(lake: Lake, names: list[str], codes: list[str], config: Path | None) -> pl.DataFrame:
    """Refused rows of some series, all by default, that break one of some rules."""
    import polars as pl

    from gb_pipeline.market.spelling import did_you_mean, near_names

    rows = keep_named(lake.quarantine(), lake, names, project_of(lake, config))
    known = rows["reasons"].explode().drop_nulls().unique().sort().to_list() if rows.height else []
    for code in codes:
        if known and code not in known:
            near = did_you_mean(near_names(code, known), f"there are {', '.join(known)}")
            raise ConfigError(f"no row was refused for {code!r:.60}", fix=near)
    return rows.filter(pl.col("reasons").list.set_intersection(codes).list.len() > 0) if codes else rows


def _choose(
    lake: Lake, ids: list[str] | None, all_of: list[str] | None, codes: list[str] | None, config: Path | None
) -> pl.DataFrame:
    """The rows that a decision is about: by their ids, or all open ones of some series."""
    import polars as pl

    from gb_pipeline.lake.decisions import find

    if all_of and ids:
        raise ConfigError("both ids and --all-of were given", fix="give one of them")
    if not all_of:
        if codes:
            raise ConfigError("--reason-code narrows --all-of", fix="add --all-of SERIES")
        return find(lake.store.tables, _read_ids(ids))
    rows = _select(lake, all_of, codes or [], config).filter(pl.col("decision") == "open")
    if rows.is_empty():
        raise ConfigError("no such row is open", fix="`gb quarantine list` lists those that are")
    return rows


def _read_ids(ids: list[str] | None) -> list[str]:
    """Ids as they were given, or from stdin: one a line, or the JSON of `gb quarantine list --json`."""
    import json

    if ids != ["-"]:
        return ids or []
    text = sys.stdin.read()
    if not text.lstrip().startswith("["):
        return text.split()
    try:
        found: list[Any] = json.loads(text)
        return [row if isinstance(row, str) else row["row_id"] for row in found]
    except (ValueError, KeyError, TypeError):
        raise ConfigError(
            "stdin is no list of ids, nor of rows with `row_id`", fix="pipe `gb quarantine list --json` into it"
        ) from None


def _all_ids(lake: Lake) -> pl.Series:
    from gb_pipeline.lake import quarantine

    return quarantine.scan(lake.store.tables).select("row_id").collect()["row_id"]


def _say_chosen(rows: pl.DataFrame, done: str) -> int:
    print_list(rows, _LIMIT, decisions=False, ids=rows["row_id"])
    note(f"{format_count(rows.height, 'row')} would be {done}; nothing was changed")
    return ExitCode.OK


def _say_bars(rows: pl.DataFrame) -> None:
    if rows.height == 1:
        row = rows.row(0, named=True)
        moment = format_value(row["timestamp"])
        note(f"{row['source']}:{row['symbol']} {row['resolution']} {moment} UTC is a bar from now on")
