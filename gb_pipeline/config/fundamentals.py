"""What gb.yaml says of fundamentals under a source: which statements are asked for, and how old an answer may become."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, field_validator

from gb_pipeline.market.fundamental_schema import Statement


class FundamentalsSettings(BaseModel):
    """What is asked of a vendor about companies; one call for each statement of each symbol."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    statements: tuple[Statement, ...] = Field(
        default=tuple(Statement),
        description="overview, income_statement, balance_sheet, cash_flow, earnings; none: fundamentals are not fetched",
    )
    refresh_days: int = Field(
        default=6, ge=0, description="a company whose answer is younger than this is not asked about again"
    )

    @field_validator("statements", mode="after")
    @classmethod
    def _once(cls, value: tuple[Statement, ...]) -> tuple[Statement, ...]:
        return tuple(dict.fromkeys(value))
