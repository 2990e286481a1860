"""Factors of one's own: from an expression, from a function of arrays, or from a class with `compute`, as zipline's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, timedelta
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import polars as pl

from gb_pipeline.errors import ConfigError
from gb_pipeline.research.factors.nodes import Axis, Floats, Node, WindowRows
from gb_pipeline.research.factors.terms import Factor, Term, at_least

_EPOCH = date(1970, 1, 1)


def expression_factor(function: Callable[..., pl.Expr], inputs: Sequence[Term], window: int) -> Factor:
    """A factor from a Polars expression.

    Args:
        function: gets a column per input, the rows of one symbol in the order of time, and returns an expression of as many rows.
            A row's number must depend on its own row and the `window - 1` rows before it alone.
        inputs: terms.
        window: how many rows it looks at.

    Example:
        >>> typical_range = expression_factor(lambda high, low: (high - low).rolling_median(20), [Prices.high, Prices.low], 20)
    """
    count = at_least(window, 1, "a factor of your own")
    nodes = tuple(term.node for term in inputs)
    return Factor(Node("expression", (count, function), nodes, Axis.SERIES, function, lookback=count - 1))


def window_factor(function: Callable[..., Floats], inputs: Sequence[Term], window: int) -> Factor:
    """A factor from a function of arrays.

    Args:
        function: gets an array (rows, window) of float64 per input, the newest number last, and returns an array (rows,). Rows are
            of any symbols and sessions, in portions; those with a missing number are not among them.
        inputs: terms.
        window: how many rows it looks at.

    Example:
        >>> range_of_returns = window_factor(lambda returns: returns.max(axis=1) - returns.min(axis=1), [Returns()], 20)
    """
    count = at_least(window, 1, "a factor of your own")

    def compute(rows: WindowRows) -> Floats:
        return _as_column(function(*rows.windows), len(rows.sessions))

    nodes = tuple(term.node for term in inputs)
    return Factor(Node("window", (count, function), nodes, Axis.WINDOWS, arrays=compute, lookback=count - 1))


class CustomFactor(Factor):
    """A factor whose `compute` is called once a session, as zipline's.

    A subclass has `inputs`, `window_length` and `compute`; all symbols of the session that have rows enough take part, with NaN
    where a number is missing. It is computed for the rows of the result alone, so that nothing may roll over it.

    Example:
        >>> class TenDayRange(CustomFactor):
        ...     inputs = (EquityPricing.high, EquityPricing.low)
        ...     window_length = 10
        ...     def compute(self, today, assets, out, highs, lows):
        ...         out[:] = highs.max(axis=0) - lows.min(axis=0)
        >>> TenDayRange().rank()
    """

    inputs: ClassVar[Sequence[Term]] = ()
    window_length: ClassVar[int] = 1
    __slots__ = ()

    def __init__(self, inputs: Sequence[Term] | None = None, window_length: int | None = None) -> None:
        """Make the term.

        Args:
            inputs, window_length: instead of those of the class.
        """
        count = at_least(window_length or self.window_length, 1, "a window")
        nodes = tuple(term.node for term in (inputs or self.inputs))
        if not nodes:
            raise ConfigError(f"{type(self).__name__} has no inputs", fix="name them: inputs = (EquityPricing.close,)")
        super().__init__(
            Node(
                "custom", (count, id(type(self))), nodes, Axis.WINDOWS,
                arrays=self._compute, by_session=True, lookback=count - 1,
            )
        )  # fmt: skip

    def compute(self, today: date, assets: npt.NDArray[Any], out: Floats, *arrays: Floats) -> None:
        """Write the numbers of a session.

        Args:
            today: the session whose bar is the newest one in the windows.
            assets: codes of the symbols, shape (symbols,).
            out: where the numbers go, shape (symbols,), NaN so far.
            arrays: a window per input, shape (window_length, symbols), the newest row last.
        """
        raise NotImplementedError(f"{type(self).__name__} has no `compute`")

    def _compute(self, rows: WindowRows) -> Floats:
        out = np.full(len(rows.sessions), np.nan)
        today = _EPOCH + timedelta(days=int(rows.sessions[0]))
        codes = np.array(rows.names, dtype=object)[rows.symbols]
        self.compute(today, codes, out, *(window.T for window in rows.windows))
        return out


def _as_column(numbers: Any, count: int) -> Floats:
    column = np.asarray(numbers, np.float64)
    if column.shape != (count,):
        raise ConfigError(
            f"a factor of your own returned {column.shape} for {count} rows", fix="return one number a row"
        )
    return column
