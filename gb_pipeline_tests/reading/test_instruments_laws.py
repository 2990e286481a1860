"""Whoever held a symbol on a day, its bars of that day are its own and nobody else's, whatever changed hands or was renamed."""

from __future__ import annotations

from contextlib import suppress
from datetime import date, timedelta
from itertools import groupby

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gb_pipeline import ConfigError, Lake, LakeError, NoDataInRange, UnknownSeries
from gb_pipeline_tests.bars import SetClock, at

DAYS = [date(2024, 1, 1) + timedelta(days=number) for number in range(6)]
CODES, OWNERS = ["A", "B", "C"], ["I-1", "I-2", "I-3", "I-4"]
# For each day who holds which symbol: a permutation of the owners, the last of whom holds none.
holdings = st.lists(st.permutations(range(4)), min_size=len(DAYS), max_size=len(DAYS))
renamings = st.lists(st.tuples(st.sampled_from([*CODES, "Z"]), st.sampled_from([*CODES, "Z"])), max_size=2)
silent = st.sets(st.tuples(st.sampled_from(CODES), st.sampled_from(DAYS)), max_size=15)
empty = st.sets(st.tuples(st.integers(0, 2), st.integers(0, len(DAYS) - 1)), max_size=6)


@settings(max_examples=4, deadline=None)
@given(
    held=holdings,
    empty=empty,
    silent=silent,
    renames=renamings,
)
def test_an_instruments_bars_are_those_of_the_days_on_which_it_held_a_symbol(
    tmp_path_factory, held, empty, silent, renames
) -> None:
    lake = Lake.open(tmp_path_factory.mktemp("lake"), create=True)
    lake.store.clock = SetClock(at("2024-02-01T00:00"))
    owner = {
        (code, day): None if (place, number) in empty else OWNERS[held[number][place]]
        for number, day in enumerate(DAYS)
        for place, code in enumerate(CODES)
    }
    told = []
    for code in CODES:
        for name, days in groupby(DAYS, key=lambda day, code=code: owner[code, day]):
            span = list(days)
            if name is not None:
                told.append((code, name, span[0], span[-1] + timedelta(days=1)))
        own = [day for day in DAYS if owner[code, day] is not None and (code, day) not in silent]
        closes = [str(100 + OWNERS.index(owner[code, day])) for day in own]
        prices = dict.fromkeys(("open", "high", "low", "close"), pl.Series(closes, dtype=pl.String))
        if own:
            bars = pl.DataFrame({"date": own, **prices}).with_columns(volume=pl.lit("1"))
            lake.put(bars, source="sim", resolution="1d", symbol=code)
    names = pl.DataFrame(told, ["symbol", "instrument", "valid_from", "valid_until"], orient="row")
    lake.store.write_instruments(names)
    before = lake.store.clock()
    for old, new in renames:
        lake.store.clock.now += timedelta(days=1)
        # Refused where there is nothing to rename, or both have bars of one day.
        with suppress(LakeError, UnknownSeries, ConfigError, NoDataInRange):
            lake.store.rename("sim", old, new, reason="somebody needs the code")
    for (code, day), name in owner.items():
        if name is None:
            with pytest.raises(UnknownSeries):
                lake.symbol(code, day)
        else:
            assert lake.symbol(code, day).instrument == name
    for number, name in enumerate(OWNERS):
        own = sorted((key[1], 100 + number) for key, by in owner.items() if by == name and key not in silent)
        for options in ({}, {"as_of": before + timedelta(hours=1)}):
            if not own:
                with pytest.raises((NoDataInRange, UnknownSeries)):
                    lake.instrument_bars(name, "1d", **options)
                continue
            found = lake.instrument_bars(name, "1d", columns=["timestamp", "close"], as_float=True, **options)
            assert found.select(pl.col("timestamp").dt.date(), "close").rows() == own
