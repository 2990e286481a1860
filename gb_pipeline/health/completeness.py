"""This module tells how complete and how fresh series are: it puts what gb.yaml expects beside what the ledger of a lake counts.

What is missing within a session was found when it was stored. Nothing here fetches, and no file of bars is opened.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from gb_pipeline.errors import GbError

if TYPE_CHECKING:
    from gb_pipeline.config.settings import Settings, SourceSettings
    from gb_pipeline.market.resolution import Resolution
    from gb_pipeline.reading.lake import Lake

# The catalog's tables `coverage` (one row per session), `gaps` (one per run of missing bars) and `symbol_data` (one per series).
# A session counts as recorded in the range that gb.yaml names today.
_QUERY = """
    with ranges(source, resolution, from_session, until_session) as (values {ranges}),
    explained as (
        select source, symbol, resolution, sum(missing) as open from gaps where reason in ({open}) group by all
    ),
    counted as (
        select coverage.source, symbol, coverage.resolution,
               count(*) filter (where status not in ('closed', 'not_listed', 'removed')) as sessions,
               count(*) filter (where status = 'removed') as removed,
               coalesce(sum(expected) filter (where status <> 'removed'), 0)::bigint as expected,
               sum(actual)::bigint as actual,
               coalesce(sum(missing) filter (where status <> 'removed'), 0)::bigint as missing,
               sum(quarantined)::bigint as quarantined,
               count(*) filter (where status in ('failed', 'refused')) as bad_sessions,
               min(first_timestamp) as first, max(last_timestamp) as last,
               max(session) filter (where actual > 0 or status = 'removed') as last_session,
               count(*) filter (
                   where status not in ('closed', 'not_listed') and session >= from_session and session < until_session
               ) as recorded
        from coverage left join ranges on ranges.source = coverage.source and ranges.resolution = coverage.resolution
        group by coverage.source, symbol, coverage.resolution
    )
    select source, symbol, resolution, sessions, expected, actual, missing, coalesce(open, 0)::bigint as open, quarantined,
           bad_sessions, first, last, last_session, recorded, removed, coalesce(bytes, 0)::bigint as bytes
    from counted left join explained using (source, symbol, resolution) left join symbol_data using (source, symbol, resolution)
    order by source, resolution, symbol
"""
_NOTHING = {
    **dict.fromkeys(("sessions", "expected", "actual", "missing", "open", "quarantined", "bad_sessions"), 0),
    **dict.fromkeys(("recorded", "removed", "bytes"), 0),
    **dict.fromkeys(("first", "last", "last_session"), None),
}  # fmt: skip
_UNKNOWN_LAG: dict[str, int | None] = {"unfetched": None, "behind_days": None, "behind_sessions": None}


def read_completeness(lake: Lake | None, settings: Settings | None, as_of: datetime | None) -> list[dict[str, Any]]:
    """One record per series of a lake, and of its project.

    Args:
        lake: None where the project has stored nothing yet.
        settings: of the lake's project; without them nobody knows what should be there by now.
        as_of: what was known at this moment, and how far behind it was then; now by default.

    Returns:
        Records of `source, symbol, resolution, sessions, expected, actual, missing, open` (missing bars that nothing explains),
        `quarantined, bad_sessions` (failed or refused), `removed` (sessions that lost their bars on purpose, in none of the
        others), `first, last` (bars, UTC), `last_session` (with a bar, or removed), `bytes`, `unfetched` (sessions that are over
        and were never fetched), `behind_days` and `behind_sessions` (from the last session to the last one that is over). The last
        three are None where gb.yaml does not have the series; the two about lag also where nothing is stored.
    """
    now = as_of or datetime.now(UTC)
    sources = settings.sources if settings is not None else {}
    spans = {
        (source.name, resolution.value): _ExpectedSessions(source, resolution, now)
        for source in sources.values()
        for resolution in source.resolutions
    }
    rows = {} if lake is None else {_key(row): row for row in _query(lake, spans, as_of)}
    for name, source in sources.items():
        for resolution in source.resolutions:
            for symbol in source.instruments:
                key = (name, symbol.code, resolution.value)
                rows.setdefault(
                    key, {"source": name, "symbol": symbol.code, "resolution": resolution.value, **_NOTHING}
                )
    known = [row for row in rows.values() if row["sessions"] or not row["removed"] or _is_configured(row, spans)]
    return [_with_lag(row, spans.get((row["source"], row["resolution"]))) for row in known]


def _is_configured(row: dict[str, Any], spans: dict[tuple[str, str], _ExpectedSessions]) -> bool:
    span = spans.get((row["source"], row["resolution"]))
    return span is not None and row["symbol"] in span.codes


def _with_lag(row: dict[str, Any], span: _ExpectedSessions | None) -> dict[str, Any]:
    recorded = row.pop("recorded")
    if span is None or row["symbol"] not in span.codes:
        return row | _UNKNOWN_LAG
    return row | span.compare(row["symbol"], recorded, row["last_session"])


def describe_unfetched(sessions: int) -> str:
    """What to do about sessions that are over and of which the lake knows nothing."""
    if sessions == 1:
        return "1 session that is over was never fetched: `gb fetch SOURCE` fetches it"
    return f"{sessions:,} sessions that are over were never fetched: `gb fetch SOURCE` fetches them"


def is_incomplete(row: dict[str, Any]) -> bool:
    """Whether something of a series is missing that nothing explains, or was never fetched."""
    return bool(row["open"] or row["bad_sessions"] or row["unfetched"] or row["behind_days"])


class _ExpectedSessions:
    """The sessions of a source that are over."""

    def __init__(self, source: SourceSettings, resolution: Resolution, now: datetime) -> None:
        self._source = source
        self.codes = {symbol.code for symbol in source.instruments}
        try:
            self._sessions = _sessions_until(source, resolution, now)
        except GbError:
            # `gb doctor` says what is wrong with the calendar.
            self.codes = set()
            self._sessions = []
        self.start = source.start
        self.end = self._sessions[-1] + timedelta(days=1) if self._sessions else source.start

    def compare(self, code: str, recorded: int, last_session: date | None) -> dict[str, int | None]:
        from bisect import bisect_left, bisect_right

        listed_from, listed_until = self._source.listing(code)
        first = bisect_left(self._sessions, listed_from) if listed_from else 0
        end = bisect_left(self._sessions, listed_until) if listed_until else len(self._sessions)
        unfetched = max(0, end - first - recorded)
        if last_session is None or end <= first:
            return _UNKNOWN_LAG | {"unfetched": unfetched}
        last = self._sessions[end - 1]
        stored = bisect_right(self._sessions, last_session, first, end)
        return {
            "unfetched": unfetched,
            "behind_days": max(0, (last - last_session).days),
            "behind_sessions": max(0, end - max(stored, first)),
        }


def _sessions_until(source: SourceSettings, resolution: Resolution, now: datetime) -> list[date]:
    """The sessions of a source, or the labels of its weeks and months, that a vendor can be asked for by now; sorted."""
    import polars as pl

    calendar = source.rules(resolution).calendar
    end = min(filter(None, (source.end, calendar.end, now.date() + timedelta(days=2))))
    if end <= source.start:
        return []
    if resolution.intraday:
        hours = calendar.schedule(source.start, end).select("session", "close")
    else:
        stamps = calendar.expected(source.start, end, resolution)["timestamp"]
        hours = pl.DataFrame({"session": stamps.dt.date(), "close": calendar.bar_ends(stamps, resolution)})
    is_over = pl.col("close") + timedelta(minutes=source.settle_minutes) <= now
    return hours.filter(is_over)["session"].sort().to_list()


def _query(lake: Lake, spans: dict[tuple[str, str], _ExpectedSessions], as_of: datetime | None) -> list[dict[str, Any]]:
    from gb_pipeline.quality.gaps import OPEN_REASONS

    ranges = [
        f"('{source}', '{resolution}', date '{span.start}', date '{span.end}')"
        for (source, resolution), span in spans.items()
    ]
    nothing = "(null::varchar, null::varchar, null::date, null::date)"
    query = _QUERY.format(
        ranges=", ".join(ranges) or nothing, open=", ".join(f"'{reason.value}'" for reason in sorted(OPEN_REASONS))
    )
    return lake.sql(query, as_of=as_of).to_dicts()


def _key(row: dict[str, Any]) -> tuple[str, str, str]:
    return row["source"], row["symbol"], row["resolution"]
