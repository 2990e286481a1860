"""The routes that answer with a table: each a method of `Lake`, with its keywords as query parameters or as a JSON body.

`GET` is for people and curl; `POST` takes the same names as a document, for questions that are too long for an address.
"""
# No `from __future__ import annotations`: FastAPI reads the annotations of functions that are made here.

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import anyio
import polars as pl
from fastapi import APIRouter, Body, Query, Request
from starlette.responses import Response

from gb_pipeline.api import queries
from gb_pipeline.api.downloads import Download, count_stream_rows, in_slices, plan_bars, refuse_too_many
from gb_pipeline.api.formats import MEDIA_TYPES, Format, choose_format, respond
from gb_pipeline.api.guard import caller_of
from gb_pipeline.api.leaving import while_heard
from gb_pipeline.api.options import ServeOptions
from gb_pipeline.api.problems import MEDIA_TYPE
from gb_pipeline.api.queries import Question
from gb_pipeline.api.ranges import PIECES, respond_pieces
from gb_pipeline.api.sql_pool import SqlPool
from gb_pipeline.api.tokens import Scope
from gb_pipeline.reading.lake import Lake
from gb_pipeline.reading.sql_stop import QueryStop

Ask = Callable[[Lake, Mapping[str, Any], ServeOptions, QueryStop], Iterator[pl.DataFrame]]
# Threads that do nothing but wait; whoever comes after them waits without one.
_SQL_THREADS = 32
_STREAM_TABLES = {"trades": "trades", "quotes": "quotes", "l2": "book_updates", "book_snapshots": "book_snapshots"}


@dataclass(frozen=True)
class TableRoute:
    """One table that can be asked for.

    Attributes:
        path: below `/v1`.
        question: its keywords.
        ask: answers it with frames of one schema.
        summary: one line for OpenAPI.
        tag: the group that it is listed in.
        scope: what a token needs.
        plan: makes the same in pieces that can be sent again, where a download in Arrow can go on.
        threads: in which it is begun, where it may wait for its turn; by default in those of the server.
    """

    path: str
    question: type[Question]
    ask: Ask
    summary: str
    tag: str = "evidence"
    scope: Scope = Scope.READ
    plan: Callable[[Lake, Mapping[str, Any], ServeOptions], Download] | None = None
    threads: anyio.CapacityLimiter | None = None


def method(call: Callable[..., pl.DataFrame], *leading: str) -> Ask:
    """Ask a method of `Lake` that returns a frame.

    Args:
        call: the method, as the class has it.
        leading: keywords that are None unless they are given, as the method has no default for them.
    """

    def ask(lake: Lake, question: Mapping[str, Any], options: ServeOptions, _: QueryStop) -> Iterator[pl.DataFrame]:
        given = {**dict.fromkeys(leading), **question}
        yield from in_slices(call(lake, **given), options.piece_rows)

    return ask


def stream(name: str, call: Callable[..., pl.DataFrame]) -> Ask:
    """The same of trades, quotes and books, which may be too many to be held."""

    def ask(lake: Lake, question: Mapping[str, Any], options: ServeOptions, _: QueryStop) -> Iterator[pl.DataFrame]:
        refuse_too_many(count_stream_rows(lake, _STREAM_TABLES[name], question), options)
        yield from in_slices(call(lake, **{"symbol": None, **question}), options.piece_rows)

    return ask


def bars(lake: Lake, question: Mapping[str, Any], options: ServeOptions, _: QueryStop) -> Iterator[pl.DataFrame]:
    """Ask for bars, which are read in pieces."""
    yield from plan_bars(lake, question, options).frames(0)


ROUTES = (
    TableRoute("/bars", queries.Bars, bars, "Bars: stored, adjusted, resampled, or as of a moment", "bars", plan=plan_bars),
    TableRoute("/extent", queries.Extent, method(Lake.extent, "symbols"), "How many bars, the first, the last", "bars"),
    TableRoute("/latest", queries.Latest, method(Lake.latest, "symbols"), "The last bar of each series", "bars"),
    TableRoute("/symbols", queries.Symbols, method(Lake.symbols), "Which series there are", "bars"),
    TableRoute("/continuous", queries.Continuous, method(Lake.continuous), "A continuous contract of futures", "bars"),
    TableRoute("/coverage", queries.SeriesAsOf, method(Lake.coverage), "Each session, and how complete it is"),
    TableRoute("/gaps", queries.SeriesAsOf, method(Lake.gaps), "Runs of missing bars, with their reasons"),
    TableRoute("/restatements", queries.Restatements, method(Lake.restatements), "Bars that a vendor changed"),
    TableRoute("/withdrawn", queries.SeriesAsOf, method(Lake.withdrawn), "Bars that a vendor no longer returns"),
    TableRoute("/quarantine", queries.Series, method(Lake.quarantine), "Refused rows as they came"),
    TableRoute("/settled", queries.SeriesAsOf, method(Lake.settled), "Until when bars are settled"),
    TableRoute("/changes", queries.Changes, method(Lake.changes, "since"), "What became known since a moment"),
    TableRoute("/overrides", queries.Chosen, method(Lake.overrides), "Corrections by people"),
    TableRoute("/removals", queries.Chosen, method(Lake.removals), "What was taken out on purpose"),
    TableRoute("/corporate-actions", queries.Actions, method(Lake.corporate_actions), "Splits, dividends, listings"),
    TableRoute("/instruments", queries.Instruments, method(Lake.instruments), "What is known of instruments"),
    TableRoute(
        "/instrument-bars", queries.InstrumentBars, method(Lake.instrument_bars), "An instrument under all its symbols", "bars"
    ),
    TableRoute("/fundamentals", queries.Fundamentals, method(Lake.fundamentals), "Items of statements, as published"),
    TableRoute(
        "/trailing-twelve-months", queries.TwelveMonths, method(Lake.trailing_twelve_months), "Items over four quarters"
    ),
    TableRoute("/listings", queries.Listings, method(Lake.listings), "What was listed when"),
    TableRoute("/factors", queries.Factors, method(Lake.factors), "Stored factors of a set"),
    TableRoute("/contracts", queries.Contracts, method(Lake.contracts), "The futures of a root"),
    TableRoute("/rolls", queries.Rolls, method(Lake.rolls), "Tables of rolls"),
    TableRoute("/trades", queries.Stream, stream("trades", Lake.trades), "Trades", "streams"),
    TableRoute("/quotes", queries.Stream, stream("quotes", Lake.quotes), "Quotes", "streams"),
    TableRoute("/l2", queries.Stream, stream("l2", Lake.l2), "Changes of order books", "streams"),
    TableRoute(
        "/book-snapshots", queries.Stream, stream("book_snapshots", Lake.book_snapshots), "Whole order books", "streams"
    ),
    TableRoute("/book", queries.Book, method(Lake.book), "An order book at a moment", "streams"),
    TableRoute(
        "/bars-from-trades", queries.TradeBars, method(Lake.bars_from_trades, "symbol"), "Bars made of trades", "streams"
    ),
    TableRoute("/stream-coverage", queries.StreamEvidence, method(Lake.stream_coverage), "What was heard", "streams"),
    TableRoute("/stream-gaps", queries.StreamEvidence, method(Lake.stream_gaps), "What was not heard", "streams"),
    TableRoute(
        "/stream-statistics", queries.StreamEvidence, method(Lake.stream_statistics), "Streams in figures", "streams"
    ),
    TableRoute("/stream-files", queries.StreamFiles, method(Lake.stream_files), "Data files of streams", "streams"),
    TableRoute("/stream-data", queries.Source, method(Lake.stream_data), "What is kept of streams", "streams"),
    TableRoute("/stream-status", queries.Source, method(Lake.stream_status), "How streams are heard", "streams"),
    TableRoute("/watermarks", queries.Source, method(Lake.watermarks), "Until when streams are settled", "streams"),
)  # fmt: skip


def sql_routes(pool: SqlPool) -> tuple[TableRoute, ...]:
    """Queries in SQL, within the limits of a pool, and what they would read."""
    from gb_pipeline.reading.arguments import moment

    def ask(lake: Lake, question: Mapping[str, Any], _: ServeOptions, stop: QueryStop) -> Iterator[pl.DataFrame]:
        as_of = moment(question.get("as_of"), lake.store.clock)
        yield from pool.query(question["query"], as_of=as_of, stop=stop)

    def explain(lake: Lake, question: Mapping[str, Any], _: ServeOptions, stop: QueryStop) -> Iterator[pl.DataFrame]:
        as_of = moment(question.get("as_of"), lake.store.clock)
        plan = pool.explain(question["query"], as_of=as_of, stop=stop)
        scans = plan.scans
        if question["part"] == "both":
            whole = scans if scans.height else scans.clear(1)
            yield whole.with_columns(steps=pl.lit(plan.steps))
            return
        yield scans if question["part"] == "scans" else pl.DataFrame({"steps": [plan.steps]})

    # Whoever waits for a process holds no thread that another one needs to send its rows, or that reads no SQL at all.
    threads = anyio.CapacityLimiter(_SQL_THREADS)
    return (
        TableRoute("/sql", queries.Sql, ask, "One query in SQL, read only", "sql", Scope.SQL, threads=threads),
        TableRoute(
            "/sql-plan", queries.SqlPlan, explain, "What a query in SQL would read", "sql", Scope.SQL, threads=threads
        ),
    )


def make_router(routes: tuple[TableRoute, ...]) -> APIRouter:
    """All routes, each as `GET` and as `POST`."""
    router = APIRouter(prefix="/v1")
    for route in routes:
        _add(router, route)
    return router


def _add(router: APIRouter, route: TableRoute) -> None:
    model = route.question
    lake_name = route.path[1:].replace("-", "_")

    def answer(request: Request, question: Question, stop: QueryStop) -> Response:
        stop.raise_if_stopped()
        options: ServeOptions = request.app.state.options
        format = choose_format(request, question.format)
        lake: Lake = request.app.state.lake
        plan = route.plan
        if plan is not None and format is Format.ARROW:
            return respond_pieces(request, lambda asked: plan(lake, asked, options), question.arguments(), options)
        frames = route.ask(lake, question.arguments(), options, stop)
        return respond(frames, format, most_json_rows=options.most_json_rows)

    async def begin(request: Request, question: Question) -> Response:
        caller_of(request.scope, route.scope)
        return await while_heard(request, partial(answer, request, question), route.threads)

    async def get(request: Request, question: Annotated[model, Query()]) -> Response:  # type: ignore[valid-type]
        return await begin(request, question)

    async def post(request: Request, question: Annotated[model, Body()]) -> Response:  # type: ignore[valid-type]
        return await begin(request, question)

    for endpoint, verb in ((get, "GET"), (post, "POST")):
        endpoint.__doc__ = f"{route.summary}: `Lake.{lake_name}`."
        router.add_api_route(
            route.path,
            endpoint,
            methods=[verb],
            summary=route.summary,
            tags=[route.tag],
            operation_id=f"{verb.lower()}_{lake_name}",
            response_class=Response,
            responses=RESPONSES if route.plan is None else {**RESPONSES, **PIECES},
        )


_EXAMPLE = {
    "columns": {"symbol": "String", "close": "Decimal(precision=18, scale=8)"},
    "count": 1,
    "rows": [{"symbol": "BTC-USD", "close": "42011.50000000"}],
}
_PROBLEM = {
    "type": "urn:gb:problem:UnknownSeries",
    "title": "Not found",
    "status": 404,
    "detail": "no bars_1m of BTC-US are stored",
    "fix": "did you mean BTC-USD?",
    "kind": "UnknownSeries",
    "request_id": "5c1f09b2a3d4e6f7",
}
_REFUSALS = {
    400: "It cannot be asked so", 401: "A token is needed", 403: "The token may not", 404: "Nothing is stored of it",
    406: "No such format", 413: "Too much", 421: "Wrong host", 422: "A parameter is wrong", 429: "Too often",
    503: "The lake is damaged",
}  # fmt: skip
RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The rows",
        "content": {
            MEDIA_TYPES[Format.JSON]: {"schema": {"type": "object"}, "example": _EXAMPLE},
            **{
                media: {"schema": {"type": "string", "format": "binary"}}
                for format, media in MEDIA_TYPES.items()
                if format is not Format.JSON
            },
        },
    },
    **{
        status: {"description": text, "content": {MEDIA_TYPE: {"schema": {"type": "object"}, "example": _PROBLEM}}}
        for status, text in _REFUSALS.items()
    },
}
