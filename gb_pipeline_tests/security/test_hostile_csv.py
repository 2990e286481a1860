"""Files that burst, that have no end, that are somebody else's: refused in a bounded way, and nothing of them is shown."""

from __future__ import annotations

import gzip
import hashlib
import struct
import zipfile
import zlib
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.errors import ConfigError, PermanentVendorError, VendorError
from gb_pipeline.ingest.bars import ingest
from gb_pipeline.ingest.job import Job
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.providers.csv import unpacked
from gb_pipeline.providers.csv.unpacked import Bounds, unpack
from gb_pipeline_tests.security.bounded import Ending, run
from gb_pipeline_tests.security.leaks import leaks

SECRET = "the-words-of-somebody-else"
HEADER = "timestamp,open,high,low,close,volume\n"
BAR = b"2024-01-02,1,2,1,2,3\n"
MEGABYTE = BAR * (2**20 // len(BAR))
# What hardly packs at all.
NOISE = b"\n".join(hashlib.sha256(b"%d" % number).hexdigest().encode() for number in range(16_000)) + b"\n"

SETUP = """
import asyncio
from gb_pipeline.market.window import Window
from gb_pipeline.providers.csv.provider import CsvProvider
from gb_pipeline.config.settings import SourceSettings
options = {options!r}
source = SourceSettings.model_validate({{
    "name": "files", "provider": "csv", "start": "2024-01-01", "symbols": ["AAPL"], "resolutions": ["1d"], "options": options,
}})
provider = CsvProvider.from_settings(source)
window, kind = Window.of("2024-01-01", "2025-01-01"), source.resolutions[0]
"""
FETCH = "asyncio.run(provider.fetch_bars(source.instruments[0], window, kind))"


def fetched(folder: Path, **options: Any) -> Ending:
    return run(SETUP.format(options={"root": str(folder), "path": "{symbol}*", "timezone": "UTC", **options}), FETCH)


def packed(piece: bytes, times: int) -> bytes:
    packer = zlib.compressobj(9, wbits=31)
    return b"".join(packer.compress(piece) for _ in range(times)) + packer.flush()


def plain(text: Callable[[], bytes]) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        (folder / "AAPL.csv").write_bytes(text())

    return make


def sparse(size: int) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        with (folder / "AAPL.csv").open("wb") as file:
            file.write(HEADER.encode())
            file.truncate(size)

    return make


def zipped(*texts: bytes, times: int = 1, kind: int = zipfile.ZIP_DEFLATED) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        with zipfile.ZipFile(folder / "AAPL.zip", "w", kind) as archive:
            for number, text in enumerate(texts):
                with archive.open(f"{number}.csv", "w", force_zip64=times > 1000) as file:
                    for _ in range(times):
                        file.write(text)

    return make


def lying(folder: Path) -> None:
    """A zip that says its member is small."""
    zipped(MEGABYTE, times=600)(folder)
    path = folder / "AAPL.zip"
    body = bytearray(path.read_bytes())
    at = body.rindex(b"PK\x01\x02")
    struct.pack_into("<I", body, at + 24, 100)
    path.write_bytes(body)


def overlapping(folder: Path) -> None:
    """A zip of which a thousand members are the same bytes."""
    zipped(MEGABYTE, times=40)(folder)
    path = folder / "AAPL.zip"
    body = path.read_bytes()
    start = body.rindex(b"PK\x01\x02")
    end = body.rindex(b"PK\x05\x06")
    entry, last = body[start:end], bytearray(body[end:])
    names = [entry.replace(b"0.csv", f"{number:05}"[-5:].encode()) for number in range(1000)]
    struct.pack_into("<HHI", last, 8, 1000, 1000, len(entry) * 1000)
    path.write_bytes(body[:start] + b"".join(names) + bytes(last))


def crowded(folder: Path) -> None:
    with zipfile.ZipFile(folder / "AAPL.zip", "w") as archive:
        for number in range(45_000):
            archive.writestr(f"{number:0200}.csv", b"")


SEVERAL = {"member": "*", "max_megabytes": 200, "max_ratio": 9999}
HOSTILE: dict[str, tuple[Callable[[Path], None], str, dict[str, Any]]] = {
    "a gzip bomb": (plain(lambda: packed(MEGABYTE, 600)), "grows to more than 100 times", {}),
    "a gzip bomb of one line": (plain(lambda: packed(bytes(2**20), 500)), "a line of more than 65,536 bytes", {}),
    "a gzip of many gzips": (plain(lambda: packed(MEGABYTE, 60) * 40), "grows to more than 100 times", {}),
    "a large gzip": (plain(lambda: gzip.compress(NOISE, 1) * 30), "more than 20 MB", {"max_megabytes": 20}),
    "a bomb behind a beginning": (plain(lambda: packed(NOISE, 1) + packed(MEGABYTE, 600)), "grows to more than 100 times", {}),
    "a zip bomb": (zipped(MEGABYTE, times=600), "grows to more than 100 times", {}),
    "a zip bomb of LZMA": (zipped(MEGABYTE, times=20, kind=zipfile.ZIP_LZMA), "grows to more than 100 times", {}),
    "a zip bomb of bzip2": (zipped(MEGABYTE, times=20, kind=zipfile.ZIP_BZIP2), "grows to more than 100 times", {}),
    "a zip that lies about its size": (lying, "damaged|grows|line", {}),
    "a thousand files that are one": (overlapping, "more than 200 MB|damaged|grows", SEVERAL),
    "a zip of too many names": (crowded, "more files than any archive", {"member": "1.csv"}),
    "a file larger than is read": (sparse(3 * 2**30), "more than 1024 MB", {}),
    "a line of a gigabyte": (sparse(1000 * 2**20), "a line of more than 65,536 bytes", {}),
    "a million columns": (plain(lambda: b",".join(b"c%d" % n for n in range(1_000_000))), "a line of more than 65,536 bytes", {}),
    "a row of a million fields": (plain(lambda: HEADER.encode() + BAR + b"1," * 1_000_000), "a line of more than 65,536 bytes", {}),
    "sixty thousand columns": (plain(lambda: (b"," * 60_000 + b"\n") * 500), "60001 columns of other names", {}),
    "zero bytes": (plain(lambda: HEADER.encode() + BAR + b"2024-01-03,1\0,2,1,2,3\n"), "line 3 holds a zero byte", {}),
    "only zero bytes": (plain(lambda: bytes(5000)), "zero byte", {}),
    "half of a character": (plain(lambda: HEADER.encode() + b"\xff" + SECRET.encode()), "line 2, byte 37 is not utf-8", {}),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_within_bounded_memory(tmp_path: Path, name: str) -> None:
    make, says, options = HOSTILE[name]
    make(tmp_path)
    ended = fetched(tmp_path, **options)
    assert ended.error == "PermanentVendorError", ended
    assert any(part in ended.text for part in says.split("|")), ended.text
    assert "\n  -> " in ended.text
    assert SECRET not in ended.text
    assert ended.megabytes < 300, ended


def test_many_fields_are_never_held_at_once(tmp_path: Path) -> None:
    # A hundred megabytes of commas would be gigabytes of fields.
    (tmp_path / "AAPL.csv").write_bytes(HEADER.encode() + BAR + (b"2024-01-03" + b"," * 30_000 + b"\n") * 1500)
    ended = fetched(tmp_path)
    assert ended.error == ""
    assert ended.megabytes < 900, ended


def test_the_bounds_are_options(tmp_path: Path) -> None:
    plain(lambda: gzip.compress(HEADER.encode()) + packed(MEGABYTE, 30))(tmp_path)
    assert "`max_ratio`" in fetched(tmp_path).text
    assert fetched(tmp_path, max_ratio=1000).error == ""
    assert "`max_megabytes`" in fetched(tmp_path, max_ratio=1000, max_megabytes=29).text


@given(
    st.lists(st.integers(0, 40), max_size=30), st.sampled_from([b"\n", b"\r", b"\r\n"]), st.integers(1, 50), st.booleans()
)  # fmt: skip
def test_a_line_is_too_long_exactly_where_it_is(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], end: bytes, piece: int, zipped: bool
) -> None:
    body = b"".join(b"x" * length + end for length in lengths)
    path = tmp_path_factory.mktemp("lines") / "x"
    path.write_bytes(gzip.compress(body) if zipped else body)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unpacked, "MOST_LINE", 25)
        patch.setattr(unpacked, "_PIECE", piece)
        try:
            texts, _, _ = unpack(path, None, Bounds())
        except PermanentVendorError as error:
            assert "a line of more than 25 bytes" in error.what
            assert max(lengths) > 25 - len(end)
        else:
            assert texts[0][1] == body
            assert max(lengths, default=0) <= 25


# --- files outside of the root ------------------------------------------------------------------------------------------


class Yard:
    """A folder of files, and one beside it that is nobody's business."""

    def __init__(self, root: Path) -> None:
        self.root, self.files, self.outside = root, root / "files", root / "outside"
        self.files.mkdir()
        self.outside.mkdir()
        # As it would be if it were a file of bars, so that only its place can refuse it.
        (self.outside / "secret.csv").write_text(HEADER + f"2024-01-02,1,2,1,2,3\n2024-01-03,{SECRET},2,1,2,3\n")
        (self.outside / "passwd").write_text(f"root:x:0:0:{SECRET}:/root:/bin/bash\n" * 3)
        with zipfile.ZipFile(self.outside / "secret.zip", "w") as archive:
            archive.writestr(f"{SECRET}.csv", HEADER)
            archive.writestr(f"{SECRET}2.csv", HEADER)

    def ingest(self, *, vendor: str | None = None, **options: Any) -> Exception | None:
        source = SourceSettings.model_validate({
            "name": "files", "provider": "csv", "start": "2024-01-01", "resolutions": ["1d"], "max_bad_fraction": 1,
            "symbols": [{"code": "AAPL", "vendor": vendor} if vendor else "AAPL"],
            "options": {"root": str(self.files), "path": "{symbol}.csv", **options},
        })  # fmt: skip
        store = LakeStore.at(self.root / "lake")
        job = Job(source.instruments[0], date(2024, 1, 1), date(2024, 1, 1) + timedelta(days=5))
        return ingest(store, source, Resolution.DAY, [job])[0].error

    def check(self, error: Exception | None) -> None:
        assert isinstance(error, VendorError), error
        assert SECRET not in str(error) + str(getattr(error, "fix", ""))
        assert leaks(SECRET, self.root / "lake") == []


@pytest.fixture
def yard(tmp_path: Path) -> Yard:
    return Yard(tmp_path)


def test_a_file_of_bars_with_rubbish_in_it_would_leave_the_rubbish_in_quarantine(yard: Yard) -> None:
    # What the tests below look for is there to be found.
    assert yard.ingest(root=str(yard.outside), path="secret.csv") is None
    assert leaks(SECRET, yard.root / "lake") != []


@pytest.mark.parametrize("path", [
    "../outside/secret.csv", "a/../../outside/secret.csv", "{symbol}/../../outside/*.csv", "..", "../*", "**/../x.csv",
    "{symbol}\\..\\x.csv",
])  # fmt: skip
def test_a_path_that_climbs_out_is_refused_when_it_is_read(yard: Yard, path: str) -> None:
    with pytest.raises(ConfigError, match=r"leads out of `root`"):
        yard.ingest(path=path)


@pytest.mark.parametrize(("path", "vendor"), [
    ("{vendor}.csv", "../outside/secret"), ("x/{vendor}.csv", "../../outside/secret"), ("{vendor}", "../outside/passwd"),
    ("{vendor}.csv", "{outside}/secret"), ("{vendor}", "/etc/passwd"), ("{files}/{vendor}.csv", "../outside/secret"),
    ("{files}/x{vendor}", "/../../outside/passwd"), ("{vendor}.zip", "../outside/secret"), ("{vendor}/secret.csv", "../outside"),
])  # fmt: skip
def test_a_spelling_that_climbs_out_is_refused_and_nothing_is_opened(yard: Yard, path: str, vendor: str) -> None:
    (yard.files / "x").mkdir()
    places = {"outside": str(yard.outside), "files": str(yard.files)}
    for name, place in places.items():
        path, vendor = path.replace(f"{{{name}}}", place), vendor.replace(f"{{{name}}}", place)
    error = yard.ingest(path=path, vendor=vendor)
    yard.check(error)
    assert "lies outside of" in str(error)


@pytest.mark.parametrize("target", ["secret.csv", "passwd", "secret.zip"])
@pytest.mark.parametrize("hops", ["file", "folder", "chain"])
def test_a_link_that_leads_out_is_refused_and_nothing_is_opened(yard: Yard, target: str, hops: str) -> None:
    if hops == "file":
        (yard.files / "AAPL.csv").symlink_to(yard.outside / target)
        path = "{symbol}.csv"
    elif hops == "chain":
        (yard.files / "one").symlink_to(yard.outside / target)
        (yard.files / "AAPL.csv").symlink_to(yard.files / "one")
        path = "{symbol}.csv"
    else:
        (yard.files / "AAPL").symlink_to(yard.outside)
        path = f"{{symbol}}/{target}"
    error = yard.ingest(path=path)
    yard.check(error)
    assert "leads out of" in str(error)
    assert "follow_links" in str(error)


def test_links_within_the_root_and_a_root_that_is_a_link_are_followed(yard: Yard) -> None:
    (yard.files / "real.csv").write_text(HEADER + BAR.decode())
    (yard.files / "AAPL.csv").symlink_to(yard.files / "real.csv")
    (yard.root / "link").symlink_to(yard.files)
    assert yard.ingest() is None
    assert yard.ingest(root=str(yard.root / "link")) is None


def test_links_are_followed_where_their_owner_says_so(yard: Yard) -> None:
    (yard.outside / "fine.csv").write_text(HEADER + BAR.decode())
    (yard.files / "AAPL.csv").symlink_to(yard.outside / "fine.csv")
    assert yard.ingest(follow_links=True) is None


@pytest.mark.parametrize("content", [
    f"{SECRET}:x:0:0:root:/root:/bin/bash\n", f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n", f"<html>{SECRET}</html>",
    f'{{"password": "{SECRET}"}}', f"{HEADER}{SECRET},1,2,1,2,3\n", f"{SECRET}\0{SECRET}",
])  # fmt: skip
def test_a_file_that_is_none_of_bars_is_not_shown(yard: Yard, content: str) -> None:
    (yard.files / "AAPL.csv").write_text(content)
    yard.check(yard.ingest())


def test_names_in_an_archive_are_shown_without_what_a_terminal_obeys(yard: Yard) -> None:
    with zipfile.ZipFile(yard.files / "AAPL.csv", "w") as archive:
        archive.writestr("\x1b]0;owned\x07\x1b[31m.csv", HEADER)
        archive.writestr("b\n\r.csv" + "x" * 500, HEADER)
    error = yard.ingest()
    assert error is not None
    assert "\x1b" not in str(error)
    assert len(str(error)) < 600
