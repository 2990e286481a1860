"""OpenFIGI's mapping API, version 3 (`api.openfigi.com`), over the simulated stocks.

Without a key ten questions fit into a request, with one a hundred. A key that begins with `unknown` is refused. A ticker that no
exchange is named for is also one of another company on a German exchange, as tickers are.
"""

from __future__ import annotations

import json
from typing import Any

from gb_pipeline.simulation.response import Request, Response
from gb_pipeline.simulation.stock_listings import Listing
from gb_pipeline.simulation.stocks import Stocks

HOSTS = ("api.openfigi.com",)
_JOBS, _JOBS_WITH_KEY = 10, 100
_NONE = {"warning": "No identifier found."}
_AMERICAN = {"XNAS": "UW", "XNYS": "UN", "ARCX": "UP", "XASE": "UA"}


def answer(stocks: Stocks, request: Request) -> Response:
    """The answer to one request."""
    if (request.path, request.method) != ("/v3/mapping", "POST"):
        return Response(404, "Not Found", "text/plain")
    key = request.headers.get("X-OPENFIGI-APIKEY", "")
    if key.startswith("unknown"):
        return Response.json({"message": "Invalid API key."}, 401)
    try:
        jobs = json.loads(request.body)
    except ValueError:
        jobs = None
    if not isinstance(jobs, list):
        return Response.json({"message": "Request body must be an array."}, 400)
    if len(jobs) > (_JOBS_WITH_KEY if key else _JOBS):
        return Response.json({"message": "Too many mapping jobs in the request."}, 413)
    return Response.json([_map(stocks, job) for job in jobs])


def _map(stocks: Stocks, job: Any) -> dict[str, Any]:
    if not isinstance(job, dict) or "idType" not in job or "idValue" not in job:
        return {"error": "idType and idValue are required."}
    value, kind = str(job["idValue"]), job["idType"]
    for item in stocks.listings():
        wanted = {"TICKER": item.code.replace(".", "/") if item.active else None, "ID_ISIN": item.isin}
        if wanted.get(kind) == value:
            return _rows(item, job)
    return _NONE


def _rows(item: Listing, job: dict[str, Any]) -> dict[str, Any]:
    rows = [_row(item, code) for code in ("US", _AMERICAN[item.mic], "UQ")]
    if job["idType"] == "TICKER" and not {"exchCode", "micCode"} & set(job):
        other = _row(item, "GR") | {"name": f"{item.code} AG", "compositeFIGI": item.figi("german")}
        rows.append(other | {"figi": item.figi("german"), "shareClassFIGI": item.figi("german class")})
    if "exchCode" in job:
        rows = [row for row in rows if row["exchCode"] == job["exchCode"]]
    if "micCode" in job and job["micCode"] != item.mic:
        return _NONE
    return {"data": rows} if rows else _NONE


def _row(item: Listing, exchange: str) -> dict[str, Any]:
    return {
        "figi": item.figi("composite" if exchange == "US" else exchange),
        "name": item.name.upper(),
        "ticker": item.code.replace(".", "/"),
        "exchCode": exchange,
        "compositeFIGI": item.figi("composite"),
        "securityType": "Common Stock",
        "marketSector": "Equity",
        "shareClassFIGI": item.figi("share class"),
        "securityType2": "Common Stock",
        "securityDescription": item.code,
    }
