"""What incidents explain: bar by bar, whatever the calendar; what is missing stays missing."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gb_pipeline.config.incidents import Incident
from gb_pipeline.config.project_incidents import Incidents
from gb_pipeline.config.source_facts import SourceFacts
from gb_pipeline.lake.explained import explain_runs, explain_sessions
from gb_pipeline.market.calendar import Calendar
from gb_pipeline.market.resolution import Resolution

# Days around a change of the clocks, an early close, a holiday and the ends of a week and a month.
WORLDS = {
    "24/7": (date(2024, 3, 28), date(2024, 4, 3), ["1h", "8h", "1d", "1w", "1mo"]),
    "XNYS": (date(2024, 11, 26), date(2024, 12, 3), ["15m", "1h", "1d", "1w", "1mo"]),
    "XHKG": (date(2024, 12, 23), date(2024, 12, 30), ["30m", "1h", "1d"]),
    "FX": (date(2024, 3, 7), date(2024, 3, 14), ["1h", "4h", "1d", "1w"]),
    "CMES": (date(2024, 11, 1), date(2024, 11, 6), ["30m", "1d"]),
}
GAP = {"start": pl.Datetime("us", "UTC"), "end": pl.Datetime("us", "UTC"), "missing": pl.Int64(), "reason": pl.String()}
SERIES = ["source", "symbol", "resolution", "session"]


def bars_of(calendar: Calendar, start: date, end: date, resolution: Resolution, alignment: str) -> pl.DataFrame:
    """Every expected bar with its end, and the first and last microsecond and session in which it trades, one after the other."""
    grid = calendar.expected(start, end, resolution, alignment)
    ends = calendar.bar_ends(grid["timestamp"], resolution)
    if resolution.intraday:
        spans = calendar.trading_span(grid["timestamp"], resolution, alignment)
        return grid.hstack(
            [
                ends.alias("end"),
                spans["first"],
                spans["last"],
                grid["session"].alias("from"),
                grid["session"].alias("to"),
            ]
        )
    rows = []
    for label in grid["session"].to_list():
        until = {"1d": label + timedelta(days=1), "1w": label + timedelta(days=7)}.get(
            resolution.value, (label.replace(day=1) + timedelta(days=32)).replace(day=1)
        )
        hours = calendar.schedule(label, until)
        last = hours["close"][-1] - timedelta(microseconds=1)
        rows.append((hours["open"][0], last, hours["session"][0], hours["session"][-1]))
    names = {"first": GAP["start"], "last": GAP["start"], "from": pl.Date(), "to": pl.Date()}
    return grid.hstack([ends.alias("end")]).hstack(pl.DataFrame(rows, schema=names, orient="row"))


@st.composite
def worlds(draw: st.DrawFn) -> tuple[pl.DataFrame, pl.DataFrame, Incidents]:
    """Missing bars of two symbols, as runs and one by one, and incidents over them."""
    name = draw(st.sampled_from(sorted(WORLDS)))
    start, end, resolutions = WORLDS[name]
    resolution = Resolution.parse(draw(st.sampled_from(resolutions)))
    alignment = draw(st.sampled_from(["clock", "session"])) if name == "XNYS" else "clock"
    facts = SourceFacts("mine", name, alignment=alignment)
    first = start.replace(day=1) if resolution.value in {"1w", "1mo"} else start
    bars = bars_of(facts.trading_calendar, first, end, resolution, alignment)
    runs, absent = [], []
    for symbol in ("AAA", "BBB"):
        missing = set(range(bars.height)) - draw(st.sets(st.integers(0, bars.height - 1), max_size=4))
        reason = draw(st.sampled_from(["unknown", "fetch_failed", "no_trade", "vendor_empty"]))
        rows = (
            bars.with_row_index("place")
            .filter(pl.col("place").is_in(sorted(missing)))
            .with_columns(
                pl.lit("mine").alias("source"),
                pl.lit(symbol).alias("symbol"),
                pl.lit(resolution.value).alias("resolution"),
                pl.lit(reason).alias("reason"),
            )
        )
        absent.append(rows)
        broken = (pl.col("place") != pl.col("place").shift() + 1) | (pl.col("session") != pl.col("session").shift())
        runs.append(
            rows.with_columns(broken.fill_null(True).cum_sum().alias("run")).group_by("run", maintain_order=True).agg(
                pl.col("source", "symbol", "resolution", "session").first(), pl.col("timestamp").first().alias("start"),
                pl.col("end").last(), pl.len().cast(pl.Int64).alias("missing"), pl.col("reason").first(),
            ).drop("run")
        )  # fmt: skip
    # Where bars begin, trade first and have traded last, and a little beside that.
    edges = [*bars["timestamp"], *bars["first"], *(last + timedelta(microseconds=1) for last in bars["last"])]
    beside = st.sampled_from([timedelta(), timedelta(microseconds=1), -timedelta(microseconds=1), timedelta(minutes=7)])
    moments = st.builds(lambda edge, distance: edge + distance, st.sampled_from(edges), beside)
    days = st.dates(first, end)
    items = []
    for entry in range(1, draw(st.integers(1, 3)) + 1):
        bounds = draw(st.tuples(moments | days, moments | days))
        symbols = draw(st.sampled_from([(), ("AAA",), ("B*",), ("?A?",)]))
        ordered = sorted(
            bounds,
            key=lambda one: one if isinstance(one, datetime) else datetime(one.year, one.month, one.day, tzinfo=UTC),
        )
        items.append(Incident(entry, ordered[0], ordered[1], "halt", f"incident {entry}", "seen", symbols=symbols))
    return pl.concat(runs), pl.concat(absent), Incidents(tuple(items), {"mine": facts})


def explaining(bar: dict[str, Any], incidents: Incidents) -> int | None:
    """The first incident in which a bar trades only."""
    patterns = {(): "AAABBB", ("AAA",): "AAA", ("B*",): "BBB", ("?A?",): "AAA"}
    for item in incidents.items:
        begun = bar["first"] >= item.start if isinstance(item.start, datetime) else bar["from"] >= item.start
        ended = bar["last"] < item.end if isinstance(item.end, datetime) else bar["to"] < item.end
        if begun and ended and bar["symbol"] in patterns[item.symbols]:
            return item.entry
    return None


@settings(max_examples=200)
@given(worlds())
def test_a_bar_is_explained_if_it_trades_only_in_an_incident_and_no_missing_bar_is_gained_or_lost(
    world: tuple[pl.DataFrame, pl.DataFrame, Incidents],
) -> None:
    runs, absent, incidents = world
    explained = explain_runs(runs, incidents)
    assert explained["missing"].sum() == runs["missing"].sum() == absent.height
    keys = [*SERIES, "start"]
    assert explained.select(keys).sort(keys).is_unique().all()
    # Every missing bar lies in exactly one part, which says of it what the bar itself says.
    expected = [
        (*[bar[name] for name in (*SERIES, "timestamp")], explaining(bar, incidents)) for bar in absent.to_dicts()
    ]
    placed = (
        absent.select(*SERIES, "timestamp", pl.col("end").alias("bar_end"))
        .join(explained, on=SERIES)
        .filter((pl.col("timestamp") >= pl.col("start")) & (pl.col("bar_end") <= pl.col("end")))
    )
    assert sorted(placed.select(*SERIES, "timestamp", "incident").rows(), key=str) == sorted(expected, key=str)
    # What is not explained keeps its reason.
    known = absent.select(*SERIES[:3], "reason").unique().rename({"reason": "was"})
    rest = explained.filter(pl.col("incident").is_null()).join(known, on=SERIES[:3])
    assert (rest["reason"] == rest["was"]).all()
    assert explained.filter(pl.col("incident").is_not_null())["reason"].unique().to_list() in ([], ["incident"])


def ledger(status: str, gaps: list[dict[str, Any]], day: date = date(2024, 1, 2)) -> pl.DataFrame:
    """One row of the ledger of sessions."""
    types = {name: pl.String() for name in SERIES[:3]} | {"session": pl.Date(), "status": pl.String()}
    row = {"source": "mine", "symbol": "AAA", "resolution": "1h", "session": day, "status": status, "gaps": gaps}
    return pl.DataFrame([row], schema={**types, "gaps": pl.List(pl.Struct(GAP))})


def whole_day(reason: str) -> list[dict[str, Any]]:
    """A gap of a UTC day of hours."""
    start = datetime(2024, 1, 2, tzinfo=UTC)
    return [{"start": start, "end": start + timedelta(days=1), "missing": 24, "reason": reason}]


NOON = datetime(2024, 1, 2, 12, tzinfo=UTC)
CLOSURE = Incident(1, date(2024, 1, 2), date(2024, 1, 3), "closure", "a storm", "the exchange's notice")


@pytest.mark.parametrize(
    ("status", "until", "then"),
    [("failed", date(2024, 1, 3), "empty"), ("refused", date(2024, 1, 3), "empty"), ("failed", NOON, "failed")],
)
def test_a_session_that_lacks_nothing_unexplained_has_not_failed(status: str, until: date, then: str) -> None:
    incident = Incident(1, date(2024, 1, 2), until, "closure", "a storm", "the exchange's notice")
    rows = explain_sessions(ledger(status, whole_day("fetch_failed")), Incidents((incident,)))
    assert rows["status"].to_list() == [then]
    assert sum(gap["missing"] for gap in rows["gaps"][0]) == 24
    assert {gap["incident_kind"] for gap in rows["gaps"][0]} == ({"closure"} if then == "empty" else {"closure", None})


@pytest.mark.parametrize(("reason", "missing"), [("closed", 0), ("not_listed", 0), ("removed", 24)])
def test_what_is_closed_or_was_taken_out_on_purpose_stays_so(reason: str, missing: int) -> None:
    rows = ledger("closed", [{**whole_day(reason)[0], "missing": missing}])
    assert explain_sessions(rows, Incidents((CLOSURE,)))["gaps"][0][0]["reason"] == reason


def test_by_another_calendar_than_the_one_that_counted_them_bars_are_explained_as_a_whole_or_not() -> None:
    incidents = Incidents((CLOSURE,), {"mine": SourceFacts("mine", "XNYS")})
    rows = ledger("failed", whole_day("fetch_failed"))
    assert explain_sessions(rows, incidents)["gaps"][0][0]["incident"] == 1
    half = Incident(1, date(2024, 1, 2), datetime(2024, 1, 2, 16, tzinfo=UTC), "halt", "news", "a notice")
    gaps = explain_sessions(rows, Incidents((half,), incidents.facts))["gaps"][0]
    assert [(gap["missing"], gap["reason"]) for gap in gaps] == [(24, "fetch_failed")]
