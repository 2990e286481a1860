"""This module holds when a lake counts as healthy: the section `health` of gb.yaml, with the limits of its standing checks."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from gb_pipeline.config.zones import ZoneName


class HealthSettings(BaseModel):
    """When the checks look, and what each of them puts up with.

    Example:
        >>> HealthSettings(open_gap_days=3).open_gap_days
        3
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    at: str = Field(
        default="07:00", pattern=r"^([01]\d|2[0-3]):[0-5]\d$", description="when all checks look, each day, as HH:MM"
    )
    zone: ZoneName = Field(default="UTC", description="time zone of `at`")
    missing_after_minutes: int = Field(
        default=120, ge=0, description="a session is missing so long after it closed and settled"
    )
    open_gap_days: int = Field(default=7, ge=0, description="unexplained gaps of sessions older than this are told")
    restated_days: int = Field(default=31, gt=0, description="restatements count that became known within so many days")
    quarantine_budget: float = Field(
        default=0.001, ge=0, le=1, description="the largest share of a source's rows that are refused and undecided"
    )
    crowded_partitions: int = Field(
        default=20, ge=0, description="more partitions than these that wait for compaction are told"
    )
    verify_days: int = Field(default=35, gt=0, description="the whole lake is verified at least so often")
    quota_left: float = Field(
        default=0.1, ge=0, le=1, description="less than this share of a vendor's calls of the day is told"
    )
    disk_gb: float = Field(
        default=5.0, ge=0, description="less free space than this is told; a tenth of it is a failure"
    )
    catalog_minutes: int = Field(
        default=30, ge=0, description="the catalog may be behind the lake for so long while something is fetched"
    )
    watermark_minutes: int = Field(
        default=30,
        ge=0,
        description="what is heard (`collect`) is committed so long after `flush.every` has passed, at the latest",
    )
    uncovered_budget: float = Field(
        default=0.001, ge=0, le=1, description="the largest share of a stream's last day that nothing covers"
    )
