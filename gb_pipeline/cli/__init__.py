"""`gb`: the command line.

Belongs here: arguments, tables on a terminal, JSON on stdout, exit codes. One file per command.
Does not belong here: anything that a program would want as well; that is in the package below.

Nothing heavy is imported before a command needs it: `gb --help` has to answer at once.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of `gb`; never returns."""
    from gb_pipeline.cli.app import run

    sys.exit(run(sys.argv[1:]))
