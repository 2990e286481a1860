"""`gb demo`: everything once, offline.

Belongs here: the order of the steps, and what is said about each. Does not belong here: the exchange (`simulation`),
Dagster (`dagster_runtime.instance`), and what they do.

Every step may be repeated: a second run finds the same content at the exchange, and commits nothing.
"""

from __future__ import annotations

import os
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gb_pipeline.cli.options import open_store
from gb_pipeline.cli.output import ExitCode, count, note, print_table, progress
from gb_pipeline.errors import ConfigError, GbError

if TYPE_CHECKING:
    from gb_pipeline.config.settings import Settings, SourceSettings
    from gb_pipeline.dagster_runtime.client import Backfill
    from gb_pipeline.dagster_runtime.instance import Stack
    from gb_pipeline.lake.store import LakeStore
    from gb_pipeline.simulation import Simulation

SOURCE = "sim"
URL_VARIABLE = "GB_SIM_URL"
_SQL = (
    "select symbol, count(*) as bars, min(low) as lowest, max(high) as highest from bars_1m group by all order by all"
)


class DemoFailed(GbError):
    """A step of the demo did not do what it should."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("demo")(demo)


def demo(
    folder: Annotated[Path, typer.Option("--dir", help="The demo's project; made if it is not there.")] = Path("demo"),
    symbols: Annotated[int, typer.Option(help="How many symbols to fetch.", min=1, max=12)] = 6,
    days: Annotated[int, typer.Option(help="How many days of 1-minute bars, up to yesterday.", min=1, max=365)] = 30,
    no_ui: Annotated[bool, typer.Option("--no-ui", help="Stop when everything is done, instead of at Ctrl-C.")] = False,
    port: Annotated[int, typer.Option(help="Of Dagster's page; 0 takes a free one.", min=0, max=65535)] = 0,
) -> int:
    """Show everything, offline: exchange, Dagster, lake, catalog.

    Starts a simulated exchange and Dagster on this machine, launches a backfill as its page would, and shows what is stored
    then. Needs no network and no key. Run it again: what is stored is compared, and nothing is committed.
    """
    from gb_pipeline.cli.running import running, stoppable, until_stopped
    from gb_pipeline.config.settings import Settings
    from gb_pipeline.dagster_runtime.instance import Stack
    from gb_pipeline.simulation import Simulation

    today = datetime.now(UTC).date()
    fresh = _project(folder, today - timedelta(days=days))
    note(f"{'wrote' if fresh else 'using'} {folder / 'gb.yaml'}")
    with stoppable(), Simulation() as exchange:
        os.environ[URL_VARIABLE] = exchange.url
        # The demo's bars must never get into somebody's own lake.
        os.environ.pop("GB_LAKE", None)
        settings = Settings.load(folder)
        source = _source(settings)
        range_ = _range(source, today, days)
        _plant(exchange, source)
        note(f"simulated exchange: {exchange.url}")
        with running(Stack(settings.path, port=port or None), daemon=False) as stack:
            note(f"Dagster: {stack.url}")
            _backfill(stack, settings, source, [symbol.code for symbol in source.instruments[:symbols]], range_)
            _show(settings)
            if not no_ui:
                note(f"\nthe page: {stack.url}/assets   project: {folder}   lake: {settings.lake}")
                note(f"in another terminal: gb status --config {folder}")
                until_stopped(stack)
    return ExitCode.OK


def _project(folder: Path, start: date) -> bool:
    """Write the project unless it is there; whether it was written."""
    from gb_pipeline.cli.init import template

    file = folder / "gb.yaml"
    if file.exists():
        return False
    if folder.is_dir() and any(folder.iterdir()):
        raise ConfigError(f"{folder} holds something else than a demo", fix="name another folder with --dir")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # The first day stays as it is, so that partitions keep their meaning from run to run.
        file.write_text(template("demo.yaml").replace("{start}", start.isoformat()), encoding="utf-8")
        (folder / ".gitignore").write_text(template("gitignore"), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write {error.filename}: {error.strerror}", fix="name another --dir") from None
    return True


def _source(settings: Settings) -> SourceSettings:
    found = settings.sources.get(SOURCE)
    if found is None or found.options.get("base_url") != os.environ[URL_VARIABLE]:
        raise ConfigError(
            f"{settings.path} is not a demo: it has no source {SOURCE} at ${{{URL_VARIABLE}}}",
            fix="name another folder with --dir, or start this project with `gb up`",
        )
    return found


def _range(source: SourceSettings, today: date, days: int) -> tuple[date, date]:
    start = today - timedelta(days=days)
    if start < source.start:
        raise ConfigError(
            f"the demo's series start on {source.start}, less than {days} days ago",
            fix="start a new demo with --dir, or write an earlier `start` in its gb.yaml",
        )
    return start, today


def _plant(exchange: Simulation, source: SourceSettings) -> None:
    """Two defects, so that there is something to be found: twelve minutes without bars, and a bar that cannot be."""
    codes = [symbol.code for symbol in source.instruments]
    noon = datetime.combine(source.start, datetime.min.time(), UTC) + timedelta(days=10, hours=12)
    if len(codes) > 1:
        exchange.plant("gap", codes[1], start=noon, end=noon + timedelta(minutes=12))
    exchange.plant("bad", codes[0], start=noon, values={"high": "0.01"})


def _backfill(
    stack: Stack, settings: Settings, source: SourceSettings, codes: list[str], range_: tuple[date, date]
) -> None:
    store = open_store(settings)
    before = _state(store)
    length = source.resolutions[0]
    keys = [day.isoformat() for day in source.rules(length).calendar.sessions(*range_)]
    assets = [[source.name, length.table, code] for code in codes]
    note(f"backfill: {len(codes)} symbols x {len(keys)} days of {length} bars, through Dagster's daemon")
    done = _materialized(stack, assets)
    with progress() as bar:
        task = bar.add_task("waiting for the daemon", total=len(codes) * len(keys))

        def tell(seen: Backfill) -> None:
            # The backfill counts once in half a minute, the assets at once.
            so_far = max(seen.materialized + seen.failed, _materialized(stack, assets) - done)
            bar.update(task, completed=so_far, description="fetching" if seen.runs else None)

        # The daemon looks for backfills as it starts, and then only every half minute: it shall find this one at once.
        launched = stack.client.launch_backfill(assets, keys)
        stack.start_daemon()
        backfill = stack.wait_backfill(launched, tell)
    if backfill.status != "COMPLETED_SUCCESS":
        raise DemoFailed(
            f"the backfill ended as {backfill.status}: {backfill.failed} of {backfill.targeted} partitions failed"
            f"{'; ' + backfill.error if backfill.error else ''}",
            fix=f"see {stack.log}, or run it again",
        )
    after = _state(store)
    changed = sum(before[0].get(key) != fingerprint for key, fingerprint in after[0].items())
    told = f"{count(backfill.materialized, 'partition')} in {count(len(backfill.runs), 'run')}, "
    if before == after:
        note(told + "nothing committed: the lake held all of it already")
    else:
        note(told + f"{changed:,} symbol-days changed")


def _materialized(stack: Stack, assets: list[list[str]]) -> int:
    return sum(stats["materialized"] for stats in stack.client.partition_stats(assets).values())


def _state(store: LakeStore) -> tuple[dict[tuple[object, ...], str], int]:
    """Fingerprint of every session, and the version of the table of bars."""
    from gb_pipeline.catalog.projection import table_versions
    from gb_pipeline.lake.ledger import current

    rows = current(store.tables).select("source", "symbol", "resolution", "session", "fingerprint").rows()
    return {row[:-1]: row[-1] for row in rows}, table_versions(store).get("bars_1m", -1)


def _show(settings: Settings) -> None:
    from gb_pipeline.cli.status import QUERY, print_status
    from gb_pipeline.reading.lake import Lake

    lake = Lake(open_store(settings))
    note("gb status")
    print_status(lake.sql(QUERY).to_dicts())
    code = settings.sources[SOURCE].instruments[0].code
    bars = lake.bars(code, "1m", source=SOURCE, columns=["timestamp", "open", "high", "low", "close", "volume"])
    note(f"gb show {SOURCE}:{code}")
    print_table(bars.columns, bars.tail(5).rows())
    answer = lake.sql(_SQL)
    note(f'gb sql "{_SQL}"')
    print_table(answer.columns, answer.rows())
    gaps = lake.gaps().to_dicts()
    note(f"found: {count(sum(gap['missing'] for gap in gaps), 'missing bar')} in {count(len(gaps), 'run')} (gb gaps)")
    for row in lake.quarantine().head(3).to_dicts():
        note(f"refused: {row['symbol']} {row['timestamp']:%Y-%m-%d %H:%M} {', '.join(row['reasons'])}")
