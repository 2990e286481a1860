"""`FundamentalWrites`, the methods of a lake's write side about fundamentals and listings. `fundamentals` and `listings` do it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import polars as pl

from gb_pipeline.errors import ConfigError, WindowRefused
from gb_pipeline.market.symbol import Symbol, source_name, symbol_code
from gb_pipeline.market.window import instant
from gb_pipeline.storage.commit import Clock
from gb_pipeline.storage.table import Tables

if TYPE_CHECKING:
    from gb_pipeline.lake.fundamentals import FundamentalsReport


class FundamentalWrites:
    """Storing what vendors tell of companies: their reports, and where they are listed."""

    tables: Tables
    clock: Clock

    def write_fundamentals(
        self,
        source: str,
        symbols: Symbol | str | Sequence[Symbol | str],
        frame: pl.DataFrame,
        *,
        fetched_at: datetime | Mapping[str, datetime] | None = None,
        run_id: str | None = None,
    ) -> FundamentalsReport:
        """Validate and store fundamentals that a source has for some symbols. Idempotent.

        What is stored with this content is left alone. What the source restated is appended as a new version, and what it no
        longer returns is marked so; the older versions stay, and `as_of` reads them. Of statements that the frame does not
        have, and of periods before the oldest one that it has, nothing is concluded.

        Args:
            source: short name of the feed.
            symbols: the requested ones.
            frame: columns of `market.fundamental_schema.FUNDAMENTALS_RECEIVED` (numbers as text), and `symbol` unless there is only
                one.
            fetched_at: when they were requested, for all or by symbol; now by default.
            run_id: kept with refused rows.

        Returns:
            The report; `version` is None when nothing had to be committed.

        Raises:
            WindowRefused: the frame has wrong columns or types; nothing was stored.
            LakeError: others kept changing the same rows, or the lake cannot be written.

        Example:
            >>> store.write_fundamentals("alpha_vantage", "IBM", frame).new
            7412
        """
        from gb_pipeline.lake import fundamentals

        named = [symbols] if isinstance(symbols, Symbol | str) else list(symbols)
        codes = list(dict.fromkeys(symbol_code(item) for item in named))
        if not codes:
            raise ConfigError("no symbol was named", fix="name at least one")
        _require_frame(frame)
        if "symbol" not in frame.columns and len(codes) == 1:
            frame = frame.with_columns(pl.lit(codes[0]).alias("symbol"))
        present = self.clock()
        by_code = fetched_at if isinstance(fetched_at, Mapping) else dict.fromkeys(codes, fetched_at or present)
        moments = {code: instant(by_code.get(code, present)) for code in codes}
        return fundamentals.write_fundamentals(
            self.tables, source_name(source), codes, frame, fetched_at=moments, run_id=run_id, clock=self.clock
        )

    def write_listings(
        self, source: str, frame: pl.DataFrame, *, fetched_at: datetime | None = None, run_id: str | None = None
    ) -> FundamentalsReport:
        """Validate and store everything that a source lists and listed. Idempotent; what held before stays for `as_of`.

        Args:
            source: short name of the feed.
            frame: columns of `market.fundamental_schema.LISTINGS_RECEIVED`: the whole list, whoever is missing is withdrawn.
            fetched_at: when it was requested; now by default.
            run_id: kept with refused rows.

        Raises:
            WindowRefused: the frame has wrong columns or types; nothing was stored.
            LakeError: the lake cannot be written.
        """
        from gb_pipeline.lake import listings

        _require_frame(frame)
        moment = instant(fetched_at or self.clock())
        return listings.write_listings(
            self.tables, source_name(source), frame, fetched_at=moment, run_id=run_id, clock=self.clock
        )


def _require_frame(frame: object) -> None:
    if not isinstance(frame, pl.DataFrame):
        raise WindowRefused(
            f"a {type(frame).__name__} is not a Polars frame", fix="pass a pl.DataFrame; collect lazy ones first"
        )
