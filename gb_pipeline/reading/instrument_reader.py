"""`InstrumentReader`, the methods of a lake about instruments, and about the symbols under which they stood.

Which row holds for a symbol and a day is computed in `market.symbology`, whose bars are whose in `stitched`.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import polars as pl

from gb_pipeline.errors import ConfigError, NoDataInRange, ReadError, UnknownSeries
from gb_pipeline.lake import instruments, roll_tables
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import Adjustment
from gb_pipeline.market.spelling import did_you_mean, list_some, near_names
from gb_pipeline.market.symbol import AssetClass
from gb_pipeline.market.symbology import OWN, believed, stands_on
from gb_pipeline.reading.arguments import (
    Moment,
    Selection,
    Symbols,
    between,
    moment,
    named_source,
    named_symbols,
)
from gb_pipeline.reading.bar_reader import BarReader
from gb_pipeline.reading.corporate_actions import select_actions
from gb_pipeline.reading.floats import to_floats
from gb_pipeline.reading.ledgers import symbols as stored_series
from gb_pipeline.reading.listed_instrument import ListedInstrument, StoredSeries, find_listed
from gb_pipeline.reading.price_adjustment import PriceAdjustment, parse_adjustment
from gb_pipeline.reading.request import refuse_options
from gb_pipeline.reading.stitched import (
    Stretch,
    apply_splits,
    as_splits_alone,
    cut_window,
    find_stretches,
    read_stretches,
)

_VENUES_OWN = (AssetClass.CRYPTO.value, AssetClass.PREDICTION.value)


class InstrumentReader(BarReader):
    """Instruments of a lake, what a symbol meant on a day, and bars across changes of symbols."""

    _store: LakeStore

    def instruments(
        self,
        symbols: Symbols | None = None,
        *,
        source: str | None = None,
        asset_class: AssetClass | str | None = None,
        when: Moment | None = None,
        as_of: Moment | None = None,
        versions: bool = False,
    ) -> pl.DataFrame:
        """What is known of instruments: a row for each stretch of days under one symbol of one source.

        Args:
            symbols: symbols or ids: all rows of whatever ever stood under one of them; None for everything.
            source: whose word it is.
            asset_class: such as `equity`.
            when: only what stood on this day.
            as_of: what was known at this moment.
            versions: every version of each row that was ever known, with `superseded_at`.

        Returns:
            `source, symbol, valid_from` (Date; 1900-01-01 where nobody says), `valid_until` (Date, first day without it; null
            while it stands), `instrument` (the permanent id), `asset_class, name, exchange, currency, vendor_symbol, vendor_id,
            composite_figi, share_class_figi, isin, root, expiry, first_notice, tick_size, multiplier, underlying, option_right,
            strike, fetched_at, known_at`; numbers are decimals, null where not told. Sorted by source, symbol and first day.

        Raises:
            UnknownSeries: a symbol or id under which nothing ever stood.
            ConfigError: no such asset class.

        Example:
            >>> lake.instruments("META").select("symbol", "valid_from", "valid_until", "instrument")
        """
        known_at, of = moment(as_of, self._context.clock), named_source(source)
        if versions:
            rows = instruments.history(self._store.tables, of).drop("is_current")
        else:
            rows = instruments.read(self._store.tables, of, known_at)
        codes = named_symbols(symbols)
        if codes is not None:
            chosen = instruments.instruments_of(rows, codes)
            for code in codes:
                if code not in chosen["symbol"] and code not in chosen["instrument"]:
                    near = near_names(code, rows["symbol"].unique().sort())
                    fix = did_you_mean(near, "tell the lake of it: gb instruments import FILE")
                    raise UnknownSeries(f"no instrument is known that ever stood under {code}", near=near, fix=fix)
            rows = chosen
        if asset_class is not None:
            if asset_class not in list(AssetClass):
                raise ConfigError(
                    f"{asset_class!r:.40} is not an asset class", fix=f"use one of {', '.join(AssetClass)}"
                )
            rows = rows.filter(pl.col("asset_class") == str(asset_class))
        return rows if when is None else rows.filter(stands_on(self._day(when)))

    def symbol(
        self, code: str, when: Moment | None = None, *, source: str | None = None, as_of: Moment | None = None
    ) -> ListedInstrument:
        """The instrument that stood under a symbol on a day, and its bars in this lake.

        Args:
            code: canonical code, such as `FB`.
            when: the day; today by default.
            source: whose symbols are meant; where sources disagree it must be named.
            as_of: what was known at this moment.

        Raises:
            UnknownSeries: no instrument stood under it then.
            ReadError: sources disagree on which one it was.

        Example:
            >>> lake.symbol("FB", "2020-01-02").name
            'Facebook, Inc. Class A Common Stock'
        """
        day, of, known_at = self._day(when), named_source(source), moment(as_of, self._context.clock)
        rows = instruments.read(self._store.tables, as_of=known_at)
        [name] = named_symbols(code) or []
        listed = find_listed(rows, name, day, of, self._context.priority())
        stored = stored_series(self._store.tables, Selection.of(of, None, None, None, None, as_of))
        held = set(stored.select("source", "symbol", "resolution").iter_rows())
        found: list[StoredSeries] = []
        for each, kind in sorted({(of_source, resolution) for of_source, _, resolution in held}):
            stretches = self._stretches(rows, listed.instrument, each, Resolution(kind), known_at)
            codes = dict.fromkeys(item.symbol for item in stretches if item.first <= day < item.end)
            found += [StoredSeries(each, symbol, kind) for symbol in codes if (each, symbol, kind) in held]
        return replace(listed, series=tuple(found))

    def instrument_bars(
        self,
        instrument: ListedInstrument | str,
        resolution: Resolution | str,
        start: Moment | None = None,
        end: Moment | None = None,
        *,
        source: str | None = None,
        as_of: Moment | None = None,
        as_float: bool = False,
        adjustment: str | PriceAdjustment | None = None,
        **options: Any,
    ) -> pl.DataFrame:
        """The bars of one instrument under all the symbols that it had, as one series; never one of another instrument that had one
        of these symbols before or after.

        Args:
            instrument: what `symbol` found, or an id.
            resolution, start, end, as_of, as_float: as in `bars`; `as_of` holds for what was known of symbols as well.
            source: by default the first one, in the order of priority, that has a bar of it in the range.
            adjustment: None for prices as stored, `none` as traded, or `splits`: those of the instrument, whichever symbol they
                were told under.
            options: `columns` and `settled_only` of `bars`.

        Returns:
            As `bars`, sorted by timestamp; `symbol` says under which code a bar stands.

        Raises:
            UnknownSeries: no such instrument.
            NoDataInRange: no bar in the range.
            ConfigError: an adjustment for dividends.

        Example:
            >>> lake.instrument_bars(lake.symbol("META"), "1d", "2022-06-07", "2022-06-11")["symbol"].to_list()
            ['FB', 'FB', 'META', 'META']
        """
        refuse_options(options, "resample", "calendar")
        wanted = as_splits_alone(parse_adjustment(adjustment))
        kind, known_at = Resolution.parse(resolution), moment(as_of, self._context.clock)
        window = between(start, end, self._context.clock)
        rows = instruments.read(self._store.tables, as_of=known_at)
        name = instrument.instrument if isinstance(instrument, ListedInstrument) else instrument
        candidates = self._sources_of(rows, name, named_source(source))
        asked = dict(options, as_of=as_of, adjustment=None if wanted is None else "none")
        columns = options.get("columns")
        if columns is not None and "timestamp" not in columns:
            asked["columns"] = [*columns, "timestamp"]
        facts = {fact.name: fact for fact in self.source_facts}
        for each in candidates:

            def read(stretch: Stretch, each: str = each) -> pl.DataFrame | None:
                part = cut_window(stretch, kind, facts.get(each), window)
                return (
                    None
                    if part is None
                    else self.bars(stretch.symbol, kind, part.start, part.end, source=each, **asked)
                )

            stretches = self._stretches(rows, name, each, kind, known_at)
            frame, having = read_stretches(stretches, read)
            if frame is None:
                continue
            if wanted is Adjustment.SPLIT:
                for stretch in having:
                    # Refuses a series whose splits nobody asked for.
                    asked_for = Selection.of(each, stretch.symbol, None, None, None, as_of, clock=self._context.clock)
                    select_actions(self._store.tables, asked_for, None, withdrawn=False)
                frame = apply_splits(self._store.tables, frame, stretches, each, kind, facts.get(each), known_at)
            frame = frame.sort("timestamp")
            frame = frame if columns is None else frame.select(columns)
            return to_floats(frame.lazy(), frame.schema).collect() if as_float else frame
        raise NoDataInRange(
            f"no {kind} bar of {name} in the range, from {list_some(candidates) or 'any source'}",
            fix="`Lake.symbol(...).series` says what is stored",
        )

    def rolls(self, root: str | None = None, *, source: str | None = None, as_of: Moment | None = None) -> pl.DataFrame:
        """Tables of rolls that were stored with `LakeStore.write_rolls`, now or as they were known at a moment.

        Returns:
            `source, symbol` (the root), `session` (Date), `from_symbol, to_symbol, known_at`; sorted by source, root, session.

        Example:
            >>> lake.rolls("ES", as_of="2024-01-02").select("session", "from_symbol", "to_symbol")
        """
        return roll_tables.read(self._store.tables, root, named_source(source), moment(as_of, self._context.clock))

    def _day(self, when: Moment | None) -> date:
        return (moment(when, self._context.clock) or self._context.clock()).date()

    def _stretches(
        self, rows: pl.DataFrame, instrument: str, source: str, resolution: Resolution, as_of: Any
    ) -> list[Stretch]:
        holding = believed(rows, source, self._context.priority())
        return find_stretches(self._store.tables, holding, instrument, source, resolution, as_of)

    def _sources_of(self, rows: pl.DataFrame, instrument: str, source: str | None) -> list[str]:
        """Whose bars of an instrument are looked for, in order."""
        own = rows.filter(pl.col("instrument") == instrument)
        if own.is_empty():
            raise UnknownSeries(
                f"no instrument has the id {str(instrument)[:80]}", fix="`Lake.symbol(CODE, DAY).instrument` is one"
            )
        if source is not None:
            return [source]
        told = own["source"].unique().sort().to_list()
        order = self._context.priority()
        stored = stored_series(self._store.tables, Selection.of(None, None, None, None, None))
        if not own["asset_class"].is_in(_VENUES_OWN).any():
            return [*dict.fromkeys([*order, *stored["source"].unique().sort()])]
        # What is traded on one venue is another thing on another one, whatever it is called.
        of_venue = [name for name in told if name != OWN]
        if not of_venue:
            holding = stored.filter(pl.col("symbol").is_in(own["symbol"].implode()))
            of_venue = holding["source"].unique().sort().to_list()
            if len(of_venue) > 1:
                raise ReadError(
                    f"{' and '.join(of_venue)} have bars under a symbol of {instrument}, which is traded on one venue",
                    fix="name the source",
                )
        return [*dict.fromkeys([name for name in order if name in of_venue] + of_venue)]
