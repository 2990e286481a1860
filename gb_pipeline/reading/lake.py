"""`Lake`, the reading side of a lake and its public face.

`bar_reader`, `edge_reader` and `ledger_reader` have the methods that return bars and what is known of them, `stream_reader` and
`evidence_reader` those about trades and books, `fundamental_reader` those about companies, `factor_reader` the one about factors;
`sql` runs SQL.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from gb_pipeline.caching.cache import Cache
from gb_pipeline.caching.key import lake_name
from gb_pipeline.catalog.state import known_sources
from gb_pipeline.config.bucket import Address
from gb_pipeline.config.cache import NO_CACHE, CacheOptions
from gb_pipeline.config.project_incidents import Incidents
from gb_pipeline.config.source_facts import SourceFacts
from gb_pipeline.lake import put
from gb_pipeline.lake.report import WriteReport
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.calendar import Calendar
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.market.window import Window
from gb_pipeline.reading import overview
from gb_pipeline.reading.answers import Answers
from gb_pipeline.reading.arguments import Moment, Symbols, moment
from gb_pipeline.reading.context import Context
from gb_pipeline.reading.edge_reader import EdgeReader
from gb_pipeline.reading.evidence_reader import EvidenceReader
from gb_pipeline.reading.factor_reader import FactorReader
from gb_pipeline.reading.fundamental_reader import FundamentalReader
from gb_pipeline.reading.futures_reader import FuturesReader
from gb_pipeline.reading.history_reader import HistoryReader
from gb_pipeline.reading.ledger_reader import LedgerReader
from gb_pipeline.reading.opening import locate, refuse_no_lake
from gb_pipeline.reading.pieces import MOST_ROWS, BarsPiece, make_pieces
from gb_pipeline.reading.request import refuse_options
from gb_pipeline.reading.stream_reader import StreamReader

if TYPE_CHECKING:
    from gb_pipeline.reading.sql import SqlReader
    from gb_pipeline.reading.sql_plan import SqlPlan


class Lake(
    FuturesReader,
    EdgeReader,
    LedgerReader,
    HistoryReader,
    StreamReader,
    EvidenceReader,
    FundamentalReader,
    FactorReader,
):
    """A lake that can be read: frames, Arrow tables, SQL, and what is known about every session.

    Times are aware datetimes, dates (midnight UTC), ISO 8601 text, `"today"`, or distances such as `"-7d"`; ranges are
    half-open; an end that is left out is open. Every call answers from the newest commit.

    Example:
        >>> lake = Lake.open()
        >>> lake.bars("BTC-USD", "1m", "2024-01-02", "2024-01-03", as_float=True)["close"].mean()
        42011.5
    """

    def __init__(
        self, store: LakeStore, *, facts: Sequence[SourceFacts] | None = None, cache: CacheOptions | None = None
    ) -> None:
        """Use `Lake.open`.

        Args:
            store: the write side.
            facts: what gb.yaml says of the sources; by default what the catalog remembers of it.
            cache: where answers are kept; some in memory by default.

        Raises:
            ConfigError: answers are to be kept in Redis, whose client is not installed.
        """
        self._store = store
        self._facts = facts
        self._cache = Cache(lake_name(store.storage.root), cache or CacheOptions(), store.storage.state)
        answers = Answers(store.tables, self._cache, self._now) if self._cache.keeps_anything else None
        self._context = Context(store.tables, self._now, lambda: known_sources(store.storage, facts), answers)

    @classmethod
    def open(
        cls, path: Path | str | None = None, *, create: bool = False, cache: CacheOptions | bool | None = None
    ) -> Lake:
        """Open a lake.

        Args:
            path: its root, the folder or `s3://bucket/prefix` that `lake:` names in gb.yaml; or a gb.yaml, or the folder of
                one. By default GB_LAKE, else the project of GB_CONFIG, of the working directory or of the nearest folder
                above it.
            create: make the folder if it is not there.
            cache: where answers are kept; False keeps none, True some in memory. By default as `cache` in gb.yaml and GB_CACHE*
                variables say. No answer is ever another one for it.

        Raises:
            ConfigError: there is no such folder, it is not a lake, or no project was found.
        """
        location = locate(path)
        store = LakeStore.at(location.root, state=location.state, incidents=location.incidents)
        root = store.storage.root
        if create and isinstance(root, Path):
            root.mkdir(parents=True, exist_ok=True)
        if not (create and store.storage.in_bucket):
            refuse_no_lake(store.storage)
        store.storage.refuse_other_format()
        if isinstance(cache, bool):
            cache = CacheOptions() if cache else NO_CACHE
        return cls(store, facts=location.facts, cache=location.cache() if cache is None else cache)

    def __repr__(self) -> str:
        """Where it is, and a line per resolution: series, and the first and last bar. No file of bars is opened."""
        return overview.to_text(overview.summarize(self._store))

    def _repr_html_(self) -> str:
        """The same as a table, for notebooks."""
        return overview.to_html(overview.summarize(self._store))

    def _now(self) -> datetime:
        # The clock of a store may be replaced.
        return self._store.clock()

    @property
    def store(self) -> LakeStore:
        """The write side."""
        return self._store

    @property
    def cache(self) -> Cache:
        """Answers that are kept: `hits`, `misses`, `bytes`, `statistics()` and `clear()`."""
        return self._cache

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

    def put(
        self,
        frame: object,
        *,
        source: str,
        resolution: Resolution | str,
        symbol: Symbol | str | None = None,
        calendar: Calendar | str = "24/7",
        window: Window | tuple[Any, Any] | None = None,
        decimals: int | None = None,
        **rules: Any,
    ) -> WriteReport:
        """Validate and store a frame of your own: Polars, pandas, or Arrow.

        Args:
            frame: columns `open, high, low, close, volume`, optionally `trade_count` and `vwap`, in any case and order, and the
                bars' opens as a column `timestamp`, `datetime`, `date` or `time`, or as an index of pandas: with a zone; for
                bars of a day and longer also dates. Other columns are left out. Numbers are text, decimals, integers or floats;
                a float is stored as the shortest decimal that reads back as the same float (0.1 as 0.1), and one with more
                digits than `precision` holds goes to quarantine.
            source: the name under which it is stored.
            resolution: of the bars.
            symbol: where the frame has no column `symbol`.
            calendar: a name or a calendar; missing bars are counted against it.
            window: what the frame is complete for; by default from the first to the last bar of each symbol. Stored bars in it that
                the frame does not have are marked as withdrawn.
            decimals: round floats to so many decimals first, as prices that were computed have no end (0.1 + 0.2).
            rules: further attributes of `BarRules`, such as `gap_policy`, `precision`, `adjustment` or `alignment`.

        Returns:
            The report: what was stored, refused and missing.

        Raises:
            WindowRefused: columns are missing or of a type that cannot be read; nothing was stored.
            NaiveTimestamp: times of day without a zone.
            ConfigError: an unusable name, calendar or rule.

        Example:
            >>> frame = pd.DataFrame({"Open": [1.5], "High": [2], "Low": [1], "Close": [1.8], "Volume": [100]})
            >>> frame.index = pd.DatetimeIndex(["2024-01-02"])
            >>> lake.put(frame, source="mine", resolution="1d", symbol="AAPL", calendar="XNYS").stored
            1
        """
        return put.put(
            self._store,
            frame,
            source=source,
            resolution=resolution,
            symbol=symbol,
            calendar=calendar,
            window=window,
            decimals=decimals,
            **rules,
        )

    def pieces(
        self,
        symbols: Symbols | None,
        resolution: Resolution | str,
        start: Moment | None = None,
        end: Moment | None = None,
        *,
        source: str | None = None,
        as_of: Moment | None = None,
        most_rows: int = MOST_ROWS,
        **options: Any,
    ) -> list[BarsPiece]:
        """The same question as `bars`, cut into pieces that other processes answer: workers of Dask, Ray or Spark.

        Every piece reads what was known at one moment, so whoever writes meanwhile changes none of them. Put together in their
        order they are what `bars` returns. No file of bars is opened here.

        Args:
            symbols, resolution, start, end, source, as_of: as in `bars`.
            most_rows: about how many bars a piece may have; at least a day of one symbol.
            options: further keywords of `bars`, without `resample` and `calendar`.

        Returns:
            Pieces that can be pickled. They name the lake's place, which the workers must reach, and hold no credential.

        Raises:
            UnknownSeries, NoDataInRange, ReadError: as `bars`.
            ConfigError: a keyword that cannot be used.

        Example:
            >>> dask.dataframe.from_map(BarsPiece.read_pandas, lake.pieces(None, "1m", "2024-01-01", source="binance"))
        """
        refuse_options(options, "resample", "calendar")
        named = [options.get(name) for name in ("columns", "adjustment")]
        request = self._request(
            symbols, resolution, start, end, source, named[0], as_of, named[1], bool(options.get("settled_only"))
        )
        root = self._store.storage.root
        return make_pieces(self._context, str(root), request, most_rows, options)

    def sql(self, query: str, *, as_of: Moment | None = None) -> pl.DataFrame:
        """One SQL query, run by DuckDB: the catalog's tables, and the lake's: `bars_1m` (now), `best_bars_1m` (each bar once,
        whoever delivered it), `bars_1m_history` (every version), `bars_1m_as_of(moment)`, `best_bars_1m_as_of(moment)`, the same
        for the other resolutions, `restatements`, and more (`show tables`).

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
        return self._queries.query(query, as_of=moment(as_of, self._store.clock))

    def explain_sql(self, query: str, *, as_of: Moment | None = None) -> SqlPlan:
        """Which files a query would open, and how DuckDB would run it; no file of bars is opened.

        Args:
            query: as for `sql`.
            as_of: as for `sql`.

        Returns:
            The plan: `scans` has a row for each time that the query reads a table, with files and bytes; `steps` is DuckDB's text.

        Raises:
            ReadError: as `sql`.

        Example:
            >>> lake.explain_sql("select max(close) from bars_1m where symbol = 'BTC-USD'").scans["files"].item()
            12
        """
        return self._queries.explain(query, as_of=moment(as_of, self._store.clock))

    def sql_reader(self, *, memory: int, rows: int, seconds: float) -> SqlReader:
        """Queries in SQL for those whom one does not trust: each may take so many bytes, return so many rows, and run so long.

        Example:
            >>> lake.sql_reader(memory=2**30, rows=1_000_000, seconds=30).query("select count(*) from bars_1m")
        """
        from gb_pipeline.reading.sql import SqlReader

        return SqlReader(self._store, self._facts, memory=memory, rows=rows, seconds=seconds)

    @cached_property
    def _queries(self) -> SqlReader:
        # PyArrow's datasets bring pandas along: 0.2 s that only SQL needs.
        from gb_pipeline.reading.sql import SqlReader

        return SqlReader(self._store, self._facts)

    def __reduce__(self) -> tuple[Any, ...]:
        """A process that is given a lake opens it anew, with the clock of its machine and caches of its own."""
        storage = self._store.storage
        return _reopen, (storage.root, storage.state, self._store.incidents, self._facts)

    def close(self) -> None:
        """Let go of what is held between calls: DuckDB, from the first query in SQL on. The lake stays usable."""
        if "_queries" in self.__dict__:
            self._queries.close()


def _reopen(
    root: Address, state: Path, incidents: Callable[[], Incidents] | None, facts: Sequence[SourceFacts] | None
) -> Lake:
    return Lake(LakeStore.at(root, state=state, incidents=incidents), facts=facts)
