"""This module declares what gb.yaml says under `symbols`: the ways to say which instruments a source has.

It has their names, types, defaults and messages. Reading the files that they name is in `symbol_file`, `memberships` and
`discovered`.
"""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from gb_pipeline.market.symbol import AssetClass, Symbol


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SymbolSettings(_Model):
    """One instrument of a source, where its code alone does not say enough."""

    code: str = Field(description="canonical code, such as BTC-USD")
    vendor: str | None = Field(default=None, description="the vendor's own spelling, where it cannot be derived")
    exchange: str = Field(default="", description="where it is listed, for the catalog")
    asset_class: AssetClass | None = Field(default=None, description="where it differs from the source's")
    listed_from: date | None = Field(default=None, description="first session; earlier days are `not_listed`")
    listed_until: date | None = Field(default=None, description="first session without it; later days are `not_listed`")

    @field_validator("code", mode="before")
    @classmethod
    def _written(cls, value: object) -> object:
        if not isinstance(value, str):
            # ON is a truth and 0700 is 448: what was written is lost already.
            raise ValueError(f"YAML reads this code as {value!r}; write it in quotes, as in '0700' or 'ON'")
        return value


class Discovery(_Model):
    """Which instruments of the vendor's own list; all conditions hold together."""

    quote: tuple[str, ...] = Field(default=(), description="currency of the prices, one or several: USDT")
    active: bool = Field(default=True, description="only what trades now; false takes the rest as well")
    top: int | None = Field(default=None, gt=0, description="so many of the largest turnover of the last 24 hours")
    match: str | None = Field(default=None, description="regular expression that is found in the canonical code")
    asset_class: AssetClass | None = Field(default=None, description="only this kind")
    perpetuals: bool = Field(default=False, description="perpetual swaps as well")
    exclude: tuple[str, ...] = Field(default=(), description="canonical codes that are not wanted")

    @field_validator("quote", "exclude", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        return _texts(value)

    @field_validator("match")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(f"{value!r} is no regular expression: {error}") from None
        return value

    @model_validator(mode="after")
    def _comparable(self) -> Discovery:
        if self.top is not None and not self.quote:
            raise ValueError("top compares turnovers, which are amounts of money: say `quote` as well")
        return self


class MemberList(_Model):
    """A point-in-time list: a CSV file with one line per stay of an instrument in an index or a portfolio."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_by_name=True, validate_by_alias=True)

    file: Path = Field(description="relative to gb.yaml")
    code: str = Field(default="code", description="column of the code")
    since: str = Field(default="from", alias="from", description="column of the first session in")
    until: str = Field(default="until", description="column of the first session out; empty cells: still in")
    exclude: tuple[str, ...] = Field(default=(), description="canonical codes that are not wanted")

    @field_validator("exclude", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        return _texts(value)


class SymbolsSpec(_Model):
    """`symbols` as a mapping: a list, and one of `file`, `discover` and `members`."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_by_name=True, validate_by_alias=True)

    listed: tuple[SymbolSettings, ...] = Field(
        default=(), alias="list", description="codes or mappings, beside what is found elsewhere"
    )
    file: Path | None = Field(default=None, description="CSV with a column code, relative to gb.yaml")
    discover: Discovery | None = Field(default=None, description="the vendor's own list, by conditions")
    members: MemberList | None = Field(default=None, description="a point-in-time list")

    @field_validator("listed", mode="before")
    @classmethod
    def _codes(cls, value: object) -> object:
        return codes_or_mappings(value)

    @field_validator("discover", mode="before")
    @classmethod
    def _everything(cls, value: object) -> object:
        # `discover:` with nothing below it means no condition.
        return {} if value is None else value

    @model_validator(mode="after")
    def _one_way(self) -> SymbolsSpec:
        ways = [name for name in ("file", "discover", "members") if getattr(self, name) is not None]
        if len(ways) > 1:
            raise ValueError(f"{' and '.join(ways)} cannot be combined; make two sources of them, or use list")
        return self


def _texts(value: object) -> tuple[str, ...]:
    items: Any = value if isinstance(value, list | tuple) else [value]
    if any(not isinstance(item, str) or not item.strip() for item in items):
        raise ValueError("give texts; YAML reads ON, NO and 0700 as something else: write them in quotes")
    return tuple(item.strip().upper() for item in items)


def codes_or_mappings(value: object) -> Any:
    """A list of codes and mappings as a list of mappings.

    Raises:
        ValueError: it is no list.
    """
    if not isinstance(value, list | tuple):
        raise ValueError("give a list of codes, or a mapping with list, file, discover or members")
    # What is no code is told apart where its position is known.
    return [item if isinstance(item, dict | SymbolSettings) else {"code": item} for item in value]


def canonical(text: str, asset_class: AssetClass, exchange: str = "") -> Symbol:
    """The symbol under a code as files and vendors write it: in any case, and `BRK/B` for `BRK.B`.

    Raises:
        InvalidSymbol: it has no canonical form.

    Example:
        >>> canonical("brk/b", AssetClass.EQUITY).code
        'BRK.B'
    """
    spelled = text.replace("/", ".") if asset_class is AssetClass.EQUITY else text
    return Symbol.of(spelled, asset_class, exchange)
