"""Qlib's Alpha158: 158 factors of daily bars, as texts, by Qlib's names and formulas.

Formulas: `Alpha158DL.get_feature_config` of Microsoft's Qlib (MIT licence), with its default windows of 5, 10, 20, 30 and 60.
Differences: a window with a missing bar has no number here, where Qlib's rolls over what there is; and `$vwap` is the vendor's.
"""

from __future__ import annotations

from gb_pipeline.research.factors.expressions import parse_expression
from gb_pipeline.research.factors.pipeline import Pipeline
from gb_pipeline.research.factors.terms import Filter

WINDOWS = (5, 10, 20, 30, 60)
# Qlib adds this to what may be zero.
_TINY = "1e-12"

_CANDLE = {
    "KMID": "($close-$open)/$open",
    "KLEN": "($high-$low)/$open",
    "KMID2": f"($close-$open)/($high-$low+{_TINY})",
    "KUP": "($high-Greater($open, $close))/$open",
    "KUP2": f"($high-Greater($open, $close))/($high-$low+{_TINY})",
    "KLOW": "(Less($open, $close)-$low)/$open",
    "KLOW2": f"(Less($open, $close)-$low)/($high-$low+{_TINY})",
    "KSFT": "(2*$close-$high-$low)/$open",
    "KSFT2": f"(2*$close-$high-$low)/($high-$low+{_TINY})",
}
_PRICE = {f"{name.upper()}0": f"${name}/$close" for name in ("open", "high", "low", "vwap")}
_GAIN, _LOSS = "Greater($close-Ref($close, 1), 0)", "Greater(Ref($close, 1)-$close, 0)"
_MOVE = "Abs($close-Ref($close, 1))"
_VGAIN, _VLOSS = "Greater($volume-Ref($volume, 1), 0)", "Greater(Ref($volume, 1)-$volume, 0)"
_VMOVE = "Abs($volume-Ref($volume, 1))"
_WEIGHTED = "Abs($close/Ref($close, 1)-1)*$volume"
_ROLLING = {
    "ROC": "Ref($close, {d})/$close",
    "MA": "Mean($close, {d})/$close",
    "STD": "Std($close, {d})/$close",
    "BETA": "Slope($close, {d})/$close",
    "RSQR": "Rsquare($close, {d})",
    "RESI": "Resi($close, {d})/$close",
    "MAX": "Max($high, {d})/$close",
    "MIN": "Min($low, {d})/$close",
    "QTLU": "Quantile($close, {d}, 0.8)/$close",
    "QTLD": "Quantile($close, {d}, 0.2)/$close",
    "RANK": "Rank($close, {d})",
    "RSV": f"($close-Min($low, {{d}}))/(Max($high, {{d}})-Min($low, {{d}})+{_TINY})",
    "IMAX": "IdxMax($high, {d})/{d}",
    "IMIN": "IdxMin($low, {d})/{d}",
    "IMXD": "(IdxMax($high, {d})-IdxMin($low, {d}))/{d}",
    "CORR": "Corr($close, Log($volume+1), {d})",
    "CORD": "Corr($close/Ref($close,1), Log($volume/Ref($volume, 1)+1), {d})",
    "CNTP": "Mean($close>Ref($close, 1), {d})",
    "CNTN": "Mean($close<Ref($close, 1), {d})",
    "CNTD": "Mean($close>Ref($close, 1), {d})-Mean($close<Ref($close, 1), {d})",
    "SUMP": f"Sum({_GAIN}, {{d}})/(Sum({_MOVE}, {{d}})+{_TINY})",
    "SUMN": f"Sum({_LOSS}, {{d}})/(Sum({_MOVE}, {{d}})+{_TINY})",
    "SUMD": f"(Sum({_GAIN}, {{d}})-Sum({_LOSS}, {{d}}))/(Sum({_MOVE}, {{d}})+{_TINY})",
    "VMA": f"Mean($volume, {{d}})/($volume+{_TINY})",
    "VSTD": f"Std($volume, {{d}})/($volume+{_TINY})",
    "WVMA": f"Std({_WEIGHTED}, {{d}})/(Mean({_WEIGHTED}, {{d}})+{_TINY})",
    "VSUMP": f"Sum({_VGAIN}, {{d}})/(Sum({_VMOVE}, {{d}})+{_TINY})",
    "VSUMN": f"Sum({_VLOSS}, {{d}})/(Sum({_VMOVE}, {{d}})+{_TINY})",
    "VSUMD": f"(Sum({_VGAIN}, {{d}})-Sum({_VLOSS}, {{d}}))/(Sum({_VMOVE}, {{d}})+{_TINY})",
}
FORMULAS: dict[str, str] = {
    **_CANDLE,
    **_PRICE,
    **{f"{name}{window}": text.format(d=window) for name, text in _ROLLING.items() for window in WINDOWS},
}


def alpha158(screen: Filter | None = None) -> Pipeline:
    """A pipeline of all 158.

    Example:
        >>> len(alpha158().columns)
        158
    """
    return Pipeline({name: parse_expression(text) for name, text in FORMULAS.items()}, screen)
