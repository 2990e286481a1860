"""Read exported folders with the libraries of the tools themselves, in an environment of theirs; prints JSON.

`python read_by_tools.py zipline|qlib|nautilus FOLDER`. Nothing of this package is imported.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any


def zipline(folder: Path) -> dict[str, Any]:
    """Ingest the csvdir bundle and read it back."""
    os.environ["ZIPLINE_ROOT"] = tempfile.mkdtemp()
    import pandas as pd
    from zipline.data.bundles import ingest, load, register  # type: ignore[import-not-found]
    from zipline.data.bundles.csvdir import csvdir_equities  # type: ignore[import-not-found]

    first, last = pd.Timestamp("2024-01-02"), pd.Timestamp("2024-01-08")
    register("exported", csvdir_equities(None, str(folder)), start_session=first, end_session=last)
    ingest("exported", os.environ, pd.Timestamp("2024-06-01", tz="UTC"), show_progress=False)
    bundle = load("exported")
    sid = bundle.asset_finder.lookup_symbol("AAPL", as_of_date=None).sid
    names = ["open", "high", "low", "close", "volume"]
    if (folder / "minute").is_dir():
        minutes = pd.date_range("2024-01-02 14:31", "2024-01-02 14:33", freq="min", tz="UTC")
        bars = bundle.equity_minute_bar_reader.load_raw_arrays(["close"], minutes[0], minutes[-1], [sid])
        return {"minutes": _plain(bars[0][:, 0])}
    days = bundle.equity_daily_bar_reader.load_raw_arrays(names, first, last, [sid])
    actions = {
        kind: [
            [str(day.date()), float(ratio)]
            for day, ratio in bundle.adjustment_reader.get_adjustments_for_sid(kind, sid)
        ]
        for kind in ("splits", "dividends")
    }
    return {
        "days": {name: _plain(array[:, 0]) for name, array in zip(names, days, strict=True)},
        **actions,
    }


def qlib(folder: Path) -> dict[str, Any]:
    """Ask for features of all instruments."""
    import qlib as library  # type: ignore[import-not-found]
    from qlib.data import D  # type: ignore[import-not-found]

    library.init(provider_uri=str(folder), region="us", kernels=1)
    frame = D.features(["AAPL"], ["$close", "$volume", "$factor", "$close/$factor"], start_time="2024-01-01")
    return {
        "calendar": [str(day.date()) for day in D.calendar()],
        "days": [str(day.date()) for _, day in frame.index],
        "values": [_plain(row) for row in frame.to_numpy()],
    }


def nautilus(folder: Path) -> dict[str, Any]:
    """Ask a catalog for its bars."""
    from nautilus_trader.persistence.catalog import ParquetDataCatalog  # type: ignore[import-not-found]

    return {
        "bars": [
            [str(bar.bar_type), *map(str, (bar.open, bar.high, bar.low, bar.close, bar.volume)), bar.ts_event]
            for bar in ParquetDataCatalog(str(folder)).bars()
        ]
    }


def _plain(values: Any) -> list[float | None]:
    return [None if value != value else float(value) for value in values]


if __name__ == "__main__":
    tool, place = sys.argv[1:]
    sys.stdout.write("\n" + json.dumps({"zipline": zipline, "qlib": qlib, "nautilus": nautilus}[tool](Path(place))))
