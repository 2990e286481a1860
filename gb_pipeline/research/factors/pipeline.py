"""`Pipeline`: which numbers are computed, under which names, and which symbols stay."""

from __future__ import annotations

from collections.abc import Mapping

from gb_pipeline.errors import ConfigError
from gb_pipeline.research.factors.nodes import Axis, Node, distinct, lookbacks
from gb_pipeline.research.factors.terms import Filter, Term

OWN_COLUMNS = ("session", "symbol")


class Pipeline:
    """Named terms, and a screen.

    Example:
        >>> close = EquityPricing.close
        >>> liquid = SMA(close * EquityPricing.volume, 20).top(500)
        >>> pipeline = Pipeline({"momentum": Returns(120), "cheap": close < 20}, screen=liquid)
    """

    def __init__(self, columns: Mapping[str, Term] | None = None, screen: Filter | None = None) -> None:
        """Name the columns.

        Args:
            columns: terms by the name of their column.
            screen: only rows for which it holds are returned; all by default. It changes no rank: that is what `mask` is for.

        Raises:
            ConfigError: a name that cannot be used, or what is no term.
        """
        self.columns: dict[str, Term] = {}
        if screen is not None and not isinstance(screen, Filter):
            raise ConfigError(f"a screen is a filter, not a {type(screen).__name__}", fix="compare it: factor > 0")
        self.screen = screen
        for name, term in (columns or {}).items():
            self.add(term, name)

    def add(self, term: Term, name: str) -> None:
        """One more column.

        Raises:
            ConfigError: the name is taken, or what is given is no term.
        """
        if not isinstance(name, str) or not name or name in OWN_COLUMNS:
            raise ConfigError(f"{name!r:.40} cannot be a column", fix="use another name")
        if name in self.columns:
            raise ConfigError(f"the pipeline has a column {name!r:.40} already", fix="use another name")
        if not isinstance(term, Term):
            raise ConfigError(
                f"{name!r:.40} is of type {type(term).__name__}, not a term", fix="use what operators return"
            )
        self.columns[name] = term

    @property
    def roots(self) -> list[Node]:
        """The nodes of the columns, and of the screen behind them."""
        terms = [*self.columns.values(), *([] if self.screen is None else [self.screen])]
        return [term.node for term in terms]

    @property
    def lookback(self) -> int:
        """How many sessions before its own a row depends on at most.

        Example:
            >>> Pipeline({"average": SMA(EquityPricing.close, 20)}).lookback
            19
        """
        nodes = distinct(self.roots)
        known = lookbacks(nodes)
        return max((known[root.digest] for root in self.roots), default=0)

    @property
    def benchmarks(self) -> list[str]:
        """Symbols that are asked for by name, in the universe or not."""
        return sorted({str(node.parameters[0]) for node in distinct(self.roots) if node.axis is Axis.BENCHMARK})
