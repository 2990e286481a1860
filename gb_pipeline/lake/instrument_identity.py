"""This module finds out which instrument somebody speaks of, and gives new ones an id.

An id is given once and never to another instrument. It is made of what tells the instrument apart when it is first told of (a FIGI,
a vendor's own id, the contract, else symbol and first day), so that whoever is told the same makes the same id, also after a kill.
Once stored, the id stays whatever is learnt later; rows are recognised by what was told before.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from itertools import chain, count

import polars as pl

from gb_pipeline.market.symbol import AssetClass
from gb_pipeline.market.symbology import EARLIEST_DAY, LATEST_DAY, until

_PREFIX = "I-"
_LENGTH = 13
_ROW = "told_row"
# What tells an instrument apart for everybody, by class.
_CONTRACT = {
    AssetClass.FUTURE: ("exchange", "root", "expiry"),
    AssetClass.OPTION: ("underlying", "expiry", "option_right", "strike"),
    AssetClass.CRYPTO: ("exchange", "symbol"),
    AssetClass.FOREX: ("symbol",),
}


def identify(told: pl.DataFrame, stored: pl.DataFrame, source: str, *, present: bool) -> pl.DataFrame:
    """What is told, with the `instrument` of each row.

    An instrument is recognised by, first of all, the id that was told, then its composite FIGI, the source's own id, what a
    contract is, the source's own symbol, and of shares the symbol at the time on the same exchange. A symbol of the source's own is
    the same instrument where it begins on the same day; of what is told of the present, where it stands.

    Args:
        told: columns of `told_instruments.TOLD`.
        stored: current rows of all sources, columns of the dataset.
        source: who tells it.
        present: whether it is what there is now.

    Returns:
        The rows in their order.
    """
    rows = told.with_row_index(_ROW).with_columns(_identity(source), pl.lit(source).alias("source"))
    known = stored.with_columns(_contract())
    rows = rows.with_columns(_contract())
    matches = [
        _by(rows, known, ["composite_figi"], "figi_match"),
        _by(rows, known, ["source", "vendor_id"], "vendor_match"),
        _by(rows, known, ["contract"], "contract_match"),
        _by_symbol(rows, known, ["source", "symbol"], "symbol_match", present=present),
        _by_symbol(rows, known, ["asset_class", "exchange", "symbol"], "listing_match", present=present),
    ]
    found = rows
    for match in matches:
        found = found.join(match, on=_ROW, how="left", maintain_order="left")
    found = found.with_columns(pl.coalesce("instrument", *(match.columns[-1] for match in matches)).alias("instrument"))
    # Rows that are told of one instrument have one id, whichever of them was recognised.
    found = found.with_columns(pl.coalesce("instrument", pl.col("instrument").drop_nulls().first().over("identity")))
    new = found.filter(pl.col("instrument").is_null())["identity"].unique().to_list()
    ids = pl.DataFrame(
        {"identity": new, "made": _new_ids(new, set(stored["instrument"]))},
        {"identity": pl.String(), "made": pl.String()},
    )
    found = found.join(ids, on="identity", how="left", maintain_order="left")
    return found.with_columns(pl.coalesce("instrument", "made").alias("instrument")).select(told.columns)


def _new_ids(identities: Sequence[str], taken: set[str]) -> list[str]:
    """An id for each; who is not recognised, although its id is taken, is another one."""
    ids = []
    for identity in identities:
        made = (make_id(text) for text in chain([identity], (f"{identity} {number}" for number in count(2))))
        ids.append(next(each for each in made if each not in taken))
    return ids


def make_id(identity: str) -> str:
    """The id of an instrument that nobody told of before: 65 bits of a hash, so that two never meet.

    Example:
        >>> make_id("figi BBG000MM2P62")
        'I-RZN2LDKJKQMUM'
    """
    return _PREFIX + base64.b32encode(hashlib.sha256(identity.encode()).digest()).decode()[:_LENGTH]


def _identity(source: str) -> pl.Expr:
    """What tells an instrument apart, as text."""
    since = pl.col("valid_from").fill_null(EARLIEST_DAY).cast(pl.String)
    return pl.coalesce(
        pl.format("id {}", "instrument"),
        pl.format("figi {}", "composite_figi"),
        _contract(),
        pl.format("of " + source + " {}", "vendor_id"),
        pl.format("symbol of " + source + " {} {}", "symbol", since),
    ).alias("identity")


def _contract() -> pl.Expr:
    """What a contract is, or null where the class has none or it was not told."""
    texts = [
        pl.when(pl.col("asset_class") == kind.value).then(
            pl.format(" ".join([kind.value, *("{}" for _ in names)]), *(pl.col(name).cast(pl.String) for name in names))
        )
        for kind, names in _CONTRACT.items()
    ]
    return pl.coalesce(texts).alias("contract")


def _by(rows: pl.DataFrame, known: pl.DataFrame, on: list[str], name: str) -> pl.DataFrame:
    """The instrument that is known by some columns; none where several are."""
    by = known.drop_nulls(on).group_by(on).agg(pl.col("instrument").unique().alias("ids"))
    one = by.filter(pl.col("ids").list.len() == 1).with_columns(pl.col("ids").list.first().alias(name)).drop("ids")
    return rows.drop_nulls(on).join(one, on=on).select(_ROW, name)


def _by_symbol(rows: pl.DataFrame, known: pl.DataFrame, on: list[str], name: str, *, present: bool) -> pl.DataFrame:
    """The instrument that stands under the same symbol at the same time, unless the two say that they are not the same."""
    marks = ["composite_figi", "vendor_id", "contract"]
    told = rows.drop_nulls(on).select(_ROW, *dict.fromkeys([*on, *marks, "source", "valid_from"]), end=until())
    other = known.drop_nulls(on).select(
        *on, *(pl.col(mark).alias(f"known_{mark}") for mark in marks), known_source=pl.col("source"),
        first=pl.col("valid_from"), last=until(), found=pl.col("instrument"),
    )  # fmt: skip
    if on[0] == "asset_class":
        told, other = (frame.filter(pl.col("asset_class") == AssetClass.EQUITY.value) for frame in (told, other))
    pairs = told.join(other, on=on)
    begins = pl.col("valid_from").fill_null(EARLIEST_DAY)
    if "source" in on and not present:
        same_time = begins == pl.col("first")
    elif present:
        # Of what is gone the row that tells so as well.
        same_time = (pl.col("last") == LATEST_DAY) | (pl.col("last") == pl.col("end"))
    else:
        same_time = (begins < pl.col("last")) & (pl.col("first") < pl.col("end"))
    of_one = (pl.col("known_source") == pl.col("source")).fill_null(False)
    differ = [
        (pl.col(mark) != pl.col(f"known_{mark}")).fill_null(False) & (of_one | (mark != "vendor_id")) for mark in marks
    ]
    pairs = pairs.filter(same_time, ~pl.any_horizontal(differ))
    by = pairs.group_by(_ROW).agg(pl.col("found").unique().alias("ids")).filter(pl.col("ids").list.len() == 1)
    return by.select(_ROW, pl.col("ids").list.first().alias(name))
