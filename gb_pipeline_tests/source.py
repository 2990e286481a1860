"""The product's source as syntax trees: what its files import, and which names they read. Nothing of it is run."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "gb_pipeline"


@cache
def sources() -> Mapping[str, ast.Module]:
    """Every file of the product by its path within the package."""
    files = sorted(PACKAGE.rglob("*.py"))
    return {path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in files}


def imports(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Dotted names that a file imports, and their lines; `from a import b` gives `a.b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((name.name, node.lineno) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((f"{node.module}.{name.name}", node.lineno) for name in node.names)


def files_imported(file: str, tree: ast.Module) -> Iterator[tuple[str, int]]:
    """The files of the product that a file imports something of, and the lines."""
    for name, line in imports(tree):
        first, *rest = name.split(".")
        if first != PACKAGE.name:
            continue
        for place in ("/".join(rest), "/".join(rest[:-1])):
            found = next(
                (path for path in (f"{place}.py", f"{place}/__init__.py".lstrip("/")) if path in sources()), None
            )
            if found is not None:
                if found != file:
                    yield found, line
                break


def names_read(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Dotted names that a file reads, imported ones in full, such as `datetime.datetime.now`, and their lines."""
    imported: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                top = name.name.partition(".")[0]
                imported[name.asname or top] = name.name if name.asname else top
        elif isinstance(node, ast.ImportFrom):
            imported |= {name.asname or name.name: f"{node.module}.{name.name}" for name in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Name):
            first, *attributes = _dotted(node)
            if first in imported:
                yield ".".join([imported[first], *attributes]), node.lineno


def _dotted(node: ast.expr) -> list[str]:
    """The parts of a dotted name; an empty first one where it begins with something else."""
    match node:
        case ast.Name():
            return [node.id]
        case ast.Attribute():
            return [*_dotted(node.value), node.attr]
    return [""]
