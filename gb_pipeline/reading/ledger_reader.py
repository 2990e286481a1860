"""`LedgerReader`, the methods of a lake about what is known of it rather than about prices. `ledgers` answers them."""

from __future__ import annotations

import polars as pl

from gb_pipeline.catalog.incidents import known_incidents
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.reading import corporate_actions, ledgers
from gb_pipeline.reading.arguments import Moment, Selection, Symbols, moment


class LedgerReader:
    """Coverage, gaps, series, corporate actions, restatements, withdrawn bars and quarantine of a lake."""

    _store: LakeStore

    def coverage(
        self,
        source: str | None = None,
        symbols: Symbols | None = None,
        resolution: Resolution | str | None = None,
        start: Moment | None = None,
        end: Moment | None = None,
        *,
        as_of: Moment | None = None,
    ) -> pl.DataFrame:
        """One row per source, symbol, resolution and session: `expected, actual, missing, quarantined, warnings, withdrawn,
        status, fingerprint, first_timestamp, last_timestamp, known_at, precision`. No file of bars is opened.

        Args:
            start, end: half-open range of sessions.
            as_of: what was known of them at this moment.

        Raises:
            UnknownSeries: a name that the lake does not know.
            DamagedLog: what is known of the sessions is damaged, or a table of bars that may tell more of them; name a
                resolution to leave the others out.
        """
        selection = self._selection(source, symbols, resolution, start, end, as_of)
        return ledgers.coverage(self._store.tables, selection, known_incidents(self._store))

    def gaps(
        self,
        source: str | None = None,
        symbols: Symbols | None = None,
        resolution: Resolution | str | None = None,
        start: Moment | None = None,
        end: Moment | None = None,
        *,
        as_of: Moment | None = None,
    ) -> pl.DataFrame:
        """One row per run of missing bars: `source, symbol, resolution, session, start, end, missing, reason, incident,
        incident_kind, incident_reason`.

        `end` is exclusive. Reasons: `closed, not_listed, no_trade, vendor_empty, removed, fetch_failed, unknown`, and `incident`
        for what incidents.yaml explains now: the last columns have the number of its entry, its kind and reason, null elsewhere.

        Args:
            start, end: half-open range of sessions.
            as_of: what was missing as far as was known at this moment.

        Raises:
            UnknownSeries: a name that the lake does not know.
            ConfigError: incidents.yaml cannot be used.
        """
        selection = self._selection(source, symbols, resolution, start, end, as_of)
        return ledgers.gaps(self._store.tables, selection, known_incidents(self._store))

    def symbols(
        self,
        source: str | None = None,
        resolution: Resolution | str | None = None,
        *,
        as_of: Moment | None = None,
    ) -> pl.DataFrame:
        """One row per series: `source, symbol, resolution, start, end, record_count, file_path, bytes, created_at,
        updated_at, adjustment`; `start` and `end` are the first and last bar, null without one; `file_path` is relative to the
        lake's root.

        Args:
            as_of: what was stored at this moment; `bytes` and `file_path` are those of the files that may hold it.
        """
        return ledgers.symbols(self._store.tables, self._selection(source, None, resolution, None, None, as_of))

    def corporate_actions(
        self,
        symbol: Symbols | None = None,
        *,
        source: str | None = None,
        kind: str | None = None,
        start: Moment | None = None,
        end: Moment | None = None,
        as_of: Moment | None = None,
        withdrawn: bool = False,
    ) -> pl.DataFrame:
        """Splits, cash dividends, listings and delistings, one row each, as the vendor says them now or said them then.

        Args:
            symbol: one or several; all by default.
            kind: `split`, `cash_dividend`, `listing` or `delisting`.
            start, end: half-open range of ex dates.
            as_of: as they were known at this moment, before later corrections.
            withdrawn: also those that the vendor no longer returned by then, with true in the column of that name.

        Returns:
            `source, symbol, ex_date` (Date), `kind, label, ratio` (new shares per old share, rounded at the 18th decimal),
            `split_to, split_from` (exact), `amount` (Decimal(38,18), cash per share as of the ex date), `currency,
            declared_date, record_date, pay_date, known_at` (Datetime us UTC), `withdrawn`; sorted by source, symbol and ex
            date. No row means that they were fetched and there are none.

        Raises:
            UnknownSeries: the corporate actions of a symbol that is named were never fetched.
            ConfigError: there is no such kind.

        Example:
            >>> lake.corporate_actions("AAPL", kind="split").select("ex_date", "split_to", "split_from")
        """
        selection = self._selection(source, symbol, None, start, end, as_of)
        return corporate_actions.select_actions(self._store.tables, selection, kind, withdrawn=withdrawn)

    def restatements(
        self,
        source: str | None = None,
        symbols: Symbols | None = None,
        resolution: Resolution | str | None = None,
        start: Moment | None = None,
        end: Moment | None = None,
        *,
        since: Moment | None = None,
    ) -> pl.DataFrame:
        """Bars that a vendor changed after they were stored, one row per change, sorted by series, timestamp and moment.

        Args:
            start, end: half-open range of bar opens.
            since: only changes that became known after this moment.

        Returns:
            `source, symbol, resolution, timestamp`, `old_<column>` and `new_<column>` of all numbers (Decimal(38,18)),
            `first_known` and `replaced_at` (Datetime us UTC: since when the old and the new content were known), `delay` (Int64,
            microseconds between them), `age` (Int64, microseconds since any content of the bar was known), `change_<column>` (new
            minus old) and `relative_<column>` (Float64, that by the old). A bar that was only withdrawn, or came
            back as it was, is not among them, nor one that an override corrected.

        Raises:
            UnknownSeries: a name that the lake does not know.
        """
        selection = self._selection(source, symbols, resolution, start, end)
        return ledgers.restated(self._store.tables, selection, moment(since, self._store.clock))

    def withdrawn(
        self,
        source: str | None = None,
        symbols: Symbols | None = None,
        resolution: Resolution | str | None = None,
        start: Moment | None = None,
        end: Moment | None = None,
        *,
        as_of: Moment | None = None,
    ) -> pl.DataFrame:
        """Stored bars that the vendor no longer returns. They are kept and read like any other; the column `withdrawn` of
        `bars` says so as well, and coverage counts them.

        Args:
            as_of: those that were withdrawn at this moment.

        Returns:
            `source, symbol, resolution, timestamp`, their numbers as they were last returned (Decimal(38,18)), `withdrawn_at`
            (Datetime us UTC: since when this lake knows); sorted by series and timestamp.

        Raises:
            UnknownSeries: a name that the lake does not know.

        Example:
            >>> lake.withdrawn("yahoo", "AAPL", "1d")["timestamp"].to_list()
            []
        """
        return ledgers.withdrawn(self._store.tables, self._selection(source, symbols, resolution, start, end, as_of))

    def quarantine(
        self,
        source: str | None = None,
        symbols: Symbols | None = None,
        resolution: Resolution | str | None = None,
        start: Moment | None = None,
        end: Moment | None = None,
    ) -> pl.DataFrame:
        """Refused rows as they were received, with their reasons, each once however often it came.

        Args:
            start, end: half-open range that the window of the fetch has to overlap.

        Returns:
            `source, symbol, resolution` (or `corporate_actions`), `timestamp` (Datetime us UTC, null where it cannot be read),
            `reasons` (list of codes; `fetched_before_stored` for what came later than newer content), `row` (text), `bar` (what was
            read from it as JSON, where `row` is not that itself),
            `window_start, window_end, session` (Date, null outside all sessions), `run_id, quarantined_at, row_id, known_at`;
            `decision` (`open`, `released` or `dropped`), and of rows that are decided `decided_at` (Datetime us UTC) and
            `decision_reason`.

        Raises:
            UnknownSeries: a name that the lake does not know.
        """
        return ledgers.quarantined(self._store.tables, self._selection(source, symbols, resolution, start, end))

    def _selection(
        self,
        source: str | None,
        symbols: Symbols | None,
        resolution: Resolution | str | None,
        start: Moment | None,
        end: Moment | None,
        as_of: Moment | None = None,
    ) -> Selection:
        return Selection.of(source, symbols, resolution, start, end, as_of, clock=self._store.clock)
