"""Which series `gb export` writes, and in which resolution."""

from __future__ import annotations

from collections.abc import Container
from typing import TYPE_CHECKING, Any

from gb_pipeline.cli.output import note
from gb_pipeline.errors import ConfigError, UnknownSeries
from gb_pipeline.market.spelling import list_some

if TYPE_CHECKING:
    from gb_pipeline.market.resolution import Resolution
    from gb_pipeline.reading.lake import Lake

# Source, symbol and resolution.
Series = tuple[str, str, "Resolution"]


def choose_series(
    lake: Lake,
    chosen: dict[str, list[str]],
    requested: str | None,
    as_of: Any,
    *,
    one_file: bool,
    held: Container[Resolution] | None = None,
) -> list[Series]:
    """The series that hold bars, each in the resolution that was asked for or in its finest.

    Args:
        held: the resolutions that the files can have; the finest of another one is taken only where there is none of these.

    Raises:
        UnknownSeries: none of them holds a bar.
        ConfigError: one file would hold bars of several resolutions.
    """
    from gb_pipeline.market.resolution import Resolution

    wanted = None if requested is None else Resolution.parse(requested)
    rows = lake.symbols(as_of=as_of).to_dicts()
    stored: dict[tuple[str, str], list[Resolution]] = {}
    for row in rows:
        if row["record_count"] and row["symbol"] in chosen.get(row["source"], ()):
            stored.setdefault((row["source"], row["symbol"]), []).append(Resolution(row["resolution"]))
    order = list(Resolution).index
    series = [
        (source, symbol, wanted or _finest(kinds, held))
        for (source, symbol), kinds in sorted(stored.items())
        if wanted is None or wanted in kinds
    ]
    names = list_some([f"{source}:{symbol}" for source, symbols in chosen.items() for symbol in symbols])
    if not series:
        there_is = sorted({kind for kinds in stored.values() for kind in kinds}, key=order)
        raise UnknownSeries(
            f"no bar of {names} is stored" + (f" as {wanted}" if wanted and there_is else ""),
            fix=f"there is {', '.join(there_is)}" if there_is else "`gb status` lists what there is",
        )
    resolutions = sorted({kind for _, _, kind in series}, key=order)
    if one_file and len(resolutions) > 1:
        raise ConfigError(
            f"one file would hold bars of {', '.join(resolutions)}",
            fix=f"say which, such as --resolution {resolutions[-1]}, or name a folder for a file each",
        )
    return series


def _finest(kinds: list[Resolution], held: Container[Resolution] | None) -> Resolution:
    fitting = kinds if held is None else [kind for kind in kinds if kind in held]
    return min(fitting or kinds, key=list(type(kinds[0])).index)


def say_resolutions(lake: Lake, series: list[Series], requested: str | None) -> None:
    """Say which resolution is written where nobody has said which, and there are others."""
    if requested is not None:
        return
    stored = {(row["source"], row["symbol"], row["resolution"]) for row in lake.symbols().to_dicts()}
    for kind in dict.fromkeys(kind for *_, kind in series):
        own = {(source, symbol) for source, symbol, one in series if one == kind}
        others = sorted({one for source, symbol, one in stored if (source, symbol) in own and one != kind})
        if others:
            note(
                f"bars of {kind} are written, the finest that can be; there is {', '.join(others)} as well (--resolution)"
            )
