"""The example package, built and installed as a user would, fetches through its one entry point in a process of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs, urlsplit

import polars as pl
import pytest
import yaml

from gb_pipeline import Lake

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "gb-provider-tiingo"
KEY = "0123456789abcdef-Tiingo"
# Real days of AAPL, as Tiingo writes them; the first one is written with an exponent, which is the same number.
DAYS = {
    "2024-01-02": '"close":185.64,"high":1.8844e2,"low":183.885,"open":187.15,"volume":82488674',
    "2024-01-03": '"close":184.25,"high":185.88,"low":183.43,"open":184.22,"volume":58414460',
    "2024-01-04": '"close":181.91,"high":183.0872,"low":180.88,"open":182.15,"volume":71983570',
}
DAY = ("--start", "2024-01-02", "--end", "2024-01-03")

Gb = Callable[..., subprocess.CompletedProcess[str]]


class Tiingo(BaseHTTPRequestHandler):
    """As much of Tiingo as the example asks for."""

    asked: list[str]

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        self.asked.append(url.path)
        if self.headers["Authorization"] != f"Token {KEY}":
            return self._answer(401, f'{{"detail":"Invalid token. {self.headers["Authorization"]}"}}')
        if url.path != "/api.tiingo.com/tiingo/daily/AAPL/prices":
            return self._answer(404, '{"detail":"Error: Ticker not found"}')
        query = parse_qs(url.query)
        start, end = query["startDate"][0], query["endDate"][0]
        rows = [f'{{"date":"{day}T00:00:00.000Z",{text},"divCash":0.0}}' for day, text in DAYS.items()]
        return self._answer(200, f"[{','.join(row for row in rows if start <= row[9:19] <= end)}]")

    def _answer(self, status: int, body: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture(scope="module")
def tiingo() -> Iterator[str]:
    Tiingo.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Tiingo) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the built package in it. Nothing is downloaded."""
    uv = shutil.which("uv")
    if uv is None:
        pytest.skip("uv is not on the path")
    # A copy: building leaves nothing in the sources.
    source = shutil.copytree(EXAMPLE, tmp_path_factory.mktemp("source") / "example")
    target = tmp_path_factory.mktemp("installed")
    subprocess.run(
        [uv, "pip", "install", "--offline", "--no-deps", "--no-build-isolation", "--python", sys.executable,
         "--target", str(target), str(source)],
        check=True, capture_output=True,
    )  # fmt: skip
    return target


@pytest.fixture
def gb(installed: Path, tiingo: str, tmp_path: Path) -> Gb:
    """`gb` in a process that has the package, in a project with the README's gb.yaml."""
    [text] = re.findall(r"```yaml gb.yaml\n(.*?)```", (EXAMPLE / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    content = yaml.safe_load(text)
    content["sources"]["tiingo"]["options"]["base_url"] = tiingo
    (tmp_path / "gb.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")

    def run(*arguments: str, key: str | None = KEY) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if name not in {"TIINGO_KEY", "GB_LAKE", "GB_CONFIG"}}
        environment = kept | {"PYTHONPATH": str(installed)} | ({"TIINGO_KEY": key} if key else {})
        command = [sys.executable, "-m", "gb_pipeline.cli", *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    return run


def test_its_days_are_stored_digit_by_digit(gb: Gb, tmp_path: Path) -> None:
    done = gb("fetch", "tiingo", "AAPL", "--start", "2024-01-02", "--end", "2024-01-05", "--json")
    assert done.returncode == 0, done.stderr
    bars = Lake.open(tmp_path / "data").bars("AAPL", "1d")
    assert bars["timestamp"].to_list() == [datetime.fromisoformat(day).replace(tzinfo=UTC) for day in DAYS]
    assert bars["high"].to_list() == [Decimal("188.44"), Decimal("185.88"), Decimal("183.0872")]
    assert bars["volume"].to_list() == [82488674, 58414460, 71983570]
    again = gb("fetch", "tiingo", "AAPL", "--start", "2024-01-02", "--end", "2024-01-05", "--again")
    assert "nothing changed" in again.stderr
    with_days = pl.read_delta(str(tmp_path / "data" / "lake" / "fetches"))
    assert set(with_days["normaliser"]) == {"tiingo/1"}


def test_doctor_knows_which_credential_it_needs(gb: Gb) -> None:
    def finding(**environment: str | None) -> dict[str, str]:
        [found] = [
            item
            for item in json.loads(gb("doctor", "--json", **environment).stdout)
            if item["check"] == "source tiingo"
        ]
        return dict(found)

    assert finding()["detail"].startswith(
        "ready: tiingo, 2 symbols of 1d, 1000 of 1000 calls left today, calendar XNYS"
    )
    missing = finding(key=None)
    assert missing["verdict"] == "fail"
    assert "TIINGO_KEY is not set" in missing["detail"]


@pytest.mark.parametrize(
    ("symbol", "key", "says"), [("BRK.B", KEY, "no ticker BRK-B"), ("AAPL", "wrong-key", "HTTP 401")]
)
def test_its_refusals_are_errors_without_the_key(gb: Gb, symbol: str, key: str, says: str) -> None:
    done = gb("fetch", "tiingo", symbol, *DAY, key=key)
    assert done.returncode == 1
    assert says in done.stderr
    assert key not in done.stdout + done.stderr


def test_a_missing_key_stops_the_fetch_and_sends_nothing(gb: Gb) -> None:
    before = len(Tiingo.asked)
    done = gb("fetch", "tiingo", "AAPL", *DAY, key=None)
    assert done.returncode == 2, done.stderr
    assert "TIINGO_KEY is not set" in done.stderr
    assert len(Tiingo.asked) == before
