"""Where the numbers of a pipeline come from: datasets, and the loaders that read their columns.

A loader hands out what was published, and when; which of it a session may see is decided in `events`, in one place for all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Protocol

import polars as pl
from polars.datatypes import DataType, DataTypeClass

from gb_pipeline.errors import ConfigError, WindowRefused
from gb_pipeline.market.moments import INSTANT
from gb_pipeline.market.spelling import did_you_mean, near_names
from gb_pipeline.reading.lake import Lake
from gb_pipeline.research.factors.nodes import Axis, Node
from gb_pipeline.research.factors.terms import Classifier, Factor, Filter

KEY = {"symbol": pl.String(), "session": pl.Date(), "known_at": INSTANT}


@dataclass(frozen=True)
class LoadRequest:
    """What a pipeline asks a loader for.

    Attributes:
        columns: the names of the columns that are wanted.
        symbols: whose; a symbol without a row has no number.
        start, end: the sessions that are computed, half-open. A session sees the newest row that was known before it opened, so
            rows from before `start` are wanted as well: at least the newest of each symbol.
        lake: what the pipeline reads.
        source: whose rows; None where it was not named.
        as_of: nothing that became known later is wanted; None for everything that is known now.
        strict: of what was published, a session sees only what the lake knew when it opened.
    """

    columns: tuple[str, ...]
    symbols: tuple[str, ...]
    start: date
    end: date
    lake: Lake
    source: str | None = None
    as_of: datetime | None = None
    strict: bool = False


class Loader(Protocol):
    """Reads the columns of a dataset.

    Example:
        >>> class EarningsOfAFile:
        ...     def load(self, request: LoadRequest) -> pl.DataFrame:
        ...         return pl.read_parquet("earnings.parquet").filter(pl.col("symbol").is_in(request.symbols))
        >>> earnings = Dataset("earnings", {"eps": pl.Float64()}, EarningsOfAFile())
        >>> surprise = earnings["eps"] > 0
    """

    def load(self, request: LoadRequest) -> pl.DataFrame:
        """Rows of the dataset, in any order.

        Returns:
            `symbol` (String), `session` (Date: the day or the end of the fiscal period that a row is about), `known_at` (Datetime
            us UTC: the moment from which it could be read) and a column per name of `request.columns`. A value may be null:
            it was published that there is none. Several rows of a symbol and session are versions of one another.
        """
        ...


@dataclass(frozen=True, eq=False)
class Dataset:
    """Columns that one loader reads.

    At each session a column is the value of the newest `session` that was known when the session opened, in its newest version; a
    later restatement of an older period does not come back in its place.

    Attributes:
        name: of the dataset, for messages; two datasets of one pipeline have different names.
        columns: data types by name: numbers become a `Factor`, Boolean a `Filter`, String and Categorical a `Classifier`.
        loader: reads them.
        max_age: how long after its `known_at` a value is still seen; None for ever.

    Example:
        >>> fundamentals = Dataset("fundamentals", {"revenue": pl.Float64(), "sector": pl.String()}, loader)
        >>> fundamentals["revenue"].rank(groupby=fundamentals["sector"])
    """

    name: str
    columns: Mapping[str, DataType | DataTypeClass]
    loader: Loader
    max_age: timedelta | None = field(default=None)

    def __getitem__(self, name: str) -> Factor | Filter | Classifier:
        """The term of a column.

        Raises:
            ConfigError: there is none of this name.
        """
        if name not in self.columns:
            near = near_names(str(name)[:40], list(self.columns), 1)
            raise ConfigError(
                f"{self.name} has no column {str(name)[:40]!r}",
                fix=f"{did_you_mean(near)} it has {', '.join(self.columns)}".strip(),
            )
        node = Node("column", (self.name, name, id(self.loader)), axis=Axis.SOURCE, source=(self, name))
        return _kind_of(self.columns[name])(node)

    def load(self, request: LoadRequest) -> pl.DataFrame:
        """What the loader returns, checked.

        Returns:
            `symbol, session, known_at` and the columns that were asked for, cast to the types of the dataset, sorted.

        Raises:
            WindowRefused: columns are missing, cannot be cast without a loss, or a key is null.
        """
        rows = self.loader.load(request)
        wanted = {**KEY, **{name: self.columns[name] for name in request.columns}}
        missing = [name for name in wanted if name not in rows.columns]
        if missing:
            raise WindowRefused(
                f"the loader of {self.name} returned no column {', '.join(missing)}",
                fix=f"return {', '.join(wanted)}",
            )
        known = rows.schema["known_at"]
        if not isinstance(known, pl.Datetime) or known.time_zone is None:
            raise WindowRefused(f"`known_at` of {self.name} has no time zone", fix="return Datetime('us', 'UTC')")
        rows = rows.with_columns(pl.col("known_at").dt.convert_time_zone("UTC"))
        try:
            checked = rows.select(pl.col(name).cast(kind) for name, kind in wanted.items())
        except pl.exceptions.PolarsError as error:
            raise WindowRefused(
                f"what the loader of {self.name} returned cannot be cast: {str(error).splitlines()[0]}",
                fix="return the data types that the dataset declares",
            ) from error
        if checked.select(pl.any_horizontal(pl.col(name).is_null().any() for name in KEY)).item():
            raise WindowRefused(f"a row of {self.name} has no symbol, session or known_at", fix="leave such rows out")
        checked = checked.filter(pl.col("symbol").is_in(list(request.symbols)))
        if request.as_of is not None:
            checked = checked.filter(pl.col("known_at") <= request.as_of)
        return checked.sort("symbol", "known_at", "session", maintain_order=True)


def _kind_of(kind: DataType | DataTypeClass) -> type[Factor] | type[Filter] | type[Classifier]:
    if kind == pl.Boolean:
        return Filter
    if kind.is_numeric():
        return Factor
    return Classifier
