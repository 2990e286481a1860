"""This module prints refused rows: many as lines, and one whole, with what its rules mean and what can be done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from gb_pipeline.cli.output import format_value, layout_width, note, print_table
from gb_pipeline.market.spelling import format_count

if TYPE_CHECKING:
    import polars as pl

    from gb_pipeline.reading.lake import Lake

_STYLES = {"open": "yellow", "released": "green"}
_LONGEST_ROW, _LEAST_ROW = 60, 8
# Which options a row needs; those that can be any value are said in general.
_SOME = "--open/--high/--low/--close/--volume ..."
_VALUES = {"high_not_highest": "--high ...", "low_not_lowest": "--low ...", "negative_volume": "--volume ..."}


def print_list(rows: pl.DataFrame, limit: int, *, decisions: bool, ids: pl.Series) -> None:
    """How many rows there are by reason, and the first of them.

    Args:
        rows: columns of `Lake.quarantine`, in the order in which they are printed; at least one.
        limit: how many lines.
        decisions: whether to say what was decided.
        ids: of all rows that there are: as many digits are printed as tell them apart.
    """
    import polars as pl

    from gb_pipeline.lake.decisions import short_length

    reasons = (
        rows.explode("reasons")
        .group_by("reasons")
        .agg(pl.len().alias("rows"))
        .sort("rows", "reasons", descending=[True, False])
    )
    heading = (
        f"{format_count(rows.height, 'row')} of {format_count(rows.select('source', 'symbol').n_unique(), 'symbol')}"
    )
    print_table(("rows", "refused for"), reasons.select("rows", "reasons").rows(), title=heading)
    length = short_length(ids)
    lines = [
        (
            row["row_id"][:length],
            f"{row['source']}:{row['symbol']} {row['resolution']}",
            format_value(row["timestamp"]) or "unreadable",
            _first(row["reasons"]),
            *(_decision(row) if decisions else (row["row"], f"{row['quarantined_at']:%m-%d %H:%M}")),
        )
        for row in rows.head(limit).iter_rows(named=True)
    ]
    if decisions:
        headings = ("id", "series", "bar (UTC)", "reasons", "decision", "why")
        optional = ["why", "reasons"]
    else:
        headings = ("id", "series", "bar (UTC)", "reasons", "row", "refused")
        optional = ["row", "refused"]
        lines = _fit_rows(lines, headings)
    print_table(headings, lines, styles=_STYLES, optional=optional)
    if rows.height > limit:
        note(f"and {rows.height - limit:,} more; --limit {rows.height} prints them, --json has everything")


def print_rows(lake: Lake, rows: pl.DataFrame) -> None:
    """Whole rows, one below the other."""
    for row in rows.iter_rows(named=True):
        print_table(("", "", ""), list(_lines(lake, row)), title=row["row_id"])


def _lines(lake: Lake, row: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    from gb_pipeline.quality.releasing import MEANINGS, UNKNOWN

    yield "row", "series", f"{row['source']}:{row['symbol']} {row['resolution']}"
    yield "", "bar", f"{format_value(row['timestamp'])} UTC" if row["timestamp"] else "its timestamp cannot be read"
    yield "", "received", row["row"]
    yield "", "refused", f"{format_value(row['quarantined_at'])} UTC, run {row['run_id'] or 'none'}"
    yield "", "window", f"{format_value(row['window_start'])} .. {format_value(row['window_end'])}"
    for number, code in enumerate(row["reasons"]):
        yield "" if number else "breaks", code, MEANINGS.get(code, UNKNOWN).words
    yield "stored", "now", _stored(lake, row)
    decided = f" {format_value(row['decided_at'])} UTC: {row['decision_reason']}" if row["decided_at"] else ""
    yield "decision", row["decision"], decided.strip()
    for number, line in enumerate(_advice(row)):
        yield "" if number else "can be", *line


def _advice(row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    from gb_pipeline.lake.quarantine import OTHER_TABLES
    from gb_pipeline.quality.releasing import MEANINGS, UNKNOWN, Release, how_to_release

    name = row["row_id"][:12]
    if row["decision"] != "open":
        yield "reopened", f"gb quarantine reopen {name} --reason ..."
        return
    way = how_to_release(row["reasons"]) if row["resolution"] not in OTHER_TABLES else Release.NOT
    if way is Release.NOT:
        fixes = {MEANINGS.get(code, UNKNOWN).fix for code in row["reasons"]} - {""}
        yield "not released", "; ".join(sorted(fixes)) or "fetch it again"
    else:
        wrong = [_VALUES.get(code, _SOME) for code in row["reasons"] if MEANINGS[code].release is Release.CORRECTED]
        values = "".join(f" {text}" for text in dict.fromkeys(wrong or [""]) if text)
        yield "released", f"gb quarantine release {name} --reason ...{values}"
    yield "dropped", f"gb quarantine drop {name} --reason ..."


def _stored(lake: Lake, row: Mapping[str, Any]) -> str:
    from datetime import timedelta

    from gb_pipeline.errors import GbError
    from gb_pipeline.lake.quarantine import OTHER_TABLES
    from gb_pipeline.market.schema import CORRECTABLE

    if row["timestamp"] is None or row["resolution"] in OTHER_TABLES:
        return "nothing that it could be compared with"
    end = row["timestamp"] + timedelta(microseconds=1)
    try:
        bars = lake.bars(row["symbol"], row["resolution"], row["timestamp"], end, source=row["source"])
    except GbError:
        return "no bar"
    if bars.is_empty():
        return "no bar"
    bar = bars.row(-1, named=True)
    return " ".join(f"{name} {format_value(bar[name])}" for name in CORRECTABLE)


def _decision(row: Mapping[str, Any]) -> tuple[str, str]:
    reason = row["decision_reason"]
    return row["decision"], "" if reason is None else f"{format_value(row['decided_at'])}: {reason}"


def _first(reasons: list[str]) -> str:
    return reasons[0] + (f" +{len(reasons) - 1}" if len(reasons) > 1 else "") if reasons else ""


def _fit_rows(lines: list[tuple[str, ...]], headings: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The lines, each row as received cut to what the others leave of the terminal."""
    others = [max(len(heading), *(len(line[place]) for line in lines)) + 2 for place, heading in enumerate(headings)]
    room = layout_width() - sum(others[:4]) - 2
    if room - others[5] >= _LEAST_ROW:
        room -= others[5]
    length = min(max(room, _LEAST_ROW), _LONGEST_ROW)
    return [(*line[:4], _cut(line[4], length), line[5]) for line in lines]


def _cut(text: str, length: int) -> str:
    line = " ".join(text.replace('"', "").split())
    return line if len(line) <= length else f"{line[: length - 1]}…"
