"""This module draws bars into a PNG, as candles or as a line. `show` chooses which bars."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from gb_pipeline.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# More candles than this are narrower than a pixel column.
MOST_CANDLES = 600
_UP, _DOWN, _LINE, _INK = "#1a7f5a", "#c2403a", "#1f4e79", "#333333"


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
            fix=f"shorten the range to {MOST_CANDLES} bars, choose a coarser resolution, or leave --candles out",
        )
    figure = Figure(figsize=(16, 9), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    prices, volumes = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    x, continuous = _positions(frame)
    if candles:
        _draw_candles(prices, frame, x)
    else:
        prices.plot(*_interrupted_line(frame, x, continuous), color=_LINE, linewidth=1.2)
    _draw_volumes(volumes, frame, x)
    prices.set_title(title, loc="left", fontsize=15, color=_INK)
    prices.set_ylabel("price")
    volumes.set_ylabel("volume")
    for axis in (prices, volumes):
        _style_axis(axis)
    _place_ticks(volumes, frame, x, continuous=continuous)
    try:
        figure.savefig(path, format="png")
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}", fix="name another file") from None


def _positions(frame: pl.DataFrame) -> tuple[list[float], bool]:
    """Where each bar is drawn, and whether that is its time: nights and weekends of an exchange take no room."""
    from matplotlib.dates import date2num

    steps = frame["timestamp"].diff().drop_nulls()
    typical_step = steps.min()
    regular = not steps.is_empty() and 2 * int((steps == typical_step).sum()) > len(steps)
    continuous = steps.is_empty() or (regular and steps.max() < 12 * _at_least_an_hour(typical_step))
    if continuous:
        return [float(value) for value in date2num(frame["timestamp"].to_list())], True
    return [float(index) for index in range(frame.height)], False


def _at_least_an_hour(step: Any) -> Any:
    from datetime import timedelta

    # Minutes that are missing by the hour still belong on a time axis; nights of an exchange do not.
    return max(step, timedelta(hours=1))


def _bar_width(x: list[float]) -> float:
    return 0.8 * min((b - a for a, b in pairwise(x)), default=1.0)


def _interrupted_line(frame: pl.DataFrame, x: list[float], continuous: bool) -> tuple[list[float], list[float]]:
    """The line through the closes, interrupted where bars are missing."""
    closes = frame["close"].to_list()
    if not continuous or len(x) < 2:
        return x, closes
    typical_step = min(b - a for a, b in pairwise(x))
    xs, ys = [x[0]], [closes[0]]
    for (before, at), close in zip(pairwise(x), closes[1:], strict=True):
        if at - before > 1.5 * typical_step:
            xs.append((before + at) / 2)
            ys.append(float("nan"))
        xs.append(at)
        ys.append(close)
    return xs, ys


def _draw_candles(axis: Axes, frame: pl.DataFrame, x: list[float]) -> None:
    width = _bar_width(x)
    span = float(frame["high"].max() or 0) - float(frame["low"].min() or 0)  # type: ignore[arg-type]
    # A bar that closes where it opened is a line, not nothing.
    thinnest = max(span * 0.0015, 1e-12)
    for rising, color in ((True, _UP), (False, _DOWN)):
        rows = [
            (position, bar)
            for position, bar in zip(x, frame.iter_rows(named=True), strict=True)
            if (bar["close"] >= bar["open"]) is rising
        ]
        positions = [position for position, _ in rows]
        axis.vlines(
            positions, [bar["low"] for _, bar in rows], [bar["high"] for _, bar in rows], color=color, linewidth=0.9
        )
        axis.bar(
            positions,
            [max(abs(bar["close"] - bar["open"]), thinnest) for _, bar in rows],
            bottom=[min(bar["open"], bar["close"]) for _, bar in rows],
            width=width,
            color=color,
        )
    axis.set_ylim(float(frame["low"].min()) - span * 0.04, float(frame["high"].max()) + span * 0.04)  # type: ignore[arg-type]


def _draw_volumes(axis: Axes, frame: pl.DataFrame, x: list[float]) -> None:
    volumes = frame["volume"].to_list()
    if len(x) > MOST_CANDLES:
        # Bars narrower than a pixel would show a pattern that is not in the data.
        axis.fill_between(x, volumes, step="mid", color=_LINE, alpha=0.6, linewidth=0)
    else:
        colors = [_UP if rising else _DOWN for rising in (frame["close"] >= frame["open"]).to_list()]
        axis.bar(x, volumes, width=_bar_width(x), color=colors, alpha=0.6)
    axis.set_ylim(bottom=0)


def _style_axis(axis: Axes) -> None:
    from matplotlib.ticker import FuncFormatter

    axis.grid(color="#dddddd", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.margins(x=0.01)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(colors=_INK, labelsize=11)
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))


def _place_ticks(axis: Axes, frame: pl.DataFrame, x: list[float], *, continuous: bool) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    if continuous:
        locator = AutoDateLocator(minticks=5, maxticks=12)
        axis.xaxis.set_major_locator(locator)
        axis.xaxis.set_major_formatter(ConciseDateFormatter(locator))
        return
    stamps = frame["timestamp"].to_list()
    daily = all((stamp.hour, stamp.minute) == (0, 0) for stamp in stamps)
    pattern = "%Y-%m-%d" if daily else "%m-%d %H:%M"

    def label(value: float, _: int) -> str:
        index = round(value)
        return stamps[index].strftime(pattern) if 0 <= index < len(x) else ""

    axis.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    axis.xaxis.set_major_formatter(FuncFormatter(label))
