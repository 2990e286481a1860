"""`gb doctor`: is everything in place?

Belongs here: the order of the checks, and printing them. Does not belong here: the checks (`checks`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from gb_pipeline.cli.options import Config, Json, load_settings
from gb_pipeline.cli.output import ExitCode, note, print_json, print_table
from gb_pipeline.errors import GbError

if TYPE_CHECKING:
    from gb_pipeline.cli.checks import Finding


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor")(doctor)


def doctor(config: Config = None, as_json: Json = False) -> int:
    """Check that everything is in place.

    Python, packages, gb.yaml, lake, disk, Dagster's home, every source, every table with its log, files and ledger. Sends no
    request to any vendor and changes nothing; what is in the files is read by `gb verify`. Ends with 1 when something is broken.
    """
    from gb_pipeline.cli.checks import CheckResult

    findings = _examine(config)
    failed = [item for item in findings if item.verdict is CheckResult.FAIL]
    if as_json:
        print_json(
            [
                {"check": item.check, "verdict": item.verdict, "detail": item.detail, "fix": item.fix}
                for item in findings
            ]
        )
    else:
        styles = {CheckResult.OK: "green", CheckResult.WARN: "yellow", CheckResult.FAIL: "red"}
        rows = [
            (item.verdict.value, item.check, item.detail + (f"\n-> {item.fix}" if item.fix else ""))
            for item in findings
        ]
        print_table(("", "check", "finding"), rows, styles={key.value: value for key, value in styles.items()})
        note(f"{len(failed)} of {len(findings)} checks failed" if failed else "everything is in place")
    return ExitCode.FAILED if failed else ExitCode.OK


def _examine(config: Config) -> list[Finding]:
    from gb_pipeline.cli import checks, lake_checks

    findings = list(checks.machine())
    try:
        settings = load_settings(config)
    except GbError as error:
        return [*findings, checks.Finding("gb.yaml", checks.CheckResult.FAIL, error.what, error.fix)]
    findings += checks.project(settings)
    for source in settings.sources.values():
        findings.append(checks.source(source, settings.state))
    return [*findings, *lake_checks.lake(settings.lake, settings.state)]
