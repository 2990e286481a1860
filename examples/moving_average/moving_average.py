"""This module is the strategy: its numbers and its plot. It knows neither where bars come from nor Dagster.

Long while the fast average of closes lies above the slow one, else out of the market; decided at a bar's close, held over the
next bar. No costs, no slippage: it shows how to read the lake, not how to earn.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from datetime import datetime

import polars as pl

_BARS_IN_PLOT = 500
_INCHES = (6.4, 2.4)
_DPI = 80


@dataclass(frozen=True, slots=True)
class Backtest:
    """What the strategy did.

    Attributes:
        curve: `timestamp` (Datetime us UTC), `strategy` and `hold` (Float64): money at each bar's close, starting at 1.
        trades: how often it entered or left the market.
    """

    curve: pl.DataFrame
    trades: int

    @property
    def earned(self) -> float:
        """Gain of the strategy, 0.01 is one per cent."""
        return _last(self.curve["strategy"]) - 1

    @property
    def held(self) -> float:
        """Gain of buying at the first and selling at the last bar."""
        return _last(self.curve["hold"]) - 1

    @property
    def drawdown(self) -> float:
        """The largest loss from a peak, as a share of the peak; 0 or negative."""
        money = self.curve["strategy"]
        worst = (money / money.cum_max() - 1).min()
        return float(worst) if isinstance(worst, float) else 0.0


def backtest(bars: pl.DataFrame, *, fast: int, slow: int, start: datetime) -> Backtest:
    """Run the strategy.

    Args:
        bars: `timestamp` (Datetime us UTC) and `close` (Float64), sorted; those before `start` only feed the averages.
        fast, slow: lengths of the averages, in bars.
        start: where the money starts to count.

    Example:
        >>> bars = lake.bars("BTC-USD", "1m", "2024-01-01", "2024-01-03", columns=["timestamp", "close"], as_float=True)
        >>> backtest(bars, fast=30, slow=120, start=datetime(2024, 1, 2, tzinfo=UTC)).trades
        14
    """
    close = pl.col("close")
    # A close is known at the end of its bar: the position is that of the bar before.
    above = (close.rolling_mean(fast) > close.rolling_mean(slow)).shift(1).fill_null(False)
    growth = (close / close.shift(1)).fill_null(1.0)
    steps = bars.select("timestamp", position=above, growth=growth).filter(pl.col("timestamp") >= start)
    curve = steps.select(
        "timestamp",
        strategy=pl.when("position").then("growth").otherwise(1.0).cum_prod(),
        hold=pl.col("growth").cum_prod(),
    )
    changes = steps["position"].cast(pl.Int8).diff().abs().sum() + int(steps["position"].head(1).sum())
    return Backtest(curve, int(changes))


def plot(result: Backtest, title: str) -> str:
    """The curve as a PNG in a Markdown image, about 10 kB: small enough for an event log."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.figure import Figure

    shown = result.curve.gather_every(max(1, result.curve.height // _BARS_IN_PLOT))
    figure = Figure(figsize=_INCHES, dpi=_DPI, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots()
    times = shown["timestamp"].to_numpy()
    axes.plot(times, (shown["hold"] - 1) * 100, color="#9aa5b1", linewidth=1, label="hold")
    axes.plot(times, (shown["strategy"] - 1) * 100, color="#1f5fd6", linewidth=1.4, label="strategy")
    axes.axhline(0, color="#d0d6de", linewidth=0.8, zorder=0)
    axes.set_ylabel("%")
    axes.set_title(title, fontsize=9, loc="left")
    locator = AutoDateLocator()
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    image = io.BytesIO()
    canvas.print_png(image)
    return f"![equity](data:image/png;base64,{base64.b64encode(image.getvalue()).decode()})"


def _last(series: pl.Series) -> float:
    return float(series[-1]) if len(series) else 1.0
