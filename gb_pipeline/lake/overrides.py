"""This module keeps corrections of single bars, which hold in place of whatever the vendor says until they are taken back.

An override is a row of `overrides`, and an entry of the bars that names it: it holds from that entry on, with the corrected bar, or
not at all. Later writes put the corrected bar in the place of the vendor's (`correct`) and note what the vendor says meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import uuid4

import polars as pl

from gb_pipeline.errors import LakeError
from gb_pipeline.lake.applied import APPLIED_AT, apply, read_applied
from gb_pipeline.lake.bars_request import BarsRequest
from gb_pipeline.lake.datasets import OVERRIDES, bars_dataset
from gb_pipeline.market.moments import instant_literal
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import CONTENT, Precision, polars_schema
from gb_pipeline.market.window import Window
from gb_pipeline.storage import append, reading
from gb_pipeline.storage.commit import Clock, Draft, wall_clock
from gb_pipeline.storage.snapshot import Snapshot
from gb_pipeline.storage.table import Tables

BAR = ["source", "symbol", "resolution", "timestamp"]
_COLUMNS = polars_schema(OVERRIDES.columns)
OVERRIDE_LIST = pl.Schema({**_COLUMNS, "known_at": pl.Datetime("us", "UTC")})
_IN_FORCE = pl.Schema({**OVERRIDE_LIST, APPLIED_AT: pl.Datetime("us", "UTC")})
_KIND, _ID = "override", "override_id"
# Of the part of an `override_id` that an entry of the bars names; those of several bars at once go on with a number.
ID_LENGTH = 16
_NAMED = "batch"
_BATCH = pl.col(_ID).str.head(ID_LENGTH).alias(_NAMED)


@dataclass(frozen=True)
class Override:
    """One of a bar, or one of several bars of a series, that is about to come into force.

    Attributes:
        rows: its rows of `overrides`.
        stored: `symbol, timestamp, known_at` of the versions of the bars that it was made for.
        in_force: `vendor_fetched_at` and the columns of `BAR` of what it replaces.
        decides: whether it releases refused rows, or takes that back: there are more bars or fewer after it.
    """

    rows: pl.DataFrame
    stored: pl.DataFrame
    in_force: pl.DataFrame
    decides: bool = False

    def apply(self, draft: Draft) -> None:
        """Let the entry of the bars name it."""
        apply(draft, _KIND, str(self.rows[_ID][0])[:ID_LENGTH])

    @property
    def removes(self) -> bool:
        """Whether its bars are none any more: they were released, and that is taken back."""
        return self.decides and bool(self.rows["withdrawn"].all())

    def replace_in(self, in_force: pl.DataFrame) -> pl.DataFrame:
        """What is in force once this is."""
        ended = in_force.join(self.rows.select(BAR), on=BAR, how="semi")
        if not _ends(ended).equals(_ends(self.in_force)):
            raise _changed_meanwhile()
        others = in_force.join(self.rows.select(BAR), on=BAR, how="anti").select(_COLUMNS.names())
        return pl.concat([others, self.rows.filter(~pl.col("withdrawn"))])

    def refuse_if_changed(self, stored: pl.DataFrame) -> None:
        """Raise LakeError where the bars are not those that were looked at."""
        if not _versions(stored).equals(_versions(self.stored)):
            raise _changed_meanwhile()


def _ends(in_force: pl.DataFrame) -> pl.DataFrame:
    return in_force.select(*BAR, "vendor_fetched_at").sort(BAR)


def _versions(stored: pl.DataFrame) -> pl.DataFrame:
    return stored.select("symbol", "timestamp", "known_at").sort("symbol", "timestamp")


def _changed_meanwhile() -> LakeError:
    return LakeError("the bar was changed by another write in this moment; nothing was changed", fix="look at it again")


def record(tables: Tables, row: pl.DataFrame, *, clock: Clock = wall_clock) -> None:
    """Append a row; it holds once an entry of the bars names it."""
    append.append(tables[OVERRIDES.name], row, clock=clock)


def read(tables: Tables, source: str | None = None, symbols: Sequence[str] | None = None) -> pl.DataFrame:
    """Every override that is or was in force, one row each; `known_at` is the moment from which it held.

    Returns:
        Columns of `OVERRIDE_LIST`, oldest first; a row with `withdrawn` takes back the one before it.
    """
    rows = _newest_telling(_read_rows(tables, source, symbols, None))
    moments = _applied_by_resolution(tables, rows)
    named = rows.drop("known_at").with_columns(_BATCH).join(moments, on=["resolution", _NAMED])
    named = named.rename({APPLIED_AT: "known_at"})
    return named.select(OVERRIDE_LIST.names()).sort("known_at", *BAR)


def read_released(tables: Tables, source: str | None = None, symbols: Sequence[str] | None = None) -> pl.DataFrame:
    """The refused rows that are bars now: rows of `OVERRIDE_LIST` that name one, each in force."""
    last = read(tables, source, symbols).unique(BAR, keep="last", maintain_order=True)
    return last.filter(~pl.col("withdrawn") & pl.col("row_id").is_not_null())


def leave_out_corrections(
    tables: Tables, changes: pl.DataFrame, source: str | None = None, symbols: Sequence[str] | None = None
) -> pl.DataFrame:
    """Those of some restatements that the vendor made: a correction of ours is none of its.

    Args:
        changes: columns of `versions.RESTATEMENTS`.
    """
    if changes.is_empty():
        return changes
    ours = read(tables, source, symbols)
    return changes.join(
        ours, left_on=[*BAR, "replaced_at"], right_on=[*BAR, "known_at"], how="anti", maintain_order="left"
    )


def read_in_force(
    tables: Tables, base: Snapshot, source: str, resolution: Resolution, symbols: Sequence[str], window: Window
) -> pl.DataFrame:
    """Overrides that hold for bars in a window, one row for each such bar.

    Args:
        base: the version of the table of bars that is asked.
    """
    # Only the entries of the table say whether there are any: most writes read nothing else for it.
    applied = _applied(base, resolution)
    if base.dataset.name != (standard := bars_dataset(resolution).name):
        applied = pl.concat([applied, _applied(tables.newest(standard), resolution)])
    if applied.is_empty():
        return pl.DataFrame(schema=_IN_FORCE)
    rows = _newest_telling(_read_rows(tables, source, symbols, window))
    rows = rows.with_columns(_BATCH).join(applied, on=["resolution", _NAMED])
    last = rows.sort(APPLIED_AT).unique(BAR, keep="last")
    return last.filter(~pl.col("withdrawn")).select(_IN_FORCE.names())


def read_requested(tables: Tables, base: Snapshot, request: BarsRequest) -> pl.DataFrame:
    """The same for what a request is about."""
    return read_in_force(tables, base, request.source, request.resolution, request.symbols, request.window)


def withdraw(tables: Tables, draft: Draft, in_force: pl.DataFrame, reason: str, *, clock: Clock = wall_clock) -> None:
    """Take overrides back in an entry that ends their bars.

    Args:
        draft: of a table of bars; its stamp must not change any more.
        in_force: from `read_in_force`.
    """
    ids = pl.Series(_ID, [uuid4().hex[:ID_LENGTH] for _ in range(in_force.height)], pl.String())
    ended = in_force.with_columns(
        ids, pl.lit(reason).alias("reason"), pl.lit(True).alias("withdrawn"),
        *(pl.col(f"vendor_{name}").alias(f"corrected_{name}") for name in CONTENT),
    )  # fmt: skip
    come_into_force(tables, draft, ended, clock=clock)


def come_into_force(tables: Tables, draft: Draft, rows: pl.DataFrame, *, clock: Clock = wall_clock) -> None:
    """Append overrides, each with an id of its own, and let an entry of the bars name all of them."""
    append.append(tables[OVERRIDES.name], rows.select(_COLUMNS.names()), clock=clock)
    for override_id in rows[_ID]:
        apply(draft, _KIND, override_id)


def correct(good: pl.DataFrame, in_force: pl.DataFrame) -> pl.DataFrame:
    """A vendor's good bars, with corrected content where an override holds; the same frame where none does."""
    return _exchange(good, in_force, "corrected_")


def as_vendor(stored: pl.DataFrame, in_force: pl.DataFrame) -> pl.DataFrame:
    """Stored bars, with what the vendor says where an override holds; the same frame where none does."""
    refused = in_force.filter(pl.col("vendor_refused").fill_null(False))
    if refused.height:
        # Of these bars it has said nothing that was accepted.
        stored = stored.join(refused, on=["symbol", "timestamp"], how="anti", maintain_order="left")
    return _exchange(stored, in_force, "vendor_")


def _exchange(good: pl.DataFrame, in_force: pl.DataFrame, prefix: str) -> pl.DataFrame:
    if in_force.is_empty() or good.is_empty():
        return good
    corrected = in_force.select(
        "symbol", "timestamp", *(pl.col(f"{prefix}{name}").cast(good.schema[name]) for name in CONTENT)
    ).with_columns(pl.lit(True).alias("is_corrected"))
    joined = good.join(corrected, on=["symbol", "timestamp"], how="left", maintain_order="left")
    if joined["is_corrected"].null_count() == joined.height:
        return good
    return joined.with_columns(
        pl.when("is_corrected").then(f"{prefix}{name}").otherwise(name).alias(name) for name in CONTENT
    ).select(good.columns)


def keep_recorded(described: pl.DataFrame, recorded: pl.DataFrame) -> pl.DataFrame:
    """Rows of the ledger after a correction: it changes what a bar says, and nothing else that is known of a session.

    Args:
        described: rows of the ledger as the corrected bars give them.
        recorded: what the ledger holds of their sessions.
    """
    keys = [*BAR[:3], "session"]
    content = described.select(*keys, "fingerprint", "precision", "table_version")
    return recorded.drop("fingerprint", "precision", "table_version").join(content, on=keys).select(described.columns)


def note_vendor(
    tables: Tables,
    in_force: pl.DataFrame,
    good: pl.DataFrame,
    fetched_at: Mapping[str, datetime],
    *,
    clock: Clock = wall_clock,
) -> None:
    """Append what the vendor says now of overridden bars, where that is something new."""
    if in_force.is_empty() or good.is_empty():
        return
    moments = pl.DataFrame(
        {"symbol": list(fetched_at), "asked_at": list(fetched_at.values())},
        schema={"symbol": pl.String(), "asked_at": _COLUMNS["vendor_fetched_at"]},
    )
    said = good.select("symbol", "timestamp", *(pl.col(n).cast(_COLUMNS[f"vendor_{n}"]) for n in CONTENT))
    both = in_force.join(said, on=["symbol", "timestamp"]).join(moments, on="symbol")
    alike = pl.all_horizontal(pl.col(f"vendor_{name}").eq_missing(pl.col(name)) for name in CONTENT)
    same = alike & ~pl.col("vendor_refused").fill_null(False)
    new = both.filter(~same & (pl.col("asked_at") > pl.col("vendor_fetched_at")))
    rows = new.with_columns(
        pl.col("asked_at").alias("vendor_fetched_at"),
        pl.lit(False).alias("vendor_refused"),
        *(pl.col(name).alias(f"vendor_{name}") for name in CONTENT),
    )
    append.append(tables[OVERRIDES.name], rows.select(_COLUMNS.names()), clock=clock)


def _read_rows(
    tables: Tables, source: str | None, symbols: Sequence[str] | None, window: Window | None
) -> pl.DataFrame:
    snapshot = tables.newest(OVERRIDES.name)
    files = snapshot.select(
        {} if source is None else {"source": source}, holding={} if symbols is None else {"symbol": symbols}
    )
    rows = reading.read(tables.storage, OVERRIDES, files)
    if symbols is not None:
        rows = rows.filter(pl.col("symbol").is_in(list(symbols)))
    if window is not None:
        stamp = pl.col("timestamp")
        rows = rows.filter((stamp >= instant_literal(window.start)) & (stamp < instant_literal(window.end)))
    return rows


def _newest_telling(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.sort("vendor_fetched_at", "known_at").unique("override_id", keep="last")


def _applied_by_resolution(tables: Tables, rows: pl.DataFrame) -> pl.DataFrame:
    kinds = [Resolution(name) for name in rows["resolution"].unique()]
    parts = [
        _applied(tables.newest(bars_dataset(kind, precision).name), kind) for kind in kinds for precision in Precision
    ]
    return pl.concat([_no_applied(), *parts])


def _applied(snapshot: Snapshot, resolution: Resolution) -> pl.DataFrame:
    """The overrides that entries of a table of bars name, and since when."""
    named = read_applied(snapshot, _KIND, _NAMED)
    return named.select(_NAMED, pl.lit(resolution.value).alias("resolution"), APPLIED_AT)


def _no_applied() -> pl.DataFrame:
    return pl.DataFrame(schema={_NAMED: pl.String(), "resolution": pl.String(), APPLIED_AT: pl.Datetime("us", "UTC")})
