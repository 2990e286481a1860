"""What there is: the sources, how complete each series is, and, for administrators, how the server stands."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import version
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from gb_pipeline.api.formats import plain
from gb_pipeline.api.guard import caller_of
from gb_pipeline.api.options import ServeOptions
from gb_pipeline.api.tables import RESPONSES
from gb_pipeline.api.tokens import Scope
from gb_pipeline.config.source_facts import SourceFacts
from gb_pipeline.health.completeness import read_completeness
from gb_pipeline.reading.arguments import moment
from gb_pipeline.reading.lake import Lake

router = APIRouter(prefix="/v1")
_REFUSALS = {status: text for status, text in RESPONSES.items() if status != 200}


def document(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer in JSON with decimals and moments as text."""
    body = json.dumps(content, default=plain, separators=(",", ":")).encode()
    return Response(body, status, headers, media_type="application/json")


@router.get("/sources", summary="Which sources there are", tags=["bars"], responses=_REFUSALS, response_class=Response)
def sources(request: Request) -> Response:
    """Each source with its calendar, the one that answers first at the beginning, and how many series and bars it has."""
    caller_of(request.scope, Scope.READ)
    lake: Lake = request.app.state.lake
    known = {fact.name: fact for fact in lake.source_facts}
    counted: dict[str, dict[str, int]] = {}
    for row in lake.symbols().select("source", "record_count").iter_rows(named=True):
        of_source = counted.setdefault(row["source"], {"series": 0, "bars": 0})
        of_source["series"] += 1
        of_source["bars"] += row["record_count"]
    names = [*known, *(name for name in counted if name not in known)]
    return document([_source(name, known.get(name), counted.get(name)) for name in names])


def _source(name: str, facts: SourceFacts | None, counts: dict[str, int] | None) -> dict[str, Any]:
    own = facts or SourceFacts(name)
    return {
        "source": name,
        # Whether the project or the catalog says what follows.
        "is_known": facts is not None,
        "calendar": own.calendar,
        "extended_hours": own.extended_hours,
        "alignment": own.alignment,
        "settle_days": own.settle_days,
        **(counts or {"series": 0, "bars": 0}),
    }


@router.get(
    "/status", summary="How complete each series is", tags=["bars"], responses=_REFUSALS, response_class=Response
)
def status(
    request: Request,
    as_of: Annotated[str | None, Query(max_length=64, description="As it was known at this moment.")] = None,
) -> Response:
    """The records of `gb status --json`: expected, stored and missing bars, open gaps, the first and the last bar, and lag."""
    caller_of(request.scope, Scope.READ)
    lake: Lake = request.app.state.lake
    return document(read_completeness(lake, request.app.state.settings, moment(as_of, lake.store.clock)))


@router.get("/server", summary="How the server stands", tags=["health"], responses=_REFUSALS, response_class=Response)
def server(request: Request) -> Response:
    """Its version and limits; needs the scope `admin`."""
    caller_of(request.scope, Scope.ADMIN)
    options: ServeOptions = request.app.state.options
    return document({"version": version("gb_pipeline"), "limits": vars(options)})
