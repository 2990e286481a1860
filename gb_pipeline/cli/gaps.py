"""`gb gaps` prints which bars are missing, and why.

This module chooses, groups and prints. `quality.gaps` finds the gaps, gives each its reason, and says what the reasons mean.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gb_pipeline.cli.names import Names, select_stored
from gb_pipeline.cli.options import (
    AsOf,
    Config,
    End,
    Json,
    LakeFolder,
    Start,
    open_lake,
    parse_moment,
    project_of,
)
from gb_pipeline.cli.output import ExitCode, layout_width, note, print_json, print_table
from gb_pipeline.errors import ConfigError
from gb_pipeline.health.completeness import describe_unfetched, read_completeness
from gb_pipeline.market.spelling import did_you_mean, format_count, near_names

if TYPE_CHECKING:
    import polars as pl

    from gb_pipeline.config.settings import Settings
    from gb_pipeline.reading.lake import Lake

_SERIES = ["source", "symbol", "resolution"]
_STYLES = {"unknown": "red", "fetch_failed": "red", "vendor_empty": "yellow"}
_HEADINGS = ("series", "", "when (UTC)", "sessions", "missing", "reason")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("gaps")(gaps)


def gaps(
    names: Names = None,
    reason: Annotated[
        list[str] | None,
        typer.Option(help="Only this reason, such as unknown or no_trade; may be repeated.", show_default=False),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Also those that need nothing, such as no_trade and not_listed.")
    ] = False,
    resolution: Annotated[
        str | None, typer.Option("--resolution", "-r", help="Only this resolution, such as 1m.", show_default=False)
    ] = None,
    start: Start = None,
    end: End = None,
    limit: Annotated[int, typer.Option(help="Lines to print; --json prints all.", min=1)] = 50,
    as_of: AsOf = None,
    config: Config = None,
    lake: LakeFolder = None,
    as_json: Json = False,
) -> int:
    """List what is missing, and why.

    Shows what somebody can do something about, the newest first; --all adds what needs nothing. Closed days are no gaps.
    Consecutive sessions that lack bars for the same reason are one line; --json has every run of missing bars.
    """
    import polars as pl

    opened_lake = open_lake(config, lake)
    chosen = select_stored(opened_lake, names or [], project_of(opened_lake, config)) if names else None
    bounds = {"resolution": resolution, "start": start, "end": end, "as_of": parse_moment(as_of)}
    found = _read(opened_lake.gaps, chosen, bounds).filter(pl.col("reason") != "closed")
    reasons = _parse_reasons(reason, everything=everything)
    rows = found.filter(pl.col("reason").is_in(reasons))
    if as_json:
        keys = ["session", *_SERIES, "start"]
        print_json(rows.sort(keys, descending=[True, False, False, False, False]).to_dicts())
        return ExitCode.OK
    groups = group_gaps(rows, _read(opened_lake.coverage, chosen, bounds)) if rows.height else []
    if groups:
        body = [_line(group) for group in groups[:limit]]
        print_table(_HEADINGS, body, styles=_STYLES, optional=["sessions"])
    unfetched = 0
    if not (reason or start or end):
        unfetched = _count_unfetched(opened_lake, project_of(opened_lake, config), chosen, resolution, bounds["as_of"])
    hidden = len(groups) - limit
    _explain(rows, found, hidden=hidden, unfetched=unfetched, as_of=as_of, asked=bool(reason) or everything)
    return ExitCode.OK


def _count_unfetched(
    lake: Lake, settings: Settings | None, chosen: dict[str, list[str]] | None, resolution: str | None, as_of: Any
) -> int:
    """Sessions of the chosen series that are over and were never fetched: no table of gaps has them."""
    from gb_pipeline.market.resolution import Resolution

    if settings is None:
        return 0
    only = None if resolution is None else Resolution.parse(resolution).value
    return sum(
        row["unfetched"] or 0
        for row in read_completeness(lake, settings, as_of)
        if (chosen is None or row["symbol"] in chosen.get(row["source"], ())) and only in {None, row["resolution"]}
    )


def _read(
    ask: Callable[..., pl.DataFrame], chosen: dict[str, list[str]] | None, bounds: dict[str, Any]
) -> pl.DataFrame:
    """`Lake.gaps` or `Lake.coverage` of the chosen series; of everything where nothing was chosen."""
    import polars as pl

    if chosen is None:
        return ask(**bounds)
    return pl.concat([ask(source, symbols, **bounds) for source, symbols in chosen.items() if symbols])


def _parse_reasons(names: list[str] | None, *, everything: bool) -> list[str]:
    """The reasons to show; those that somebody can do something about by default.

    Raises:
        ConfigError: a name that is no reason.
    """
    from gb_pipeline.quality.gaps import OPEN_REASONS, GapReason

    known = [reason.value for reason in GapReason]
    for name in names or []:
        if name not in known:
            near = did_you_mean(near_names(name, known), f"use one of {', '.join(known)}")
            raise ConfigError(f"{name[:40]!r} is not a reason", fix=near)
    return names or [reason.value for reason in GapReason if everything or reason in OPEN_REASONS]


def group_gaps(runs: pl.DataFrame, coverage: pl.DataFrame) -> list[dict[str, Any]]:
    """Consecutive sessions that lack bars for the same reason, as one record each, the newest first.

    Args:
        runs: as `Lake.gaps` gives them, at least one.
        coverage: as `Lake.coverage` gives it, of the same series; it says which sessions follow each other.

    Returns:
        Records of `source, symbol, resolution, reason, incident` (its number, None without one), `first` and `last` (sessions),
        `sessions, runs, missing, start, end` (of the first and the last missing bar), `whole` (whether the sessions lack every
        bar).
    """
    import polars as pl

    sessions = (
        coverage.filter(pl.col("status") != "closed")
        .sort(*_SERIES, "session")
        .select(*_SERIES, "session", "expected", pl.int_range(pl.len()).over(_SERIES).alias("place"))
    )
    keys = [*_SERIES, "reason", "incident"]
    by_session = (
        runs.group_by(*keys, "session")
        .agg(pl.len().alias("runs"), pl.col("missing").sum(), pl.col("start").min(), pl.col("end").max())
        .join(sessions, on=[*_SERIES, "session"], how="left")
        .sort(*keys, "session")
    )
    follows = (pl.col("place") - pl.col("place").shift(1).over(keys)) == 1
    grouped = by_session.with_columns((~follows).fill_null(True).cum_sum().over(keys).alias("group"))
    return (
        grouped.group_by(*keys, "group", maintain_order=True)
        .agg(
            pl.col("session").min().alias("first"),
            pl.col("session").max().alias("last"),
            pl.len().alias("sessions"),
            pl.col("runs", "missing").sum(),
            pl.col("start").min(),
            pl.col("end").max(),
            (pl.col("missing") >= pl.col("expected")).all().alias("whole"),
        )
        .sort("last", "first", *keys, descending=[True, True, *(False for _ in keys)])
        .drop("group")
        .to_dicts()
    )


def _line(group: dict[str, Any]) -> tuple[Any, ...]:
    series = f"{group['source']}:{group['symbol']}"
    reason = group["reason"] if group["incident"] is None else f"{group['reason']} {group['incident']}"
    return series, group["resolution"], _when(group), group["sessions"], group["missing"], reason


def _when(group: dict[str, Any]) -> str:
    """`2024-01-02`, `2024-01-02 .. 2024-01-05`, or the times of day where a part of one session is missing."""
    first, last = group["first"], group["last"]
    if first != last:
        return f"{first} .. {last}"
    start, end = group["start"], group["end"]
    if group["whole"] or start is None or end - start >= timedelta(days=1):
        return str(first)
    end_format = "%H:%M" if end.date() == start.date() else "%m-%d %H:%M"
    return f"{start:%Y-%m-%d %H:%M} .. {end:{end_format}}"


def _explain(
    rows: pl.DataFrame, found: pl.DataFrame, *, hidden: int, unfetched: int, as_of: str | None, asked: bool
) -> None:
    """What the reasons mean, how much is not shown, and what to do."""
    import polars as pl

    from gb_pipeline.quality.gaps import MEANINGS, GapReason

    totals = rows.group_by("reason").agg(pl.col("missing").sum(), pl.len().alias("runs")).sort("reason")
    for name, missing, runs in totals.rows():
        counts = f"{format_count(missing, 'bar')} in {format_count(runs, 'run')}"
        _wrap(f"{counts} {'is' if missing == 1 else 'are'} {name}: {MEANINGS[GapReason(name)]}")
    if hidden > 0:
        note(f"{hidden:,} lines are not shown (--limit, --json)")
    if rows.is_empty():
        nothing = "nothing is missing" if as_of is None else "nothing was known to be missing then"
        nothing += " that is not explained" if found.height and not asked else ""
        note(f"of the sessions that were fetched, {nothing}" if unfetched else nothing)
    quiet = found.join(rows.select("reason").unique(), on="reason", how="anti")
    unseen = quiet.group_by("reason").agg(pl.col("missing").sum()).filter(pl.col("missing") > 0).sort("reason")
    if unseen.height:
        listed = ", ".join(f"{name} {missing:,}" for name, missing in unseen.rows())
        _wrap(f"not shown: {listed} (--all, --reason)")
    if unfetched:
        _wrap(describe_unfetched(unfetched))


def _wrap(text: str) -> None:
    note(textwrap.fill(text, layout_width(), subsequent_indent="  ", break_long_words=False, break_on_hyphens=False))
