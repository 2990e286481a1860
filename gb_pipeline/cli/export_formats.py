"""`gb export FORMAT`: which format a person means, and files of other tools. `formats.exporting` writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gb_pipeline.cli.export_files import Format
from gb_pipeline.cli.export_report import print_report
from gb_pipeline.cli.output import ExitCode
from gb_pipeline.cli.progress import progress
from gb_pipeline.errors import ConfigError, ExportRefused

if TYPE_CHECKING:
    from gb_pipeline.config.settings import Settings
    from gb_pipeline.market.resolution import Resolution
    from gb_pipeline.market.symbol import AssetClass
    from gb_pipeline.reading.lake import Lake


def take_format(names: Sequence[str], option: str | None, sources: Sequence[str]) -> tuple[str | None, list[str]]:
    """The format that is meant, and the names without it.

    Args:
        names: as they were written; the first one may be a format.
        option: what `--format` says, with which no name is one.
        sources: of the lake.

    Raises:
        ConfigError: the first name is a format and a source.

    Example:
        >>> take_format(["lean", "daily:AAPL"], None, ["daily"])
        ('lean', ['daily:AAPL'])
    """
    from gb_pipeline.formats.registry import stream_writable, writable

    first = names[0].strip().lower()
    if option is not None or len(names) < 2 or first not in {*Format, *writable(), *stream_writable()}:
        return option, list(names)
    if first in sources:
        raise ConfigError(
            f"{first} is a format, and a source of this lake",
            fix=f"say --format: `--format {first}` with the names alone, or `--format csv` for the source {first}",
        )
    return first, list(names[1:])


def is_folder_format(name: str | None) -> bool:
    """Whether it is a format of another tool, which is a folder of files."""
    from gb_pipeline.formats.registry import writable

    return name is not None and name.strip().lower() in writable()


def export_format(
    lake: Lake,
    name: str,
    series: Sequence[tuple[str, str, Resolution]],
    target: Path,
    question: Mapping[str, Any],
    *,
    settings: Settings | None,
    asset_class: str | None,
    as_json: bool,
    **options: Any,
) -> ExitCode:
    """Write the files.

    Args:
        question: what is read: `start`, `end`, `as_of`, `adjustment`.
        settings: of the lake's project, which says what kind of instruments a source has.
        asset_class: the same for all of them, as the user says it.
        options: further ones of `export_bars`.

    Raises:
        ExportRefused: the files would not hold all of it; what they would hold is printed before.
    """
    from gb_pipeline.formats.exporting import export_bars

    refusal: ExportRefused | None = None
    with progress("series", quiet=as_json) as bar:
        task = bar.add_task("exporting", total=len(series))
        try:
            report = export_bars(
                lake,
                name.strip().lower(),
                series,
                target,
                asset_classes=_asset_classes([source for source, *_ in series], settings, asset_class),
                on_series=lambda: bar.advance(task),
                **question,
                **options,
            )
        except ExportRefused as error:
            report, refusal = error.report, error
    print_report(report, as_json=as_json)
    if refusal is not None:
        raise refusal
    return ExitCode.OK


def _asset_classes(sources: Sequence[str], settings: Settings | None, said: str | None) -> dict[str, AssetClass]:
    from gb_pipeline.market.symbol import AssetClass

    if said is not None:
        if said not in list(AssetClass):
            raise ConfigError(f"{said!r:.40} is not an asset class", fix=f"use one of {', '.join(AssetClass)}")
        return dict.fromkeys(sources, AssetClass(said))
    known = {} if settings is None else settings.sources
    return {source: known[source].asset_class for source in sources if source in known}
