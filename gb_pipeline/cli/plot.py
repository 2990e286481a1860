"""This module draws bars into a PNG, as candles or as a line. `show` chooses which bars.

Bars stand side by side: nights, weekends and holidays take no room, and dates label the axis.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from gb_pipeline.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# More candles than this are narrower than a pixel column.
MOST_CANDLES = 600
_UP, _DOWN, _LINE, _INK = "#1a7f5a", "#c2403a", "#1f4e79", "#333333"
_BAR_WIDTH = 0.8
_FEWEST_TICKS, _MOST_TICKS = 4, 16
# Where labels may stand, at the first bar of each such period, and how they read there. The longest period with enough of them is
# taken.
_PERIODS = (
    ("10y", "%Y"), ("5y", "%Y"), ("1y", "%Y"), ("1q", "%Y-%m"), ("1mo", "%Y-%m"), ("1w", "%m-%d"), ("1d", "%m-%d"),
    ("6h", "%H:%M"), ("3h", "%H:%M"), ("1h", "%H:%M"), ("30m", "%H:%M"), ("15m", "%H:%M"), ("5m", "%H:%M"), ("1m", "%H:%M"),
    ("15s", "%H:%M:%S"), ("5s", "%H:%M:%S"), ("1s", "%H:%M:%S"),
)  # fmt: skip
_DAYS_PERIOD = "1d"


def plot_bars(frame: pl.DataFrame, title: str, path: Path, *, candles: bool) -> None:
    """Draw prices above volumes into a PNG of 1600 x 900 pixels.

    Args:
        frame: `timestamp` (UTC) and float64 `open`, `high`, `low`, `close`, `volume`, sorted, at least one row.
        title: above the picture.
        path: where to; an existing file is replaced.
        candles: candles instead of a line through the closes.

    Raises:
        ConfigError: more candles than a picture has room for, or the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if candles and frame.height > MOST_CANDLES:
        raise ConfigError(
            f"{frame.height:,} candles do not fit in one picture",
            fix=f"shorten the range to {MOST_CANDLES} bars, or use --limit {MOST_CANDLES}, --html, or no --candles",
        )
    figure = Figure(figsize=(16, 9), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    prices, volumes = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    if candles:
        _draw_candles(prices, frame)
    else:
        prices.plot(range(frame.height), frame["close"].to_list(), color=_LINE, linewidth=1.2)
    _draw_volumes(volumes, frame)
    prices.set_title(title, loc="left", fontsize=15, color=_INK)
    prices.set_ylabel("price")
    volumes.set_ylabel("volume")
    for axis in (prices, volumes):
        _style_axis(axis)
    places, labels = date_labels(frame["timestamp"])
    volumes.set_xticks(places, labels)
    try:
        figure.savefig(path, format="png")
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}", fix="name another file") from None


def date_labels(stamps: pl.Series) -> tuple[list[int], list[str]]:
    """Positions of bars that begin a period, at most sixteen, and what is written there.

    Args:
        stamps: of the bars (Datetime us UTC), sorted.

    Example:
        >>> date_labels(stamps_of_two_days)
        ([0, 6, 12], ['00:00\\n2024-01-02', '12:00', '00:00\\n01-03'])
    """
    days = set(_first_of_each(stamps, _DAYS_PERIOD))
    best: tuple[list[int], list[str]] = ([0], [f"{stamps[0]:%Y-%m-%d}"])
    for period, pattern in _PERIODS:
        places = _first_of_each(stamps, period)
        if len(places) > 2 and places[1] * 2 * _MOST_TICKS < len(stamps):
            # The first bar is in the middle of a period; its label would run into the next one.
            del places[0]
        if len(places) > _MOST_TICKS:
            break
        best = places, [_label(stamps, place, pattern, begins_day=place in days) for place in places]
        if len(places) >= _FEWEST_TICKS:
            break
    return best


def _first_of_each(stamps: pl.Series, period: str) -> list[int]:
    labels = stamps.dt.truncate(period)
    return [0, *(labels.ne(labels.shift(1)).fill_null(False).arg_true().to_list())]


def _label(stamps: pl.Series, place: int, pattern: str, *, begins_day: bool) -> str:
    """What is written at a bar: the year where it is new, the date where the day is new, the time where it matters."""
    stamp, before = stamps[place], stamps[place - 1] if place else None
    if pattern in {"%Y", "%Y-%m"}:
        return f"{stamp:{pattern}}"
    date = "%Y-%m-%d" if before is None or before.year != stamp.year else "%m-%d"
    if pattern == "%m-%d":
        return f"{stamp:{date}}"
    time = f"{stamp:{pattern}}"
    return f"{time}\n{stamp:{date}}" if before is None or begins_day else time


def _draw_candles(axis: Axes, frame: pl.DataFrame) -> None:
    span = float(frame["high"].max() or 0) - float(frame["low"].min() or 0)  # type: ignore[arg-type]
    # A bar that closes where it opened is a line, not nothing.
    thinnest = max(span * 0.0015, 1e-12)
    bars = frame.select(
        pl.int_range(pl.len()).alias("x"),
        "low",
        "high",
        pl.min_horizontal("open", "close").alias("bottom"),
        (pl.col("close") - pl.col("open")).abs().clip(thinnest).alias("height"),
        (pl.col("close") >= pl.col("open")).alias("rising"),
    )
    for rising, color in ((True, _UP), (False, _DOWN)):
        rows = bars.filter(pl.col("rising") == rising).to_dict(as_series=False)
        axis.vlines(rows["x"], rows["low"], rows["high"], color=color, linewidth=0.9)
        axis.bar(rows["x"], rows["height"], bottom=rows["bottom"], width=_BAR_WIDTH, color=color)
    margin = span * 0.04 or abs(float(frame["high"][0])) * 0.01 or 1.0
    axis.set_ylim(float(frame["low"].min()) - margin, float(frame["high"].max()) + margin)  # type: ignore[arg-type]


def _draw_volumes(axis: Axes, frame: pl.DataFrame) -> None:
    volumes = frame["volume"].to_list()
    if frame.height > MOST_CANDLES:
        # Bars narrower than a pixel would show a pattern that is not in the data.
        axis.fill_between(range(frame.height), volumes, step="mid", color=_LINE, alpha=0.6, linewidth=0)
    else:
        colors = [_UP if rising else _DOWN for rising in (frame["close"] >= frame["open"]).to_list()]
        axis.bar(range(frame.height), volumes, width=_BAR_WIDTH, color=colors, alpha=0.6)
    axis.set_ylim(bottom=0)


def _style_axis(axis: Axes) -> None:
    from matplotlib.ticker import FuncFormatter

    axis.grid(color="#dddddd", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.margins(x=0.01)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(colors=_INK, labelsize=11)
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
