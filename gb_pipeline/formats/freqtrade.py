"""freqtrade's downloaded candles: Feather, Parquet, JSON and HDF5, a file per pair and timeframe in the folder of an exchange.

A name such as `BTC_USDT-5m.feather` or `futures/BTC_USDT_USDT-1h-futures.feather` says everything; times are opens in UTC. Files of
marks, of funding and of trades are no bars that trade, and are left out.
"""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import polars as pl
import pyarrow as pa

from gb_pipeline.errors import FormatRefused, GbError
from gb_pipeline.formats.archive import CHUNK_ROWS, Archive, ArchiveSeries, ReadOptions
from gb_pipeline.formats.frames import read_frame
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import PRICES, RECEIVED
from gb_pipeline.market.symbol import AssetClass, Symbol

_SUFFIXES = (".feather", ".parquet", ".json", ".json.gz", ".h5")
_NAME = re.compile(r"(?P<pair>[A-Za-z0-9_]+)-(?P<timeframe>[0-9]+[A-Za-z]{1,2})(?:-(?P<kind>[A-Za-z_]+))?")
# What may stand behind the timeframe: candles of trades, and candles of what nobody traded at.
_TRADED, _OTHERS = {None, "spot", "futures"}, {"mark", "index", "premiumIndex", "funding_rate"}
# Unpacked, a file of minutes of ten years has a third of that.
_MOST_BYTES = 1 << 30
_BETWEEN_ROWS = re.compile(rb"\]\s*,\s*\[")


def open_folder(path: Path, options: ReadOptions) -> Archive:
    """The candles of a folder and those below it, or of one file; see `archive.Reader`."""
    del options
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    series, skipped = [], {}
    for file in files:
        suffix = next((item for item in sorted(_SUFFIXES, key=len, reverse=True) if file.name.endswith(item)), None)
        if suffix is None or file.name.startswith("."):
            continue
        name = file.name.removesuffix(suffix)
        try:
            symbol, resolution = _read_name(name)
        except GbError as error:
            skipped[file.name] = error.what
            continue
        read = partial(_READERS[suffix], file, resolution)
        series.append(ArchiveSeries(symbol, resolution, file.name, read))
    used = {item.origin for item in series}
    return Archive(
        series=tuple(series),
        files=tuple(file for file in files if file.name in used),
        asset_class=AssetClass.CRYPTO,
        calendar="24/7",
        notes=(
            "Numbers are floats in these files: each is stored as the shortest decimal that reads back as it."
            " Volumes are those of the base currency.",
        ),
        skipped=skipped,
    )


def _read_name(name: str) -> tuple[Symbol, Resolution]:
    """`BTC_USDT-5m`, `BTC_USDT_USDT-1h-futures`.

    Raises:
        FormatRefused, InvalidSymbol, InvalidResolution: it is not one of these.
    """
    match = _NAME.fullmatch(name)
    if match is None or match["kind"] not in _TRADED:
        kind = match["kind"] if match is not None else None
        why = f"{kind} is no price at which was traded" if kind in _OTHERS else "its name is none of a candle file"
        raise FormatRefused(why, fix="leave it out")
    parts = match["pair"].split("_")
    if not 2 <= len(parts) <= 3:
        raise FormatRefused(f"{match['pair']} is no pair", fix="rename it as BTC_USDT-5m")
    pair = f"{parts[0]}/{parts[1]}" + (f":{parts[2]}" if len(parts) == 3 else "")
    return Symbol.crypto(pair), Resolution.parse(match["timeframe"])


def _read_feather(file: Path, resolution: Resolution) -> Iterator[pl.DataFrame]:
    try:
        with pa.memory_map(str(file)) as source, pa.ipc.open_file(source) as reader:
            for number in range(reader.num_record_batches):
                yield from _convert(pl.DataFrame(reader.get_batch(number)), file, resolution)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(file, str(error)) from None


def _read_parquet(file: Path, resolution: Resolution) -> Iterator[pl.DataFrame]:
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as reader:
            for batch in reader.iter_batches(CHUNK_ROWS):
                yield from _convert(pl.DataFrame(batch), file, resolution)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(file, str(error)) from None


def _read_json(file: Path, resolution: Resolution) -> Iterator[pl.DataFrame]:
    """`[[1511686200000,8800.0,8800.5,8790.1,8798.2,12.5],...]`: the rows as lines, so that numbers keep their own digits."""
    del resolution
    body = _unpack(file).strip()
    if body in {b"[]", b""}:
        return
    if not (body.startswith(b"[") and body.endswith(b"]")):
        raise _damaged(file, f"it breaks off behind {body[-40:].decode('utf-8', 'replace')!r}")
    inner = body[1:-1].strip()
    if not (inner.startswith(b"[") and inner.endswith(b"]")):
        raise _damaged(file, "it is no list of rows")
    lines = _BETWEEN_ROWS.sub(b"\n", inner[1:-1])
    names = ["timestamp", *PRICES, "volume"]
    try:
        rows = pl.read_csv(
            io.BytesIO(lines), has_header=False, infer_schema=False, quote_char=None, null_values=["null", "NaN"]
        )
    except pl.exceptions.PolarsError as error:
        raise _damaged(file, str(error).split("\n", 1)[0]) from None
    if rows.width != len(names):
        raise _damaged(file, f"its rows have {rows.width} numbers, not {len(names)}")
    rows.columns = names
    texts = rows.with_columns(pl.all().str.strip_chars())
    stamps = texts["timestamp"].str.replace(r"\.0$", "").cast(pl.Int64, strict=False)
    if stamps.null_count():
        number = stamps.is_null().arg_max()
        raise _damaged(
            file, f"row {(number or 0) + 1:,} begins with {texts['timestamp'][number or 0]!r}, no milliseconds"
        )
    # Milliseconds beyond any calendar are stamps that are refused, and not an overflow.
    in_range = stamps.is_between(-(10**14), 10**14)
    times = (stamps.set(~in_range, None) * 1000).cast(RECEIVED["timestamp"])
    yield texts.with_columns(times.alias("timestamp"))


def _read_hdf(file: Path, resolution: Resolution) -> Iterator[pl.DataFrame]:
    from gb_pipeline.formats.hdf5.pandas_layout import find_frames

    for frame in find_frames(file):
        if "ohlcv" in frame.key.split("/"):
            for chunk in frame.read():
                # What freqtrade writes has UTC, and says so only in some versions.
                yield read_frame(chunk, f"{file}, {frame.key}", resolution, zone="UTC")


_READERS: dict[str, Callable[[Path, Resolution], Iterator[pl.DataFrame]]] = {
    ".feather": _read_feather,
    ".parquet": _read_parquet,
    ".json": _read_json,
    ".json.gz": _read_json,
    ".h5": _read_hdf,
}


def _convert(rows: pl.DataFrame, file: Path, resolution: Resolution) -> Iterator[pl.DataFrame]:
    for chunk in rows.iter_slices(CHUNK_ROWS):
        yield read_frame(chunk, str(file), resolution, zone="UTC")


def _unpack(file: Path) -> bytes:
    try:
        if not file.name.endswith(".gz"):
            if file.stat().st_size > _MOST_BYTES:
                raise _damaged(file, f"it has more than {_MOST_BYTES:,} bytes")
            return file.read_bytes()
        with gzip.open(file) as packed:
            body = packed.read(_MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(file, str(error)) from None
    if len(body) > _MOST_BYTES:
        raise _damaged(file, f"it unpacks to more than {_MOST_BYTES:,} bytes")
    return body


def _damaged(file: Path, why: str) -> FormatRefused:
    return FormatRefused(f"{file}: {why}", fix="download it again: freqtrade download-data")
