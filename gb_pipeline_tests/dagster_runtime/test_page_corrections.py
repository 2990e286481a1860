"""What is corrected in the scripts of Dagster's page: each once in the pinned version, and nothing where a text is not found."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import dagster_webserver
import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from gb_pipeline.dagster_runtime.page_corrections import CORRECTIONS, correct, corrected_scripts
from gb_pipeline.dagster_runtime.webserver import CorrectedScripts

BUILD = Path(dagster_webserver.__file__).parent / "webapp" / "build"


@pytest.fixture(scope="module")
def scripts() -> list[tuple[str, str]]:
    return [(path, text) for path, text, _ in corrected_scripts(BUILD)]


def test_every_correction_is_made_exactly_once_in_the_installed_version(scripts):
    counts = Counter(
        correction.what
        for path, _ in scripts
        for correction in CORRECTIONS
        for _ in correction.found.finditer((BUILD / path).read_text(encoding="utf-8"))
    )
    assert counts == {correction.what: 1 for correction in CORRECTIONS}


def test_a_script_that_was_corrected_has_nothing_left_to_correct(scripts):
    assert [correct(text)[1] for _, text in scripts] == [[] for _ in scripts]


def test_a_script_of_another_version_stays_as_it_is():
    text = "let a=1;if(t.lastMaterialization)return null;observations:[],event:f||null"
    assert correct(text) == (text, [])


@pytest.fixture
def client() -> httpx.AsyncClient:
    """A server with one script of its own, which is corrected, and everything else."""

    def serve(request):
        return PlainTextResponse(f"as it was: {request.url.path}")

    app = Starlette(routes=[Route("/{path:path}", serve)])
    app.add_middleware(CorrectedScripts, scripts={"_next/static/a.js": "corrected()"})
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://page")


@pytest.mark.parametrize("prefix", ["", "/behind/a/proxy"])
async def test_a_corrected_script_is_served_in_its_place_and_sent_once_to_each_browser(client, prefix):
    first = await client.get(f"{prefix}/_next/static/a.js")
    assert (first.status_code, first.text) == (200, "corrected()")
    assert first.headers["content-type"].startswith("application/javascript")
    again = await client.get(f"{prefix}/_next/static/a.js", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.text) == (304, "")


@pytest.mark.parametrize("path", ["/", "/_next/static/b.js", "/assets/_next"])
async def test_everything_else_is_dagsters(client, path):
    assert (await client.get(path)).text == f"as it was: {path}"
