"""Alpha158 over real equities, against the same formulas in pandas."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import polars as pl
import pytest

from gb_pipeline import Lake, alpha158, run_pipeline
from gb_pipeline.research.factors.alpha158 import FORMULAS, WINDOWS

START, END = "2012-07-02", "2013-07-01"


@pytest.fixture(scope="module")
def bars(equities: Lake) -> pd.DataFrame:
    return equities.pandas("KO", "1d", "2012-01-01", END)


@pytest.fixture(scope="module")
def ours(equities: Lake) -> pl.DataFrame:
    rows = run_pipeline(
        alpha158(), START, END, lake=equities, universe=["AAPL", "KO"], calendar="XNYS", adjustment=None
    )
    assert rows.width == 160
    return rows.filter(pl.col("symbol") == "KO")


def by_hand(bars: pd.DataFrame) -> dict[str, pd.Series]:
    """Each factor by its definition; Qlib's own rolling operators are pandas' too."""
    o, h, low, c, v = (bars[name] for name in ("open", "high", "low", "close", "volume"))
    p, u = c.shift(1), v.shift(1)
    tiny = 1e-12
    top, bottom = np.maximum(o, c), np.minimum(o, c)
    found = {
        "KMID": (c - o) / o, "KLEN": (h - low) / o, "KMID2": (c - o) / (h - low + tiny),
        "KUP": (h - top) / o, "KUP2": (h - top) / (h - low + tiny),
        "KLOW": (bottom - low) / o, "KLOW2": (bottom - low) / (h - low + tiny),
        "KSFT": (2 * c - h - low) / o, "KSFT2": (2 * c - h - low) / (h - low + tiny),
        "OPEN0": o / c, "HIGH0": h / c, "LOW0": low / c, "VWAP0": bars["vwap"] / c,
    }  # fmt: skip
    gain, loss, move = (c - p).clip(lower=0), (p - c).clip(lower=0), (c - p).abs()
    vgain, vloss, vmove = (v - u).clip(lower=0), (u - v).clip(lower=0), (v - u).abs()
    weighted = (c / p - 1).abs() * v
    for d in WINDOWS:
        steps = np.arange(d)

        def line(window: np.ndarray, steps: np.ndarray = steps) -> tuple[float, float]:
            slope, intercept = np.polyfit(steps, window, 1)
            return slope, intercept + slope * steps[-1]

        def rolled(own: pd.Series, function: Callable[[np.ndarray], float], d: int = d) -> pd.Series:
            return own.rolling(d).apply(function, raw=True)

        ups, downs = (c > p).where(p.notna()).astype(float), (c < p).where(p.notna()).astype(float)
        found |= {f"{name}{d}": own for name, own in {
            "ROC": c.shift(d) / c,
            "MA": c.rolling(d).mean() / c,
            "STD": c.rolling(d).std() / c,
            "BETA": rolled(c, lambda own: line(own)[0]) / c,
            "RSQR": rolled(c, lambda own: np.corrcoef(np.arange(len(own)), own)[0, 1] ** 2),
            "RESI": rolled(c, lambda own: own[-1] - line(own)[1]) / c,
            "MAX": h.rolling(d).max() / c,
            "MIN": low.rolling(d).min() / c,
            "QTLU": c.rolling(d).quantile(0.8) / c,
            "QTLD": c.rolling(d).quantile(0.2) / c,
            "RANK": c.rolling(d).rank(pct=True),
            "RSV": (c - low.rolling(d).min()) / (h.rolling(d).max() - low.rolling(d).min() + tiny),
            "IMAX": rolled(h, lambda own: np.argmax(own) + 1) / d,
            "IMIN": rolled(low, lambda own: np.argmin(own) + 1) / d,
            "IMXD": (rolled(h, np.argmax) - rolled(low, np.argmin)) / d,
            "CORR": c.rolling(d).corr(np.log(v + 1)),
            "CORD": (c / p).rolling(d).corr(np.log(v / u + 1)),
            "CNTP": ups.rolling(d).mean(),
            "CNTN": downs.rolling(d).mean(),
            "CNTD": ups.rolling(d).mean() - downs.rolling(d).mean(),
            "SUMP": gain.rolling(d).sum() / (move.rolling(d).sum() + tiny),
            "SUMN": loss.rolling(d).sum() / (move.rolling(d).sum() + tiny),
            "SUMD": (gain.rolling(d).sum() - loss.rolling(d).sum()) / (move.rolling(d).sum() + tiny),
            "VMA": v.rolling(d).mean() / (v + tiny),
            "VSTD": v.rolling(d).std() / (v + tiny),
            "WVMA": weighted.rolling(d).std() / (weighted.rolling(d).mean() + tiny),
            "VSUMP": vgain.rolling(d).sum() / (vmove.rolling(d).sum() + tiny),
            "VSUMN": vloss.rolling(d).sum() / (vmove.rolling(d).sum() + tiny),
            "VSUMD": (vgain.rolling(d).sum() - vloss.rolling(d).sum()) / (vmove.rolling(d).sum() + tiny),
        }.items()}  # fmt: skip
    return found


def test_all_158_are_those_of_pandas(bars: pd.DataFrame, ours: pl.DataFrame) -> None:
    expected = by_hand(bars)
    assert set(expected) == set(FORMULAS)
    # The row of a session is computed from the bars of those before.
    last = {name: own.iloc[-ours.height - 1 : -1] for name, own in expected.items()}
    assert list(last["KMID"].index.date[1:]) == ours["session"].to_list()[:-1]
    for name, own in last.items():
        assert ours[name].to_numpy() == pytest.approx(own.to_numpy(), rel=2e-6, abs=1e-9), name
