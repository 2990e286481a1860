"""`gb`, the command line: one file per command, with its arguments, its tables, its JSON and its exit codes.

Whatever a program would want as well is in the package below, not here. Nothing heavy is imported before a command needs it:
`gb --help` has to answer at once.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of `gb`; never returns."""
    from gb_pipeline.cli.app import run

    sys.exit(run(sys.argv[1:]))
