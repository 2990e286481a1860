"""What gb.yaml says of factors: sets of them by name, each computed from the bars of one source and stored month by month."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from gb_pipeline.errors import ConfigError
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.symbol import source_name, symbol_code

_PIPELINE = re.compile(r"[A-Za-z_][\w]*(\.[A-Za-z_][\w]*)*:[A-Za-z_][\w]*")
_COLUMN = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


def _set_name(text: str) -> str:
    try:
        return source_name(text)
    except ConfigError as error:
        raise ValueError(f"{error.what}; {error.fix}") from None


FactorSetName = Annotated[str, AfterValidator(_set_name)]


class FactorSetSettings(BaseModel):
    """One set: what is computed, over which bars, and for whom.

    Example:
        >>> FactorSetSettings(source="yahoo", start="2020-01-01", expressions={"trend": "Mean($close, 5) / $close"})
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str = Field(description="whose bars")
    start: date = Field(description="first session; months before it do not exist")
    expressions: dict[str, str] = Field(
        default_factory=dict, description='factors by name, as text: {trend: "Mean($close, 5) / $close - 1"}'
    )
    pipeline: str | None = Field(
        default=None, description="instead of expressions: module:attribute of a Pipeline, beside gb.yaml or installed"
    )
    screen: str | None = Field(
        default=None, description="with expressions: only rows for which this comparison holds are stored"
    )
    universe: tuple[Annotated[str, AfterValidator(symbol_code)], ...] = Field(
        default=(), description="canonical codes; by default the source's point-in-time list, else all that have bars"
    )
    resolution: Resolution = Field(default=Resolution.DAY, description="of the bars; shorter ones are made into days")
    adjustment: str = Field(
        default="auto", description="splits, splits+dividends or none; auto: splits on calendars of exchanges"
    )
    on_gap: str = Field(default="null", description="what a window does where a bar is missing: null, ffill or skip")
    strict: bool = Field(
        default=False, description="leave out what the lake had not known when a session opened, restated bars included"
    )
    most_nulls: float = Field(
        default=0.5, ge=0, le=1, description="a larger share of values without a number turns the check `numbers` red"
    )

    @field_validator("expressions", mode="after")
    @classmethod
    def _names(cls, value: dict[str, str]) -> dict[str, str]:
        wrong = [name for name in value if not _COLUMN.fullmatch(name) or name in {"session", "symbol"}]
        if wrong:
            raise ValueError(f"{wrong[0]!r:.40} cannot name a factor; use letters, digits and _")
        return value

    @field_validator("pipeline", mode="after")
    @classmethod
    def _importable(cls, value: str | None) -> str | None:
        if value is not None and not _PIPELINE.fullmatch(value):
            raise ValueError(f"{value!r:.80} is no module:attribute, such as research.signals:momentum")
        return value

    @field_validator("on_gap", mode="after")
    @classmethod
    def _known_policy(cls, value: str) -> str:
        if value not in {"null", "ffill", "skip"}:
            raise ValueError(f"{value!r:.40} is none of null, ffill, skip")
        return value

    @field_validator("adjustment", mode="after")
    @classmethod
    def _known_adjustment(cls, value: str) -> str:
        if value not in {"auto", "none", "splits", "splits+dividends"}:
            raise ValueError(f"{value!r:.40} is none of auto, none, splits, splits+dividends")
        return value

    @model_validator(mode="after")
    def _one_description(self) -> FactorSetSettings:
        if bool(self.expressions) == (self.pipeline is not None):
            raise ValueError("give either expressions or a pipeline")
        if self.screen is not None and self.pipeline is not None:
            raise ValueError("a pipeline brings its own screen; leave screen out")
        return self
