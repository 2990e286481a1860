"""`gb health` prints how a lake in operation is, and what repairs it. The checks are `gb_pipeline.health` and those of Dagster."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gb_pipeline.cli.options import Config, Json, load_settings, open_store
from gb_pipeline.cli.output import ExitCode, note, print_json, print_table
from gb_pipeline.errors import ConfigError
from gb_pipeline.market.spelling import did_you_mean, format_count, near_names

if TYPE_CHECKING:
    from gb_pipeline.config.settings import Settings
    from gb_pipeline.health.result import HealthResult

_STYLES = {"ok": "green", "warn": "yellow", "fail": "red", "skipped": "dim"}
CheckNames = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="CHECK", help="Only these checks, with a sample of what each found; all by default.", show_default=False
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("health")(health)


def health(checks: CheckNames = None, config: Config = None, as_json: Json = False) -> int:
    """Check that the lake is complete, fresh and cared for.

    Looks at the operation, as `gb doctor` looks at the set-up: sessions that are missing or failed, old gaps, restatements and
    refused rows above their budgets, compaction, the last verification, the catalog, vendors' quotas, the disk, and whether Dagster
    shows what the lake holds. Says which command repairs what. Sends no request to a vendor and changes nothing; limits are in
    gb.yaml under `health`. Dagster runs the same checks by a schedule. Exits with 1 when a check fails, not when one warns.
    """
    settings = load_settings(config)
    results = list(_examine(settings, checks or []))
    if as_json:
        print_json([_to_dict(result) for result in results])
    else:
        _print(results)
        for result in results if checks else []:
            _print_sample(result)
        note(summarise(results))
    return ExitCode.FAILED if any(result.state.value == "fail" for result in results) else ExitCode.OK


def summarise(results: Sequence[HealthResult]) -> str:
    """`all 13 checks are well` only where they are."""
    states = Counter(result.state.value for result in results)
    parts = [(states["fail"], "failure"), (states["warn"], "warning")]
    said = " and ".join(format_count(number, noun) for number, noun in parts if number)
    looked = len(results) - states["skipped"]
    if not looked:
        return "nothing was looked at: every check was skipped"
    return f"{said} in {format_count(looked, 'check')}" if said else f"all is well: {format_count(looked, 'check')}"


def _examine(settings: Settings, names: Sequence[str]) -> Iterator[HealthResult]:
    from gb_pipeline.health.checkup import CHECKS, examine
    from gb_pipeline.health.project_state import ProjectState
    from gb_pipeline.orchestration.health.checks import DAGSTER_CHECKS, examine_dagster

    known = [*CHECKS, *DAGSTER_CHECKS]
    for name in names:
        if name not in known:
            hint = did_you_mean(near_names(name, known, 3), f"checks are {', '.join(known)}")
            raise ConfigError(f"there is no check {name!r}", fix=hint)
    state = ProjectState(settings, open_store(settings))
    wanted = [name for name in known if not names or name in names]
    if own := [name for name in wanted if name in CHECKS]:
        yield from examine(state, own)
    if dagster := [name for name in wanted if name in DAGSTER_CHECKS]:
        yield from examine_dagster(state, dagster)


def _print(results: Sequence[HealthResult]) -> None:
    rows = [
        (
            result.state.value,
            result.name,
            result.count or None,
            result.sentence + (f"\n-> {result.what_to_do}" if result.what_to_do else ""),
        )
        for result in results
    ]
    print_table(("", "check", "count", "finding"), rows, styles=_STYLES)


def _print_sample(result: HealthResult) -> None:
    if result.sample.height:
        print_table(result.sample.columns, result.sample.iter_rows(), title=result.name)


def _to_dict(result: HealthResult) -> dict[str, Any]:
    return {
        "check": result.name,
        "state": result.state,
        "count": result.count,
        "finding": result.sentence,
        "counts": dict(result.counts),
        "repair": result.repair,
        "advice": result.advice,
        "sample": result.sample.to_dicts(),
    }
