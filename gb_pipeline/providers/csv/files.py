"""This module finds the files of a symbol and reads the text in them.

It knows path templates, the folder that files stay in, dates in their names, and encodings. Archives are unpacked by `unpacked`;
what the lines mean is read by `rows`.
"""

from __future__ import annotations

import hashlib
import os
import re
import zipfile
from dataclasses import dataclass
from datetime import date, datetime
from fnmatch import fnmatchcase
from glob import escape
from pathlib import Path

from gb_pipeline.errors import ConfigError, PermanentVendorError, TransientVendorError
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.symbol import AssetClass, Symbol
from gb_pipeline.providers.csv.unpacked import Bounds, archive, matching, members, unpack

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


def fill(template: str, symbol: Symbol, vendor: str, resolution: Resolution, field: str = "") -> str:
    """The template as a glob of one symbol's files, `{date}` left in place.

    Args:
        template: `path` or `member` of the options.
        symbol: whose files.
        vendor: its own spelling of it.
        resolution: of the bars.
        field: what `{field}` stands for.

    Raises:
        ConfigError: a placeholder of contracts for what is none: `{underlying}` and `{expiry}` of futures and options, `{right}`
            and `{strike}` of options.
    """
    values = {
        "symbol": symbol.code,
        "symbol_lower": symbol.code.lower(),
        "vendor": vendor,
        "ticker": re.sub(r"[^a-z0-9]", "", vendor.lower()),
        "field": field,
        "resolution": resolution.value,
        "resolution_name": _NAMES.get(resolution.value, resolution.value),
    }
    if wanted := re.findall(r"\{(underlying|expiry|right|strike)\}", template):
        terms = _contract_terms(symbol)
        if absent := [name for name in wanted if name not in terms]:
            kind = "an option" if absent[0] in {"right", "strike"} else "a futures contract or an option"
            raise ConfigError(
                f"{template!r} needs {kind}, {symbol.code} is none",
                fix="use codes such as ESZ13 or AAPL240119C00190000",
            )
        values |= terms
    return re.sub(r"\{(\w+)\}", lambda m: m[0] if m[1] == "date" else escape(values[m[1]]), template)


def _contract_terms(symbol: Symbol) -> dict[str, str]:
    """What LEAN names the files of a contract by; empty for what is none."""
    future = re.fullmatch(rf"([A-Z0-9]{{1,6}})([{_MONTHS}])([0-9]{{2}})", symbol.code)
    if symbol.asset_class is AssetClass.FUTURE and future is not None:
        # Two digits: 70 and later are the last century, as POSIX reads them.
        century = "19" if int(future[3]) >= 70 else "20"
        return {"underlying": future[1].lower(), "expiry": f"{century}{future[3]}{_MONTHS.index(future[2]) + 1:02}"}
    option = re.fullmatch(r"([A-Z0-9.]{1,6})([0-9]{6})([CP])([0-9]{8})", symbol.code)
    if symbol.asset_class is AssetClass.OPTION and option is not None:
        return {
            "underlying": option[1].lower(),
            "expiry": f"20{option[2]}",
            "right": "call" if option[3] == "C" else "put",
            # OCC counts thousandths, LEAN ten-thousandths.
            "strike": f"{int(option[4])}0",
        }
    return {}


def base_of(template: str, root: Path) -> Path:
    """The folder that all files of a template lie in: `root`, or what stands before the first placeholder of a whole path."""
    path = Path(template)
    if not path.is_absolute():
        return root
    fixed = path.parent.parts
    count = next((n for n, part in enumerate(fixed) if any(sign in part for sign in "{*?[")), len(fixed))
    return Path(*fixed[:count])


def locate(pattern: str, root: Path, *, within: Path, follow_links: bool = False) -> list[CsvFile]:
    """The files that match, by path; `{date}` must be eight digits that are a date.

    Args:
        pattern: what `fill` made of a template.
        root: folder that a pattern starts from, unless it is a whole path.
        within: folder that no file may lie outside of, `base_of` the template.
        follow_links: whether links may lead out of it.

    Raises:
        PermanentVendorError: a file lies elsewhere; none of them is opened.
    """
    spread = pattern.replace("{date}", _DATE_GLOB)
    base = Path(Path(spread).anchor) if Path(spread).is_absolute() else root
    candidates = base.glob(str(Path(spread).relative_to(Path(spread).anchor)))
    # Hidden files beside the data are editors' and archivers' leftovers.
    hidden = Path(pattern).name.startswith(".")
    files = sorted(path for path in candidates if path.is_file() and (hidden or not path.name.startswith(".")))
    for path in files:
        _stay_within(path, within, follow_links=follow_links)
    if "{date}" not in pattern:
        return [CsvFile(path, None) for path in files]
    level = next(n for n, part in enumerate(reversed(Path(pattern).parts), 1) if "{date}" in part)
    part = Path(pattern).parts[-level]
    dated = ((path, _day(path.parts[-level], part)) for path in files)
    return sorted((CsvFile(path, day) for path, day in dated if day), key=lambda f: (f.day or date.min, f.path))


def _stay_within(path: Path, folder: Path, *, follow_links: bool) -> None:
    if not Path(os.path.normpath(path)).is_relative_to(os.path.normpath(folder)):
        raise PermanentVendorError(
            f"{path} lies outside of {folder}",
            fix="take `..` out of the symbol's `vendor` spelling, or set `root` to the folder of the files",
        )
    if not follow_links and not path.resolve().is_relative_to(folder.resolve()):
        raise PermanentVendorError(
            f"{path} is a link, or lies behind one, that leads out of {folder}",
            fix="set `root` to the folder of the files, or `follow_links: true` if the link is yours",
        )


def _day(name: str, pattern: str) -> date | None:
    for start in range(len(name) - 7):
        digits = name[start : start + 8]
        if digits.isdecimal() and fnmatchcase(name, pattern.replace("{date}", digits)):
            try:
                return datetime.strptime(digits, "%Y%m%d").date()
            except ValueError:
                continue
    return None


def read(file: CsvFile, member: str | None, encoding: str, bounds: Bounds) -> Content:
    """Open a plain, gzip or zip file, known by its first bytes and not by its name.

    Raises:
        PermanentVendorError: not readable, a damaged archive, several members and none chosen, no text in the encoding,
            no byte in it, or more than the bounds.
        TransientVendorError: it changed while it was being read.
    """
    wanted = _with_date(file, member)
    try:
        before, (parts, names, body), after = file.path.stat(), unpack(file.path, wanted, bounds), file.path.stat()
    except OSError as error:
        raise PermanentVendorError(
            f"{file.path} cannot be read: {error.strerror}", fix="check its permissions and the disk"
        ) from error
    if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size) or len(body) != after.st_size:
        raise TransientVendorError(f"{file.path} changed while it was read", fix="run again once it is complete")
    texts = tuple((where, _decode(where, data, encoding)) for where, data in parts)
    return Content(texts, names, hashlib.sha256(body).digest(), len(body))


def lists(file: CsvFile, member: str | None) -> bool:
    """Whether a file is no zip, or has the member; only its directory is read."""
    try:
        with file.path.open("rb") as raw, archive(raw, file.path) as opened:
            return bool(matching(members(opened), _with_date(file, member)))
    except (zipfile.BadZipFile, OSError):
        return True


def _with_date(file: CsvFile, member: str | None) -> str | None:
    """The glob of members with the file's own date in it."""
    if member is None or file.day is None:
        return member
    return member.replace("{date}", f"{file.day:%Y%m%d}")


def _decode(where: str, data: bytes, encoding: str) -> str:
    if not data:
        raise PermanentVendorError(f"{where} is empty: 0 bytes", fix="get the file from the vendor again")
    try:
        text = data.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        # What stands there is not shown: it is no text, or not ours.
        line = data.count(b"\n", 0, error.start) + 1
        raise PermanentVendorError(
            f"{where}, line {line}, byte {error.start} is not {encoding}",
            fix="set the option `encoding`, such as utf-16, cp1252 or latin-1",
        ) from None
    if (zero := text.find("\0")) >= 0:
        raise PermanentVendorError(
            f"{where}, line {text.count(chr(10), 0, zero) + 1} holds a zero byte: it is no text",
            fix="set the option `encoding`, such as utf-16, or get the file from the vendor again",
        )
    return text
