"""What a pipeline is written with: `Factor` (numbers), `Filter` (yes or no), `Classifier` (groups), each a node of the graph.

A term is a description; nothing is read or computed before the pipeline runs. Operators build new terms.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, ClassVar, TypeVar

import polars as pl
from polars.datatypes import DataType

from gb_pipeline.errors import ConfigError
from gb_pipeline.research.factors import cross_section
from gb_pipeline.research.factors.nodes import Axis, Build, Node

Number = int | float
_Term = TypeVar("_Term", bound="Term")


class Term:
    """One number, flag or group of every symbol and session; made by operators, indicators and datasets, not by hand."""

    __slots__ = ("node",)
    data_type: ClassVar[DataType] = pl.Null()

    def __init__(self, node: Node) -> None:
        """Wrap a node of the graph."""
        self.node = node

    def __repr__(self) -> str:
        """The operation and its parameters."""
        return f"{type(self).__name__}({self.node.operation}{list(self.node.parameters)})"

    def __bool__(self) -> bool:
        """Refuse `and`, `or`, `not` and chained comparisons, which Python would decide here and now."""
        raise ConfigError("a term has no truth before its pipeline runs", fix="combine filters with &, | and ~")

    @property
    def latest(self: _Term) -> _Term:
        """The term itself: the newest value that the session may see, as zipline calls it."""
        return self

    def shift(self: _Term, sessions: int = 1) -> _Term:
        """The value of so many sessions earlier, at least 1; in shares of the row's own day, where it is a price.

        Example:
            >>> momentum = EquityPricing.close.shift(21) / EquityPricing.close.shift(252) - 1
        """
        count = at_least(sessions, 1, "shift")
        return type(self)(Node("shift", (count,), (self.node,), Axis.EARLIER, lookback=count))

    def is_null(self) -> Filter:
        """Where there is no value."""
        return Filter(Node("is_null", (), (self.node,), build=lambda own: own.is_null()))

    def is_not_null(self) -> Filter:
        """Where there is one."""
        return Filter(Node("is_not_null", (), (self.node,), build=lambda own: own.is_not_null()))

    def eq(self, other: Term | Hashable) -> Filter:
        """Where both are equal; `==` compares descriptions."""
        return Filter(_combine("==", lambda a, b: a == b, self, other))


class Filter(Term):
    """Yes or no. Combine with `&`, `|` and `~`; null is neither."""

    __slots__ = ()
    data_type = pl.Boolean()

    def __and__(self, other: Filter) -> Filter:
        """Both."""
        return Filter(_combine("&", lambda a, b: a & b, self, other))

    def __or__(self, other: Filter) -> Filter:
        """Either."""
        return Filter(_combine("|", lambda a, b: a | b, self, other))

    def __invert__(self) -> Filter:
        """The opposite."""
        return Filter(Node("~", (), (self.node,), build=lambda own: ~own))

    def all_of(self, sessions: int) -> Filter:
        """Where it held at each of the last sessions."""
        count = at_least(sessions, 1, "all_of")
        return Filter(
            Node(
                "all_of", (count,), (self.node,), Axis.SERIES,
                lambda own: own.cast(pl.Int8).rolling_min(count, min_samples=count) == 1, lookback=count - 1,
            )
        )  # fmt: skip

    def if_else(self, yes: Factor | Number, no: Factor | Number) -> Factor:
        """`yes` where it holds and `no` where it does not."""
        inputs = (self.node, as_node(yes), as_node(no))
        return Factor(Node("if_else", (), inputs, build=lambda on, a, b: pl.when(on).then(a).when(~on).then(b)))


class Classifier(Term):
    """A group: a sector, a quantile. Equal values are one group; null is in none."""

    __slots__ = ()

    @property
    def data_type(self) -> DataType:  # type: ignore[override]
        """Int32 of quantiles, else what the dataset says."""
        if self.node.source is None:
            return pl.Int32() if self.node.operation == "quantiles" else pl.String()
        dataset, name = self.node.source
        kind = dataset.columns[name]
        return kind if isinstance(kind, DataType) else kind()

    def is_in(self, values: list[Hashable] | tuple[Hashable, ...]) -> Filter:
        """Where it is one of some values."""
        chosen = tuple(values)
        return Filter(Node("is_in", chosen, (self.node,), build=lambda own: own.is_in(list(chosen))))


class Factor(Term):
    """A number, Float64. Arithmetic and comparisons make new terms; a division by zero and 0/0 are null."""

    __slots__ = ()
    data_type = pl.Float64()

    def __add__(self, other: Factor | Number) -> Factor:
        """Sum."""
        return Factor(_combine("+", lambda a, b: a + b, self, other))

    def __radd__(self, other: Number) -> Factor:
        """Sum."""
        return Factor(_combine("+", lambda a, b: a + b, other, self))

    def __sub__(self, other: Factor | Number) -> Factor:
        """Difference."""
        return Factor(_combine("-", lambda a, b: a - b, self, other))

    def __rsub__(self, other: Number) -> Factor:
        """Difference."""
        return Factor(_combine("-", lambda a, b: a - b, other, self))

    def __mul__(self, other: Factor | Number) -> Factor:
        """Product."""
        return Factor(_combine("*", lambda a, b: a * b, self, other))

    def __rmul__(self, other: Number) -> Factor:
        """Product."""
        return Factor(_combine("*", lambda a, b: a * b, other, self))

    def __truediv__(self, other: Factor | Number) -> Factor:
        """Quotient; null where it is divided by zero."""
        return quotient(self, other)

    def __rtruediv__(self, other: Number) -> Factor:
        """Quotient; null where it is divided by zero."""
        return quotient(other, self)

    def __pow__(self, power: Factor | Number) -> Factor:
        """Power; null where it is no real number."""
        return Factor(_combine("**", lambda a, b: real(a.pow(b)), self, power))

    def __neg__(self) -> Factor:
        """Negative."""
        return Factor(Node("neg", (), (self.node,), build=lambda own: -own))

    def __lt__(self, other: Factor | Number) -> Filter:
        """Less."""
        return Filter(_combine("<", lambda a, b: a < b, self, other))

    def __le__(self, other: Factor | Number) -> Filter:
        """At most."""
        return Filter(_combine("<=", lambda a, b: a <= b, self, other))

    def __gt__(self, other: Factor | Number) -> Filter:
        """More."""
        return Filter(_combine(">", lambda a, b: a > b, self, other))

    def __ge__(self, other: Factor | Number) -> Filter:
        """At least."""
        return Filter(_combine(">=", lambda a, b: a >= b, self, other))

    def abs(self) -> Factor:
        """Absolute value."""
        return self._row("abs", lambda own: own.abs())

    def log(self) -> Factor:
        """Natural logarithm; null where the number is not above 0."""
        return self._row("log", lambda own: pl.when(own > 0).then(own.log()))

    def exp(self) -> Factor:
        """Exponential."""
        return self._row("exp", lambda own: real(own.exp()))

    def sqrt(self) -> Factor:
        """Square root; null of a negative number."""
        return self._row("sqrt", lambda own: pl.when(own >= 0).then(own.sqrt()))

    def sign(self) -> Factor:
        """-1, 0 or 1."""
        return self._row("sign", lambda own: own.sign())

    def clip(self, low: Number | None = None, high: Number | None = None) -> Factor:
        """Numbers beyond the limits become the limits."""
        return Factor(Node("clip", (low, high), (self.node,), build=lambda own: own.clip(low, high)))

    def fill_null(self, value: Number) -> Factor:
        """A number where there is none."""
        return Factor(Node("fill_null", (value,), (self.node,), build=lambda own: own.fill_null(float(value))))

    def where(self, mask: Filter) -> Factor:
        """The number where a filter holds, null elsewhere."""
        return Factor(Node("where", (), (self.node, mask.node), build=lambda own, on: pl.when(on).then(own)))

    def between(self, low: Number, high: Number) -> Filter:
        """Where it lies between two numbers, both included."""
        return (self >= low) & (self <= high)

    def rank(
        self,
        *,
        ascending: bool = True,
        method: str = "ordinal",
        mask: Filter | None = None,
        groupby: Classifier | None = None,
    ) -> Factor:
        """Place among the symbols of the session, from 1.

        Args:
            ascending: 1 is the smallest number.
            method: of ties: `ordinal` (in the order of symbols), `average`, `min`, `max`, `dense`.
            mask: only symbols for which it holds take part; others have no rank.
            groupby: rank within each group.
        """
        method = one_of(method, ("ordinal", "average", "min", "max", "dense"), "a method of ranking")
        build = cross_section.rank(method, descending=not ascending)
        return Factor(self._across("rank", (ascending, method), build, mask, groupby))

    def zscore(self, *, mask: Filter | None = None, groupby: Classifier | None = None) -> Factor:
        """Distance from the mean of the session, in standard deviations of the population; null where all are equal."""
        return Factor(self._across("zscore", (), cross_section.zscore, mask, groupby))

    def demean(self, *, mask: Filter | None = None, groupby: Classifier | None = None) -> Factor:
        """Distance from the mean of the session."""
        return Factor(self._across("demean", (), cross_section.demean, mask, groupby))

    def winsorize(
        self, low: float, high: float, *, mask: Filter | None = None, groupby: Classifier | None = None
    ) -> Factor:
        """The smallest and the largest numbers become the nearest that stay.

        Args:
            low, high: percentiles as fractions, such as 0.05 and 0.95: of n numbers `floor(low * n)` small ones and
                `floor((1 - high) * n)` large ones are changed.
        """
        if not 0 <= low < high <= 1:
            raise ConfigError(f"winsorize({low}, {high})", fix="use 0 <= low < high <= 1")
        return Factor(self._across("winsorize", (low, high), cross_section.winsorize(low, high), mask, groupby))

    def quantiles(self, bins: int, *, mask: Filter | None = None, groupby: Classifier | None = None) -> Classifier:
        """The bin of each number, 0 to bins - 1, with as many symbols in each as possible: by rank, ties by their average."""
        count = at_least(bins, 1, "quantiles")
        return Classifier(self._across("quantiles", (count,), cross_section.quantiles(count), mask, groupby))

    def quartiles(self, *, mask: Filter | None = None, groupby: Classifier | None = None) -> Classifier:
        """`quantiles(4)`."""
        return self.quantiles(4, mask=mask, groupby=groupby)

    def deciles(self, *, mask: Filter | None = None, groupby: Classifier | None = None) -> Classifier:
        """`quantiles(10)`."""
        return self.quantiles(10, mask=mask, groupby=groupby)

    def top(self, count: int, *, mask: Filter | None = None, groupby: Classifier | None = None) -> Filter:
        """The largest numbers of the session, exactly so many where there are enough; ties in the order of symbols."""
        ranked = self.rank(ascending=False, mask=mask, groupby=groupby)
        return ranked <= at_least(count, 1, "top")

    def bottom(self, count: int, *, mask: Filter | None = None, groupby: Classifier | None = None) -> Filter:
        """The smallest numbers of the session."""
        return self.rank(mask=mask, groupby=groupby) <= at_least(count, 1, "bottom")

    def percentile_between(
        self, low: float, high: float, *, mask: Filter | None = None, groupby: Classifier | None = None
    ) -> Filter:
        """Where the number lies between two percentiles of the session (0 to 100, both included, interpolated)."""
        if not 0 <= low < high <= 100:
            raise ConfigError(f"percentile_between({low}, {high})", fix="use 0 <= low < high <= 100")
        build = cross_section.percentile_between(low / 100, high / 100)
        return Filter(self._across("percentile_between", (low, high), build, mask, groupby))

    def of(self, symbol: str) -> Factor:
        """The number of one symbol, for every symbol of the session: a benchmark.

        Example:
            >>> beta = linear_regression(Returns(), Returns().of("SPY"), 60).slope
        """
        return Factor(Node("of", (str(symbol),), (self.node,), Axis.BENCHMARK))

    def _row(self, name: str, build: Build) -> Factor:
        return Factor(Node(name, (), (self.node,), build=build))

    def _across(
        self, name: str, parameters: tuple[Hashable, ...], build: Build, mask: Filter | None, groupby: Classifier | None
    ) -> Node:
        masked = self if mask is None else self.where(mask)
        own = masked.node
        if groupby is None:
            return Node(name, parameters, (own,), Axis.SESSION, build)
        return Node(name, (*parameters, "by"), (own, groupby.node), Axis.SESSION, build)


def as_node(value: Any) -> Node:
    """The node of a term, or of a constant."""
    if isinstance(value, Term):
        return value.node
    if isinstance(value, bool | int | float | str):
        constant = float(value) if isinstance(value, int) and not isinstance(value, bool) else value
        return Node("constant", (constant,), build=lambda: pl.lit(constant))
    raise ConfigError(f"a {type(value).__name__} is no term and no number", fix="use terms, numbers or texts")


def _combine(name: str, build: Callable[[pl.Expr, pl.Expr], pl.Expr], left: Any, right: Any) -> Node:
    return Node(name, (), (as_node(left), as_node(right)), build=build)


def quotient(above: Any, below: Any) -> Factor:
    """One term divided by another one, null where that is zero; what is divided by is made once for all its quotients."""
    nonzero = Node("nonzero", (), (as_node(below),), build=lambda own: pl.when(own != 0).then(own))
    return Factor(Node("/", (), (as_node(above), nonzero), build=lambda a, b: a / b))


def real(numbers: pl.Expr) -> pl.Expr:
    """The numbers; null where they are infinite or none."""
    return pl.when(numbers.is_finite()).then(numbers)


def at_least(value: int, smallest: int, what: str) -> int:
    """A count of sessions, symbols or bins.

    Raises:
        ConfigError: it is no whole number, or too small.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < smallest:
        raise ConfigError(f"{what}: {value!r:.40} is not a count", fix=f"use a whole number of at least {smallest}")
    return value


def one_of(value: str, names: tuple[str, ...], what: str) -> str:
    """A name out of some.

    Raises:
        ConfigError: it is none of them.
    """
    if value not in names:
        raise ConfigError(f"{value!r:.40} is not {what}", fix=f"use {', '.join(names)}")
    return value
