"""What every question to a vendor leaves behind, whoever asks it.

Belongs here: keeping the bodies of an answer, and its row in the ledger of fetches. Does not belong here: what is done with
the answer (`bars` and others).

The order is a promise: bodies are on disk before a row names them, and before anything that was read from them is stored.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Collection, Iterable, Sequence, Sized
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import quote, quote_plus

from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.errors import GbError, QuotaExhausted, VendorError
from gb_pipeline.lake.fetches import FetchOutcome, FetchRecord
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.providers.base import Fetched
from gb_pipeline.providers.http.redaction import redact_errors
from gb_pipeline.providers.http.transport import counted
from gb_pipeline.storage.raw_responses import RawStore

T = TypeVar("T", bound="Fetched | Sized")
# A shorter credential is a word or a number that stands in data as well: it only counts where it stands alone.
_UNMISTAKABLE = 8
# What stands in a kept body in place of a credential.
HIDDEN = b"***"


async def recorded(
    store: LakeStore,
    source: SourceSettings,
    asking: Awaitable[T],
    *,
    kind: str,
    symbol: str = "",
    start: datetime | None = None,
    end: datetime | None = None,
    normaliser: str | None = None,
    run_id: str | None = None,
) -> T:
    """Await one question that is not about bars, keep its bodies, and leave its row in `fetches`.

    Args:
        store: where the row goes, and the bodies where the source keeps them.
        source: who is asked.
        asking: the call, such as `provider.fetch_corporate_actions(...)` or `provider.instruments()`.
        kind: `corporate_actions`, `instruments` or `search`.
        symbol: canonical code; empty where it is about all of them.
        start: of the range that is asked for; the present by default.
        end: of that range, exclusive; `start` by default.
        normaliser: name and version of the code that reads the answer.
        run_id: of the run that asks.

    Returns:
        The answer, a `Fetched` without its bodies.

    Raises:
        VendorError: as the call does; the row is there by then, also when the call dies of a bug.
        LakeError: bodies or row cannot be written.
    """
    began, clock = store.clock(), time.monotonic()
    first = start or began
    row = FetchRecord(
        source.name, symbol, "", first, end or first, began, FetchOutcome.ERROR,
        kind=kind, normaliser=normaliser, run_id=run_id,
    )  # fmt: skip
    try:
        with redact_errors(source.secrets), counted() as tally:
            answer = await asking
    except BaseException as error:
        row = failed(row, error, time.monotonic() - clock)
        store.record_fetches([replace(row, calls=row.calls or tally.calls, bytes=tally.bytes)])
        raise
    if isinstance(answer, Fetched):
        lean, row = await persist_response(store, source, row, answer)
        store.record_fetches([row])
        return lean  # type: ignore[return-value]
    outcome = FetchOutcome.OK if len(answer) else FetchOutcome.EMPTY
    latency = round(tally.latency * 1000)
    row = replace(row, outcome=outcome, rows=len(answer), calls=tally.calls, bytes=tally.bytes, latency_ms=latency)
    store.record_fetches([row])
    return answer


async def persist_response(
    store: LakeStore, source: SourceSettings, row: FetchRecord, answer: Fetched
) -> tuple[Fetched, FetchRecord]:
    """Keep the bodies of an answer; in a thread, as that waits for the disk.

    Returns:
        The answer without its bodies, and its row, which the caller records.

    Raises:
        LakeError: they cannot be written.
        CancelledError: everything is being stopped. The vendor was asked all the same: the row is recorded by then.
    """
    try:
        answer, raw = await asyncio.to_thread(_keep, store, source, answer)
    except asyncio.CancelledError:
        store.record_fetches([_answered(row, answer, ())])
        raise
    return answer, _answered(row, answer, raw)


async def stop(store: LakeStore, questions: Collection[asyncio.Task[tuple[Any, Any, FetchRecord | None]]]) -> None:
    """Stop questions that are under way; those that have been answered, but whose answer nobody took, leave their rows."""
    for question in questions:
        question.cancel()
    ended = await asyncio.gather(*questions, return_exceptions=True)
    rows = [item[2] for item in ended if not isinstance(item, BaseException)]
    store.record_fetches([row for row in rows if row is not None])


def _answered(row: FetchRecord, answer: Fetched, raw: Sequence[str]) -> FetchRecord:
    """The row of a question that was answered."""
    return replace(
        row,
        outcome=FetchOutcome.OK if answer.frame.height else FetchOutcome.EMPTY,
        rows=answer.frame.height,
        calls=answer.calls,
        latency_ms=round(answer.latency * 1000),
        bytes=answer.bytes,
        response_hash=answer.response_hash,
        raw=tuple(raw) or None,
    )


def failed(row: FetchRecord, error: BaseException, seconds: float) -> FetchRecord:
    """The row of a question that was not answered; of a bug only its kind is told, its text may hold anything."""
    what = error.what if isinstance(error, GbError) else "the run was stopped"
    if isinstance(error, Exception) and not isinstance(error, GbError):
        what = "a bug; the run's log has its traceback"
    return replace(
        row,
        outcome=FetchOutcome.DEFERRED if isinstance(error, QuotaExhausted) else FetchOutcome.ERROR,
        calls=error.calls if isinstance(error, VendorError) else 0,
        latency_ms=round(seconds * 1000),
        error=type(error).__name__,
        message=what,
    )


def _keep(store: LakeStore, source: SourceSettings, answer: Fetched) -> tuple[Fetched, tuple[str, ...]]:
    """Put the bodies of an answer into the raw store, durably.

    Returns:
        The answer without its bodies, so that memory holds them no longer than the request took, and the hash of each as
        it is kept. A credential of the source that a vendor repeats in its answer is kept as `***`.

    Raises:
        LakeError: they cannot be written.
    """
    if not answer.bodies:
        return answer, ()
    kept = RawStore(store.storage)
    secrets = tuple(source.secrets)
    hashes = tuple(kept.put(without(body, secrets)) for body in answer.bodies)
    return replace(answer, bodies=()), hashes


def without(body: bytes, secrets: Iterable[str]) -> bytes:
    r"""A body with `***` in place of each credential, as it is, in a URL, or in a JSON text.

    Example:
        >>> without(b'{"next_url":"https://x/?apiKey=s3cr3t%2Fkey","volume":1}', ["s3cr3t/key"])
        b'{"next_url":"https://x/?apiKey=***","volume":1}'
    """
    for secret in sorted(secrets, key=len, reverse=True):
        inside = json.dumps(secret)[1:-1]
        spellings = {
            secret,
            quote(secret),
            quote(secret, safe=""),
            quote_plus(secret),
            inside,
            inside.replace("/", "\\/"),
        }
        for spelling in sorted(filter(None, spellings), key=len, reverse=True):
            pattern = re.escape(spelling.encode())
            if len(secret) < _UNMISTAKABLE:
                pattern = rb"(?<![\w.+-])" + pattern + rb"(?![\w.+-])"
            body = re.sub(pattern, HIDDEN, body)
    return body
