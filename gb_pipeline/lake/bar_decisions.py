"""`BarDecisions`, the methods of a lake's write side by which a person decides about a bar: corrections, and refused rows.

`correcting` and `deciding` do it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import polars as pl

from gb_pipeline.lake.correcting import override_bar
from gb_pipeline.lake.deciding import drop_rows, release_rows, reopen_rows
from gb_pipeline.lake.releasing import RulesOf
from gb_pipeline.lake.report import WriteReport
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.symbol import Symbol, source_name, symbol_code
from gb_pipeline.market.window import instant
from gb_pipeline.quality.rules import BarRules
from gb_pipeline.storage.commit import Clock
from gb_pipeline.storage.table import Tables


class BarDecisions:
    """Correcting bars, and deciding about refused rows."""

    tables: Tables
    clock: Clock

    def override(
        self,
        source: str,
        symbol: Symbol | str,
        resolution: Resolution | str,
        timestamp: datetime,
        values: Mapping[str, Any] | None,
        reason: str,
        *,
        rules: BarRules | None = None,
    ) -> WriteReport:
        """Correct a stored bar, whatever the vendor says of it from now on; or take that back. One commit.

        The bar gets a new version; those before stay, and `as_of` reads them. What the vendor says meanwhile is noted.

        Args:
            timestamp: the bar's open.
            values: any of `open, high, low, close, volume` (text, Decimal or numbers); None takes the correction back, and stores
                what the vendor said last.
            reason: why; it is kept.
            rules: of the source; 24/7 and strict by default. Precision and adjustment are those of the stored bar.

        Raises:
            UnknownSeries: there is no such bar.
            ConfigError: values that make no bar, or that it has already; no reason; nothing to take back.
            LakeError: another write changed the bar in the same moment.

        Example:
            >>> store.override("yahoo", "AAPL", "1d", instant("2024-01-02"), {"close": "185.64"}, "bad tick", rules=rules).restated
            1
        """
        source, code = source_name(source), symbol_code(symbol)
        parsed = Resolution.parse(resolution)
        bar_rules = rules or BarRules(resolution=parsed)
        return override_bar(
            self.tables, source, code, parsed, instant(timestamp), values, reason, bar_rules, self.clock
        )

    def release_quarantined(
        self,
        ids: str | Sequence[str],
        reason: str,
        values: Mapping[str, Any] | None = None,
        *,
        rules: BarRules | RulesOf | None = None,
    ) -> list[WriteReport]:
        """Make bars of refused rows, whatever the vendor says of them from now on. One commit per series.

        The vendor may send the same row again: it is this bar then, and not refused. A release is an override of the bar, and is
        taken back like one, or by `reopen_quarantined`. `as_of` a moment before it there is no bar.

        Args:
            ids: `row_id` of `Lake.quarantine`, or beginnings that name one row each.
            reason: why; it is kept.
            values: any of `open, high, low, close, volume` (text, Decimal or numbers), where the row's own make no bar; for
                one row only.
            rules: of the source, or a function from source and resolution to them; 24/7 and strict by default.

        Raises:
            ConfigError: an id that names no row or several, a row that is decided already, one that is no bar (the message says
                of which rule, and which value is needed), or no reason. Nothing is written.
            LakeError: another process decided about one of the rows in the same moment.

        Example:
            >>> store.release_quarantined("3f2a91c0", "the exchange confirms the print", {"high": "187.25"})[0].stored
            1
        """
        return release_rows(self.tables, _ids(ids), values, reason, _rules_of(rules), self.clock)

    def drop_quarantined(self, ids: str | Sequence[str], reason: str) -> pl.DataFrame:
        """Decide that refused rows need nothing more, in one commit: they stay on record, and are no longer open.

        Args:
            ids: `row_id` of `Lake.quarantine`, or beginnings that name one row each.
            reason: why; it is kept.

        Returns:
            The rows, columns of `Lake.quarantine`, as they were before.

        Raises:
            ConfigError: an id that names no row or several, a row that is decided already, or no reason. Nothing is written.
            LakeError: another process decided about one of the rows in the same moment.
        """
        return drop_rows(self.tables, _ids(ids), reason, self.clock)

    def reopen_quarantined(
        self, ids: str | Sequence[str], reason: str, *, rules: BarRules | RulesOf | None = None
    ) -> pl.DataFrame:
        """Take decisions about refused rows back. A released row is no bar any more, unless the vendor has sent one since.

        Args:
            ids: `row_id` of `Lake.quarantine`, or beginnings that name one row each.
            reason: why; it is kept.
            rules: as of `release_quarantined`.

        Returns:
            The rows, columns of `Lake.quarantine`, as they were before.

        Raises:
            ConfigError: an id that names no row or several, a row that is open, or no reason.
        """
        return reopen_rows(self.tables, _ids(ids), reason, _rules_of(rules), self.clock)


def _ids(ids: str | Sequence[str]) -> list[str]:
    return [ids] if isinstance(ids, str) else list(ids)


def _rules_of(rules: BarRules | RulesOf | None) -> RulesOf:
    """Rules for bars of any resolution of a source."""
    if callable(rules):
        return rules
    return lambda _, resolution: replace(rules or BarRules(), resolution=resolution)
