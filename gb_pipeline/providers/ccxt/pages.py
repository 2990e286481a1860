"""This module cuts a window into pages of candles and reads each as a whole, or refuses it.

Nothing is requested here, so that stored answers are read by the same code: `provider` sends the requests, and `candles` knows
what a candle looks like.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import polars as pl

from gb_pipeline.errors import HistoryNotAvailable, PermanentVendorError, TransientVendorError
from gb_pipeline.market.window import Window
from gb_pipeline.providers.candles import read_candles
from gb_pipeline.providers.ccxt.quirks import Quirks
from gb_pipeline.providers.ccxt.reader import Reader

# Start and end of a page, epoch milliseconds, of which the exchange is asked.
Page = tuple[int, int]
# Takes each page's answer and ends with all of them; the pages depend on the answers and on nothing else.
Requests = Generator[Page, pl.DataFrame, list[pl.DataFrame]]
# Milliseconds; bars up to a day open at multiples of their length since 1970, longer ones as each exchange likes.
_DAY = 86_400_000


class Pages:
    """The pages of one market at one resolution.

    Args:
        reader: of that market and resolution.
        quirks: of its exchange.
        who: the exchange, for messages.
        market: ccxt's unified symbol, for messages.
        step: milliseconds between two bars.
    """

    def __init__(self, reader: Reader, quirks: Quirks, *, who: str, market: str, step: int) -> None:
        """Nothing is asked here: what is yielded has to be."""
        self._reader, self._quirks, self._who, self._market, self._step = reader, quirks, who, market, step

    def of(self, window: Window) -> Requests:
        """All bars that open within the window; each page of fixed size is asked for as such."""
        answers: list[pl.DataFrame] = []
        for start, stop in pages(window, self._quirks.page * self._step):
            answers += yield from self._whole(start, stop)
        return answers

    def _whole(self, start: int, stop: int) -> Requests:
        answers = [(yield start, stop)]
        # A page may hold fewer bars than were asked for, the oldest or the newest of them: only an empty one is the end.
        while (span := _span(answers)) and span[1] + self._step < stop:
            more = yield span[1] + self._step, stop
            if more.is_empty():
                break
            answers.append(more)
        while self._quirks.deep_history and (span := _span(answers)) and span[0] > start:
            more = yield start, span[0]
            if more.is_empty():
                break
            answers.append(more)
        return answers

    def query(self, page: Page) -> tuple[int, int, dict[str, Any]]:
        """`since`, `limit` and `params` of ccxt's `fetch_ohlcv` for a page."""
        start, stop = page
        return start, -(-(stop - start) // self._step), {"until": stop - 1} if self._quirks.until else {}

    def read(self, page: Page, body: str, answer: Any, understood: list[Any] | None = None) -> pl.DataFrame:
        """The rows of a page's answer that lie in the page.

        Args:
            page: what was asked.
            body: what came.
            answer: the same, parsed by `read_json`.
            understood: candles that ccxt itself made of it when it came, where it makes any.

        Raises:
            HistoryNotAvailable: the exchange only has newer ones.
            PermanentVendorError: what ccxt made of it cannot be made of the body alone.
            TransientVendorError: it answered something else.
        """
        rows = self._reader.rows(body, answer, *self.query(page))
        if understood and understood != rows:
            raise PermanentVendorError(
                f"ccxt reads more than the last answer of {self._who}",
                fix="this exchange cannot be read reliably; name another one",
            )
        frame = self._read(rows)
        if not rows and not _holds_empty_list(answer):
            raise TransientVendorError(
                f"{self._who} answered no list of bars of {self._market}: {body[:60]!r}",
                fix="empty is only believed where the vendor says so; the same call may succeed later",
            )
        start, stop = map(_moment, page)
        inside = _cut(frame, start, stop)
        if self._can_hold(page):
            self._refuse_other_times(frame["timestamp"], inside, start)
        return inside

    def _can_hold(self, page: Page) -> bool:
        """Whether a bar can open within a page: in one shorter than a bar perhaps none does, and others are no wonder."""
        start, stop = page
        return self._step > _DAY or -(-start // self._step) * self._step < stop

    def _read(self, rows: list[Any]) -> pl.DataFrame:
        try:
            frame = read_candles(rows, self._reader.layout)
            if rows and frame["timestamp"].null_count() == len(rows):
                raise ValueError("no candle has a time")
            return frame
        except (LookupError, TypeError, ValueError):
            raise TransientVendorError(
                f"{self._who} answered bars of another form than it documents: {str(rows[:1])[:80]}",
                fix="the same call may succeed later; if it does not, the vendor changed its protocol",
            ) from None

    def _refuse_other_times(self, opens: pl.Series, inside: pl.DataFrame, start: datetime) -> None:
        first, last = _first_and_last(opens)
        if first is None or last is None:
            return
        full = len(opens) >= self._quirks.page
        reaches_now = last >= datetime.now(UTC) - timedelta(milliseconds=2 * self._step)
        newest_only = not self._quirks.deep_history or (not self._quirks.trusted and reaches_now)
        if full and first > start and newest_only:
            raise HistoryNotAvailable(
                f"{self._who} only has the newest {len(opens)} bars of {self._market}, from {first:%Y-%m-%d %H:%M} on",
                first=first,
                fix="fetch more often, a coarser resolution, or from another source",
            )
        # Exchanges that do not know `until` answer what comes next where the page itself is empty.
        if inside.is_empty() and (last < start or (self._quirks.trusted and self._quirks.until)):
            raise TransientVendorError(
                f"{self._who} answered bars of {first:%Y-%m-%d %H:%M} when asked for {start:%Y-%m-%d %H:%M}",
                fix="the same call may succeed later",
            )


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _first_and_last(opens: pl.Series) -> tuple[datetime | None, datetime | None]:
    # Polars' type of a minimum covers every kind of column.
    return cast("datetime | None", opens.min()), cast("datetime | None", opens.max())


def _cut(frame: pl.DataFrame, start: datetime, stop: datetime) -> pl.DataFrame:
    first, last = _first_and_last(frame["timestamp"])
    if first is not None and last is not None and start <= first and last < stop:
        return frame
    opens = pl.col("timestamp")
    return frame.filter(opens.is_null() | ((opens >= start) & (opens < stop)))


def _span(answers: list[pl.DataFrame]) -> Page | None:
    first, last = _first_and_last(pl.concat([frame["timestamp"] for frame in answers]))
    return None if first is None or last is None else (_milliseconds(first), _milliseconds(last))


def _holds_empty_list(answer: Any, *, name: str = "") -> bool:
    # A well-formed empty answer holds an empty list of something else than errors.
    if isinstance(answer, list):
        return not answer and "err" not in name.lower() and "warn" not in name.lower()
    if isinstance(answer, dict):
        return any(_holds_empty_list(value, name=str(key)) for key, value in answer.items())
    return False


def pages(window: Window, size: int) -> Iterator[Page]:
    """Stretches of `size` milliseconds that fill the window."""
    start, end = _milliseconds(window.start), _milliseconds(window.end)
    while start < end:
        stop = min(end, start + size)
        yield start, stop
        start = stop


def _milliseconds(moment: datetime) -> int:
    # Rounded up: no bar opens within a millisecond.
    return -(-round(moment.timestamp() * 1_000_000) // 1000)
