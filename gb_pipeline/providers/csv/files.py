"""Files of a symbol: which they are, and the text in them.

Belongs here: path templates, dates in file names, gzip, zip, encodings. Does not belong here: what the lines mean.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import zipfile
import zlib
from dataclasses import dataclass
from datetime import date, datetime
from fnmatch import fnmatchcase
from glob import escape
from pathlib import Path

from gb_pipeline.errors import ConfigError, PermanentVendorError, TransientVendorError
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.symbol import AssetClass, Symbol

_MONTHS = "FGHJKMNQUVXZ"
_NAMES = {"1s": "second", "1m": "minute", "1h": "hour", "1d": "daily", "1w": "weekly", "1mo": "monthly"}
_DATE_GLOB = "[0-9]" * 8


@dataclass(frozen=True, slots=True)
class CsvFile:
    """One file; `day` is the date in its name, where the template has `{date}`."""

    path: Path
    day: date | None


@dataclass(frozen=True, slots=True)
class Content:
    """What a file holds: its names and texts (of matching members, by name), all member names, its SHA-256 and size."""

    texts: tuple[tuple[str, str], ...]
    members: tuple[str, ...]
    digest: bytes
    bytes: int


def fill(template: str, symbol: Symbol, vendor: str, resolution: Resolution) -> str:
    """The template as a glob of one symbol's files, `{date}` left in place.

    Raises:
        ConfigError: `{underlying}` or `{expiry}` for what is no future.
    """
    values = {
        "symbol": symbol.code,
        "symbol_lower": symbol.code.lower(),
        "vendor": vendor,
        "ticker": re.sub(r"[^a-z0-9]", "", vendor.lower()),
        "resolution": resolution.value,
        "resolution_name": _NAMES.get(resolution.value, resolution.value),
    }
    if re.search(r"\{(underlying|expiry)\}", template):
        future = re.fullmatch(rf"([A-Z0-9]{{1,6}})([{_MONTHS}])([0-9]{{2}})", symbol.code)
        if symbol.asset_class is not AssetClass.FUTURE or future is None:
            raise ConfigError(
                f"{template!r} needs a futures contract, {symbol.code} is none", fix="use codes such as ESZ13"
            )
        # Two digits: 70 and later are the last century, as POSIX reads them.
        century = "19" if int(future[3]) >= 70 else "20"
        values |= {"underlying": future[1].lower(), "expiry": f"{century}{future[3]}{_MONTHS.index(future[2]) + 1:02}"}
    return re.sub(r"\{(\w+)\}", lambda m: m[0] if m[1] == "date" else escape(values[m[1]]), template)


def locate(pattern: str, root: Path) -> list[CsvFile]:
    """The files that match, by path; `{date}` must be eight digits that are a date."""
    spread = pattern.replace("{date}", _DATE_GLOB)
    base = Path(Path(spread).anchor) if Path(spread).is_absolute() else root
    found = base.glob(str(Path(spread).relative_to(Path(spread).anchor)))
    # Hidden files beside the data are editors' and archivers' leftovers.
    hidden = Path(pattern).name.startswith(".")
    files = sorted(path for path in found if path.is_file() and (hidden or not path.name.startswith(".")))
    if "{date}" not in pattern:
        return [CsvFile(path, None) for path in files]
    level = next(n for n, part in enumerate(reversed(Path(pattern).parts), 1) if "{date}" in part)
    part = Path(pattern).parts[-level]
    dated = ((path, _day(path.parts[-level], part)) for path in files)
    return sorted((CsvFile(path, day) for path, day in dated if day), key=lambda f: (f.day or date.min, f.path))


def _day(name: str, pattern: str) -> date | None:
    for start in range(len(name) - 7):
        digits = name[start : start + 8]
        if digits.isdecimal() and fnmatchcase(name, pattern.replace("{date}", digits)):
            try:
                return datetime.strptime(digits, "%Y%m%d").date()
            except ValueError:
                continue
    return None


def read(file: CsvFile, member: str | None, encoding: str) -> Content:
    """Open a plain, gzip or zip file, known by its first bytes and not by its name.

    Raises:
        PermanentVendorError: not readable, a damaged archive, several members and none chosen, no text in the encoding,
            or no byte in it.
        TransientVendorError: it changed while it was being read.
    """
    try:
        before, body, after = file.path.stat(), file.path.read_bytes(), file.path.stat()
    except OSError as error:
        raise PermanentVendorError(
            f"{file.path} cannot be read: {error.strerror}", fix="check its permissions and the disk"
        ) from error
    if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size) or len(body) != after.st_size:
        raise TransientVendorError(f"{file.path} changed while it was read", fix="run again once it is complete")
    try:
        parts, members = _unpack(file, body, member)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError) as error:
        raise PermanentVendorError(
            f"{file.path} is a damaged or protected archive: {error}", fix="get the file from the vendor again"
        ) from error
    texts = tuple((where, _decode(where, data, encoding)) for where, data in parts)
    return Content(texts, members, hashlib.sha256(body).digest(), len(body))


def _unpack(file: CsvFile, body: bytes, member: str | None) -> tuple[list[tuple[str, bytes]], tuple[str, ...]]:
    if body[:2] == b"\x1f\x8b":
        return [(str(file.path), gzip.decompress(body))], ()
    if body[:4] not in {b"PK\x03\x04", b"PK\x05\x06"}:
        return [(str(file.path), body)], ()
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        names = _members(archive)
        if member is None and len(names) != 1:
            raise PermanentVendorError(
                f"{file.path} holds {len(names)} files: {', '.join(names[:5])}",
                fix="choose with the option `member`, such as *_{expiry}.csv",
            )
        chosen = _matching(file, names, member)
        return [(f"{file.path}::{name}", archive.read(name)) for name in chosen], tuple(names)


def lists(file: CsvFile, member: str | None) -> bool:
    """Whether a file is no zip, or has the member; only its directory is read."""
    try:
        with zipfile.ZipFile(file.path) as archive:
            return bool(_matching(file, _members(archive), member))
    except (zipfile.BadZipFile, OSError):
        return True


def _members(archive: zipfile.ZipFile) -> list[str]:
    return sorted(n for n in archive.namelist() if not n.endswith("/") and not n.startswith("__MACOSX/"))


def _matching(file: CsvFile, names: list[str], member: str | None) -> list[str]:
    wanted = (member or "*").replace("{date}", f"{file.day:%Y%m%d}" if file.day else "{date}")
    return [n for n in names if fnmatchcase(n, wanted) or fnmatchcase(n.rpartition("/")[2], wanted)]


def _decode(where: str, data: bytes, encoding: str) -> str:
    if not data:
        raise PermanentVendorError(f"{where} is empty: 0 bytes", fix="get the file from the vendor again")
    try:
        return data.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise PermanentVendorError(
            f"{where}, line {line}, byte {error.start} is not {encoding}: {data[error.start : error.start + 8]!r}",
            fix="set the option `encoding`, such as utf-16, cp1252 or latin-1",
        ) from None
