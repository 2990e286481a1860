"""This module writes bars as candles into one HTML file that needs nothing else: no network, no server, no other file.

The page and TradingView's Lightweight Charts, which draws them, are in the folder `chart`. `show` chooses which bars.
"""

from __future__ import annotations

import html
import json
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from gb_pipeline.cli.output import format_value
from gb_pipeline.errors import ConfigError
from gb_pipeline.market.spelling import format_count

if TYPE_CHECKING:
    import polars as pl

# A page of some 70 bytes a bar, which a browser opens within a second or two.
MOST_BARS = 300_000
_PRICES = ("open", "high", "low", "close")


def write_html_chart(frame: pl.DataFrame, title: str, path: Path) -> None:
    """Write bars as an interactive chart; every number is in it digit by digit.

    Args:
        frame: `timestamp` (Datetime us UTC) and `open, high, low, close, volume` (Decimal), sorted, at least one row.
        title: above the chart.
        path: where to; an existing file is replaced.

    Raises:
        ConfigError: there are more bars than a page can hold, or the file cannot be written.
    """
    if frame.height > MOST_BARS:
        raise ConfigError(
            f"{frame.height:,} bars are too many for one page",
            fix=f"shorten the range to {MOST_BARS:,} bars with --start or --limit, or choose a coarser resolution",
        )
    stamps = frame["timestamp"]
    seconds = stamps.dt.epoch("s").to_list()
    columns = [[format_value(value) for value in frame[name]] for name in (*_PRICES, "volume")]
    decimals = max(len(text.partition(".")[2]) for column in columns[:4] for text in column)
    data = {
        "rows": list(zip(seconds, *columns, strict=True)),
        "daily": bool((stamps == stamps.dt.truncate("1d")).all()),
        "decimals": decimals,
    }
    # The same file that the page of `gb serve` shows candles with.
    library = files("gb_pipeline.api.page") / "static" / "vendor" / "lightweight-charts.standalone.production.js"
    parts = {
        "@LIBRARY@": library.read_text(encoding="utf-8"),
        # Within a script, only this could end it.
        "@DATA@": json.dumps(data, separators=(",", ":")).replace("</", "<\\/"),
        "@TITLE@": html.escape(title),
        "@NOTE@": format_count(frame.height, "bar"),
    }
    page = (files("gb_pipeline.cli") / "chart" / "page.html").read_text(encoding="utf-8")
    for mark in ("@TITLE@", "@NOTE@", "@LIBRARY@", "@DATA@"):
        page = page.replace(mark, parts[mark])
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}", fix="name another file") from None
