"""Pages of candles, each whole or an error.

Belongs here: one request for one fixed stretch of time, and the doubts about its answer.
Does not belong here: symbols and windows (`ccxt`), what a candle looks like (`ccxt_candles`).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, cast

import polars as pl

from gb_pipeline.errors import HistoryNotAvailable, TransientVendorError
from gb_pipeline.providers import ccxt_client
from gb_pipeline.providers.ccxt_candles import read_candles
from gb_pipeline.providers.ccxt_quirks import Quirks
from gb_pipeline.providers.transport import Transport

# Rows of one answer that lie in the page, and the body they came in.
Answer = tuple[pl.DataFrame, str]


class Pages:
    """The pages of one market at one resolution.

    Args:
        client: a strict client whose markets are loaded.
        quirks: of its exchange.
        transport: repeats what fails in passing.
        market: ccxt's unified symbol.
        timeframe: ccxt's name of the resolution.
        step: milliseconds between two bars.
    """

    def __init__(
        self, client: Any, quirks: Quirks, transport: Transport, *, market: str, timeframe: str, step: int
    ) -> None:
        """Nothing is asked yet."""
        self._client, self._quirks, self._transport = client, quirks, transport
        self._who, self._market, self._timeframe, self._step = str(client.id), market, timeframe, step

    async def whole(self, start: int, stop: int) -> list[Answer]:
        """All bars that open within [start, stop), epoch milliseconds, in one answer or more.

        Raises:
            HistoryNotAvailable: the exchange only has newer ones.
            TransientVendorError: it failed more often than the policy allows, or answered something else.
            PermanentVendorError: it refuses.
        """
        answers = [await self._ask(start, stop)]
        if self._quirks.trusted:
            return answers
        # Some exchanges serve fewer bars than ccxt says, the oldest or the newest of those asked for.
        while (known := _span(answers)) and known[1] + self._step < stop:
            more = await self._ask(known[1] + self._step, stop)
            if more[0].is_empty():
                break
            answers.append(more)
        while (known := _span(answers)) and known[0] > start:
            more = await self._ask(start, known[0])
            if more[0].is_empty():
                break
            answers.append(more)
        return answers

    async def _ask(self, start: int, stop: int) -> Answer:
        # The doubts are part of what is repeated: a wrong answer may be right the next time.
        return await self._transport.call(lambda: self._once(start, stop))

    async def _once(self, start: int, stop: int) -> Answer:
        limit = -(-(stop - start) // self._step)
        until = {"until": stop - 1} if self._quirks.until else {}
        with ccxt_client.typed_errors(self._who):
            rows = await self._client.fetch_ohlcv(self._market, self._timeframe, start, limit, until)
        answer, body = ccxt_client.last_answer()
        frame = self._read(rows)
        if not rows and not _says_nothing(answer):
            raise TransientVendorError(
                f"{self._who} answered no list of bars of {self._market}: {body[:60]!r}",
                fix="empty is only believed where the vendor says so; the same call may succeed later",
            )
        inside = _inside(frame, _moment(start), _moment(stop))
        self._refuse_other_times(frame["timestamp"], inside, _moment(start))
        return inside, body

    def _read(self, rows: list[Any]) -> pl.DataFrame:
        try:
            frame = read_candles(rows, self._quirks.layout)
            if rows and frame["timestamp"].null_count() == len(rows):
                raise ValueError("no candle has a time")
            return frame
        except (LookupError, TypeError, ValueError):
            raise TransientVendorError(
                f"{self._who} answered bars of another form than it documents: {str(rows[:1])[:80]}",
                fix="the same call may succeed later; if it does not, the vendor changed its protocol",
            ) from None

    def _refuse_other_times(self, opens: pl.Series, inside: pl.DataFrame, start: datetime) -> None:
        first, last = _ends(opens)
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


def _ends(opens: pl.Series) -> tuple[datetime | None, datetime | None]:
    # Polars' type of a minimum covers every kind of column.
    return cast("datetime | None", opens.min()), cast("datetime | None", opens.max())


def _inside(frame: pl.DataFrame, start: datetime, stop: datetime) -> pl.DataFrame:
    first, last = _ends(frame["timestamp"])
    if first is not None and last is not None and start <= first and last < stop:
        return frame
    opens = pl.col("timestamp")
    return frame.filter(opens.is_null() | ((opens >= start) & (opens < stop)))


def _span(answers: list[Answer]) -> tuple[int, int] | None:
    first, last = _ends(pl.concat([frame["timestamp"] for frame, _ in answers]))
    return None if first is None or last is None else (milliseconds(first), milliseconds(last))


def _says_nothing(answer: Any, *, name: str = "") -> bool:
    # A well-formed empty answer holds an empty list of something else than errors.
    if isinstance(answer, list):
        return not answer and "err" not in name.lower() and "warn" not in name.lower()
    if isinstance(answer, dict):
        return any(_says_nothing(value, name=str(key)) for key, value in answer.items())
    return False


def milliseconds(moment: datetime) -> int:
    """Epoch milliseconds, rounded up: no bar opens within a millisecond."""
    return -(-round(moment.timestamp() * 1_000_000) // 1000)
