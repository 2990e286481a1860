"""This module looks into the files of a source without fetching: whether they are there, and whether their first lines read.

It is what `gb doctor` tells of a csv source. Nothing is stored, and nothing is remembered.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl

from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.errors import ConfigError, GbError, PermanentVendorError, UnknownSymbol
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import PRICES
from gb_pipeline.market.spelling import list_some
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.providers.csv.files import CsvFile, base_of, fill, lists, locate, read
from gb_pipeline.providers.csv.numbers import UNREADABLE as UNREADABLE_TEXT
from gb_pipeline.providers.csv.options import CsvOptions
from gb_pipeline.providers.csv.own_rows import spelling, spellings
from gb_pipeline.providers.csv.panel import wide_fields
from gb_pipeline.providers.csv.presets import fill_preset
from gb_pipeline.providers.csv.refusals import refuse_text
from gb_pipeline.providers.csv.rows import Reading, parse
from gb_pipeline.providers.csv.stamp_format import EPOCHS
from gb_pipeline.providers.csv.stamps import plausible_span
from gb_pipeline.providers.csv.unpacked import Bounds
from gb_pipeline.quality.advice import advise
from gb_pipeline.quality.exact import read_numbers
from gb_pipeline.quality.reasons import TOO_LARGE, TOO_PRECISE, UNREADABLE

# What may be wrong with numbers, and what to do about it.
_NUMBERS = {
    UNREADABLE: (
        "is no number",
        "check `columns`, and the options `thousands`, `decimal_comma`, `suffixes` and `null_values`",
    ),
    TOO_PRECISE: ("has more decimals than are stored", "set `precision: wide` for this source"),
    TOO_LARGE: ("is larger than what is stored", "set `precision: wide` for this source"),
}
# A text that may be shown because it is nearly a number.
_FIGURES = re.compile(r"(?=.*[0-9])[-+0-9.,' \u00a0%$\u20ac\u00a3()eEkKmMbBtT]{1,40}")
# Characters of a text that are looked at: some thousand lines.
_HEAD = 128 * 2**10
# Symbols whose files are opened; whether they are there is looked up of all.
_OPENED = 3


def inspect(source: SourceSettings, symbols: Sequence[Symbol] | None = None) -> list[GbError]:
    """What would keep the files of a source from being read.

    Args:
        source: with `provider: csv`.
        symbols: whose files; all of the source by default. Those of the first three are opened, the oldest and the newest one.

    Returns:
        One error for each thing that is wrong, with `what` and `fix`; none where everything looked at is right. `UnknownSymbol`
        where some symbols have no files, and others have. Nothing raises.

    Example:
        >>> [problem.what for problem in inspect(settings.source("history"))]
        []
    """
    try:
        options = CsvOptions.of_source(source)
        filled = {resolution: fill_preset(options, resolution) for resolution in source.resolutions}
    except GbError as error:
        return [error]
    chosen = list(source.instruments if symbols is None else symbols)
    problems: list[GbError] = []
    for resolution, own in filled.items():
        absent: list[UnknownSymbol] = []
        for number, symbol in enumerate(chosen):
            look = _Look(source, own, resolution, symbol)
            try:
                problems += look.problems(opened=number < _OPENED)
            except UnknownSymbol as error:
                absent.append(error)
            except GbError as error:
                problems.append(error)
        problems += _absent(absent, len(chosen))
    return list({str(problem): problem for problem in problems}.values())


@dataclass(frozen=True, slots=True)
class _Look:
    """A look at the files of one symbol."""

    source: SourceSettings
    options: CsvOptions
    resolution: Resolution
    symbol: Symbol

    def problems(self, *, opened: bool) -> Iterator[GbError]:
        """What is wrong with them.

        Raises:
            GbError: as for a fetch.
        """
        root = self.options.root.expanduser().absolute()
        within = base_of(self.options.path or "", root)
        for of in wide_fields(self.options):
            spelled = str(self.options.mapped.get(of, of)) if of else ""
            vendor = spelling(self.source, self.symbol)
            pattern = fill(self.options.path or "", self.symbol, vendor, self.resolution, spelled)
            files = locate(pattern, root, within=within, follow_links=self.options.follow_links)
            if not files:
                raise UnknownSymbol(
                    f"there is no file for {self.symbol} of source {self.source.name!r}: {root / pattern}",
                    fix="check `root`, `path` and the symbol's `vendor` spelling",
                )
            member = self.options.member
            chosen = fill(member, self.symbol, vendor, self.resolution, spelled) if member else None
            files = [file for file in files if lists(file, chosen)] or files
            for file in dict.fromkeys([files[0], files[-1]]) if opened else []:
                yield from self._problems_of(file, chosen, of)

    def _problems_of(self, file: CsvFile, member: str | None, of: str | None) -> Iterator[GbError]:
        reading = Reading(self.options, self.resolution, spellings(self.source), plausible_span(self.source.start))
        bounds = Bounds(self.options.max_megabytes, self.options.max_ratio)
        for where, text in read(file, member, self.options.encoding, bounds).texts:
            end = text.rfind("\n", 0, _HEAD) if len(text) > _HEAD else len(text)
            rows = parse(text[: end + 1], where, file.day, reading, of)
            refusal = refuse_text(rows, where, reading, self.source.max_bad_fraction)
            if refusal is not None:
                yield refusal.error
            yield from self._misplaced(rows.frame["timestamp"])
            yield from self._unreadable_numbers(rows.frame, where)
            if not rows.lines and rows.others and len(text) <= _HEAD:
                yield UnknownSymbol(
                    f"{where} has none of the source's symbols, it has {list_some(rows.others)}",
                    fix="set the `vendor` spellings of the symbols to the file's own",
                )

    def _misplaced(self, stamps: pl.Series) -> Iterator[GbError]:
        """What would explain rows outside the sessions of the calendar, before they are refused."""
        start = datetime.combine(self.source.start, datetime.min.time(), UTC)
        zone = None if self.options.timestamp_format in EPOCHS else self.options.timezone or "UTC"
        advice = advise(stamps.filter(stamps >= start), self.source.rules(self.resolution), zone=zone)
        if advice is not None:
            yield ConfigError(advice.what, fix=advice.fix)

    def _unreadable_numbers(self, frame: pl.DataFrame, where: str) -> Iterator[GbError]:
        """Columns of which more numbers cannot be read than the source puts up with, each with the first of them."""
        for name in (*PRICES, "volume"):
            column = frame.select(*(pl.col(name).alias(other) for other in (*PRICES, "volume")))
            _, problems = read_numbers(column, self.source.precision)
            for reason, (word, fix) in _NUMBERS.items():
                rows = problems.filter(pl.col("reason") == reason)["index"]
                if len(rows) <= self.source.max_bad_fraction * frame.height:
                    continue
                text = str(column[name][int(rows[0])]).removeprefix(UNREADABLE_TEXT)
                shown = f", the first is {text!r}" if _FIGURES.fullmatch(text) else ""
                yield PermanentVendorError(
                    f"{name} {word} in {len(rows):,} of the first {frame.height:,} lines of {where}{shown}", fix=fix
                )


def _absent(errors: list[UnknownSymbol], total: int) -> list[GbError]:
    """One for all symbols without files; of another kind where no symbol has any."""
    if len(errors) == total and errors:
        return [
            ConfigError(
                errors[0].what + (f"; none of the {total} symbols has one" if total > 1 else ""), fix=errors[0].fix
            )
        ]
    if len(errors) < 2:
        return list(errors)
    more = f" and those of {len(errors) - 1} more of {total} symbols"
    return [UnknownSymbol(f"{errors[0].what}{more}", fix=errors[0].fix)]
