"""This module lists the commands and decides how each of them ends.

Whatever stops a command becomes two lines on stderr and an exit code here. What a command does is in its own file.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from gb_pipeline.cli import (
    actions,
    adopt,
    alerts,
    backup,
    bundles,
    cache,
    calendars,
    changes,
    collect,
    compact,
    compare,
    demo,
    doctor,
    explain,
    export,
    factors,
    fetch,
    fingerprint,
    fundamentals,
    gaps,
    healing,
    health,
    import_files,
    incidents,
    init,
    instruments,
    live_check,
    migrate,
    overrides,
    pins,
    plan,
    prune_events,
    quarantine,
    removing,
    rename,
    replay,
    restatements,
    results,
    rolls,
    serve,
    show,
    sim,
    sql,
    status,
    symbols,
    token,
    up,
    update,
    vacuum,
    verify,
    worker,
)
from gb_pipeline.cli.output import ExitCode, exit_code, print_error
from gb_pipeline.errors import GbError

app = typer.Typer(
    name="gb",
    help="A market-data lake that a quant can trust, orchestrated by Dagster.",
    epilog="Exit codes: 0 done, 1 failed or refused, 2 unusable arguments or gb.yaml, 3 try again later, 130 Ctrl-C.",
    no_args_is_help=True,
    add_completion=False,
    # Rich help would import Rich and its Markdown parser: 0.3 s for a frame around the same text.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (
    demo,
    up,
    worker,
    init,
    symbols,
    fetch,
    update,
    adopt,
    plan,
    collect,
    actions,
    fundamentals,
    factors,
    instruments,
    rolls,
    status,
    gaps,
    healing,
    incidents,
    calendars,
    show,
    import_files,
    export,
    explain,
    replay,
    sql,
    serve,
    token,
    changes,
    compare,
    restatements,
    overrides,
    removing,
    rename,
    pins,
    bundles,
    results,
    quarantine,
    sim,
    alerts,
    doctor,
    health,
    verify,
    fingerprint,
    compact,
    vacuum,
    cache,
    prune_events,
    backup,
    migrate,
    live_check,
):
    module.register(app)


def _print_version(requested: bool) -> None:
    if requested:
        from importlib.metadata import version

        sys.stdout.write(f"gb_pipeline {version('gb_pipeline')}\n")
        raise typer.Exit()


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """A market-data lake that a quant can trust, orchestrated by Dagster."""


def run(arguments: Sequence[str]) -> int:
    """Run `gb` with these arguments.

    Args:
        arguments: without the program's name.

    Returns:
        The exit code, see `output.ExitCode`. Bugs are not caught: their traceback is what a report needs.
    """
    try:
        code = app(list(arguments), prog_name="gb", standalone_mode=False)
        sys.stdout.flush()
    except GbError as error:
        print_error(error.what, error.fix)
        return exit_code(error)
    except typer.TyperException as error:
        return _report_usage(error)
    except BrokenPipeError:
        # The reader of the pipe has gone (`gb sql ... | head`); the interpreter must not complain when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OK
    except OSError as error:
        # Of disks, permissions and networks, wherever nobody knew better; no bug.
        place = f"{error.filename}: " if error.filename else ""
        print_error(f"{place}{error.strerror or error}", "check permissions, the disk and the network: gb doctor")
        return ExitCode.FAILED
    except (KeyboardInterrupt, typer.Abort):
        return ExitCode.INTERRUPTED
    return int(code or ExitCode.OK)


def _report_usage(error: typer.TyperException) -> int:
    context = getattr(error, "ctx", None)
    message = error.format_message()
    if context is not None and message == context.get_help():
        # `gb` alone, or a group of commands without one of them: its help is the answer, in its own lines.
        sys.stderr.write(f"{message}\n")
    elif message:
        command = context.command_path if context is not None else "gb"
        print_error(message, f"run `{command} --help`")
    return error.exit_code
