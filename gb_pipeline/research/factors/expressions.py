"""Terms from text, as Qlib writes them: `"Mean($close, 20) / $close"`.

The text is parsed by Python's own grammar of expressions, and walked: only numbers, `$` columns, arithmetic, comparisons and the
functions of `FUNCTIONS` are let through. Nothing is evaluated as Python.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
from typing import Any

from gb_pipeline.errors import ConfigError
from gb_pipeline.market.spelling import did_you_mean, near_names
from gb_pipeline.research.factors import indicators, rolling
from gb_pipeline.research.factors.prices import FIELDS, field
from gb_pipeline.research.factors.terms import Factor, Filter, Term

# Longer texts and deeper ones are nobody's formula.
MOST_CHARACTERS = 4000
MOST_NODES = 1000
_COLUMN = re.compile(r"\$([A-Za-z_][A-Za-z0-9_.]*)")
_PREFIX = "column_"
_DOT = "__dot__"

_ARITHMETIC: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
    ast.Pow: lambda a, b: a**b,
    ast.BitAnd: lambda a, b: a & b,
    ast.BitOr: lambda a, b: a | b,
}
_COMPARISONS: Mapping[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: lambda a, b: a < b,
    ast.LtE: lambda a, b: a <= b,
    ast.Gt: lambda a, b: a > b,
    ast.GtE: lambda a, b: a >= b,
    ast.Eq: lambda a, b: a.eq(b) if isinstance(a, Term) else a == b,
    ast.NotEq: lambda a, b: ~a.eq(b) if isinstance(a, Term) else a != b,
}


def _reference(term: Factor, sessions: int) -> Factor:
    return term if sessions == 0 else term.shift(sessions)


def _greater(first: Any, second: Any) -> Factor:
    return _choose(first, second, greater=True)


def _less(first: Any, second: Any) -> Factor:
    return _choose(first, second, greater=False)


def _choose(first: Any, second: Any, *, greater: bool) -> Factor:
    """The larger or the smaller of two; null where one of them is."""
    if not isinstance(first, Term):
        first, second = second, first
    bigger: Filter = first >= second
    return bigger.if_else(first, second) if greater else bigger.if_else(second, first)


def _if(mask: Filter, yes: Any, no: Any) -> Factor:
    return mask.if_else(yes, no)


# Qlib's names; those of zipline and TA-Lib beside them.
FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "Ref": _reference,
    "Delay": _reference,
    "Delta": lambda term, sessions: term - term.shift(sessions),
    "Mean": rolling.rolling_mean,
    "Sum": rolling.rolling_sum,
    "Std": rolling.rolling_std,
    "Var": lambda term, window: rolling.rolling_std(term, window) ** 2,
    "Skew": rolling.rolling_skew,
    "Kurt": rolling.rolling_kurtosis,
    "Max": rolling.rolling_max,
    "Min": rolling.rolling_min,
    "Med": rolling.rolling_median,
    "Mad": rolling.rolling_mean_deviation,
    "Quantile": rolling.rolling_quantile,
    "Rank": rolling.rolling_rank,
    "Count": rolling.rolling_sum,
    "IdxMax": rolling.rolling_argmax,
    "IdxMin": rolling.rolling_argmin,
    "Slope": rolling.rolling_slope,
    "Rsquare": rolling.rolling_r_squared,
    "Resi": rolling.rolling_residual,
    "Corr": rolling.rolling_correlation,
    "RankCorr": rolling.rolling_rank_correlation,
    "Cov": rolling.rolling_covariance,
    "EMA": indicators.EMA,
    "SMA": indicators.SMA,
    "WMA": rolling.weighted_mean,
    "RSI": lambda term, window=14: indicators.RSI(window, term),
    "ATR": indicators.ATR,
    "Returns": lambda term, sessions=1: indicators.Returns(sessions, term),
    "Abs": lambda term: term.abs(),
    "Log": lambda term: term.log(),
    "Exp": lambda term: term.exp(),
    "Sqrt": lambda term: term.sqrt(),
    "Sign": lambda term: term.sign(),
    "Power": lambda term, power: term**power,
    "Greater": _greater,
    "Less": _less,
    "If": _if,
    "Not": lambda mask: ~mask,
    "IsNull": lambda term: term.is_null(),
    "Of": lambda term, symbol: term.of(symbol),
    "CSRank": lambda term: term.rank(),
    "CSZScore": lambda term: term.zscore(),
    "CSDemean": lambda term: term.demean(),
}


def parse_expression(text: str, columns: Mapping[str, Term] | None = None) -> Factor | Filter:
    """The term that a text describes.

    Args:
        text: numbers, `$open`, `$high`, `$low`, `$close`, `$volume`, `$vwap`, `$trade_count`, `+ - * / **`, comparisons, `& | ~`,
            and `FUNCTIONS`, with windows as whole numbers. `Rank` is within the window, `CSRank` among the symbols of a session.
        columns: what further `$` names stand for, such as columns of a dataset or other terms.

    Raises:
        ConfigError: anything else; the message says what, and at which character.

    Example:
        >>> parse_expression("(Mean($close, 5) - Mean($close, 20)) / $close")
    """
    if not isinstance(text, str) or not text.strip() or len(text) > MOST_CHARACTERS:
        raise ConfigError("an expression is a text of 1 to 4,000 characters", fix='such as "Mean($close, 20) / $close"')
    if _PREFIX in text or _DOT in text:
        raise ConfigError(f"{text!r:.80}: {_PREFIX} is reserved", fix="use another name")
    plain = _COLUMN.sub(lambda match: _PREFIX + match[1].replace(".", _DOT), text.strip())
    try:
        tree = ast.parse(plain, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        said = getattr(error, "msg", None) or "it is nested too deeply"
        raise ConfigError(f"{text!r:.80} is not an expression: {said}", fix="check parentheses and commas") from None
    if sum(1 for _ in ast.walk(tree)) > MOST_NODES:
        raise ConfigError(f"{text!r:.80} is too long", fix="split it: one column for each part")
    try:
        found = _Parser(text, columns or {}).visit(tree.body)
    except RecursionError:
        raise ConfigError(f"{text!r:.80} is nested too deeply", fix="split it") from None
    if not isinstance(found, Factor | Filter):
        raise ConfigError(f"{text!r:.80} has no column in it", fix="use one, such as $close")
    return found


class _Parser:
    """Walks a tree; every node that is not expected is refused."""

    def __init__(self, text: str, columns: Mapping[str, Term]) -> None:
        self.text = text
        self.columns = columns

    def visit(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Constant):
            return self._constant(node)
        if isinstance(node, ast.Name):
            return self._column(node)
        if isinstance(node, ast.Call):
            return self._call(node)
        if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
            return self._apply(_ARITHMETIC[type(node.op)], self.visit(node.left), self.visit(node.right))
        if isinstance(node, ast.UnaryOp):
            return self._unary(node)
        if isinstance(node, ast.Compare):
            if len(node.ops) != 1 or type(node.ops[0]) not in _COMPARISONS:
                raise self._refuse("compare two things at a time", 'write "(1 < $close) & ($close < 5)"')
            return self._apply(_COMPARISONS[type(node.ops[0])], self.visit(node.left), self.visit(node.comparators[0]))
        raise self._refuse(f"{type(node).__name__} is not allowed", "use numbers, $ columns, operators and functions")

    def _constant(self, node: ast.Constant) -> int | float | str:
        if isinstance(node.value, bool) or not isinstance(node.value, int | float | str):
            raise self._refuse(f"{node.value!r:.40} is not allowed", "use numbers")
        return node.value

    def _column(self, node: ast.Name) -> Term:
        if not node.id.startswith(_PREFIX):
            raise self._refuse(f"{node.id!r:.40} is no column", f"write ${node.id[:40]}")
        name = node.id.removeprefix(_PREFIX).replace(_DOT, ".")
        if name in self.columns:
            return self.columns[name]
        if name in FIELDS:
            return field(name)
        near = near_names(name, [*FIELDS, *self.columns], 1)
        raise self._refuse(f"there is no ${name[:40]}", did_you_mean(near) or f"use ${', $'.join(FIELDS)}")

    def _call(self, node: ast.Call) -> Any:
        if not isinstance(node.func, ast.Name) or node.keywords:
            raise self._refuse("only functions by name, without keywords", "such as Mean($close, 20)")
        name = node.func.id
        if name not in FUNCTIONS:
            near = near_names(name, list(FUNCTIONS), 1)
            raise self._refuse(f"there is no function {name[:40]}", did_you_mean(near) or f"use {', '.join(FUNCTIONS)}")
        return self._apply(FUNCTIONS[name], *(self.visit(argument) for argument in node.args), name=name)

    def _unary(self, node: ast.UnaryOp) -> Any:
        own = self.visit(node.operand)
        if isinstance(node.op, ast.USub):
            return self._apply(lambda value: -value, own)
        if isinstance(node.op, ast.UAdd):
            return own
        if isinstance(node.op, ast.Invert) and isinstance(own, Filter):
            return ~own
        raise self._refuse("this sign is not allowed here", "use - of a number or ~ of a filter")

    def _apply(self, function: Callable[..., Any], *arguments: Any, name: str = "an operator") -> Any:
        if name == "an operator" and not any(isinstance(argument, Term) for argument in arguments):
            return self._number(function, *arguments)
        try:
            return function(*arguments)
        except ConfigError as error:
            raise self._refuse(error.what, error.fix) from None
        except (TypeError, AttributeError):
            raise self._refuse(f"{name} cannot be used like this", "see the functions in docs/factors.md") from None

    def _number(self, function: Callable[..., Any], *numbers: Any) -> float:
        if any(isinstance(number, str) for number in numbers):
            raise self._refuse("a text is no number", "use numbers")
        try:
            # Of floats: a power of whole numbers could fill the memory.
            found = function(*(float(number) for number in numbers))
        except (OverflowError, ZeroDivisionError):
            raise self._refuse("a number that is not finite", "check the constants") from None
        if isinstance(found, complex):
            raise self._refuse("a number that is not real", "check the constants")
        whole = all(isinstance(number, int) for number in numbers) and float(found).is_integer() and abs(found) < 1e9
        return int(found) if whole else float(found)

    def _refuse(self, what: str, fix: str) -> ConfigError:
        return ConfigError(f"{self.text!r:.80}: {what}", fix=fix)
