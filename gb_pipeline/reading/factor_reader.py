"""`FactorReader`, the method of a lake about stored factors. `lake.factors` keeps them, and is imported when it is asked."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta

import polars as pl

from gb_pipeline.errors import ConfigError
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.factor_schema import POLARS_TYPES, FactorKind
from gb_pipeline.market.spelling import did_you_mean, near_names
from gb_pipeline.reading.arguments import Moment, Symbols, moment, named_symbols

_KEY = ["session", "symbol"]


class FactorReader:
    """Numbers that were computed for every symbol and session, and stored."""

    _store: LakeStore

    def factors(
        self,
        name: str,
        start: Moment | None = None,
        end: Moment | None = None,
        *,
        columns: str | Sequence[str] | None = None,
        symbols: Symbols | None = None,
        as_of: Moment | None = None,
    ) -> pl.DataFrame:
        """The stored values of a set of gb.yaml: a row for each session and symbol, a column for each factor.

        A row of a session was computed from what was known before the session opened, as in `run_pipeline`.

        Args:
            name: of the set.
            start, end: half-open range of sessions.
            columns: factors of the set; all by default.
            symbols: one or several; all by default.
            as_of: as they were stored at this moment, before bars were corrected.

        Returns:
            `session` (Date), `symbol` (String), and a column per factor: Float64 of numbers, Boolean of flags, Int32 of quantiles,
            String of texts; null where no number could be computed. Sorted by session and symbol.

        Raises:
            ConfigError: nothing was ever computed of such a set, or it has no such factor.

        Example:
            >>> lake.factors("momentum", "2024-01-01", "2024-02-01", columns="trend").columns
            ['session', 'symbol', 'trend']
        """
        from gb_pipeline.lake import factors

        clock = self._store.clock
        asked = moment(as_of, clock)
        runs = factors.read_runs(self._store.tables, name, asked)
        if runs.is_empty():
            known = factors.read_runs(self._store.tables)["factor_set"].unique().sort().to_list()
            when = "" if asked is None else f" by {asked.isoformat()}"
            near = did_you_mean(near_names(str(name)[:40], known, 1)) if name not in known else ""
            raise ConfigError(
                f"no factors {str(name)[:40]!r} were computed{when}",
                fix=near or "compute them: gb factors run, or materialize the asset",
            )
        wanted = [columns] if isinstance(columns, str) else None if columns is None else list(columns)
        order = list(dict.fromkeys(each for row in reversed(runs["columns"].to_list()) for each in row))
        unknown = sorted(set(wanted or ()) - set(order))
        if unknown:
            near = did_you_mean(near_names(unknown[0], order, 1))
            raise ConfigError(f"{name} has no factor {unknown[0]!r:.40}", fix=near or f"it has {', '.join(order[:20])}")
        rows = factors.read(
            self._store.tables, name, _day(moment(start, clock)), _day(moment(end, clock)),
            factors=wanted, symbols=named_symbols(symbols), as_of=asked,
        )  # fmt: skip
        return _widen(rows, wanted or order)


def _widen(rows: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """A column per factor that has rows, in this order; factors that a set has no more and never stored are left out."""
    wide = rows.select(_KEY).unique(maintain_order=True)
    parts = rows.partition_by("factor", as_dict=True)
    for name in names:
        own = parts.get((name,))
        if own is None:
            continue
        # A factor that was another kind of thing before is read as what it is now.
        kind = FactorKind(own.sort("known_at")["kind"][-1])
        value = pl.col("text") if kind is FactorKind.TEXT else pl.col("value").cast(POLARS_TYPES[kind])
        wide = wide.join(own.select(*_KEY, value.alias(name)), on=_KEY, how="left", maintain_order="left")
    return wide


def _day(at: datetime | None) -> date | None:
    """The first session that does not begin before a moment."""
    if at is None:
        return None
    day = at.date()
    return day if at == datetime(day.year, day.month, day.day, tzinfo=at.tzinfo) else day + timedelta(days=1)
