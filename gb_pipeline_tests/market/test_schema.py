"""Schemas: one declaration, every other form follows from it."""

from __future__ import annotations

import polars as pl
import pyarrow as pa
import pytest

from gb_pipeline.market import fundamental_schema, instrument_schema, schema
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import Precision

TABLES = {
    "bars": schema.bar_schema(),
    "bars_wide": schema.bar_schema(Precision.WIDE),
    "quarantine": schema.QUARANTINE,
    "fetches": schema.FETCHES,
    "sessions": schema.SESSIONS,
    "corporate_actions": schema.CORPORATE_ACTIONS,
    "fundamentals": fundamental_schema.FUNDAMENTALS,
    "listings": fundamental_schema.LISTINGS,
    "overrides": schema.OVERRIDES,
    "removals": schema.REMOVALS,
    "instruments": instrument_schema.INSTRUMENTS,
    "rolls": instrument_schema.ROLLS,
    "identifier_answers": instrument_schema.IDENTIFIER_ANSWERS,
}


@pytest.mark.parametrize("name", TABLES)
def test_polars_and_arrow_agree_on_every_column(name: str) -> None:
    table = TABLES[name]
    empty = schema.empty(table)
    assert empty.is_empty()
    assert empty.columns == table.names
    assert empty.schema == schema.polars_schema(table)
    assert empty.to_arrow().num_rows == 0


@pytest.mark.parametrize("name", TABLES)
def test_every_column_says_what_it_means(name: str) -> None:
    assert all(field.metadata and field.metadata[b"comment"] for field in TABLES[name])
    assert len(set(TABLES[name].names)) == len(TABLES[name].names)


@pytest.mark.parametrize("name", TABLES)
def test_no_table_holds_floats_or_local_times(name: str) -> None:
    for field in TABLES[name]:
        assert not pa.types.is_floating(field.type)
        if pa.types.is_timestamp(field.type):
            assert (field.type.unit, field.type.tz) == ("us", "UTC")


def test_only_what_a_vendor_may_leave_out_is_nullable_in_bars() -> None:
    about_the_version = ["withdrawn", "superseded_at"]
    nullable = [field.name for field in schema.bar_schema() if field.nullable]
    assert nullable == [*schema.OPTIONAL, *about_the_version]


@pytest.mark.parametrize("precision", Precision)
def test_prices_have_the_digits_of_their_precision(precision: Precision) -> None:
    kinds = schema.polars_schema(schema.bar_schema(precision))
    assert {kinds[name] for name in (*schema.PRICES, "volume", "vwap")} == {precision.decimal}
    assert precision.decimal == pl.Decimal(*precision.digits)


def test_every_resolution_and_precision_has_a_table_of_its_own() -> None:
    names = {schema.bar_table(item, precision) for item in Resolution for precision in Precision}
    assert len(names) == len(Resolution) * len(Precision)
