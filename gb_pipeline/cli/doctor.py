"""`gb doctor` checks that everything is in place.

This module runs the checks of `checks` and `lake_checks` in order and prints their findings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from gb_pipeline.cli.options import Config, Json, load_settings
from gb_pipeline.cli.output import ExitCode, note, print_json, print_table
from gb_pipeline.errors import GbError
from gb_pipeline.market.spelling import format_count

if TYPE_CHECKING:
    from gb_pipeline.cli.checks import Finding


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor")(doctor)


def doctor(config: Config = None, as_json: Json = False) -> int:
    """Check that everything is in place.

    Looks at the set-up, as `gb health` looks at the operation. Checks Python, packages, gb.yaml, the lake's folder, disk space,
    Dagster's home, every source and stream, and every table with its log, files and ledger. Looks into the files of csv sources,
    sends no request to a vendor, and changes nothing. What is in the files of the lake is checked by `gb verify`. Exits with 1 when
    something is broken.
    """
    from gb_pipeline.cli.checks import CheckResult

    findings = _examine(config)
    failed = [item for item in findings if item.result is CheckResult.FAIL]
    if as_json:
        print_json(
            [{"check": item.check, "verdict": item.result, "detail": item.detail, "fix": item.fix} for item in findings]
        )
    else:
        styles = {CheckResult.OK: "green", CheckResult.WARN: "yellow", CheckResult.FAIL: "red"}
        rows = [
            (item.result.value, item.check, item.detail + (f"\n-> {item.fix}" if item.fix else "")) for item in findings
        ]
        print_table(("", "check", "finding"), rows, styles={key.value: value for key, value in styles.items()})
        note(summarise(findings))
    return ExitCode.FAILED if failed else ExitCode.OK


def summarise(findings: Sequence[Finding]) -> str:
    """`everything is in place` only where it is; otherwise how much is not.

    Example:
        >>> summarise([Finding("disk", CheckResult.WARN, "3.1 GB free")])
        '1 warning in 1 check'
    """
    from gb_pipeline.cli.checks import CheckResult

    counts = Counter(item.result for item in findings)
    parts = [(counts[CheckResult.FAIL], "problem"), (counts[CheckResult.WARN], "warning")]
    said = " and ".join(format_count(number, noun) for number, noun in parts if number)
    return f"{said} in {format_count(len(findings), 'check')}" if said else "everything is in place"


def _examine(config: Config) -> list[Finding]:
    from gb_pipeline.cli import bucket_checks, checks, lake_checks
    from gb_pipeline.config.bucket import Bucket

    findings = list(checks.check_machine())
    try:
        settings = load_settings(config)
    except GbError as error:
        return [*findings, checks.Finding("gb.yaml", checks.CheckResult.FAIL, error.what, error.fix)]
    findings += checks.check_project(settings)
    if isinstance(settings.lake, Bucket):
        findings += bucket_checks.check_bucket(settings.lake)
    for source in settings.sources.values():
        findings.append(checks.check_source(source, settings.state))
    findings += [checks.check_stream(name, stream) for name, stream in settings.collect.streams.items()]
    findings += lake_checks.check_lake(settings.lake, settings.state)
    findings += lake_checks.check_incidents(settings)
    return [*findings, *lake_checks.check_calendars(settings)]
