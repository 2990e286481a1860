"""`build_app` puts the API together: the routes below `/v1`, errors as problems, and the guard around all of it.

It opens no socket and reads no file of a lake; `serving` runs the app.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from pathlib import Path

import anyio.to_thread
from fastapi import Depends, FastAPI
from fastapi.security import HTTPBearer

from gb_pipeline.api import overview, probes, run_uploads, uploads
from gb_pipeline.api.composed import COMPOSED
from gb_pipeline.api.guard import Guard
from gb_pipeline.api.options import ServeOptions
from gb_pipeline.api.page.routes import PageOptions, page_routes
from gb_pipeline.api.problems import Problem, handle_errors
from gb_pipeline.api.results import result_routes
from gb_pipeline.api.run_spool import RunSpool
from gb_pipeline.api.sql_pool import SqlPool
from gb_pipeline.api.tables import ROUTES, make_router, sql_routes
from gb_pipeline.api.tokens import TokenStore
from gb_pipeline.api.upload_store import UploadStore
from gb_pipeline.config.settings import Settings
from gb_pipeline.errors import LakeError
from gb_pipeline.reading.lake import Lake
from gb_pipeline.research.results import Results

DESCRIPTION = """
Bars, what is known of them, trades and books, SQL, backtests and uploads of one lake. Times are UTC; ranges are half-open. Errors
are `application/problem+json` with two sentences: `detail` says what was wrong, `fix` what to do.
"""


def build_app(lake: Lake, options: ServeOptions | None = None, *, settings: Settings | None = None) -> FastAPI:
    """The API of a lake as an ASGI app.

    Args:
        lake: to read, and to upload to.
        options: limits, and the names under which the server may be called.
        settings: of the lake's project, for what only gb.yaml knows, such as which sessions were never fetched.

    Returns:
        An app for any ASGI server. The page is at `/page/`, and what its scripts ask below `/v1/page/`.

    Example:
        >>> app = build_app(Lake.open("data"))
    """
    options = options or ServeOptions()
    storage = lake.store.storage
    tokens = TokenStore(storage.state, clock=lake.store.clock)
    sql = SqlPool(
        lake,
        memory=options.sql_bytes,
        rows=options.sql_rows,
        seconds=options.sql_seconds,
        processes=options.sql_processes,
    )

    results = Results(lake)
    runs = RunSpool(results)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = options.threads
        threading.Thread(target=_warm, args=[sql, runs], daemon=True).start()
        yield
        runs.close()
        sql.close()
        lake.close()

    app = FastAPI(
        title="gb_pipeline",
        version=version("gb_pipeline"),
        description=DESCRIPTION.strip(),
        openapi_url="/v1/openapi.json",
        # Their pages load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
        # For the document alone; the guard looks at the token.
        dependencies=[Depends(HTTPBearer(auto_error=False, description="As `gb token create` prints it."))],
    )
    app.state.lake, app.state.options, app.state.tokens, app.state.settings = lake, options, tokens, settings
    app.state.runs, app.state.large_bodies = runs, run_uploads.LargeBodies()
    for router in (
        probes.router,
        overview.router,
        uploads.router,
        run_uploads.router,
        make_router((*ROUTES, *COMPOSED, *sql_routes(sql), *result_routes(results, runs.settle))),
    ):
        app.include_router(router)
    app.state.uploads = UploadStore(
        storage.state, lake.store.clock, most=options.most_uploads, hours=options.upload_hours
    )
    app.router.routes.extend(page_routes(lake, PageOptions(options.dagster_url, options.most_held_rows)))
    folders = [storage.root] if isinstance(storage.root, Path) else []
    handle_errors(app, [storage.state, *folders])
    app.add_middleware(Guard, options=options, tokens=tokens)
    return app


def _warm(pool: SqlPool, runs: RunSpool) -> None:
    """Let the first query find a process; where none can be started, that query says so. So it is with runs that wait."""
    with suppress(LakeError):
        runs.settle()
    with suppress(Problem):
        pool.warm()
