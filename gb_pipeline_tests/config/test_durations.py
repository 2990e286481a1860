"""Lengths of time are written the same wherever one is asked for."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gb_pipeline.cli.vacuum import vacuum
from gb_pipeline.config.durations import parse_duration
from gb_pipeline.config.healing import HealingSettings
from gb_pipeline.errors import ConfigError

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
CENTURY = 36_500 * 86_400
REFUSED = ["", "7", "d", "-7d", "7.5h", "7 days", "1mo", "1y", "7d7h", "٣d", "3651w00", "999999999w", "36501d"]


@given(
    number=st.integers(0, 999_999_999),
    unit=st.sampled_from([*SECONDS, *map(str.upper, SECONDS)]),
    gap=st.sampled_from(["", " "]),
)
def test_a_whole_number_and_a_unit_are_a_length_of_up_to_a_hundred_years(number: int, unit: str, gap: str) -> None:
    seconds = number * SECONDS[unit.lower()]
    if seconds <= CENTURY:
        assert parse_duration(f"{number}{gap}{unit}") == timedelta(seconds=seconds)
    else:
        with pytest.raises(ValueError, match="longer than a hundred years"):
            parse_duration(f"{number}{gap}{unit}")


@pytest.mark.parametrize("text", REFUSED)
def test_whatever_else_is_refused_by_gb_yaml_and_by_the_command_alike(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValidationError, match=r"length of time|hundred years"):
        HealingSettings.model_validate({"after": [text]})
    with pytest.raises(ConfigError, match=r"--retention: .*(length of time|hundred years)"):
        vacuum(retention=text, lake=str(tmp_path))


@pytest.mark.parametrize("text", ["3600s", "60m", "1h", "1d", "1W", " 2 w "])
def test_gb_yaml_and_the_command_take_the_same_lengths(tmp_path: Path, text: str) -> None:
    assert HealingSettings.model_validate({"after": text}).after == (parse_duration(text),)
    assert vacuum(retention=text, lake=str(tmp_path)) == 0
