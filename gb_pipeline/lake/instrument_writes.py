"""`InstrumentWrites`, the methods of a lake's write side about instruments and rolls. `instruments` and `roll_tables` do it."""

from __future__ import annotations

from datetime import datetime

import polars as pl

from gb_pipeline.errors import ConfigError
from gb_pipeline.lake import instruments, roll_tables
from gb_pipeline.lake.instrument_changes import Telling
from gb_pipeline.lake.instruments import InstrumentsReport
from gb_pipeline.market.symbol import Symbol, source_name, symbol_code
from gb_pipeline.market.symbology import OWN
from gb_pipeline.market.window import instant
from gb_pipeline.storage.commit import Clock
from gb_pipeline.storage.table import Tables


class InstrumentWrites:
    """Telling a lake of instruments, the symbols under which they stood, and rolls."""

    tables: Tables
    clock: Clock

    def write_instruments(
        self,
        frame: pl.DataFrame,
        *,
        source: str = OWN,
        telling: Telling | str = Telling.HISTORY,
        fetched_at: datetime | None = None,
        strict: bool = True,
    ) -> InstrumentsReport:
        """Store what somebody tells of instruments. Idempotent; what held before stays for `as_of`.

        Args:
            frame: a row for each stretch of days under a symbol: `symbol`, `valid_from` (Date, null where it is not known),
                `valid_until` (Date, first day without it, null while it stands), and whatever is known of the instrument:
                `instrument` (the id that the lake gave it, or one of your own), `asset_class, name, exchange, currency,
                vendor_symbol, vendor_id, composite_figi, share_class_figi, isin, root, expiry, first_notice, tick_size,
                multiplier, underlying, option_right, strike`. Dates may be ISO text, numbers text. Rows are of one instrument
                where `instrument`, `composite_figi`, `vendor_id` or the contract say so.
            source: whose word it is; what is told as `own` holds for every source.
            telling: `history` for every symbol that each of the instruments ever had, `rows` for some of them, `present` for
                what there is now.
            fetched_at: when it was told; now by default. Its date is today for what is told of the present.
            strict: refuse everything where two instruments would stand under one symbol on one day, or one under two; else
                leave out what clashes, and report it.

        Returns:
            The report; `version` is None when nothing had to be committed.

        Raises:
            WindowRefused: a column or a value that cannot be; nothing was stored.
            LakeError: two rows cannot both hold; both are named. Or the lake cannot be written.

        Example:
            >>> names = {"symbol": ["FB", "META"], "valid_from": ["2012-05-18", "2022-06-09"], "valid_until": ["2022-06-09", None]}
            >>> store.write_instruments(pl.DataFrame({**names, "composite_figi": ["BBG000MM2P62"] * 2})).new
            2
        """
        if telling not in {kind.value for kind in Telling}:
            raise ConfigError(f"{telling!r:.40} is no way of telling", fix=f"use {', '.join(Telling)}")
        told_at = instant(fetched_at or self.clock())
        return instruments.write_instruments(
            self.tables, source_name(source), frame, telling=Telling(telling), fetched_at=told_at, day=told_at.date(),
            strict=strict, clock=self.clock,
        )  # fmt: skip

    def write_rolls(self, root: Symbol | str, table: pl.DataFrame, *, source: str = OWN) -> int:
        """Store a table of rolls in the place of the one that is there. Idempotent; `as_of` reads the ones before.

        Args:
            root: of the chain, such as `ES`.
            table: `session` (Date, the first one in which the next contract is the front one), `from_symbol`, `to_symbol`, as
                `make_rolls` returns it.
            source: short name of whose table it is.

        Returns:
            How many rolls are new, changed or gone.

        Raises:
            ConfigError: a column is missing, or the table tears.
            LakeError: the lake cannot be written.

        Example:
            >>> store.write_rolls("ES", make_rolls(contracts, sessions, "calendar"))
            4
        """
        return roll_tables.write_rolls(self.tables, source_name(source), symbol_code(root), table, self.clock)
