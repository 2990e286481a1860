"""This module takes refused rows that somebody released for the bars that they are, when the vendor sends them again.

A row is the released one where its text is: another bad row of the same moment is refused as any other.
"""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from gb_pipeline.lake import quarantine
from gb_pipeline.lake.bars_request import BarsRequest, validate_requested
from gb_pipeline.market.schema import CONTENT
from gb_pipeline.quality.bars import BAD, ValidationResult, row_as_received
from gb_pipeline.quality.reasons import CONFLICT
from gb_pipeline.quality.rules import BarRules
from gb_pipeline.quality.runs import count_rows, session_runs
from gb_pipeline.storage.table import Tables

_KEY = ["symbol", "timestamp"]
_ROW = [*_KEY, "row"]


class Admission:
    """The validation of an answer, in which released rows are good.

    Attributes:
        validation: every row of the answer is in it.
        said: those of its good rows that the vendor sent as they are: released ones hold what they were released with.
    """

    def __init__(
        self, frame: pl.DataFrame, request: BarsRequest, rules: BarRules, validation: ValidationResult
    ) -> None:
        """Begin without a released row."""
        self.validation = self._plain = validation
        self.said = validation.good
        self._frame, self._request, self._rules = frame, request, rules
        self._admitted: frozenset[str] = frozenset()

    def admit(self, tables: Tables, in_force: pl.DataFrame) -> bool:
        """Let in the rows that are released now, and no others; whether that is something new.

        Args:
            in_force: as `overrides.read_in_force` returns it.
        """
        if self._plain.bad.is_empty():
            return False
        releases = in_force.filter(pl.col("row_id").is_not_null())
        names = frozenset(releases["override_id"].to_list())
        if names == self._admitted:
            return False
        self._admitted = names
        self.validation, self.said = self._plain, self._plain.good
        if releases.is_empty():
            return True
        rows = quarantine.scan(tables, self._request.source, self._request.symbols)
        refused = rows.filter(pl.col("row_id").is_in(releases["row_id"].implode())).select(_ROW).unique().collect()
        self._let_in(refused, releases)
        return True

    def _let_in(self, refused: pl.DataFrame, releases: pl.DataFrame) -> None:
        near = self._frame.with_row_index("index").join(refused, on=_KEY, how="semi", maintain_order="left")
        near = near.with_columns(*row_as_received(near))
        # Where the vendor sends a good bar as well, that is what it says.
        released = near.join(refused, on=_ROW, how="semi", maintain_order="left").join(
            self._plain.good, on=_KEY, how="anti", maintain_order="left"
        )
        sessions = self._rules.calendar.session_of(released["timestamp"], self._rules.resolution).alias("session")
        released = released.hstack([sessions]).filter(pl.col("session").is_not_null())
        if released.is_empty():
            return
        first = released.unique(_KEY, keep="first", maintain_order=True)
        others = self._frame.with_row_index("index").join(released, on="index", how="anti", maintain_order="left")
        validation = validate_requested(others.drop("index"), self._request, self._rules)
        rivals = _name_rivals(validation, near.join(released, on="index", how="anti"), first)
        self.said = validation.good.join(rivals, on=_KEY, how="anti", maintain_order="left")
        content = (pl.col(f"corrected_{name}").cast(validation.good.schema[name]).alias(name) for name in CONTENT)
        admitted = first.select(*_KEY, "session").join(releases.select(*_KEY, *content), on=_KEY)
        good = pl.concat([self.said, admitted.select(validation.good.columns)]).sort(_KEY)
        repeats = released.join(first, on="index", how="anti", maintain_order="left")
        received = dict(validation.received_by_symbol)
        for symbol, rows in count_rows(released).items():
            received[symbol] = received.get(symbol, 0) + rows
        self.validation = replace(
            validation,
            good=good,
            runs=session_runs(good),
            bad=pl.concat([validation.bad, rivals]),
            duplicates=pl.concat([validation.duplicates, repeats.select(validation.duplicates.columns)]),
            received_by_symbol=received,
        )


def _name_rivals(validation: ValidationResult, near: pl.DataFrame, released: pl.DataFrame) -> pl.DataFrame:
    """Rows that contradict a released one, and are good where nobody looks at that; columns of `BAD`."""
    rivals = validation.good.join(released, on=_KEY, how="semi")
    texts = near.join(validation.bad, on=_ROW, how="anti").unique(_KEY, keep="first", maintain_order=True)
    named = rivals.join(texts.select(*_ROW, "bar"), on=_KEY, maintain_order="left")
    return named.with_columns(pl.lit([CONFLICT]).alias("reasons")).select(BAD.names())
