"""The instruments of one source, wherever they are written down.

Belongs here: turning `symbols` of gb.yaml into settings of symbols and their stays, from files alone: no vendor is asked.
Does not belong here: the files' layouts.
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
        stays: of those that have any; the others are members for as long as they are listed.
        found: codes that the file, the discovery or the point-in-time list holds, whether they are listed as well or not.
        hidden: codes that it would hold if they were not excluded.
        entries: what discovery found.
    """

    spec: SymbolsSpec
    path: Path | None = None
    symbols: tuple[SymbolSettings, ...] = ()
    stays: Mapping[str, tuple[MembershipInterval, ...]] = field(default_factory=dict)
    found: frozenset[str] = frozenset()
    hidden: frozenset[str] = frozenset()
    entries: tuple[Entry, ...] = ()

    @property
    def kind(self) -> str:
        """`list`, `file`, `discover` or `members`."""
        return next((kind for kind in ("file", "discover", "members") if getattr(self.spec, kind) is not None), "list")

    def members(self, on: date, symbols: Iterable[tuple[Symbol, SymbolSettings]]) -> tuple[Symbol, ...]:
        """Those of the source's symbols that were in on a day: by their stays, or else by their listing."""
        return tuple(
            symbol
            for symbol, own in symbols
            if any(
                stay.covers(on)
                for stay in self.stays.get(symbol.code) or (MembershipInterval(own.listed_from, own.listed_until),)
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
        lake: Path | None,
    ) -> Universe:
        """Read the files that a source's `symbols` name.

        Args:
            spec: what gb.yaml says.
            source: the source's name.
            asset_class: of codes that say none.
            start: first session of the source; who left a point-in-time list before is not one of its symbols.
            end: first session that is not wanted, if any; who joins later is none either.
            folder: of gb.yaml.
            lake: root of the lake, where discoveries are kept.

        Raises:
            ConfigError: a file is missing or unusable, with its lines.
            InvalidSymbol: a listed code has no canonical form.
        """
        listed = {canonical(item.code, item.asset_class or asset_class).code: item for item in spec.listed}
        path: Path | None = None
        found: tuple[SymbolSettings, ...] = ()
        stays: Mapping[str, tuple[MembershipInterval, ...]] = {}
        entries: tuple[Entry, ...] = ()
        if spec.file is not None:
            path = folder / spec.file.expanduser()
            found = symbol_file.read(path, asset_class)
        elif spec.members is not None:
            path = folder / spec.members.file.expanduser()
            every = memberships.read(path, spec.members, asset_class)
            stays = {code: own for code, own in every.items() if any(stay.touches(start, end) for stay in own)}
            found = tuple(SymbolSettings(code=code) for code in stays)
        elif spec.discover is not None and lake is not None:
            path = discovered.universe_file(lake, source)
            entries = discovered.read(path)
            stays = discovered.stays_of(entries)
            found = discovered.symbols_of(entries)
        excluded = {*(spec.members or spec.discover or Discovery()).exclude}
        hidden = frozenset(item.code for item in found if item.code in excluded)
        found = tuple(item for item in found if item.code not in hidden)
        symbols = (*spec.listed, *(item for item in found if item.code not in listed))
        own = {code: stays[code] for code in stays if code not in listed and code not in hidden}
        entries = tuple(entry for entry in entries if entry.code not in hidden)
        return cls(spec, path, symbols, own, frozenset(item.code for item in found), hidden, entries)
