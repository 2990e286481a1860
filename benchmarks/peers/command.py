"""`python -m benchmarks peers`: what is asked for, the processes, the table and the JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

from benchmarks.peers.contender import CONTENDERS, OWN
from benchmarks.peers.environment import PeersUnavailable, cache_folder, peers_python
from benchmarks.peers.lines import Line, Results, lines
from benchmarks.peers.process import ContenderProcess
from benchmarks.peers.race import Race
from benchmarks.peers.works import WORKS, Scale, chosen


def main(arguments: list[str]) -> int:
    """Run the works and print the table; 1 where a target was missed, 2 where something asked for cannot be had."""
    asked = _parser().parse_args(arguments)
    contenders = asked.contenders.split(",") if asked.contenders else list(CONTENDERS)
    unknown = [name for name in contenders if name not in CONTENDERS]
    if unknown:
        print(f"there is no contender {unknown[0]!r}; there is {', '.join(CONTENDERS)}", file=sys.stderr)
        return 2
    try:
        names = chosen([name for name in asked.work.split(",") if name], large=asked.large)
        pythons = {name: Path(sys.executable) if name in OWN else peers_python() for name in contenders}
    except (ValueError, PeersUnavailable) as problem:
        print(problem, file=sys.stderr)
        return 2
    scale = Scale()
    results = run(names, pythons, scale, asked.samples)
    report = lines(results, scale.listed * scale.sessions)
    console = Console()
    # A table that is cut tells nothing: outside a terminal it is as wide as it needs to be.
    console.print(_table(report), soft_wrap=True) if console.is_terminal else Console(width=180).print(_table(report))
    path = Path(asked.json) if asked.json else cache_folder() / f"peers-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(_told(report, results, asked.samples), indent=1) + "\n", encoding="utf-8")
    print(f"every sample of every contender: {path}")
    return 1 if any(line.met is False for line in report) else 0


def run(names: list[str], pythons: dict[str, Path], scale: Scale, samples: int) -> Results:
    """Let contenders do works.

    Args:
        names: of the works.
        pythons: contender to the interpreter that it runs in.
        scale: how much of everything.
        samples: how often each work is done and counted.

    Returns:
        Work to contender to what it took.

    Raises:
        ContenderFailed: one of them raised.
        WrongAnswer: one of them holds something else than it was given.
    """
    with TemporaryDirectory(prefix="gb-benchmark-") as scratch, ExitStack() as stack:
        processes = [
            stack.enter_context(ContenderProcess(name, python, Path(scratch))) for name, python in pythons.items()
        ]
        race = Race(processes, samples)
        for name in names:
            print(f"{name} ...", file=sys.stderr, flush=True)
            WORKS[name](race, scale)
        return race.taken


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks peers", description="The lake against its peers.")
    parser.add_argument(
        "--work", default="", help=f"names, or what they begin with, such as W1,W2.append: {', '.join(WORKS)}"
    )
    parser.add_argument("--samples", type=int, default=5, help="counted samples of each work (5)")
    parser.add_argument("--contenders", default="", help=f"some of {', '.join(CONTENDERS)}; all by default")
    parser.add_argument("--large", action="store_true", help="500 symbols x 10 years of daily bars too")
    parser.add_argument("--json", default="", help="where to write every sample; by default into the cache folder")
    return parser


def _table(report: list[Line]) -> Table:
    table = Table(title=f"gb_pipeline and its peers on {os.cpu_count()} cores, medians")
    for title in ("work", "", "ours", "best peer", "", "ratio", "CPU ratio", "target", ""):
        table.add_column(title, justify="left" if title in {"work", ""} else "right")
    for line in report:
        verdict = {True: "[green]met[/]", False: "[red]missed[/]", None: ""}[line.met]
        ours, best = _shown(line.ours, line.unit), "" if line.best is None else _shown(line.best, line.unit)
        ratios = ["" if value is None else f"{value:.2f}" for value in (line.ratio, line.cpu_ratio)]
        table.add_row(line.work, line.title, ours, best, line.peer, *ratios, line.target, verdict)
    return table


def _shown(value: float, unit: str) -> str:
    return (
        f"{value * 1000:,.1f} ms" if unit.startswith("s") and value < 10 else f"{value:,.1f} {unit.partition(' ')[0]}"
    )


def _told(report: list[Line], results: Results, samples: int) -> dict[str, object]:
    machine = {"cores": os.cpu_count(), "python": platform.python_version(), "system": platform.platform()}
    measured = {
        work: {
            name: {
                "wall": item.wall,
                "cpu": item.cpu,
                "bytes_per_row": item.bytes_per_row,
                "exactness": item.exactness.name,
            }
            for name, item in taken.items()
        }
        for work, taken in results.items()
    }
    return {"machine": machine, "samples": samples, "lines": [asdict(line) for line in report], "measured": measured}
