"""zipline's `daily_equities.bcolz`, decoded and written as the text files that the CSV provider reads.

Belongs here: just enough of the bcolz format for one real bundle. Test code: the package itself reads no bcolz.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numcodecs.blosc import decompress

from gb_pipeline.config.settings import SourceSettings

# A chunk's file: 16 bytes of bloscpack header (no table of offsets), then one Blosc buffer.
_HEADER = 16
COLUMNS = ("day", "open", "high", "low", "close", "volume")


def read_column(table: Path, name: str) -> np.ndarray:
    """One column of a bcolz table, all sids one after another."""
    shape = json.loads((table / name / "meta" / "sizes").read_text(encoding="utf-8"))["shape"][0]
    dtype = json.loads((table / name / "meta" / "storage").read_text(encoding="utf-8"))["dtype"]
    chunks = sorted((table / name / "data").glob("__*.blp"), key=lambda path: int(path.stem[2:]))
    bodies = [path.read_bytes() for path in chunks]
    assert all(body[:4] == b"blpk" for body in bodies)
    values = np.concatenate([np.frombuffer(decompress(body[_HEADER:]), dtype=dtype) for body in bodies])
    return values[:shape]


def write_csv(table: Path, sid: int, path: Path) -> int:
    """Write one asset's rows as integers, exactly as stored (price x 1000, day in Unix seconds); return their number."""
    attributes = json.loads((table / "__attrs__").read_text(encoding="utf-8"))
    rows = slice(attributes["first_row"][str(sid)], attributes["last_row"][str(sid)] + 1)
    columns = [read_column(table, name)[rows].tolist() for name in COLUMNS]
    lines = [",".join(COLUMNS), *(",".join(map(str, row)) for row in zip(*columns, strict=True))]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(lines) - 1


def source(folder: Path) -> SourceSettings:
    """zipline's daily bundle as text: integers of a thousandth, days in Unix seconds."""
    options = {
        "root": str(folder),
        "path": "{symbol}.csv",
        "columns": {"timestamp": "day"},
        "timestamp_format": "unix_s",
        "price_scale": 1000,
    }
    return SourceSettings.model_validate(
        {
            "name": "bundle",
            "provider": "csv",
            "start": "2004-01-01",
            "calendar": "XNYS",
            "symbols": ["DELL"],
            "resolutions": ["1d"],
            "options": options,
        }
    )
