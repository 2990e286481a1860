"""This module reads Yahoo's chart answers strictly: a body becomes rows of text and time.

Which of them are bars is decided by `bars`; corporate actions are read by `actions`. Prices are 32-bit floats written as 64-bit
ones: 266.04 comes as 266.0400085449219.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, localcontext
from typing import Any, TypeGuard
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import polars as pl

from gb_pipeline.errors import TransientVendorError
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import PRICES
from gb_pipeline.providers.base import Body
from gb_pipeline.providers.http.responses import broken_body, one_of_each
from gb_pipeline.providers.yahoo.errors import WHO, refusal_in

INTERVALS = {
    Resolution.MINUTE: "1m",
    Resolution.MINUTE_5: "5m",
    Resolution.MINUTE_15: "15m",
    Resolution.MINUTE_30: "30m",
    Resolution.HOUR: "1h",
    Resolution.DAY: "1d",
}
_SAME_INTERVAL = {"1h": {"1h", "60m"}}
_LATEST = 4_102_444_800  # the year 2100: a later second is no time


@dataclass(frozen=True, slots=True)
class Chart:
    """One answer: `meta` and `events` as Yahoo sent them, `rows` with `stamp` (Int64, epoch seconds) and text columns."""

    meta: dict[str, Any]
    events: dict[str, Any]
    rows: pl.DataFrame
    zone: ZoneInfo

    @property
    def first_trade(self) -> datetime | None:
        """The first bar that Yahoo has, where it says so."""
        return epoch_moment(self.meta.get("firstTradeDate"))

    def local_date(self, stamp: int) -> date:
        """The exchange's date of an epoch second.

        Raises:
            ValueError: it is none.
        """
        moment = epoch_moment(stamp)
        if moment is None:
            raise ValueError(f"{str(stamp)[:30]} is no time")
        return moment.astimezone(self.zone).date()


def read_chart(body: Body, vendor: str, resolution: Resolution) -> Chart:
    """Parse and check one answer.

    Args:
        body: the vendor's bytes, of an answer with a status below 300.
        vendor: Yahoo's spelling of the symbol that was asked for.
        resolution: which was asked for.

    Raises:
        VendorError: Yahoo explains why there is nothing (typed by its words), or the answer is no chart of this symbol and
            resolution (TransientVendorError).
    """
    text = body.decode("utf-8", errors="replace")
    try:
        # Infinity is a text like any other here: it was seen in columns that nobody reads.
        document = json.loads(text, parse_float=str, parse_constant=str, object_pairs_hook=one_of_each)
    except (ValueError, RecursionError):
        raise broken_body(WHO, 200, "text", text) from None
    refused = refusal_in(200, document)
    if refused is not None:
        raise refused
    try:
        (result,) = document["chart"]["result"]
        meta = dict(result["meta"])
        zone = ZoneInfo(str(meta["exchangeTimezoneName"]))
        _refuse_another(meta, vendor, INTERVALS[resolution])
        return Chart(meta, dict(result.get("events") or {}), _rows(result), zone)
    except (LookupError, TypeError, ValueError, OverflowError, ZoneInfoNotFoundError):
        raise broken_body(WHO, 200, "no chart", text) from None


def float32_text(values: list[Any]) -> list[str | None]:
    """The shortest decimal that names the same 32-bit float; text that names no such float stays as it is.

    Args:
        values: JSON numbers as text or int, None for null.

    Example:
        >>> float32_text(["266.0400085449219", "266.040009", 189, None])
        ['266.04', '266.04', '189', None]
    """
    numbers = [_number(value) for value in values]
    doubles = np.array(numbers, np.float64)
    with np.errstate(over="ignore"):
        singles = doubles.astype(np.float32)
    same = (doubles == singles.astype(np.float64)) & np.isfinite(singles)
    return [
        np.format_float_positional(single, trim="-") if exact or _rounds_to(value, single) else _as_sent(value)
        for value, single, exact in zip(values, singles, same.tolist(), strict=True)
    ]


# --- reading ----------------------------------------------------------------------------------------------------------


def _rows(result: dict[str, Any]) -> pl.DataFrame:
    quotes = result["indicators"]["quote"]
    quote = quotes[0] if quotes else {}
    stamps = result.get("timestamp") or []
    if not all(map(is_epoch_second, stamps)):
        raise ValueError("a time is no whole number of seconds")
    columns = {name: quote.get(name) or [] if not stamps else quote[name] for name in (*PRICES, "volume")}
    if any(len(column) != len(stamps) for column in columns.values()):
        raise ValueError("columns of different lengths")
    texts: dict[str, Any] = {name: pl.Series(float32_text(columns[name]), dtype=pl.String) for name in PRICES}
    texts["volume"] = pl.Series([_as_sent(value) for value in columns["volume"]], dtype=pl.String)
    return pl.DataFrame({"stamp": pl.Series(stamps, dtype=pl.Int64), **texts})


def _refuse_another(meta: dict[str, Any], vendor: str, interval: str) -> None:
    about, step = str(meta.get("symbol", "")).upper(), str(meta.get("dataGranularity", ""))
    # Pairs with the dollar have a short name as well: JPY=X is USDJPY=X.
    if about not in {vendor.upper(), vendor.upper().removeprefix("USD")}:
        raise TransientVendorError(f"{WHO} answered about {about[:20]} when asked for {vendor}", fix="try again later")
    if step not in _SAME_INTERVAL.get(interval, {interval}):
        raise TransientVendorError(
            f"{WHO} answered bars of {step[:20]} when asked for {interval} of {vendor}",
            fix="the same call may succeed later; if it does not, use another resolution",
        )


def _number(value: Any) -> float:
    try:
        return float(value) if isinstance(value, str | int) and not isinstance(value, bool) else np.nan
    except (ValueError, OverflowError):
        return np.nan


def _rounds_to(value: Any, single: np.float32) -> bool:
    """Whether the text is the float's own value, rounded: 266.040009 is 266.0400085449219."""
    if not isinstance(value, str) or not np.isfinite(single):
        return False
    sent, own = Decimal(value), Decimal(float(single))
    digits = sent.as_tuple()
    with localcontext() as context:
        context.prec = 200
        return len(digits.digits) <= 20 and own.quantize(Decimal(1).scaleb(int(digits.exponent))) == sent


def _as_sent(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value)


def is_epoch_second(value: Any) -> TypeGuard[int]:
    """Whether a parsed JSON value is a time as Yahoo writes it."""
    return type(value) is int and abs(value) < _LATEST


def epoch_moment(value: Any) -> datetime | None:
    """The instant of an epoch second in UTC; None where it is none."""
    return datetime.fromtimestamp(value, UTC) if is_epoch_second(value) else None
