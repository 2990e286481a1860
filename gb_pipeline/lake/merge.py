"""This module decides what new bars mean for the stored ones: it compares them with the current rows of their window.

Nothing here reads or writes; versions are written in `storage.history`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from gb_pipeline.market.moments import INSTANT
from gb_pipeline.market.repeated import repeated
from gb_pipeline.market.schema import CONTENT
from gb_pipeline.quality.runs import count_rows

KEY = ["symbol", "timestamp"]
_BAR_KEYS = ["symbol", "session", "timestamp"]
_BAR = [*_BAR_KEYS, *CONTENT]


@dataclass(frozen=True, slots=True)
class MergeResult:
    """What new rows mean for a window.

    Attributes:
        added: new versions: `symbol, session, timestamp`, content, `withdrawn`, `fetched_at`; sorted by symbol and timestamp.
        replaced: the stored rows that end with them, all columns of `stored`.
        restated: `symbol, session, timestamp` of stored bars whose content changed.
        withdrawn: the same of stored bars that the vendor no longer returns.
        late: new rows that differ from what a later request stored: they change nothing.
        unchanged: how many rows of each symbol were stored already with this content.
    """

    added: pl.DataFrame
    replaced: pl.DataFrame
    restated: pl.DataFrame
    withdrawn: pl.DataFrame
    late: pl.DataFrame
    unchanged: Mapping[str, int]

    @property
    def is_empty(self) -> bool:
        """Whether everything was stored already."""
        return self.added.is_empty() and self.replaced.is_empty()


def merge(
    new: pl.DataFrame, stored: pl.DataFrame, refused: pl.DataFrame, fetched_at: Mapping[str, datetime]
) -> MergeResult:
    """Compare new rows with stored ones.

    Args:
        new: good rows, `symbol, session, timestamp` and content in stored types, sorted by symbol and timestamp.
        stored: current rows of the same symbols and window: the same columns, `withdrawn`, `fetched_at`, and any others.
        refused: `symbol, timestamp` of stored rows that the vendor has not withdrawn although it did not send them well.
        fetched_at: when each symbol was requested.
    """
    new = new[_BAR]
    arriving = _with_fetch_moment(new.hstack([repeated("withdrawn", None, pl.Boolean(), new.height)]), fetched_at)
    if stored.is_empty():
        no_rows = new.clear()
        return MergeResult(arriving, stored, no_rows[_BAR_KEYS], no_rows[_BAR_KEYS], no_rows, {})
    previous = stored.select(
        *KEY,
        *(pl.col(name).alias(f"old {name}") for name in CONTENT),
        pl.col("withdrawn").fill_null(False).alias("was withdrawn"),
        pl.col("fetched_at").alias("old fetch"),
    )
    # A response for what is stored most often has just the stored bars, in their order.
    same_bars = stored.height == new.height and all((stored[name] == new[name]).all() for name in KEY)
    if same_bars:
        joined = arriving.hstack(previous.drop(KEY))
    else:
        joined = arriving.join(previous, on=KEY, how="left", maintain_order="left")
    is_alike = pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"old {name}")) for name in CONTENT)
    is_stored = pl.col("old fetch").is_not_null()
    compared = joined.with_columns(
        is_stored.alias("is_stored"),
        (is_stored & is_alike & ~pl.col("was withdrawn")).alias("same"),
        is_alike.alias("is_alike"),
    )
    late = pl.col("is_stored") & ~pl.col("same") & (pl.col("fetched_at") < pl.col("old fetch"))
    compared = compared.with_columns(late.fill_null(False).alias("late"))
    is_changed = ~(compared["same"] | compared["late"])
    changed = _choose(compared, is_changed)
    added = changed[arriving.columns]
    if same_bars:
        # Row by row each other's counterpart.
        withdrawn, replaced = stored.clear(), _choose(stored, is_changed)
    else:
        withdrawn = _withdrawn(stored.join(new[KEY], on=KEY, how="anti"), refused, fetched_at)
        if withdrawn.height:
            withdrawn_versions = withdrawn.with_columns(pl.lit(True).alias("withdrawn")).select(arriving.columns)
            added = pl.concat([added, withdrawn_versions]).sort(KEY)
        ended = pl.concat([_choose(changed, changed["is_stored"])[KEY], withdrawn[KEY]])
        replaced = stored.join(ended, on=KEY, how="semi", maintain_order="left")
    return MergeResult(
        added=added,
        replaced=replaced,
        restated=_choose(changed, changed["is_stored"] & ~changed["is_alike"])[_BAR_KEYS],
        withdrawn=withdrawn[_BAR_KEYS],
        late=_choose(compared, compared["late"])[_BAR],
        unchanged=count_rows(_choose(compared, compared["same"])),
    )


def remove(stored: pl.DataFrame) -> MergeResult:
    """The result where stored rows end, and nothing takes their place."""
    no_rows = stored.clear()
    added = no_rows.select(*_BAR, "withdrawn", "fetched_at")
    keys = no_rows[_BAR_KEYS]
    return MergeResult(added, stored, keys, keys, no_rows[_BAR], {})


def _withdrawn(absent: pl.DataFrame, refused: pl.DataFrame, fetched_at: Mapping[str, datetime]) -> pl.DataFrame:
    """Of stored rows that the vendor did not send, those that it has withdrawn since, sorted by key, with the new fetch."""
    if absent.is_empty():
        return absent
    asked = _with_fetch_moment(absent.rename({"fetched_at": "old fetch"}), fetched_at)
    is_newer = ~pl.col("withdrawn").fill_null(False) & (pl.col("fetched_at") >= pl.col("old fetch"))
    return asked.filter(is_newer).join(refused[KEY], on=KEY, how="anti").sort(KEY)


def _choose(rows: pl.DataFrame, mask: pl.Series) -> pl.DataFrame:
    """The rows of which the mask is true; most often these are all or none, which takes no question to Polars' engine."""
    return rows if mask.all() else rows.filter(mask) if mask.any() else rows.clear()


def _with_fetch_moment(rows: pl.DataFrame, fetched_at: Mapping[str, datetime]) -> pl.DataFrame:
    if len(set(fetched_at.values())) == 1:
        return rows.hstack([repeated("fetched_at", next(iter(fetched_at.values())), INSTANT, rows.height)])
    moments = pl.DataFrame(
        {"symbol": list(fetched_at), "fetched_at": list(fetched_at.values())},
        schema={"symbol": pl.String(), "fetched_at": INSTANT},
    )
    return rows.join(moments, on="symbol", how="left", maintain_order="left")
