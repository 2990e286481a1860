"""Bars of series in CSV, Parquet and Arrow files: one for all of them, or a file each. `export_files` writes a file."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gb_pipeline.cli.export_files import Format, new_file, refuse_existing
from gb_pipeline.cli.export_report import print_report
from gb_pipeline.cli.export_series import Series
from gb_pipeline.cli.output import ExitCode, format_size, note, print_json
from gb_pipeline.cli.progress import progress
from gb_pipeline.errors import NoDataInRange
from gb_pipeline.market.spelling import format_count

if TYPE_CHECKING:
    import polars as pl

    from gb_pipeline.reading.lake import Lake


def export_frames(
    lake: Lake,
    series: list[Series],
    target: Path,
    kind: Format,
    question: dict[str, Any],
    *,
    folder: bool,
    force: bool,
    dry_run: bool,
    as_json: bool,
) -> ExitCode:
    """Write the files, and say what they hold.

    Args:
        question: further arguments of `Lake.bars`.
        folder: whether `target` is one, of a file per series.
        dry_run: write them among the machine's temporary files, and remove them.

    Raises:
        ConfigError: a file is there already, or cannot be written.
        NoDataInRange: there is no bar to write.
    """
    files = {_file_of(target, item, kind): [item] for item in series} if folder else {target: series}
    for path in files:
        refuse_existing(path, force=force)
    with tempfile.TemporaryDirectory(prefix="gb-export-") as temporary, progress("series", quiet=as_json) as bar:
        task = bar.add_task("exporting", total=len(series))
        if folder and not dry_run:
            target.mkdir(parents=True, exist_ok=True)
        written = []
        for path, items in files.items():
            frames = _read(lake, items, question, on_series=lambda: bar.advance(task))
            place = Path(temporary) / path.name if dry_run else path
            record = _write(place, kind, frames, force=force)
            written += [record | {"file": str(path)}] if record is not None else []
    if not written:
        # The error of the first one says which range there is.
        lake.bars([series[0][1]], series[0][2], source=series[0][0], **question)
    if dry_run:
        _print_dry_run(lake, written, target, kind, question, as_json=as_json)
        return ExitCode.OK
    return _report(written, series, as_json=as_json)


def _file_of(folder: Path, series: Series, kind: Format) -> Path:
    source, symbol, resolution = series
    return folder / f"{source}-{symbol}-{resolution}.{kind}"


def _read(
    lake: Lake, series: list[Series], question: dict[str, Any], *, on_series: Callable[[], None]
) -> Iterator[tuple[str, pl.DataFrame]]:
    """The bars of each series that has some in the range, all in the same types."""
    wide = _any_wide(lake, series)
    for source, symbol, resolution in series:
        with suppress(NoDataInRange):
            frame = lake.bars([symbol], resolution, source=source, **question)
            yield f"{source}:{symbol} {resolution}", _in_one_precision(frame, wide=wide)
        on_series()


def _write(
    path: Path, kind: Format, frames: Iterator[tuple[str, pl.DataFrame]], *, force: bool
) -> dict[str, Any] | None:
    """Write one file; none where there is nothing to write."""
    first = next(frames, None)
    if first is None:
        return None
    parts = []
    with new_file(path, kind, force=force) as writer:
        for name, frame in chain([first], frames):
            writer.write(frame)
            stamps = frame["timestamp"] if "timestamp" in frame.columns else None
            parts.append((name, frame.height, None if stamps is None else (stamps.min(), stamps.max())))
    return {
        "file": str(path), "series": [name for name, *_ in parts], "rows": sum(rows for _, rows, _ in parts),
        "bytes": path.stat().st_size, "parts": parts,
    }  # fmt: skip


def _any_wide(lake: Lake, series: list[Series]) -> bool:
    """Whether any of them needs wide decimals: all rows of a file have one type."""
    sources = {(source, resolution) for source, _, resolution in series}
    return any(
        "wide" in lake.coverage(source, resolution=resolution)["precision"].to_list() for source, resolution in sources
    )


def _in_one_precision(frame: pl.DataFrame, *, wide: bool) -> pl.DataFrame:
    import polars as pl
    import polars.selectors as cs

    return frame.with_columns(cs.decimal().cast(pl.Decimal(38, 18))) if wide else frame


def _print_dry_run(
    lake: Lake,
    written: Sequence[dict[str, Any]],
    target: Path,
    kind: Format,
    question: dict[str, Any],
    *,
    as_json: bool,
) -> None:
    from gb_pipeline.formats.export_report import ExportedSeries, ExportReport

    items = tuple(
        ExportedSeries(
            name,
            rows,
            None if span is None else span[0],
            None if span is None else span[1],
            files=1,
            bytes=record["bytes"],
            adjustment=question["adjustment"] or "stored",
        )
        for record in written
        for name, rows, span in record["parts"]
    )
    size = sum(record["bytes"] for record in written)
    moment = question["as_of"] or lake.store.clock()
    print_report(ExportReport(str(kind), str(target), True, items, len(written), size, moment), as_json=as_json)


def _report(written: list[dict[str, Any]], series: list[Series], *, as_json: bool) -> ExitCode:
    if as_json:
        print_json({"files": [{key: record[key] for key in ("file", "series", "rows", "bytes")} for record in written]})
        return ExitCode.OK
    count = sum(len(record["series"]) for record in written)
    rows, size = sum(record["rows"] for record in written), format_size(sum(record["bytes"] for record in written))
    where = written[0]["file"] if len(written) == 1 else f"{len(written):,} files of {Path(written[0]['file']).parent}"
    note(f"wrote {format_count(rows, 'bar')} of {count:,} series into {where} ({size})")
    if count < len(series):
        note(f"{len(series) - count:,} series have no bar in the range")
    return ExitCode.OK
