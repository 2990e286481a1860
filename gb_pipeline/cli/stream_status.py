"""`gb status` of trades, quotes and books: how much is kept, up to when it is settled, and what is not yet."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from gb_pipeline.cli.output import format_size, note, print_table

if TYPE_CHECKING:
    from gb_pipeline.reading.lake import Lake

_HEADINGS = ("stream", "", "rows", "unsettled", "first (UTC)", "last (UTC)", "settled to", "size")


def read_streams(lake: Lake | None) -> list[dict[str, Any]]:
    """Records of `Lake.stream_status`; `resolution` is the name of the table."""
    if lake is None:
        return []
    return lake.stream_status().rename({"table": "resolution"}).to_dicts()


def print_streams(rows: Sequence[dict[str, Any]]) -> None:
    """The table; rows are those of `read_streams`, at least one."""
    body = [
        (
            f"{row['source']}:{row['symbol']}", row["resolution"], row["rows"], row["unsettled"], *map(_minute, (row["start"],
            row["end"])), _minute(row["settled_until"]) or "all", format_size(row["bytes"]),
        )
        for row in rows
    ]  # fmt: skip
    totals = {name: sum(row[name] for row in rows) for name in ("rows", "unsettled", "bytes")}
    count = f"{len(rows):,} stream{'' if len(rows) == 1 else 's'}"
    footer = (count, "", totals["rows"], totals["unsettled"], "", "", "", format_size(totals["bytes"]))
    print_table(_HEADINGS, body, optional=["first (UTC)", "last (UTC)"], footer=footer)
    if totals["unsettled"]:
        note("unsettled rows lie behind the watermark: readers see them after the collector's next commit")


def _minute(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M}"
