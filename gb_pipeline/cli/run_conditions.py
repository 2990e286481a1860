"""This module reads conditions on runs, as `--where` of `gb results` has them."""

from __future__ import annotations

from gb_pipeline.errors import ConfigError


def read_conditions(texts: list[str]) -> dict[str, list[str]]:
    """Conditions by what they are about.

    Raises:
        ConfigError: one is about neither metrics nor parameters.
    """
    found: dict[str, list[str]] = {}
    for text in texts:
        kind, dot, rest = text.strip().partition(".")
        if kind not in {"metrics", "parameters"} or not dot:
            raise ConfigError(
                f"{text[:60]!r} is no condition", fix="write 'metrics.sharpe > 1' or 'parameters.window = 20'"
            )
        found.setdefault(kind, []).append(rest)
    return found
