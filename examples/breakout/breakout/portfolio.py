"""This module is the backtest of all symbols over a month: it pins the bars that it read, so that it can be replayed.

The page keeps of each run the pin and its fingerprint, the parameters, the numbers and the curve. Run again with the name of that
pin, it gives the same numbers, whatever the vendor has restated since.
"""

import base64
import io
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from importlib.metadata import version
from typing import Any

import dagster as dg
import polars as pl
from pydantic import Field

from breakout.market import SOURCE, SYMBOLS
from breakout.strategy import backtest
from gb_pipeline import Lake
from gb_pipeline.orchestration.resources import LakeResource

GROUP = "breakout"
COLUMNS = ["symbol", "timestamp", "high", "close"]


class Parameters(dg.Config):
    """What a run is asked for, in the launchpad or by a backfill."""

    symbols: list[str] = Field(default=list(SYMBOLS))
    margin: float = 0.0
    """How far above the high a close has to be; 0.01 is one per cent."""
    replay: str = ""
    """The name of a pin: read what an earlier run has read. Empty: read what is known now, and pin it."""


@dg.asset(
    key=[GROUP, "portfolio"],
    deps=[[GROUP, symbol] for symbol in SYMBOLS],
    partitions_def=dg.MonthlyPartitionsDefinition(start_date="2024-01-01", end_offset=1),
    group_name=GROUP,
    kinds={"polars"},
    description="All symbols over a month, as much of each, on bars that are pinned.",
)
def portfolio(context: dg.AssetExecutionContext, config: Parameters, lake: LakeResource) -> dg.MaterializeResult[None]:
    """One partition is one backtest; many months are a backfill."""
    first, end = month_of(context.partition_key)
    reader = lake.reader
    pin = config.replay or pin_bars(reader, config, first, end, f"{GROUP}.{first:%Y-%m}.{context.run.run_id[:8]}")
    pinned = reader.replay(pin)
    bars = pinned.bars(config.symbols, "1m", source=SOURCE, columns=COLUMNS, as_float=True)
    sessions = backtest(bars, margin=config.margin).filter(pl.col("session") >= first)
    curve = equity(sessions)
    again = {"config": {"symbols": config.symbols, "margin": config.margin, "replay": pin}}
    return dg.MaterializeResult(
        metadata={
            "equity": dg.MetadataValue.md(plot(curve, f"{first:%B %Y}")),
            **measure(sessions, curve),
            "totals": table_of(sum_up(sessions)),
            "pin": pin,
            "fingerprint": pinned.pin.fingerprint,
            "known_at": dg.MetadataValue.timestamp(pinned.pin.as_of),
            "gb_pipeline": version("gb_pipeline"),
            # Copied into the launchpad it gives these numbers again.
            "replay": dg.MetadataValue.json({"ops": {f"{GROUP}__portfolio": again}}),
        }
    )


def pin_bars(lake: Lake, config: Parameters, first: date, end: date, name: str) -> str:
    """Name what is known of the month's bars now, and of the session before it."""
    lake.pin(name, config.symbols, "1m", first - timedelta(days=1), end, source=SOURCE)
    return name


def equity(sessions: pl.DataFrame) -> pl.DataFrame:
    """`session`, `strategy` and `held`: what one is worth after each session; as much is put into each symbol every day."""
    held = pl.col("exit") / pl.col("exit").shift(1).over("symbol")
    days = sessions.with_columns(growth=1 + pl.col("earned"), held=held.fill_null(1.0)).group_by("session")
    means = days.agg(pl.col("growth").mean(), pl.col("held").mean()).sort("session")
    return means.select("session", strategy=pl.col("growth").cum_prod(), held=pl.col("held").cum_prod())


def measure(sessions: pl.DataFrame, curve: pl.DataFrame) -> dict[str, Any]:
    """The numbers of a month, of all symbols together; percentages are of what was there at its beginning."""
    worth = curve["strategy"]
    # Before the first session it is 1: a loss on that day is one as well.
    fall = 1 - worth / worth.cum_max().clip(1.0)
    return {
        "sessions": sessions.height,
        "trades": int(sessions["entry"].count()),
        "earned_percent": round(100 * (worth[-1] - 1), 6) if len(worth) else 0.0,
        "held_percent": round(100 * (curve["held"][-1] - 1), 6) if len(worth) else 0.0,
        "drawdown_percent": round(100 * float(fall.max() or 0.0), 6),  # type: ignore[arg-type]
    }


def sum_up(sessions: pl.DataFrame) -> list[dict[str, Any]]:
    """The numbers of each symbol."""
    totals = sessions.group_by("symbol").agg(
        sessions=pl.len(),
        trades=pl.col("entry").count(),
        earned_percent=100 * ((1 + pl.col("earned")).product() - 1),
        held_percent=100 * (pl.col("exit").last() / pl.col("exit").first() - 1),
    )
    return totals.sort("symbol").with_columns(pl.col(pl.Float64).round(4)).to_dicts()


def month_of(partition: str) -> tuple[date, date]:
    """The days [first, end) of a month's partition, 2024-01-01."""
    first = datetime.strptime(partition, "%Y-%m-%d").date()
    return first, (first + timedelta(days=31)).replace(day=1)


def table_of(rows: Sequence[dict[str, Any]]) -> dg.TableMetadataValue:
    """Rows as Dagster's page shows them."""
    return dg.MetadataValue.table([dg.TableRecord(row) for row in rows])


def plot(curve: pl.DataFrame, title: str) -> str:
    """The curve as a PNG in a Markdown image, about 10 kB: small enough for an event log."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6, 2.2), dpi=90, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots()
    days = curve["session"].to_numpy()
    axes.plot(days, (curve["held"] - 1) * 100, color="#9aa5b1", linewidth=1, label="hold")
    axes.plot(days, (curve["strategy"] - 1) * 100, color="#1f5fd6", linewidth=1.4, label="strategy")
    axes.axhline(0, color="#d0d6de", linewidth=0.8, zorder=0)
    axes.set_ylabel("%")
    axes.set_title(title, fontsize=9, loc="left")
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    figure.autofmt_xdate()
    image = io.BytesIO()
    canvas.print_png(image)
    return f"![equity](data:image/png;base64,{base64.b64encode(image.getvalue()).decode()})"
