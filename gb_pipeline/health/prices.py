"""The check of what vendors made of their prices: an adjusted series against another source's prices as traded, adjusted by us."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import polars as pl

from gb_pipeline.errors import GbError
from gb_pipeline.health.project_state import ProjectState
from gb_pipeline.health.result import SAMPLE, HealthResult, State
from gb_pipeline.lake.adjustments import stored_adjustments
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import Adjustment
from gb_pipeline.reading.comparison import PRICE_TOLERANCE
from gb_pipeline.reading.comparisons import Comparison, find_comparisons
from gb_pipeline.reading.lake import Lake

# A wrong factor moves every session before its ex date; closes of single sessions are a matter of `gb compare`.
_FEW_SESSIONS = 0.02


def find_other_factors(state: ProjectState) -> HealthResult:
    """Series whose prices a vendor adjusted by other factors than its splits and dividends, as another source tells them, give."""
    name = "adjusted_prices"
    if not state.stores_something:
        return HealthResult(name, State.SKIPPED, "nothing is stored yet")
    lake = Lake(state.store)
    parts, unknown = [], []
    for pair in _find_pairs(lake):
        try:
            parts.append(_measure(pair, lake))
        except GbError as error:
            unknown.append(error)
    if not parts and not unknown:
        return HealthResult(
            name, State.SKIPPED, "no series is stored both as traded and, of another source, adjusted by its vendor"
        )
    series = pl.concat([_MEASURED.to_frame(), *parts])
    wrong = series.filter(pl.col("differ") > pl.col("sessions") * _FEW_SESSIONS)
    told = dict.fromkeys(error.what for error in unknown)
    if wrong.is_empty() and not told:
        return HealthResult(
            name, State.OK, f"prices that vendors adjusted are as ours: {series.height:,} series compared",
            counts={"series": series.height},
        )  # fmt: skip
    sentences = [f"it cannot be told of all: {problem}" for problem in told]
    if wrong.height:
        worst = wrong.sort("differ", descending=True).row(0, named=True)
        sentences.insert(
            0,
            f"{wrong.height:,} of {series.height:,} series were adjusted otherwise than by the splits and dividends that are"
            f" known, such as {worst['source']} {worst['symbol']} until {worst['until']}",
        )
    fixes = dict.fromkeys(error.fix for error in unknown)
    compare = [
        f"`gb compare {source} {other}` shows the sessions"
        for source, other in wrong["source", "other"].unique(maintain_order=True).rows()
    ]
    return HealthResult(
        name,
        State.WARN,
        "; ".join(sentences),
        wrong.height + len(told),
        {"series": series.height},
        wrong.sort("differ", descending=True).head(SAMPLE),
        f"gb actions fetch {' '.join(wrong['other'].unique().sort())}" if wrong.height else "",
        "; ".join([*compare[:3], *fixes]),
    )


_MEASURED = pl.Schema(
    {
        **dict.fromkeys(("source", "other", "symbol"), pl.String()),
        "sessions": pl.Int64(),
        "differ": pl.Int64(),
        "until": pl.Date(),
        "largest": pl.Float64(),
    }
)


def _find_pairs(lake: Lake) -> Iterator[Comparison]:
    """Daily bars that a vendor adjusted, and those of the same symbols that another source has as traded."""
    tables = lake.store.tables
    for source in lake.symbols()["source"].unique().sort():
        adjusted = {
            code
            for code, kind in stored_adjustments(tables, source, Resolution.DAY).items()
            if kind is not Adjustment.RAW
        }
        if not adjusted:
            continue
        for pair in find_comparisons(lake, source, None, Resolution.DAY, sorted(adjusted)):
            raw = stored_adjustments(tables, pair.other, Resolution.DAY, list(pair.symbols))
            codes = tuple(code for code in pair.symbols if raw.get(code) is Adjustment.RAW)
            if codes:
                yield replace(pair, symbols=codes)


def _measure(pair: Comparison, lake: Lake) -> pl.DataFrame:
    """By series, how many sessions have another close, and until when."""
    rows = pair.run(lake)
    differs = pl.col("close").abs() > PRICE_TOLERANCE
    return (
        rows.group_by("symbol", maintain_order=True)
        .agg(
            pl.lit(pair.source).first().alias("source"),
            pl.lit(pair.other).first().alias("other"),
            pl.len().cast(pl.Int64).alias("sessions"),
            differs.sum().cast(pl.Int64).alias("differ"),
            pl.col("session").filter(differs).max().alias("until"),
            pl.col("close").abs().max().alias("largest"),
        )
        .select(_MEASURED.names())
    )
