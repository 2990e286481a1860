"""`Lake`, the reading side of a lake and its public face.

`plan` finds the files of a query and `execute` runs it, `ledgers` reads what is known about sessions, `sql` runs SQL.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from gb_pipeline.errors import ReadError
from gb_pipeline.lake.report import WriteReport
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.window import Window
from gb_pipeline.reading import corporate_actions, ledgers, sql
from gb_pipeline.reading.adjusted import adjust_plan, parse_adjustment
from gb_pipeline.reading.arguments import Moment, Selection, Symbols, between, moment, named_source, named_symbols
from gb_pipeline.reading.execute import collect_plan, scan_plan, to_arrow
from gb_pipeline.reading.opening import refuse_no_lake
from gb_pipeline.reading.plan import Plan, Question, check_columns, make_plan, no_data_error


class Lake:
    """A lake that can be read: frames, Arrow tables, SQL, and what is known about every session.

    Times are aware datetimes, dates (midnight UTC) or ISO 8601 text; ranges are half-open; an end that is left out is open.
    Every call answers from the newest commit.

    Example:
        >>> lake = Lake.open("data")
        >>> lake.bars("BTC-USD", "1m", "2024-01-02", "2024-01-03", as_float=True)["close"].mean()
        42011.5
    """

    def __init__(self, store: LakeStore) -> None:
        """Use `Lake.open`."""
        self._store = store
        self._tables = store.tables

    @classmethod
    def open(cls, path: Path | str, *, create: bool = False) -> Lake:
        """Open the lake in a folder.

        Args:
            path: the lake's root, the folder that `lake:` names in gb.yaml.
            create: make the folder if it is not there.

        Raises:
            ConfigError: there is no such folder, or it is not a lake.
        """
        store = LakeStore.at(path)
        root = store.storage.root
        if create:
            root.mkdir(parents=True, exist_ok=True)
        refuse_no_lake(root)
        return cls(store)

    @property
    def store(self) -> LakeStore:
        """The write side."""
        return self._store

    def write_bars(
        self,
        source: str,
        symbols: Symbols,
        resolution: Resolution | str,
        window: Window | tuple[Any, Any],
        frame: pl.DataFrame,
        **options: Any,
    ) -> WriteReport:
        """Validate and store bars; see `LakeStore.write_bars`."""
        return self._store.write_bars(source, symbols, resolution, window, frame, **options)

    # --- prices -------------------------------------------------------------------------------------------------------

    def bars(
        self,
        symbols: Symbols | None,
        resolution: Resolution | str,
        start: Moment | None = None,
        end: Moment | None = None,
        *,
        source: str | None = None,
        columns: Sequence[str] | None = None,
        as_of: Moment | None = None,
        as_float: bool = False,
        adjustment: str | None = None,
    ) -> pl.DataFrame:
        """Bars as a frame, sorted by symbol and timestamp, each bar once.

        Args:
            symbols: one or several; None for every symbol of the source. A symbol without a bar in the range is left out
                as long as another one has some.
            resolution: such as `1m`.
            start, end: half-open range of bar opens.
            source: may be left out where only one source has the symbol.
            columns: some of `source, symbol, timestamp, open, high, low, close, volume, trade_count, vwap, known_at`, in
                this order; these by default. Fewer are read faster. Further ones, about the version of a bar: `withdrawn` (true
                where the vendor no longer returns it), `fetched_at`, `superseded_at` (null: what is read holds, now or at `as_of`).
            as_of: read what was known at this moment: bars that came later are absent, bars that were restated later have
                their old content. An answer is final for every moment up to the newest commit.
            as_float: prices and volumes as Float64, each the float nearest to the stored decimal.
            adjustment: what is done to prices and volumes. None gives them as they are stored (`Lake.symbols` and the
                catalog's `adjustment` say how), and refuses an answer in which a split has reached only some of the bars.
                `raw` gives prices as traded, `split` prices that all splits known so far are in (known at `as_of`, where
                it is given), both by the vendor's own splits and exact where eight decimals hold the result, else rounded
                half to even. A bar of an ex date or later is never touched by that split.

        Returns:
            `timestamp` and `known_at` Datetime us UTC; numbers Decimal(18,8), or Decimal(38,18) where files of a source
            with wide precision take part; `trade_count` Int64; `trade_count` and `vwap` null where the vendor has none.

        Raises:
            UnknownSeries: nothing is stored under this name; `near` lists what resembles it.
            NoDataInRange: no bar in the range; `available` says what there is.
            ReadError: several sources have the symbol and none was named; or `adjustment` cannot be had, because the
                corporate actions were never fetched, for example.
            NaiveTimestamp: a time of day without a zone.

        Example:
            >>> lake.bars(["BTC-USD", "ETH-USD"], "1d", "2024-01-01", columns=["symbol", "timestamp", "close"])
        """
        question, plan, names = self._plan(symbols, resolution, start, end, source, columns, as_of, adjustment)
        frame = collect_plan(plan, names, as_float=as_float)
        if frame.is_empty():
            raise no_data_error(self._tables, question)
        return frame

    def scan_bars(
        self,
        symbols: Symbols | None,
        resolution: Resolution | str,
        start: Moment | None = None,
        end: Moment | None = None,
        *,
        source: str | None = None,
        columns: Sequence[str] | None = None,
        as_of: Moment | None = None,
        as_float: bool = False,
        adjustment: str | None = None,
    ) -> pl.LazyFrame:
        """The same lazily: filters, columns and aggregations that follow are pushed down into the files.

        The files are those of the commit at the time of the call; collect it before old files are vacuumed. A range
        without a bar gives an empty frame when it is collected; unknown names are refused at once, as in `bars`.

        Example:
            >>> lake.scan_bars("BTC-USD", "1m").group_by_dynamic("timestamp", every="1h").agg(pl.col("close").last()).collect()
        """
        _, plan, names = self._plan(symbols, resolution, start, end, source, columns, as_of, adjustment)
        return scan_plan(plan, names, as_float=as_float)

    def arrow(
        self,
        symbols: Symbols | None,
        resolution: Resolution | str,
        start: Moment | None = None,
        end: Moment | None = None,
        *,
        source: str | None = None,
        columns: Sequence[str] | None = None,
        as_of: Moment | None = None,
        as_float: bool = False,
        adjustment: str | None = None,
    ) -> pa.Table:
        """The same as an Arrow table, with timestamps as `timestamp[ns, UTC]`.

        Raises:
            ReadError: a bar lies outside 1677 to 2262, where nanoseconds of 64 bits end; and what `bars` raises.
        """
        question, plan, names = self._plan(symbols, resolution, start, end, source, columns, as_of, adjustment)
        frame = collect_plan(plan, names, as_float=as_float)
        if frame.is_empty():
            raise no_data_error(self._tables, question)
        return to_arrow(frame, plan.precision, as_float=as_float)

    def _plan(
        self,
        symbols: Symbols | None,
        resolution: Resolution | str,
        start: Moment | None,
        end: Moment | None,
        source: str | None,
        columns: Sequence[str] | None,
        as_of: Moment | None,
        adjustment: str | None,
    ) -> tuple[Question, Plan, list[str]]:
        kind = Resolution.parse(resolution)
        if kind is Resolution.TICK:
            raise ReadError("ticks are not bars", fix="name a resolution such as 1m")
        question = Question(
            symbols=tuple(named_symbols(symbols) or ()),
            resolution=kind,
            window=between(start, end),
            source=named_source(source),
            as_of=moment(as_of),
        )
        plan = make_plan(self._tables, question)
        names = check_columns(columns, plan.schema)
        plan = adjust_plan(self._tables, question, plan, parse_adjustment(adjustment))
        return question, plan, names

    def sql(self, query: str, *, as_of: Moment | None = None) -> pl.DataFrame:
        """One SQL query, run by DuckDB: the catalog's tables, and the lake's: `bars_1m` (now), `bars_1m_history` (every version),
        `bars_1m_as_of(moment)`, the same for the other resolutions, `restatements`, and more (`show tables`).

        Args:
            query: one SELECT.
            as_of: these tables show what was known at this moment.

        Returns:
            The rows, timestamps in UTC. The lake is seen as it is now: a catalog that is older is refreshed first.

        Raises:
            ReadError: DuckDB's own message, or the statement would change something.

        Example:
            >>> lake.sql("select symbol, max(close) from bars_1m where symbol = 'BTC-USD' group by symbol")
        """
        return sql.query(self._store, query, as_of=moment(as_of))

    # --- about the lake -----------------------------------------------------------------------------------------------

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
        """
        return ledgers.coverage(self._tables, Selection.of(source, symbols, resolution, start, end, as_of))

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
        """One row per run of missing bars: `source, symbol, resolution, session, start, end, missing, reason`.

        `end` is exclusive. Reasons: `closed, not_listed, no_trade, vendor_empty, fetch_failed, unknown`.

        Args:
            start, end: half-open range of sessions.
            as_of: what was missing as far as was known at this moment.

        Raises:
            UnknownSeries: a name that the lake does not know.
        """
        return ledgers.gaps(self._tables, Selection.of(source, symbols, resolution, start, end, as_of))

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
        return ledgers.symbols(self._tables, Selection.of(source, None, resolution, None, None, as_of))

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
        selection = Selection.of(source, symbol, None, start, end, as_of)
        return corporate_actions.select_actions(self._tables, selection, kind, withdrawn=withdrawn)

    def restatements(
        self,
        source: str | None = None,
        symbols: Symbols | None = None,
        resolution: Resolution | str | None = None,
        start: Moment | None = None,
        end: Moment | None = None,
    ) -> pl.DataFrame:
        """Bars that a vendor changed after they were stored, one row per change, sorted by series, timestamp and moment.

        Returns:
            `source, symbol, resolution, timestamp`, `old_<column>` and `new_<column>` of all numbers (Decimal(38,18)),
            `first_known` and `replaced_at` (Datetime us UTC: since when the old and the new content were known), `delay` (Int64,
            microseconds between them). A bar that was only withdrawn, or came back as it was, is not among them.

        Raises:
            UnknownSeries: a name that the lake does not know.
        """
        return ledgers.restated(self._tables, Selection.of(source, symbols, resolution, start, end))

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
        return ledgers.withdrawn(self._tables, Selection.of(source, symbols, resolution, start, end, as_of))

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
            `reasons` (list of codes; `fetched_before_stored` for what came later than newer content), `row` (text),
            `window_start, window_end, session` (Date, null outside all sessions), `run_id, quarantined_at, row_id, known_at`.

        Raises:
            UnknownSeries: a name that the lake does not know.
        """
        return ledgers.quarantined(self._tables, Selection.of(source, symbols, resolution, start, end))
