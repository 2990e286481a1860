"""Read exported streams with the tools themselves, in an environment of theirs; prints JSON. Nothing of this package is imported.

`hftbacktest NPZ TRADES BOOK` compares an array with what hftbacktest makes of Tardis' files, and plays it; `raw FOLDER GZ` with
what it makes of its own recording; `nautilus FOLDER` reads a catalog.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

warnings.filterwarnings("ignore")


def hftbacktest(npz: str, trades: str, book: str) -> dict[str, Any]:
    """The array, that of the tool's own converter, and the book that a backtest sees at the end."""
    import numpy as np
    from hftbacktest import BacktestAsset, HashMapMarketDepthBacktest  # type: ignore[import-not-found]
    from hftbacktest.data.utils import tardis  # type: ignore[import-not-found]
    from hftbacktest.data.validation import validate_event_order  # type: ignore[import-not-found]
    from hftbacktest.types import event_dtype  # type: ignore[import-not-found]

    own = np.load(npz)["data"].astype(event_dtype)
    validate_event_order(own)
    wanted = tardis.convert([trades, book], buffer_size=100_000, ss_buffer_size=10_000)
    asset = (
        BacktestAsset().data(npz).linear_asset(1.0).constant_order_latency(0, 0).risk_adverse_queue_model()
        .no_partial_fill_exchange().trading_value_fee_model(0, 0).tick_size(0.1).lot_size(0.001).last_trades_capacity(10_000)
    )  # fmt: skip
    test = HashMapMarketDepthBacktest([asset])
    while test.wait_next_feed(False, 10**12) == 2:
        pass
    depth = test.depth(0)
    return {
        "same": bool(len(own) == len(wanted) and (own == wanted).all()),
        "events": [len(own), len(wanted)],
        "best": [depth.best_bid, depth.best_ask],
        "trades": len(test.last_trades(0)),
    }


def raw(folder: str, recording: str) -> dict[str, Any]:
    """Events by kind of the arrays of all days, and of what the tool makes of its own recording."""
    import numpy as np
    from hftbacktest.data.utils import binancefutures  # type: ignore[import-not-found]
    from hftbacktest.data.validation import validate_event_order  # type: ignore[import-not-found]
    from hftbacktest.types import event_dtype  # type: ignore[import-not-found]

    days = [np.load(file)["data"].astype(event_dtype) for file in sorted(Path(folder).iterdir())]
    for day in days:
        validate_event_order(day)
    own = np.concatenate(days)
    wanted = binancefutures.convert(recording, buffer_size=2_000_000)
    return {"own": _kinds(own), "wanted": _kinds(wanted)}


def _kinds(events: Any) -> dict[str, list[Any]]:
    """Of those that are heard: how many of each kind, and the sums of their numbers."""
    import numpy as np

    heard = events[(events["ev"] & (1 << 30)) != 0]
    found = {}
    for kind in np.unique(heard["ev"] & 0x3FFFFFFF):
        some = heard[(heard["ev"] & 0x3FFFFFFF) == kind]
        sums = [round(float(some[name].sum()), 3) for name in ("px", "qty")]
        found[str(int(kind))] = [len(some), int(some["exch_ts"].sum() % 10**12), *sums]
    return found


def nautilus(folder: str) -> dict[str, Any]:
    """What a catalog gives, and the book that its deltas make."""
    from nautilus_trader.model.book import OrderBook  # type: ignore[import-not-found]
    from nautilus_trader.model.enums import BookType  # type: ignore[import-not-found]
    from nautilus_trader.persistence.catalog import ParquetDataCatalog  # type: ignore[import-not-found]

    catalog = ParquetDataCatalog(folder)
    deltas = catalog.order_book_deltas()
    book = OrderBook(deltas[0].instrument_id, BookType.L2_MBP)
    for delta in deltas:
        book.apply_delta(delta)
    return {
        "trades": [
            [str(t.price), str(t.size), t.aggressor_side.name, str(t.trade_id), t.ts_event, t.ts_init]
            for t in catalog.trade_ticks()
        ],
        "quotes": [
            [str(q.bid_price), str(q.ask_price), str(q.bid_size), str(q.ask_size), q.ts_event]
            for q in catalog.quote_ticks()
        ],
        "bids": [[str(level.price), level.size()] for level in book.bids()],
        "asks": [[str(level.price), level.size()] for level in book.asks()],
        "deltas": len(deltas),
    }


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])))
