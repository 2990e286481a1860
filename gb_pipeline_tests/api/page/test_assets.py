"""The files of the page: whole, ours or named with their licence, without a word that loads anything from elsewhere."""

from __future__ import annotations

import gzip
import hashlib
import re
from pathlib import Path

import pytest

from gb_pipeline.api.page.assets import load_assets

STATIC = Path(__file__).resolve().parents[3] / "gb_pipeline" / "api" / "page" / "static"
CHARTS = "vendor/lightweight-charts.standalone.production.js"
OURS = sorted(name for name in load_assets() if not name.startswith("vendor/"))


def test_every_file_of_the_folder_is_served_with_its_hash(client):
    names = [path.relative_to(STATIC).as_posix() for path in STATIC.rglob("*") if path.is_file()]
    assert sorted(names) == sorted(load_assets())
    for name, asset in load_assets().items():
        answer = client.get(f"/page/{name}")
        assert answer.content == (STATIC / name).read_bytes() and answer.headers["etag"] == asset.tag
        assert gzip.decompress(asset.packed) == asset.body


def test_a_file_that_the_browser_has_is_not_sent_again(client):
    first = client.get("/page/")
    again = client.get("/page/", headers={"if-none-match": first.headers["etag"]})

    assert (again.status_code, again.content) == (304, b"")
    assert client.get("/page/", headers={"if-none-match": '"other"'}).status_code == 200


@pytest.mark.parametrize("path", ["/", "/page"])
def test_the_short_addresses_lead_to_the_page(client, path):
    assert client.get(path).url.path == "/page/"


@pytest.mark.parametrize(
    "name", ["../app.py", "..%2f..%2fapp.py", "%2e%2e/routes.py", "js", "js/", "nope.js", "%00", "a" * 5000]
)
def test_nothing_but_the_files_can_be_fetched(client, name):
    assert client.get(f"/page/{name}").status_code == 404


def test_the_charts_are_the_published_ones_with_their_licence():
    body = (STATIC / CHARTS).read_bytes()

    assert hashlib.sha256(body).hexdigest() == "e21cc5caa0226ef30bd8549c50b9ef926615f2a4ee6b4e486353477a55f598cf"
    notice = (STATIC / "vendor" / "NOTICE.txt").read_text(encoding="utf-8")
    assert (
        "5.2.1" in notice
        and "e21cc5caa0226ef30bd8549c50b9ef926615f2a4ee6b4e486353477a55f598cf" in notice
        and "Apache License, Version 2.0" in notice
        and "TradingView" in notice
    )
    assert "https://www.tradingview.com/" in (STATIC / "index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", OURS)
def test_no_file_of_ours_makes_markup_of_text_or_asks_another_host(name):
    text = (STATIC / name).read_text(encoding="utf-8")

    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|DOMParser|srcdoc", text
    )
    assert not re.search(r"""\sstyle=|<style|\son\w+=["']|javascript:""", text)
    others = set(re.findall(r"https?://[^\s\"'`<>)]+", text)) - {
        "https://www.tradingview.com/",
        "http://www.w3.org/2000/svg",
    }
    assert not others


def test_the_page_is_light():
    assert sum(len(asset.packed) for asset in load_assets().values()) < 120_000
