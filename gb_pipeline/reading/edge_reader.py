"""`EdgeReader`, the methods of a lake about where series begin and end. `edges` answers them."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from gb_pipeline.market.resolution import Resolution
from gb_pipeline.reading.arguments import Moment, Symbols, between, moment
from gb_pipeline.reading.context import Context
from gb_pipeline.reading.edges import extents, latest
from gb_pipeline.reading.request import make_request


class EdgeReader:
    """How many bars series have, the first and the last of them."""

    _context: Context

    def extent(
        self,
        symbols: Symbols | None,
        resolution: Resolution | str,
        start: Moment | None = None,
        end: Moment | None = None,
        *,
        source: str | None = None,
        as_of: Moment | None = None,
    ) -> pl.DataFrame:
        """How many bars each series has in a range, and the first and the last of them.

        Args:
            symbols, resolution, start, end, source, as_of: as in `bars`.

        Returns:
            `source, symbol, bars` (Int64), `first, last` (timestamps, Datetime us UTC), one row for each source and symbol with a
            bar in the range, sorted by symbol and source. Of intraday bars the log knows most of it: files are opened only where
            the range cuts one, and as of a moment.

        Raises:
            UnknownSeries: nothing is stored under this name.
            NoDataInRange: no bar in the range.

        Example:
            >>> lake.extent("BTC-USD", "1m").select("symbol", "bars").rows()
            [('BTC-USD', 4320)]
        """
        clock = self._context.clock
        window = between(start, end, clock)
        request = make_request(symbols, resolution, window, source, None, moment(as_of, clock), None)
        return extents(self._context.tables, request.question)

    def latest(
        self,
        symbols: Symbols | None,
        resolution: Resolution | str,
        *,
        source: str | None = None,
        columns: Sequence[str] | None = None,
        as_of: Moment | None = None,
        as_float: bool = False,
    ) -> pl.DataFrame:
        """The last bar of each series, with prices as they are stored.

        Args:
            symbols, resolution, source, columns, as_of, as_float: as in `bars`.

        Returns:
            The columns of `bars`, one row for each source and symbol, sorted by symbol and source: where several sources have a
            symbol, each tells its own last bar. Only the newest files are opened.

        Raises:
            UnknownSeries: nothing is stored under this name.
            NoDataInRange: nothing was known of it at `as_of`.

        Example:
            >>> lake.latest(None, "1m", source="coinbase", columns=["symbol", "timestamp", "close"])
        """
        clock = self._context.clock
        window = between(None, None, clock)
        request = make_request(symbols, resolution, window, source, columns, moment(as_of, clock), None)
        return latest(self._context.tables, request.question, columns, as_float=as_float)
