"""What gb.yaml says of one source: names, types, defaults and messages."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails

from gb_pipeline.config.credentials import credentials, open_credential, refill, seal
from gb_pipeline.config.finality import MOST_SETTLE_DAYS, SETTLE_DAYS
from gb_pipeline.config.fundamentals import FundamentalsSettings
from gb_pipeline.config.owners import Owners
from gb_pipeline.config.suggestions import suggest
from gb_pipeline.config.symbols.resolved import Universe
from gb_pipeline.config.symbols.spec import SymbolSettings, SymbolsSpec, codes_or_mappings
from gb_pipeline.config.zones import ZoneName
from gb_pipeline.errors import ConfigError, InvalidResolution
from gb_pipeline.market.calendar import get_calendar, require_calendar
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import Adjustment, Precision
from gb_pipeline.market.symbol import AssetClass, Symbol, source_name
from gb_pipeline.quality.rules import Alignment, BarRules, GapPolicy


class Grain(StrEnum):
    """The size of one Dagster partition."""

    DAY = "day"
    MONTH = "month"
    YEAR = "year"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _name(text: str) -> str:
    try:
        return source_name(text)
    except ConfigError as error:
        raise ValueError(f"{error.what}; {error.fix}") from None


class RateLimit(_Model):
    """At most `calls` requests in `seconds`."""

    calls: int = Field(gt=0, description="at most so many requests, over all processes of this machine")
    seconds: float = Field(default=1.0, gt=0, description="in this time")


class DailyQuota(_Model):
    """At most `calls` requests in one day of the vendor's own time zone."""

    calls: int = Field(gt=0, description="at most so many requests, over all processes of this machine")
    zone: ZoneName = Field(default="UTC", description="time zone in which the vendor's day begins at midnight")


class SourceSettings(_Model):
    """One provider's feed: what to fetch from it and how its responses are to be read."""

    name: Annotated[str, AfterValidator(_name)]
    provider: str = Field(description="ccxt, csv, ...")
    options: dict[str, Any] = Field(default_factory=dict, description="the provider's own settings")
    asset_class: AssetClass = Field(default=AssetClass.EQUITY, description="the kind of its instruments")
    calendar: str = Field(default="24/7", description="24/7, FX, or an exchange_calendars code such as XNYS")
    extended_hours: bool = Field(default=False, description="expect and allow bars outside the regular session")
    alignment: Alignment = Field(
        default=Alignment.CLOCK,
        description="whether hourly bars start on the clock or with the session",
    )
    start: date = Field(description="first session of every series of this source")
    end: date | None = Field(default=None, description="end date (exclusive); open by default")
    symbols: tuple[SymbolSettings, ...] = Field(description="canonical codes, mappings, or where to find them")
    resolutions: tuple[Resolution, ...] = Field(default=(Resolution.MINUTE,), description="lengths of its bars")
    grain: Grain | None = Field(default=None, description="partition size; a day for intraday bars, else a month")
    partitions_per_run: int = Field(
        default=100, gt=0, description="a backfill is split into runs of this many partitions"
    )
    precision: Precision = Field(
        default=Precision.STANDARD, description="standard: Decimal(18,8); wide: Decimal(38,18)"
    )
    gap_policy: GapPolicy = Field(
        default=GapPolicy.OPEN,
        description="open: an absent bar is unexplained; no_trade: this vendor publishes none where nothing traded",
    )
    max_bad_fraction: float = Field(default=0.01, ge=0, le=1, description="more bad rows refuse the whole session")
    restatement_budget: float | None = Field(
        default=None, ge=0, le=1, description="the largest share of a month's bars that may be restated"
    )
    allow_negative_prices: bool = Field(default=False, description="futures and spreads may go to zero and below")
    allow_unaligned: bool = Field(default=False, description="keep bars that start off the resolution's grid")
    empty_expires_days: int | None = Field(
        default=30,
        gt=0,
        description="an answer that something is absent counts so long, then it is asked for again; null: for ever",
    )
    settle_minutes: int = Field(default=15, ge=0, description="wait this long after the close before fetching")
    settle_days: int = Field(
        default=SETTLE_DAYS,
        ge=0,
        le=MOST_SETTLE_DAYS,
        description="bars are provisional at least so long after they became known",
    )
    refetch_sessions: int = Field(
        default=0,
        ge=0,
        le=1000,
        description="so many of the newest closed sessions are asked for again in each scheduled run",
    )
    catch_up_sessions: int = Field(
        default=30,
        gt=0,
        le=1000,
        description="so many missed sessions a schedule catches up after a time without a daemon",
    )
    grace_seconds: int = Field(default=5, ge=0, description="a bar is closed this long after its end")
    rate_limit: RateLimit | None = Field(default=None, description="the vendor's documented limit by default")
    daily_quota: DailyQuota | None = Field(default=None, description="the vendor's documented quota by default")
    adjustment: Adjustment | None = Field(
        default=None, description="what was done to the prices, where the provider cannot know: raw, split or all"
    )
    priority: int = Field(default=0, description="of several sources of a symbol, the highest answers; else the first")
    keep_raw: bool = Field(default=False, description="keep the vendor's own bytes under <lake>/raw")
    max_concurrency: int = Field(default=4, gt=0, description="symbols fetched at the same time in one run")
    timeout_seconds: float = Field(default=30.0, gt=0, description="patience with one request")
    retries: int = Field(default=5, ge=0, description="repeats of a call after a temporary failure")
    fundamentals: FundamentalsSettings = Field(
        default_factory=FundamentalsSettings, description="what is asked about companies, of a vendor that knows it"
    )
    owners: Owners = Field(default=(), description="who looks after this source; those of the whole file by default")
    _universe: Universe = PrivateAttr(default_factory=lambda: Universe(SymbolsSpec()))
    # Of gb.yaml, which relative paths in options start from; None for settings that were made without a file.
    _folder: Path | None = PrivateAttr(default=None)
    _index: tuple[object, dict[str, tuple[Symbol, SymbolSettings]]] = PrivateAttr(default_factory=lambda: (None, {}))

    @model_validator(mode="wrap")
    @classmethod
    def _symbols_of_files(cls, data: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        folder = (info.context or {}).get("folder")
        if not isinstance(data, dict) or not isinstance(data.get("symbols"), dict):
            settings = handler(data)
            settings._folder = folder or settings._folder
            return settings
        spec = _read_mapping(data["symbols"])
        # Everything else is checked first: what is read depends on it.
        settings = handler({**data, "symbols": ()})
        context = info.context or {}
        universe = Universe.resolve(
            spec,
            source=settings.name,
            asset_class=settings.asset_class,
            start=settings.start,
            end=settings.end,
            folder=folder or Path.cwd(),
            home=context.get("home"),
        )
        settings = handler({**data, "symbols": universe.symbols})
        settings._universe, settings._folder = universe, folder
        return settings

    @property
    def folder(self) -> Path:
        """What relative paths in options start from: the folder of gb.yaml, or the working directory where there is none."""
        return self._folder or Path.cwd()

    @field_validator("options", mode="after")
    @classmethod
    def _credentials_are_sealed(cls, value: dict[str, Any]) -> dict[str, Any]:
        return seal(value)

    @field_validator("symbols", mode="before")
    @classmethod
    def _codes_or_mappings(cls, value: object) -> object:
        return codes_or_mappings([] if value is None else value)

    @field_validator("resolutions", mode="before")
    @classmethod
    def _spellings(cls, value: object) -> object:
        items = value if isinstance(value, list | tuple) else [value]
        try:
            return tuple(Resolution.parse(str(item)) for item in items)
        except InvalidResolution as error:
            raise ValueError(f"{error.what}, {error.fix}") from None

    @field_validator("calendar")
    @classmethod
    def _calendar_exists(cls, value: str) -> str:
        try:
            require_calendar(value)
        except ConfigError as error:
            raise ValueError(f"{error.what}, {error.fix}") from None
        return value

    @model_validator(mode="after")
    def _consistent(self) -> SourceSettings:
        if len(self._indexed()) < len(self.symbols):
            codes = sorted(Symbol.of(s.code, s.asset_class or self.asset_class).code for s in self.symbols)
            twice = sorted({code for code, following in pairwise(codes) if code == following})
            raise ValueError(f"symbols listed twice: {', '.join(twice)}")
        if self.end is not None and self.end <= self.start:
            raise ValueError("end must be after start")
        if Resolution.TICK in self.resolutions:
            raise ValueError("tick data is not supported yet; use 1s or coarser")
        return self

    @property
    def instruments(self) -> tuple[Symbol, ...]:
        """The symbols in the order of gb.yaml, then those of the file that it names; delisted ones included."""
        return tuple(symbol for symbol, _ in self._indexed().values())

    @property
    def universe(self) -> Universe:
        """Where the symbols come from: a list, a file, a vendor's list or a point-in-time list."""
        return self._universe

    def members(self, on: date) -> tuple[Symbol, ...]:
        """The symbols that were part of the universe on a day: no more than was known or true on that day.

        Of a point-in-time list, those with a stay that covers the day; of a discovery, those that the refreshes until then
        had chosen; of everything else, those that were listed. The day of joining is in, the day of leaving is out.
        """
        return self._universe.members(on, self._indexed().values())

    def symbol_settings(self, symbol: Symbol | str) -> SymbolSettings:
        """The settings of one symbol; defaults for one that the source does not name."""
        code = str(symbol)
        known = self._indexed().get(code)
        return known[1] if known else SymbolSettings(code=code)

    def _indexed(self) -> dict[str, tuple[Symbol, SymbolSettings]]:
        # A copy with other symbols brings the index of the original along.
        indexed_symbols, index = self._index
        if indexed_symbols is not self.symbols:
            symbols = (Symbol.of(s.code, s.asset_class or self.asset_class, s.exchange) for s in self.symbols)
            index = {symbol.code: (symbol, own) for symbol, own in zip(symbols, self.symbols, strict=True)}
            self._index = (self.symbols, index)
        return index

    def rules(self, resolution: Resolution) -> BarRules:
        """How bars of this source are validated."""
        return BarRules(
            resolution=resolution,
            calendar=get_calendar(self.calendar, extended_hours=self.extended_hours),
            alignment=self.alignment,
            precision=self.precision,
            gap_policy=self.gap_policy,
            max_bad_fraction=self.max_bad_fraction,
            allow_negative_prices=self.allow_negative_prices,
            allow_unaligned=self.allow_unaligned,
            grace=timedelta(seconds=self.grace_seconds),
            adjustment=self.adjustment or Adjustment.RAW,
        )

    def listing(self, symbol: Symbol | str) -> tuple[date | None, date | None]:
        """First session and end date (exclusive) of a symbol, where gb.yaml gives them."""
        settings = self.symbol_settings(symbol)
        return settings.listed_from, settings.listed_until

    @property
    def vendor_symbols(self) -> dict[str, str]:
        """The vendor's own spelling by canonical code, where the source gives one."""
        return {code: settings.vendor for code, (_, settings) in self._indexed().items() if settings.vendor}

    def only_options(self, *known: str) -> None:
        """Refuse options that the provider does not have.

        Raises:
            ConfigError: naming them, and the ones that there are.
        """
        unknown = sorted(set(self.options) - set(known))
        if unknown:
            raise ConfigError(
                f"source {self.name}: {self.provider} has no option {', '.join(unknown)}",
                fix=suggest(unknown[0], sorted(known), "options are") if known else "it has no options at all",
            )

    def option(self, name: str) -> str | None:
        """An option as text; None where it is absent, or empty as the default of a variable: `${NAME:-}`."""
        value = self.options.get(name)
        return None if value is None or value == "" else str(value)

    def credential(self, option: str) -> str:
        """The value of an option that is a credential, in the clear: only for the request, never for a message.

        Args:
            option: its name, such as `key`; `headers.token` for one in a mapping.

        Raises:
            ConfigError: it is absent or empty, or no text that a header can carry; the message names the source, the option
                and the environment variables that it comes from.
        """
        return open_credential(self.name, option, dict(credentials(self.options)).get(option))

    def with_variables(self, get: Callable[[str], str | None]) -> SourceSettings:
        """The same settings with the variables of its credentials looked up again: `get` gives None for an unset one."""
        return self.model_copy(update={"options": refill(self.options, get)})

    @property
    def variables(self) -> dict[str, tuple[str, ...]]:
        """Credentials among the options, and the environment variables that each comes from; none for one written out."""
        return {option: credential.variables for option, credential in credentials(self.options)}

    @property
    def secrets(self) -> tuple[str, ...]:
        """The values of all credentials that are set: what must not appear in any message or file."""
        values = (credential.get_secret_value() for _, credential in credentials(self.options))
        return tuple(dict.fromkeys(value for value in values if value))

    def grain_of(self, resolution: Resolution) -> Grain:
        """The partition size of one resolution."""
        return self.grain or (Grain.DAY if resolution.intraday else Grain.MONTH)


def _read_mapping(value: dict[str, Any]) -> SymbolsSpec:
    """What stands under `symbols`, so that an error names its place."""
    try:
        return SymbolsSpec.model_validate(value)
    except ValidationError as error:
        details = [
            InitErrorDetails(
                type=item["type"], loc=("symbols", *item["loc"]), input=item["input"], ctx=item.get("ctx", {})
            )
            for item in error.errors()
        ]
        raise ValidationError.from_exception_data(error.title, details) from None
