"""This module makes the instruments of one source out of `symbols` of gb.yaml, wherever they are written down.

It reads files alone: no vendor is asked. The files' layouts are in `symbol_file`, `memberships` and `discovered`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from gb_pipeline.config.symbols import discovered, memberships, symbol_file
from gb_pipeline.config.symbols.discovered import Entry
from gb_pipeline.config.symbols.membership_intervals import MembershipInterval
from gb_pipeline.config.symbols.spec import Discovery, SymbolSettings, SymbolsSpec, canonical
from gb_pipeline.market.symbol import AssetClass, Symbol


@dataclass(frozen=True)
class Universe:
    """What `symbols: {...}` of one source came to.

    Attributes:
        spec: what gb.yaml says.
        path: the file that it was read from, which need not exist yet; None for a list alone.
        symbols: listed ones in the order of gb.yaml, then the file's.
        intervals: when those were members that have such a list; the others are members for as long as they are listed.
        file_codes: codes that the file, the discovery or the point-in-time list holds, whether they are listed as well or not.
        excluded_codes: codes that it would hold if they were not excluded.
        entries: what discovery has chosen.
    """

    spec: SymbolsSpec
    path: Path | None = None
    symbols: tuple[SymbolSettings, ...] = ()
    intervals: Mapping[str, tuple[MembershipInterval, ...]] = field(default_factory=dict)
    file_codes: frozenset[str] = frozenset()
    excluded_codes: frozenset[str] = frozenset()
    entries: tuple[Entry, ...] = ()

    @property
    def kind(self) -> str:
        """`list`, `file`, `discover` or `members`."""
        return next((kind for kind in ("file", "discover", "members") if getattr(self.spec, kind) is not None), "list")

    def members(self, on: date, symbols: Iterable[tuple[Symbol, SymbolSettings]]) -> tuple[Symbol, ...]:
        """Those of the source's symbols that were in on a day: by their intervals, or else by their listing."""
        return tuple(
            symbol
            for symbol, own in symbols
            if any(
                interval.covers(on)
                for interval in self.intervals.get(symbol.code)
                or (MembershipInterval(own.listed_from, own.listed_until),)
            )
        )

    @classmethod
    def resolve(
        cls,
        spec: SymbolsSpec,
        *,
        source: str,
        asset_class: AssetClass,
        start: date,
        end: date | None,
        folder: Path,
        home: Path | None,
    ) -> Universe:
        """Read the files that a source's `symbols` name.

        Args:
            spec: what gb.yaml says.
            source: the source's name.
            asset_class: of codes that say none.
            start: first session of the source; who left a point-in-time list before is not one of its symbols.
            end: first session that is not wanted, if any; who joins later is none either.
            folder: of gb.yaml.
            home: where discoveries are kept, `universe_home`.

        Raises:
            ConfigError: a file is missing or unusable, with its lines.
            InvalidSymbol: a listed code has no canonical form.
        """
        listed = {canonical(item.code, item.asset_class or asset_class).code: item for item in spec.listed}
        path: Path | None = None
        from_file: tuple[SymbolSettings, ...] = ()
        intervals: Mapping[str, tuple[MembershipInterval, ...]] = {}
        entries: tuple[Entry, ...] = ()
        if spec.file is not None:
            path = folder / spec.file.expanduser()
            from_file = symbol_file.read(path, asset_class)
        elif spec.members is not None:
            path = folder / spec.members.file.expanduser()
            every = memberships.read(path, spec.members, asset_class)
            intervals = {
                code: own for code, own in every.items() if any(interval.touches(start, end) for interval in own)
            }
            from_file = tuple(SymbolSettings(code=code) for code in intervals)
        elif spec.discover is not None and home is not None:
            path = discovered.universe_file(home, source)
            entries = discovered.read(path)
            intervals = discovered.intervals_by_code(entries)
            from_file = discovered.symbol_settings(entries)
        excluded = {*(spec.members or spec.discover or Discovery()).exclude}
        excluded_codes = frozenset(item.code for item in from_file if item.code in excluded)
        from_file = tuple(item for item in from_file if item.code not in excluded_codes)
        symbols = (*spec.listed, *(item for item in from_file if item.code not in listed))
        own = {code: intervals[code] for code in intervals if code not in listed and code not in excluded_codes}
        entries = tuple(entry for entry in entries if entry.code not in excluded_codes)
        return cls(spec, path, symbols, own, frozenset(item.code for item in from_file), excluded_codes, entries)
