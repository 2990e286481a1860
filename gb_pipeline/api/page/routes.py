"""`page_routes`, what the API serves below `/page/`: the files of the page, and what its scripts ask below `/v1/page/`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from gb_pipeline.api.guard import caller_of
from gb_pipeline.api.page import lake_views, strategies
from gb_pipeline.api.page.assets import HEADERS, INDEX, asset_response, load_assets
from gb_pipeline.api.page.candles import read_candles
from gb_pipeline.api.page.frames import MOST_ROWS, to_json
from gb_pipeline.api.page.parameters import Parameters
from gb_pipeline.api.page.rows import read_rows
from gb_pipeline.api.page.session_index import SessionIndexes
from gb_pipeline.api.page.sorted_rows import SortedRows
from gb_pipeline.api.page.sorting import Sort
from gb_pipeline.api.tokens import Scope
from gb_pipeline.reading.lake import Lake
from gb_pipeline.research.results import Results

Answer = Callable[[Parameters], dict[str, Any]]
HOME = "/page"
# Below it the guard of the API asks for a token.
DATA = "/v1/page"


@dataclass(frozen=True)
class PageOptions:
    """What the page has to know beside the lake.

    Attributes:
        dagster_url: address of Dagster's page, such as `http://127.0.0.1:3000`, for links to series and runs; None leaves them out.
        most_sorted: bars that a grid sorts by another column than time; each takes about 140 bytes of disk meanwhile.
    """

    dagster_url: str | None = None
    most_sorted: int = 20_000_000


def page_routes(lake: Lake, options: PageOptions | None = None) -> list[BaseRoute]:
    """The page as routes of the API's application, which turns what they raise into problems.

    Args:
        lake: what it shows; never written.
        options: see `PageOptions`.

    Returns:
        Routes below `/page/`, which need no token, for files hold no data, and below `/v1/page/`, where the guard asks for one.

    Example:
        >>> app.router.routes.extend(page_routes(Lake.open()))
    """
    options = options or PageOptions()
    assets = load_assets()

    async def file(request: Request) -> Response:
        name = request.path_params["path"] or INDEX
        if name not in assets:
            raise HTTPException(404, "the page has no such file")
        return asset_response(assets[name], request)

    async def to_page(_: Request) -> Response:
        return RedirectResponse(f"{HOME}/")

    def data(path: str, answer: Answer) -> Route:
        async def endpoint(request: Request) -> Response:
            caller_of(request.scope, Scope.READ)
            found = await run_in_threadpool(answer, Parameters(request))
            return JSONResponse(found, headers={**HEADERS, "cache-control": "no-store"})

        return Route(f"{DATA}/{path}", endpoint, methods=["GET"], name=f"page:{path}")

    return [
        *(data(path, answer) for path, answer in _answers(lake, options).items()),
        Route("/", to_page, methods=["GET"]),
        Route(HOME, to_page, methods=["GET"]),
        Route(f"{HOME}/{{path:path}}", file, methods=["GET"]),
    ]


def _answers(lake: Lake, options: PageOptions) -> dict[str, Answer]:
    indexes, results = SessionIndexes(lake), Results(lake)
    in_order = SortedRows(lake, indexes, most=options.most_sorted)

    def rows(ask: Parameters) -> dict[str, Any]:
        sort = Sort.parse(ask.text("sort"))
        if sort is not None:
            offset = ask.whole("offset", 0)
            frame, total = in_order.window(
                sort, ask.needed("source"), ask.text("symbol"), ask.resolution(), offset,
                min(ask.whole("limit", 200), MOST_ROWS), ask.moment("as_of"),
            )  # fmt: skip
            return to_json(frame, total=total, offset=offset)
        return read_rows(
            lake, indexes, ask.needed("source"), ask.text("symbol"), ask.resolution(), ask.whole("offset", 0),
            ask.whole("limit", 200), ask.moment("as_of"),
        )  # fmt: skip

    def candles(ask: Parameters) -> dict[str, Any]:
        resolution = ask.resolution()
        return read_candles(
            lake, indexes, ask.needed("source"), ask.needed("symbol"), resolution,
            shown=ask.resolution("shown") if ask.text("shown") else resolution, before=ask.moment("before"),
            count=ask.whole("count", 500, least=1, most=5000), adjustment=ask.text("adjustment"), as_of=ask.moment("as_of"),
        )  # fmt: skip

    def about(_: Parameters) -> dict[str, Any]:
        name = str(lake.store.storage.root).rstrip("/").rpartition("/")[2]
        return {"lake": name, "version": version("gb_pipeline"), "dagster": options.dagster_url}

    def found(kind: str) -> Answer:
        return lambda ask: lake_views.findings(lake, ask, kind)

    return {
        "about": about,
        "lake": lambda _: lake_views.lake_summary(lake),
        "series": lambda ask: lake_views.series_rows(lake, ask),
        "facts": lambda ask: lake_views.series_facts(lake, ask),
        "coverage": lambda ask: lake_views.coverage_map(lake, ask),
        "streams": lambda _: lake_views.streams(lake),
        "strategies": lambda ask: strategies.list_strategies(results, ask),
        "versions": lambda ask: strategies.list_versions(results, ask),
        "runs": lambda ask: strategies.query_runs(results, ask),
        "plan": lambda ask: strategies.explain_runs(results, ask),
        "curves": lambda ask: strategies.run_curves(results, ask),
        "run": lambda ask: strategies.read_run(results, ask),
        "comparison": lambda ask: strategies.compare_runs(results, ask),
        "rows": rows,
        "candles": candles,
        **{kind: found(kind) for kind in ("gaps", "restatements", "quarantine", "actions")},
    }
