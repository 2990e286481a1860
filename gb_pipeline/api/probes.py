"""Whether the server runs, and whether it can answer: for Docker, Kubernetes and proxies. They need no token and tell nothing."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from gb_pipeline.api.problems import Problem
from gb_pipeline.errors import GbError
from gb_pipeline.reading.lake import Lake

router = APIRouter(prefix="/v1/health", tags=["health"])


class Health(BaseModel):
    """The answer of a probe."""

    status: Literal["ok"] = "ok"


@router.get("/live", summary="The process answers")
async def live() -> Health:
    """It runs; nothing else is asked."""
    return Health()


@router.get("/ready", summary="The lake can be read", responses={503: {"description": "It cannot"}})
async def ready(request: Request) -> Health:
    """The lake is there, in a format of this release."""
    lake: Lake = request.app.state.lake
    try:
        there = await run_in_threadpool(lambda: lake.store.storage.exists)
    except (GbError, OSError):
        there = False
    if not there:
        raise Problem(503, "the lake cannot be reached", "see the server's log, and `gb doctor`", "NotReady")
    return Health()
