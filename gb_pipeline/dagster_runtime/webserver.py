"""`python -m gb_pipeline.dagster_runtime.webserver OPTIONS...`: Dagster's own webserver and options, with a few corrected scripts.

What is corrected and why is said in `page_corrections`; everything else is Dagster's.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster_webserver
from dagster_webserver.cli import main as run_webserver
from dagster_webserver.webserver import DagsterWebserver
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response

from gb_pipeline.dagster_runtime.ended_partitions import list_ended_partitions_from_their_end
from gb_pipeline.dagster_runtime.page_corrections import CORRECTIONS, corrected_scripts


class CorrectedScripts:
    """Serves some scripts in place of Dagster's own.

    Args:
        app: that serves everything else.
        scripts: texts by path.
    """

    def __init__(self, app: Any, scripts: Mapping[str, str]) -> None:
        """Remember them as they are sent."""
        self._app = app
        self._scripts = {path: text.encode() for path, text in scripts.items()}
        self._tags = {path: f'"{hashlib.sha256(body).hexdigest()[:32]}"' for path, body in self._scripts.items()}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request."""
        path = _below_prefix(scope["path"]) if scope["type"] == "http" else ""
        body = self._scripts.get(path)
        if body is None:
            await self._app(scope, receive, send)
            return
        tag = self._tags[path]
        # A browser may hold Dagster's own script under this name: it asks again each time, and is sent the script once.
        headers = {"ETag": tag, "Cache-Control": "no-cache"}
        known = Request(scope).headers.get("if-none-match") == tag
        response = (
            Response(status_code=304, headers=headers)
            if known
            else Response(body, headers=headers, media_type="application/javascript")
        )
        await response(scope, receive, send)


def _below_prefix(path: str) -> str:
    """The path of a script below the folder of the page, which a proxy may serve below a path of its own."""
    return "_next/" + path.rpartition("/_next/")[2]


def main() -> None:
    """Run the webserver."""
    folder = Path(dagster_webserver.__file__).parent / "webapp" / "build"
    found = list(corrected_scripts(folder))
    made = [correction for _, _, corrections in found for correction in corrections]
    for correction in CORRECTIONS:
        if correction not in made:
            sys.stderr.write(f"this version of Dagster's page is served without a correction: {correction.what}\n")
    scripts, build = {path: text for path, text, _ in found}, DagsterWebserver.build_middleware

    def build_middleware(self: DagsterWebserver[Any, Any]) -> list[Middleware]:
        return [*build(self), Middleware(CorrectedScripts, scripts=scripts)]

    list_ended_partitions_from_their_end()
    DagsterWebserver.build_middleware = build_middleware  # type: ignore[method-assign]
    run_webserver()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
