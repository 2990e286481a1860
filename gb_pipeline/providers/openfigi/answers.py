"""This module makes questions for OpenFIGI, and reads what it answers to one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from gb_pipeline.providers.records import RecordReader

WHO = "OpenFIGI"
RECORDS = RecordReader(WHO)
_NOTHING = "no identifier found"


class Found(StrEnum):
    """What an answer is."""

    ONE = "one"
    """One instrument, in however many places it trades."""
    NONE = "none"
    """The vendor knows nothing of that name."""
    SEVERAL = "several"
    """Several instruments have that name; which one is meant was not said."""


@dataclass(frozen=True, slots=True)
class Mapped:
    """What OpenFIGI says of one question.

    Attributes:
        found: whether it is one instrument.
        composite_figi, share_class_figi, name: of that one; empty where the vendor does not say.
        choices: of several, their composite FIGIs with their names, sorted.
    """

    found: Found
    composite_figi: str = ""
    share_class_figi: str = ""
    name: str = ""
    choices: tuple[str, ...] = ()


def make_job(symbol: str, *, isin: str | None, exchange: str | None, currency: str | None) -> dict[str, Any]:
    """The question about a share: by ISIN where there is one, as tickers are lent out; else by the ticker it has now.

    Args:
        symbol: canonical code.
        isin, exchange, currency: what is known; the exchange as MIC.

    Example:
        >>> make_job("BRK.B", isin=None, exchange="XNYS", currency="USD")
        {'idType': 'TICKER', 'idValue': 'BRK/B', 'exchCode': 'US', 'marketSecDes': 'Equity'}
    """
    if isin:
        return {"idType": "ID_ISIN", "idValue": isin, **({"currency": currency} if currency else {})}
    job: dict[str, Any] = {"idType": "TICKER", "idValue": symbol.replace(".", "/")}
    if currency == "USD":
        # The composite of all American exchanges: which one a vendor names as the primary one differs.
        job["exchCode"] = "US"
    elif exchange:
        job["micCode"] = exchange
    return job | {"marketSecDes": "Equity"}


def as_text(job: Mapping[str, Any]) -> str:
    """A question as one text, the same for equal ones."""
    return json.dumps(job, sort_keys=True, separators=(",", ":"))


def read_answer(answer: Any) -> Mapped:
    """What one answer says.

    Raises:
        TransientVendorError: it is something else than the protocol promises.
    """
    if not isinstance(answer, dict):
        raise RECORDS.broken("something else than an object to a question")
    if "data" not in answer:
        words = str(answer.get("warning") or answer.get("error") or "")
        if _NOTHING in words.lower():
            return Mapped(Found.NONE)
        raise RECORDS.broken(f"neither data nor that there is none: {words[:100]!r}")
    rows = answer["data"]
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise RECORDS.broken("data that is no list")
    by_figi: dict[str, dict[str, Any]] = {}
    for row in rows:
        by_figi.setdefault(RECORDS.text(row, "compositeFIGI") or RECORDS.required_text(row, "figi"), row)
    if len(by_figi) != 1:
        names = sorted(f"{figi} ({RECORDS.text(row, 'name') or 'no name'})" for figi, row in by_figi.items())
        return Mapped(Found.SEVERAL if names else Found.NONE, choices=tuple(names))
    [(figi, row)] = by_figi.items()
    return Mapped(Found.ONE, figi, RECORDS.text(row, "shareClassFIGI") or "", RECORDS.text(row, "name") or "")
