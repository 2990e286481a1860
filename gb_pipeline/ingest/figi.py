"""This module asks OpenFIGI for the FIGIs of shares that a lake knows without one, and stores what is unambiguous.

Every answer is kept, also that there is none, so asking again costs nothing. Of a share without an ISIN only the ticker that it has
now is asked about: an old one may be somebody else's by now.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from gb_pipeline.errors import VendorError
from gb_pipeline.lake import identifier_answers, instruments
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.lake.told_instruments import TOLD
from gb_pipeline.market.symbol import AssetClass
from gb_pipeline.providers.http.policy import Policy
from gb_pipeline.providers.openfigi.answers import Found, Mapped, as_text, make_job, read_answer
from gb_pipeline.providers.openfigi.client import OpenFigiClient

SOURCE = "openfigi"
_NAMED_BY = ["symbol", "isin", "exchange", "currency"]


@dataclass(frozen=True, slots=True)
class FigiOutcome:
    """What became of the shares without a FIGI.

    Attributes:
        wanted: instruments that had none and can be asked about.
        asked: questions that were sent; the others had been answered before.
        found: FIGIs by instrument, which are stored now.
        unknown: symbols of which OpenFIGI knows nothing.
        ambiguous: by symbol, the instruments that have that name.
        shared: by symbol, a FIGI that is another instrument's already; nothing of it was stored.
        error: why the rest was not answered.
    """

    wanted: int
    asked: int
    found: Mapping[str, str]
    unknown: tuple[str, ...]
    ambiguous: Mapping[str, tuple[str, ...]]
    shared: Mapping[str, str]
    error: VendorError | None


def look_up_figis(
    store: LakeStore,
    *,
    key: str = "",
    source: str | None = None,
    again: bool = False,
    base_url: str | None = None,
    policy: Policy | None = None,
) -> FigiOutcome:
    """Find the FIGIs of shares that have none.

    Args:
        store: whose instruments.
        key: of OpenFIGI; more questions at once and a faster pace than without.
        source: only of what this source tells; of all by default.
        again: ask also what has been answered before.
        base_url: a simulated OpenFIGI on loopback.
        policy: patience and pace; the documented ones by default.

    Returns:
        What was found. Trouble of the vendor does not raise: what was answered by then is kept and stored.

    Raises:
        ConfigError: base_url is not on loopback.
        LakeError: the lake cannot be written.

    Example:
        >>> look_up_figis(LakeStore.at("data")).found
        {'I-PZSGJCLAKQXVG': 'BBG000MM2P62'}
    """
    rows = _without_figi(instruments.read(store.tables, source))
    jobs = {row["instrument"]: make_job(**{name: row[name] for name in _NAMED_BY}) for row in rows.to_dicts()}
    questions = {instrument: as_text(job) for instrument, job in jobs.items()}
    answers = {} if again else identifier_answers.read(store.tables, SOURCE)
    open_jobs = {questions[name]: job for name, job in jobs.items() if questions[name] not in answers}
    new: dict[str, str] = {}
    error: VendorError | None = None
    if open_jobs:
        state: Path = store.storage.state
        client = OpenFigiClient(key, base_url=base_url, state_dir=state, policy=policy)
        new, error = asyncio.run(_ask(client, list(open_jobs.values())))
        identifier_answers.record(store.tables, SOURCE, new, store.clock(), store.clock)
    answers |= new
    mapped = {name: read_answer(json.loads(answers[text])) for name, text in questions.items() if text in answers}
    return _store(store, rows, mapped, len(new), error)


def _without_figi(rows: pl.DataFrame) -> pl.DataFrame:
    """One row of each share without a FIGI: the newest, if it stands or has an ISIN."""
    known = rows.filter(pl.col("composite_figi").is_not_null())["instrument"]
    shares = rows.filter(pl.col("asset_class") == AssetClass.EQUITY.value, ~pl.col("instrument").is_in(known.implode()))
    newest = shares.sort("valid_from", "source").unique("instrument", keep="last", maintain_order=True)
    return newest.filter(pl.col("valid_until").is_null() | pl.col("isin").is_not_null()).sort("symbol")


async def _ask(client: OpenFigiClient, jobs: Sequence[Mapping[str, Any]]) -> tuple[dict[str, str], VendorError | None]:
    answers: dict[str, str] = {}
    try:
        async for job, answer in client.map(jobs):
            # What is none is not kept: the vendor will be asked again.
            read_answer(answer)
            answers[as_text(job)] = json.dumps(answer, separators=(",", ":"))
    except VendorError as error:
        return answers, error
    finally:
        await client.aclose()
    return answers, None


def _store(
    store: LakeStore, rows: pl.DataFrame, mapped: Mapping[str, Mapped], asked: int, error: VendorError | None
) -> FigiOutcome:
    symbols = dict(rows.select("instrument", "symbol").iter_rows())
    everything = instruments.read(store.tables)
    owners = dict(everything.drop_nulls("composite_figi").select("composite_figi", "instrument").iter_rows())
    found, shared = {}, {}
    for name, answer in mapped.items():
        if answer.found is not Found.ONE:
            continue
        if owners.setdefault(answer.composite_figi, name) != name:
            shared[symbols[name]] = f"{answer.composite_figi} of {owners[answer.composite_figi]}"
        else:
            found[name] = answer
    figis = pl.DataFrame(
        [(name, answer.composite_figi, answer.share_class_figi or None) for name, answer in found.items()],
        {"instrument": pl.String(), "composite_figi": pl.String(), "share_class_figi": pl.String()},
        orient="row",
    )
    told = everything.drop("composite_figi", "share_class_figi").join(figis, on="instrument", maintain_order="left")
    for (of,), frame in told.partition_by("source", as_dict=True).items():
        store.write_instruments(frame.select(TOLD.names()), source=str(of), telling="rows", strict=False)
    return FigiOutcome(
        wanted=rows.height,
        asked=asked,
        found={name: answer.composite_figi for name, answer in found.items()},
        unknown=tuple(symbols[name] for name, answer in mapped.items() if answer.found is Found.NONE),
        ambiguous={symbols[name]: answer.choices for name, answer in mapped.items() if answer.found is Found.SEVERAL},
        shared=shared,
        error=error,
    )
