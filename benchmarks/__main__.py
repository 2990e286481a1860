"""Run the benchmarks and print a table: `python -m benchmarks [name ...] [--json]`, or `python -m benchmarks peers ...`.

What a benchmark's `measure` takes is an option: `python -m benchmarks dagster_pages --series 50`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict
from importlib import import_module
from inspect import signature
from itertools import pairwise
from pkgutil import iter_modules

from rich.console import Console
from rich.table import Table

import benchmarks
from benchmarks.measurement import Measurement
from benchmarks.peers.command import main as peers


def main(arguments: list[str]) -> int:
    """Run the named benchmarks, all by default; 1 where a target was missed, 2 for an unknown name."""
    if arguments[:1] == ["peers"]:
        return peers(arguments[1:])
    runs = _found()
    options = {
        name[2:]: int(value) for name, value in pairwise(arguments) if name.startswith("--") and value.isdecimal()
    }
    wanted = [name for name in arguments if not name.startswith("--") and not name.isdecimal()] or list(runs)
    unknown = [name for name in wanted if name not in runs]
    if unknown:
        print(f"no benchmark {unknown[0]!r}; there is {', '.join(runs)}, peers", file=sys.stderr)
        return 2
    taken: list[Measurement] = []
    for name in wanted:
        print(f"{name} ...", file=sys.stderr, flush=True)
        measure = runs[name]
        for item in measure(**{key: value for key, value in options.items() if key in signature(measure).parameters}):
            taken.append(item)
            print(
                f"  {item.name}: {item.value:,.2f} {item.unit} {item.target}; {item.by_hand}",
                file=sys.stderr,
                flush=True,
            )
    if "--json" in arguments:
        print(json.dumps([asdict(item) for item in taken], indent=1))
    else:
        Console().print(_table(taken))
    return 1 if any(item.met is False for item in taken) else 0


def _found() -> dict[str, Callable[..., Iterable[Measurement]]]:
    modules = {
        info.name: import_module(f"benchmarks.{info.name}")
        for info in iter_modules(benchmarks.__path__)
        if info.name != "__main__"
    }
    return {name: module.measure for name, module in modules.items() if hasattr(module, "measure")}


def _table(taken: list[Measurement]) -> Table:
    table = Table(title=f"gb_pipeline on {os.cpu_count()} cores, medians")
    for title in ("measured", "result", "target", ""):
        table.add_column(title, justify="right" if title in {"result", "target"} else "left")
    for item in taken:
        value = f"{item.value:,.0f}" if item.value >= 1000 else f"{item.value:.2f}"
        colour = {True: "green", False: "red", None: "default"}[item.met]
        table.add_row(item.name, f"[{colour}]{value} {item.unit}[/]", item.target, item.by_hand)
    return table


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
