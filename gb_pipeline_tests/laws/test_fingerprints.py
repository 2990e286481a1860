"""A fingerprint says what is stored, and nothing of how it came there; one changed digit changes it."""

from __future__ import annotations

import tempfile
from dataclasses import fields, replace
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise

from hypothesis import strategies as st

from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.window import Window
from gb_pipeline.quality.bars import validate
from gb_pipeline.quality.fingerprint import combine, fingerprint_text, session_fingerprints
from gb_pipeline.quality.rules import BarRules
from gb_pipeline.reading.lake import Lake
from gb_pipeline_tests.laws.answers import LENGTHS, SLOTS, SYMBOLS, answer_frame
from gb_pipeline_tests.laws.law import law
from gb_pipeline_tests.laws.model import EPOCH, SOURCE, Content, Key, Series, Version, fingerprint

RESOLUTIONS = st.sampled_from(list(LENGTHS))
DIGITS = st.integers(1, 10**10)


@st.composite
def contents(draw: st.DrawFn) -> Content:
    low, first, second, more = sorted(Decimal(draw(DIGITS)).scaleb(-8) for _ in range(4))
    count = draw(st.none() | st.integers(0, 10**12))
    vwap = draw(st.sampled_from([None, low, first]))
    return Content(first, more, low, second, Decimal(draw(DIGITS)).scaleb(-8), count, vwap)


@st.composite
def answers(draw: st.DrawFn, resolution: str) -> dict[Key, Content]:
    places = [(Series(symbol, resolution), slot) for symbol in SYMBOLS for slot in SLOTS[resolution]]
    return draw(st.dictionaries(st.sampled_from(places), contents(), min_size=1))


@st.composite
def layouts(draw: st.DrawFn, resolution: str) -> list[tuple[int, int, bool]]:
    """Windows that together are all slots, in any order, each perhaps followed by a compaction."""
    size = len(SLOTS[resolution])
    edges = sorted({0, size, *draw(st.lists(st.integers(0, size), max_size=4))})
    return [(first, last, draw(st.booleans())) for first, last in draw(st.permutations(list(pairwise(edges))))]


@law(RESOLUTIONS, st.data(), few=16)
def test_fingerprints_do_not_depend_on_windows_order_files_or_compaction(resolution: str, data: st.DataObject) -> None:
    answer, layout = data.draw(answers(resolution)), data.draw(layouts(resolution))
    prints = {}
    for name, parts in {"at once": [(0, len(SLOTS[resolution]), False)], "in parts": layout}.items():
        with tempfile.TemporaryDirectory() as folder:
            store = LakeStore.at(folder)
            for first, last, compacts in parts:
                write(store, answer, resolution, first, last)
                if compacts:
                    for partition in store.compaction_candidates(min_files=2):
                        store.compact(partition)
            prints[name] = printed(store)
    assert prints["at once"] == prints["in parts"] == defined(answer)


@law(RESOLUTIONS, st.data(), few=80)
def test_one_changed_digit_changes_the_fingerprint_of_its_session_and_no_other(
    resolution: str, data: st.DataObject
) -> None:
    answer = data.draw(answers(resolution))
    key = data.draw(st.sampled_from(sorted(answer, key=str)))
    name = data.draw(st.sampled_from([item.name for item in fields(Content)]))
    value = getattr(answer[key], name)
    step = 1 if name == "trade_count" else Decimal(1).scaleb(data.draw(st.integers(-8, 1)))
    changed = answer | {key: replace(answer[key], **{name: step if value is None else value + step})}
    before, after = bare(answer, resolution), bare(changed, resolution)
    assert before == defined(answer)
    session = key[0].symbol, key[1].date()
    assert {place for place in before if before[place] != after[place]} == {session}
    assert combine([(str(place), text) for place, text in before.items()]) != combine(
        [(str(place), text) for place, text in after.items()]
    )


def write(store: LakeStore, answer: dict[Key, Content], resolution: str, first: int, last: int) -> None:
    slots = SLOTS[resolution]
    window = Window(slots[first], slots[last - 1] + LENGTHS[resolution])
    part = {(series, slot): said for (series, slot), said in answer.items() if slot in window}
    report = store.write_bars(SOURCE, SYMBOLS, Resolution(resolution), window, answer_frame(part))
    assert report.stored == len(part)


def printed(store: LakeStore) -> dict[object, str]:
    said = Lake(store).coverage().drop_nulls("fingerprint")
    return {
        (symbol, session): text for symbol, session, text in said.select("symbol", "session", "fingerprint").iter_rows()
    }


def bare(answer: dict[Key, Content], resolution: str) -> dict[object, str]:
    """The function itself, on rows that nobody judged."""
    types = validate(answer_frame({}), BarRules(), Window(EPOCH, EPOCH + timedelta(days=1))).good.schema
    rows = [
        (series.symbol, slot.date(), slot, *(getattr(said, item.name) for item in fields(Content)))
        for (series, slot), said in answer.items()
    ]
    import polars as pl

    found = session_fingerprints(
        pl.DataFrame(rows, schema=types, orient="row"), SOURCE, Resolution(resolution), BarRules().precision
    )
    texts = fingerprint_text(found["fingerprint"])
    return {
        (symbol, session): text for symbol, session, text in zip(found["symbol"], found["session"], texts, strict=True)
    }


def defined(answer: dict[Key, Content]) -> dict[object, str]:
    """By the definition, written a second time."""
    sessions: dict[tuple[Series, object], dict[datetime, Version]] = {}
    for (series, slot), said in answer.items():
        sessions.setdefault((series, slot.date()), {})[slot] = Version(said, False, EPOCH, EPOCH)
    return {
        (series.symbol, session): str(fingerprint(series, session, "standard", rows))
        for (series, session), rows in sessions.items()
    }
