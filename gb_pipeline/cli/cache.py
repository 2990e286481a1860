"""`gb cache` shows and forgets answers that are kept. `caching` keeps them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from gb_pipeline.cli.groups import command_group
from gb_pipeline.cli.options import Config, Json, LakeFolder, open_lake
from gb_pipeline.cli.output import ExitCode, format_size, note, print_json, print_table
from gb_pipeline.market.spelling import format_count

if TYPE_CHECKING:
    from gb_pipeline.caching.cache import Kept


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = command_group("cache", "Show and forget answers that are kept.")
    group.command("stats")(stats)
    group.command("clear")(clear)
    app.add_typer(group)


def stats(config: Config = None, lake: LakeFolder = None, as_json: Json = False) -> int:
    """Show what is kept on disk and in Redis.

    Hits and misses on disk are those of all processes. What a process keeps in its memory only that process knows:
    `lake.cache.statistics()` in Python.
    """
    kept = _shared(open_lake(config, lake).cache.statistics())
    if as_json:
        print_json([asdict(one) for one in kept])
    elif kept:
        names = ("place", "answers", "size", "of at most", "hits", "misses")
        print_table(names, [_cells(one) for one in kept])
        for one in kept:
            note(f"{one.place}: {one.where}")
    if any(one.bytes is None for one in kept):
        note("Redis cannot be asked now")
    if not kept:
        note("answers are kept in the memory of each process alone: `cache` in gb.yaml names other places")
    return ExitCode.OK


def clear(config: Config = None, lake: LakeFolder = None, as_json: Json = False) -> int:
    """Forget what is kept on disk and in Redis.

    Nothing is lost: an answer is made again by who asks next. Exit code 1 says that Redis could not be asked.
    """
    removed = _shared(open_lake(config, lake).cache.clear())
    failed = [one for one in removed if one.bytes is None]
    if as_json:
        print_json([{name: getattr(one, name) for name in ("place", "where", "answers", "bytes")} for one in removed])
    for one in removed:
        counted = "could not be asked" if one.bytes is None else _counted(one)
        note(f"{one.place} at {one.where}: {counted}")
    if not removed:
        note("nothing is kept on disk or in Redis")
    return ExitCode.FAILED if failed else ExitCode.OK


def _counted(one: Kept) -> str:
    return f"{format_count(one.answers or 0, 'answer')} removed, {format_size(one.bytes or 0)}"


def _shared(kept: Sequence[Kept]) -> list[Kept]:
    return [one for one in kept if one.place != "memory"]


def _cells(one: Kept) -> tuple[object, ...]:
    sizes = ("" if size is None else format_size(size) for size in (one.bytes, one.bound))
    # A command has asked Redis for no answer.
    counts = (one.hits, one.misses) if one.place == "disk" else ("", "")
    return one.place, "" if one.answers is None else one.answers, *sizes, *counts
