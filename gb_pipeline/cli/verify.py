"""`gb verify`: is every byte as it was written, and every bar as it was recorded?

Belongs here: arguments, what was found as lines for a person, and the order of a repair. Does not belong here: finding and
mending (`lake.verification`), fetching (`ingest`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gb_pipeline.cli.options import Config, Json, LakeFolder, load_settings, open_lake_if_any, split_series
from gb_pipeline.cli.output import ExitCode, count, note, print_error, print_json, print_table, progress, size, text
from gb_pipeline.errors import ConfigError, GbError, LakeError, TransientVendorError

if TYPE_CHECKING:
    from gb_pipeline.config.settings import SourceSettings
    from gb_pipeline.ingest.job import Outcome
    from gb_pipeline.lake.damages import Damage
    from gb_pipeline.lake.mending import Lost
    from gb_pipeline.lake.store import LakeStore
    from gb_pipeline.lake.verification import VerifyReport
    from gb_pipeline.reading.lake import Lake

# A ledger that is put together again shows what bars lack, which is fetched then.
_ROUNDS = 3
_SHOWN = 20
_NAMED = 5


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("verify")(verify)


def verify(
    series: Annotated[
        str | None, typer.Argument(help="Only files that hold SOURCE:SYMBOL; all by default.", show_default=False)
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Mend logs, take damaged files out, and fetch what they held again.")
    ] = False,
    config: Config = None,
    lake: LakeFolder = None,
    as_json: Json = False,
) -> int:
    """Compare every byte with what was written.

    Reads all files, and compares every session with its recorded fingerprint. Says of each damage which file, series,
    sessions and rows it concerns. With --repair, logs are put together from their mirrors, damaged files are taken out while all
    that can be read of them is kept, and exactly the lost sessions are fetched again. Ends with 0 when everything is as it was
    written (after a repair: again), with 1 when not, and with 3 when a vendor could not be asked just now.
    """
    from gb_pipeline.lake.verification import verify as look

    opened = open_lake_if_any(config, lake)
    if opened is None:
        return _tell_nothing(as_json=as_json)
    source, symbol = _series(opened, series)
    with progress(quiet=as_json) as bar:
        bar.add_task("reading", total=None)
        found = look(opened.store, source, symbol)
    if not as_json:
        _print(found)
    if found.ok or not repair:
        if as_json:
            print_json(_plain(found))
        elif not found.ok:
            note("`gb verify --repair` mends what can be mended")
        return ExitCode.OK if found.ok else ExitCode.FAILED
    repaired = _repair(opened.store, found, (source, symbol), config, quiet=as_json)
    if as_json:
        print_json(_plain(found) | {"repair": _plain_repair(repaired)})
    return _tell(repaired)


@dataclass
class Repair:
    """What a repair came to.

    Attributes:
        done: sentences about what was mended.
        sessions: how many sessions were fetched again.
        gone: sentences about rows that nobody can be asked for again.
        errors: why something could not be fetched.
        after: what a verification found then.
    """

    after: VerifyReport
    done: list[str] = field(default_factory=list)
    sessions: int = 0
    gone: list[str] = field(default_factory=list)
    errors: list[GbError] = field(default_factory=list)


def _series(opened: Lake, series: str | None) -> tuple[str | None, str | None]:
    if series is None:
        return None, None
    source, symbol = split_series(series)
    # Where the ledger cannot be asked for the name, that is about to be found out.
    with suppress(LakeError):
        opened.coverage(source, symbol)
    return source, symbol


def _repair(
    store: LakeStore,
    found: VerifyReport,
    series: tuple[str | None, str | None],
    config: Path | None,
    *,
    quiet: bool,
) -> Repair:
    from gb_pipeline.catalog.projection import refresh_catalog
    from gb_pipeline.lake.mending import mend
    from gb_pipeline.lake.verification import verify as look

    repaired = Repair(found)
    for _ in range(_ROUNDS):
        before = repaired.after
        done, lost = mend(store, before)
        repaired.done += done
        repaired.gone += _gone(before.damages)
        _fetch(store, lost, before.damages, config, repaired, quiet=quiet)
        repaired.after = look(store, *series)
        if repaired.after.ok or repaired.errors or repaired.after.damages == before.damages:
            break
    refresh_catalog(store)
    return repaired


def _fetch(
    store: LakeStore,
    lost: Sequence[Lost],
    damages: Sequence[Damage],
    config: Path | None,
    repaired: Repair,
    *,
    quiet: bool,
) -> None:
    from gb_pipeline.ingest.fetch_actions import ingest_actions
    from gb_pipeline.ingest.lost_sessions import fetch_again
    from gb_pipeline.lake.datasets import CORPORATE_ACTIONS

    asked = [item.source for item in damages if item.table == CORPORATE_ACTIONS.name and item.current and item.source]
    if not lost and not asked:
        return
    sources = _sources(config, repaired)
    with progress(quiet=quiet) as bar:
        task = bar.add_task("fetching again", total=None)
        outcomes, errors = fetch_again(store, sources, lost, on_outcome=lambda _: bar.advance(task))
    repaired.errors += [*errors, *_reasons(outcomes)]
    repaired.sessions += sum(
        session.status.value in {"complete", "partial", "empty"} for outcome in outcomes for session in outcome.sessions
    )
    for name in dict.fromkeys(asked):
        if name in sources:
            repaired.errors += [item.error for item in ingest_actions(store, sources[name]) if item.error is not None]
        else:
            repaired.errors.append(
                ConfigError(f"gb.yaml has no source {name}", fix=f"write it, then `gb actions fetch {name}`")
            )


def _sources(config: Path | None, repaired: Repair) -> dict[str, SourceSettings]:
    try:
        return dict(load_settings(config).sources)
    except ConfigError as error:
        repaired.errors.append(error)
        return {}


def _reasons(outcomes: Sequence[Outcome]) -> Iterator[GbError]:
    for outcome in outcomes:
        if outcome.error is not None:
            yield outcome.error
        elif outcome.deferred is not None:
            yield outcome.deferred


def _gone(damages: Sequence[Damage]) -> Iterator[str]:
    """What nobody can be asked for again: superseded versions, and rows of ledgers."""
    from gb_pipeline.lake.datasets import CORPORATE_ACTIONS, bars_of

    for damage in damages:
        if damage.broken is None:
            continue
        parts = damage.broken.parts
        rows = damage.broken.row["rows"] if parts is None else sum(number for _, _, number, _ in parts)
        again = damage.current and (bars_of(damage.table) is not None or damage.table == CORPORATE_ACTIONS.name)
        if rows and not again:
            told = count(rows, "row" if damage.current else "superseded version")
            yield f"lost for good: {told} of {damage.table}, which nobody can be asked for again ({damage.file})"


def _tell(repaired: Repair) -> ExitCode:
    for sentence in repaired.done:
        note(sentence)
    if repaired.sessions:
        note(f"{count(repaired.sessions, 'session')} fetched again")
    for sentence in repaired.gone:
        print_error(sentence, "restore the lake from a backup if you need it")
    for what, error in {error.what: error for error in repaired.errors}.items():
        print_error(what, error.fix)
    left = len(repaired.after.damages)
    if left:
        print_error(f"{count(left, 'damage')} left", "`gb verify` lists them; `gb verify --repair` tries again")
    else:
        note(_sound(repaired.after))
    if any(not isinstance(error, TransientVendorError) for error in repaired.errors):
        return ExitCode.FAILED
    if repaired.errors:
        return ExitCode.TRANSIENT
    return ExitCode.FAILED if left or repaired.gone else ExitCode.OK


def _tell_nothing(*, as_json: bool) -> ExitCode:
    from gb_pipeline.lake.verification import VerifyReport

    if as_json:
        print_json(_plain(VerifyReport(0, 0, 0, 0, ())))
    else:
        note("nothing is stored yet")
    return ExitCode.OK


def _print(found: VerifyReport) -> None:
    told = f"{count(found.files, 'file')} of {count(found.tables, 'table')} read, {size(found.bytes)}"
    told += f"; {count(found.sessions, 'session')} of bars compared with the ledger"
    if found.damages:
        lines = [line for damage in found.damages[:_SHOWN] for line in _lines(damage)]
        print_table(("table", "what", "is"), lines)
    note(told)
    if len(found.damages) > _SHOWN:
        note(f"{len(found.damages) - _SHOWN:,} damages are not shown (--json)")
    for sentence in found.lost:
        note(f"lost for good, by an earlier repair: {sentence}")
    note(_sound(found) if found.ok else count(len(found.damages), "damage"))


def _sound(found: VerifyReport) -> str:
    return "everything that is there is as it was written" if found.lost else "everything is as it was written"


def _lines(damage: Damage) -> Iterator[tuple[str, str, str]]:
    yield damage.table, "problem", damage.problem
    if damage.symbols or damage.source:
        yield "", "series", _named(damage)
    if damage.sessions:
        first, last = damage.sessions[0], damage.sessions[-1]
        yield "", "sessions", text(first) if first == last else f"{first} to {last} ({len(damage.sessions):,})"
    if damage.rows:
        yield "", "rows", damage.rows
    if damage.file:
        folder, _, name = damage.file.rpartition("/")
        yield "", "file", name
        yield "", "in", folder


def _named(damage: Damage) -> str:
    length = f" {damage.resolution}" if damage.resolution is not None else ""
    if not damage.symbols:
        return f"{damage.source}{length}"
    more = len(damage.symbols) - _NAMED
    codes = ", ".join(damage.symbols[:_NAMED]) + (f" and {more:,} more" if more > 0 else "")
    return f"{damage.source}:{codes}{length}"


def _plain(found: VerifyReport) -> dict[str, Any]:
    return {
        "ok": found.ok,
        "tables": found.tables,
        "files": found.files,
        "bytes": found.bytes,
        "sessions": found.sessions,
        "lost": list(found.lost),
        "damages": [
            {
                "table": damage.table,
                "problem": damage.problem,
                "file": damage.file,
                "source": damage.source,
                "symbols": damage.symbols,
                "resolution": damage.resolution,
                "sessions": damage.sessions,
                "rows": damage.rows,
            }
            for damage in found.damages
        ],
    }


def _plain_repair(repaired: Repair) -> dict[str, Any]:
    return {
        "ok": repaired.after.ok,
        "done": repaired.done,
        "sessions": repaired.sessions,
        "gone": repaired.gone,
        "errors": [error.what for error in repaired.errors],
        "damages": _plain(repaired.after)["damages"],
    }
