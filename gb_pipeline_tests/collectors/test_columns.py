"""Every row that a decoder hands over is in one table, exact, or refused: against one that looks at each row by itself."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from gb_pipeline.collectors.columns import count_rows, to_columns
from gb_pipeline.collectors.levels import keep_levels, read_levels
from gb_pipeline.collectors.messages import MessageRows, TimeUnit

NOW = 1_700_000_000_123_456_789
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FACTORS = {TimeUnit.NANOSECONDS: 1, TimeUnit.MICROSECONDS: 1_000, TimeUnit.MILLISECONDS: 1_000_000}
NUMBERS = st.sampled_from(
    ["0", "0.0", "1", "100.5", "-1", "1e3", "0.00000001", "0.000000001", "9999999999.99999999", "12345678901234567890",
     "123456789012345678901", "0.0000000000000000001", "", "abc", "1.5.5", "NaN", "Infinity", " 1"]
) | st.decimals(min_value=0, max_value=10**6, places=8).map(lambda value: format(value, "f"))  # fmt: skip
SIDES = st.sampled_from(["buy", "sell", None, "both"])
PAIRS = st.lists(st.tuples(NUMBERS, NUMBERS), max_size=3)
# As a decoder makes pairs of them, or as it keeps the venue's text.
LEVELS = PAIRS | PAIRS.map(lambda pairs: keep_levels(msgspec.Raw(msgspec.json.encode(pairs))))
SEQUENCES = st.none() | st.integers(0, 2**63 - 1)
IDS = st.none() | st.integers(0, 2**64) | st.text("abc-019", min_size=1, max_size=5)
SYMBOLS = st.sampled_from(["BTC-USD", "ETH-USD"])


@st.composite
def moments(draw: st.DrawFn, unit: TimeUnit) -> tuple[Any, int | None]:
    """As a venue of a unit writes it, and ns; None twice where it says none."""
    if draw(st.booleans()):
        return None, None
    wanted = NOW + draw(st.sampled_from([0, -1, 999, 86_400 * 10**9, 86_400 * 10**9 + 10**9, -(10**16)]))
    if unit is TimeUnit.ISO:
        seconds, rest = divmod(wanted, 10**9)
        text = (EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")
        return f"{text}.{rest:09d}Z", wanted
    if unit is TimeUnit.SECONDS:
        return f"{wanted // 10**9}.{wanted % 10**9:09d}", wanted
    number = wanted // FACTORS[unit]
    return draw(st.sampled_from([number, str(number)])), number * FACTORS[unit]


@st.composite
def messages(
    draw: st.DrawFn, unit: TimeUnit
) -> tuple[MessageRows, list[tuple[str, int | None, tuple[str | None, ...]]]]:
    """Rows, and of each one its table, the exchange's time in ns, and its numbers as text."""
    rows, plain = MessageRows(), []
    for index in range(draw(st.integers(0, 8))):
        raw, moment = draw(moments(unit))
        symbol, received = draw(SYMBOLS), NOW + index
        kind = draw(st.sampled_from(["trades", "book_updates", "book_snapshots", "quotes"]))
        if kind == "trades":
            price, size = draw(NUMBERS), draw(NUMBERS)
            rows.trades.append((symbol, raw, received, draw(SIDES), price, size, draw(IDS), draw(SEQUENCES), 0))
            plain.append((kind, moment, (price, size)))
        elif kind == "quotes":
            numbers = [draw(st.none() | NUMBERS) for _ in range(4)]
            rows.quotes.append((symbol, raw, received, *numbers, draw(SEQUENCES)))
            plain.append((kind, moment, tuple(numbers)))
        else:
            bids, asks = draw(LEVELS), draw(LEVELS)
            if kind == "book_updates":
                rows.updates.append(
                    (symbol, raw, received, bids, asks, draw(SEQUENCES), draw(SEQUENCES), draw(SEQUENCES))
                )
            else:
                rows.snapshots.append((symbol, raw, received, bids, asks, draw(SEQUENCES), "subscribed"))
            plain += [(kind, moment, level) for level in read_levels(bids) + read_levels(asks)]
    return rows, plain


def exact(text: str | None) -> Decimal | None:
    try:
        value = Decimal(text or "")
    except InvalidOperation:
        return None
    return value if value.is_finite() else None


@given(data=st.data())
def test_every_row_is_in_one_table_or_refused_and_numbers_and_times_are_what_came(data: st.DataObject) -> None:
    unit = data.draw(st.sampled_from(list(TimeUnit)))
    rows, plain = data.draw(messages(unit))
    columns = to_columns(rows, "feed", unit, "one")
    assert columns.rows == count_rows(rows) == len(plain)
    came = Counter((table, moment, tuple(map(exact, numbers))) for table, moment, numbers in plain)
    stored: Counter[Any] = Counter()
    ids: dict[int, str | None] = {}
    for name, frame in columns.tables.items():
        table = name.removesuffix("_wide")
        numbers = [item for item in frame.columns if item.endswith(("price", "size"))]
        for row in frame.iter_rows(named=True):
            moment = row["exchange_time"]
            stored[table, moment, tuple(row[item] for item in numbers)] += 1
            near = moment is not None and abs(moment - row["receive_time"]) <= 86_400 * 10**9
            axis = moment if near else row["receive_time"]
            assert row["timestamp"] == EPOCH + timedelta(microseconds=axis // 1000)
            if table == "trades":
                ids[row["receive_time"]] = row["trade_id"]
            assert (row["source"], row["collector"]) == ("feed", "one")
    said = {row[2]: None if row[6] is None else str(row[6]) for row in rows.trades}
    assert ids == {received: said[received] for received in ids}
    for table, reasons in columns.refused.select("table", "reasons").iter_rows():
        assert reasons
        stored[table, "refused", ()] += 1
    # Each stored one came, as often, and whatever came and is not stored is refused.
    kept = Counter({key: count for key, count in stored.items() if key[1] != "refused"})
    assert not kept - came
    left = Counter(table for table, _, _ in (came - kept).elements())
    assert left == Counter({table: count for (table, what, _), count in stored.items() if what == "refused"})


@given(data=st.data())
def test_good_rows_are_stored_in_the_order_in_which_they_came(data: st.DataObject) -> None:
    prices = data.draw(st.lists(st.integers(1, 10**15), min_size=1, max_size=20))
    rows = MessageRows()
    for index, price in enumerate(prices):
        rows.trades.append(("BTC-USD", NOW, NOW + index, "buy", f"{price}e-8", "1", index, index, 0))
    columns = to_columns(rows, "feed", TimeUnit.NANOSECONDS, "one")
    assert columns.refused.is_empty()
    frame = columns.tables["trades"]
    assert frame["price"].to_list() == [Decimal(price).scaleb(-8) for price in prices]
    assert frame["trade_id"].to_list() == [str(index) for index in range(len(prices))]


@given(
    number=st.sampled_from([2**63, 2**64 - 1, 2**70, -(2**63) - 1]),
    unit=st.sampled_from([TimeUnit.NANOSECONDS, TimeUnit.MILLISECONDS]),
)
def test_a_time_that_no_column_can_hold_refuses_its_row_alone(number: int, unit: TimeUnit) -> None:
    rows = MessageRows()
    rows.trades += [
        ("BTC-USD", raw, NOW + index, "buy", "1", "1", index, index, 0)
        for index, raw in enumerate([None, number, str(number)])
    ]
    columns = to_columns(rows, "feed", unit, "one")
    assert columns.tables["trades"]["trade_id"].to_list() == ["0"]
    assert columns.refused.height == 2


@given(number=st.sampled_from([2**63, 2**64 - 1, -(2**63) - 1]))
def test_a_number_of_a_message_that_no_column_can_hold_stops_nothing(number: int) -> None:
    rows = MessageRows()
    rows.trades.append(("BTC-USD", None, NOW, "buy", "1", "1", number, number, 0))
    rows.trades.append(("BTC-USD", None, NOW + 1, "buy", "1", "1", 7, 7, 0))
    rows.updates.append(("BTC-USD", None, NOW, [("1", "1")], [], number, number, number))
    rows.quotes.append(("BTC-USD", None, NOW, "1", "1", None, None, number))
    columns = to_columns(rows, "feed", TimeUnit.NANOSECONDS, "one")
    assert columns.rows == 4
    assert columns.tables["trades"]["trade_id"].to_list() == [str(number), "7"]
    assert columns.tables["trades"]["sequence"].to_list() == [None, 7]
