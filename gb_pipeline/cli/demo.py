"""`gb demo` shows everything once, offline.

This module puts the steps in order and says what each one did. The exchange is in `simulation`, Dagster in
`dagster_runtime.instance`. Every step may be repeated: a second run finds the same content at the exchange and commits nothing.
"""

from __future__ import annotations

import os
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gb_pipeline.cli.options import open_store
from gb_pipeline.cli.output import ExitCode, note, print_table
from gb_pipeline.cli.progress import progress
from gb_pipeline.errors import ConfigError, GbError
from gb_pipeline.market.spelling import format_count

if TYPE_CHECKING:
    from gb_pipeline.config.settings import Settings, SourceSettings
    from gb_pipeline.dagster_runtime.client import Backfill
    from gb_pipeline.dagster_runtime.instance import Stack
    from gb_pipeline.lake.store import LakeStore
    from gb_pipeline.simulation import Simulation

SOURCE = "sim"
URL_VARIABLE = "GB_SIM_URL"
_SYMBOLS = (
    "BTC-USDT", "ETH-USDT", "SOL-USDT", "BNB-USDT", "XRP-USDT", "ADA-USDT", "DOGE-USDT", "LTC-USDT", "LINK-USDT", "AVAX-USDT",
    "DOT-USDT", "BCH-USDT",
)  # fmt: skip
_SQL = (
    "select symbol, count(*) as bars, min(low) as lowest, max(high) as highest from bars_1m group by all order by all"
)


class DemoFailed(GbError):
    """A step of the demo did not do what it should."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("demo")(demo)


def demo(
    folder: Annotated[
        Path, typer.Option("--dir", help="The demo's project folder; created if it does not exist.")
    ] = Path("demo"),
    symbols: Annotated[int, typer.Option(help="How many symbols to fetch.", min=1, max=12)] = 6,
    days: Annotated[int, typer.Option(help="How many days of 1-minute bars, up to yesterday.", min=1, max=365)] = 30,
    no_ui: Annotated[
        bool, typer.Option("--no-ui", help="Exit when everything is done, instead of waiting for Ctrl-C.")
    ] = False,
    port: Annotated[int, typer.Option(help="Port of Dagster's web page; 0 picks a free one.", min=0, max=65535)] = 0,
) -> int:
    """Run the whole pipeline offline, on simulated data.

    Starts a simulated exchange and Dagster on this machine, launches a backfill as Dagster's web page would, and then shows what
    is stored. Needs no network and no key. A second run compares what is stored and commits nothing.
    """
    from gb_pipeline.cli.running import running, stoppable, until_stopped
    from gb_pipeline.config.settings import Settings
    from gb_pipeline.dagster_runtime.instance import Stack
    from gb_pipeline.simulation import Simulation

    today = datetime.now(UTC).date()
    is_new = _project(folder, today - timedelta(days=days), symbols)
    note(f"{'wrote' if is_new else 'using'} {folder / 'gb.yaml'}")
    with stoppable(), Simulation() as exchange:
        os.environ[URL_VARIABLE] = exchange.url
        # The demo's bars must never get into somebody's own lake.
        os.environ.pop("GB_LAKE", None)
        settings = Settings.load(folder)
        source = _source(settings)
        window = _fetch_window(source, today, days)
        _plant_defects(exchange, source)
        note(f"simulated exchange: {exchange.url}")
        with running(Stack(settings.path, port=port or None, on_event=note), daemon=False) as stack:
            note(f"Dagster: {stack.url}")
            _run_backfill(stack, settings, source, [symbol.code for symbol in source.instruments[:symbols]], window)
            upkeep = [] if no_ui else _launch_upkeep(stack, source)
            _show_lake(settings)
            if not no_ui:
                _wait_upkeep(stack, upkeep)
                note(f"\nthe page: {stack.url}/assets   project: {folder}   lake: {settings.lake}")
                note(f"in another terminal: gb status --config {folder}")
                until_stopped(stack)
    return ExitCode.OK


def _project(folder: Path, start: date, symbols: int) -> bool:
    """Write the project unless it exists; returns whether it was written.

    The first day and the symbols stay as they are, so that partitions keep their meaning, and the page shows nothing that is never
    fetched.
    """
    from gb_pipeline.cli.init import read_template

    file = folder / "gb.yaml"
    if file.exists():
        return False
    if folder.is_dir() and any(folder.iterdir()):
        raise ConfigError(f"{folder} holds something other than a demo", fix="name another folder with --dir")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        text = read_template("demo.yaml").replace("{start}", start.isoformat())
        file.write_text(text.replace("{symbols}", ", ".join(_SYMBOLS[:symbols])), encoding="utf-8")
        (folder / ".gitignore").write_text(read_template("gitignore"), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write {error.filename}: {error.strerror}", fix="name another --dir") from None
    return True


def _source(settings: Settings) -> SourceSettings:
    source = settings.sources.get(SOURCE)
    if source is None or source.options.get("base_url") != os.environ[URL_VARIABLE]:
        raise ConfigError(
            f"{settings.path} is not a demo: it has no source {SOURCE} at ${{{URL_VARIABLE}}}",
            fix="name another folder with --dir, or start this project with `gb up`",
        )
    return source


def _fetch_window(source: SourceSettings, today: date, days: int) -> tuple[date, date]:
    start = today - timedelta(days=days)
    if start < source.start:
        raise ConfigError(
            f"the demo's series start on {source.start}, less than {days} days ago",
            fix="start a new demo with --dir, or write an earlier `start` in its gb.yaml",
        )
    return start, today


def _plant_defects(exchange: Simulation, source: SourceSettings) -> None:
    """Plant two defects for validation to find: twelve minutes without bars, and a bar with an impossible price."""
    codes = [symbol.code for symbol in source.instruments]
    # On the first day, which every demo has.
    noon = datetime.combine(source.start, datetime.min.time(), UTC) + timedelta(hours=12)
    if len(codes) > 1:
        exchange.plant("gap", codes[1], start=noon, end=noon + timedelta(minutes=12))
    exchange.plant("bad", codes[0], start=noon, values={"high": "0.01"})


def _run_backfill(
    stack: Stack, settings: Settings, source: SourceSettings, codes: list[str], window: tuple[date, date]
) -> None:
    store = open_store(settings)
    before = _snapshot(store)
    bar_resolution = source.resolutions[0]
    keys = [day.isoformat() for day in source.rules(bar_resolution).calendar.sessions(*window)]
    assets = [[source.name, bar_resolution.table, code] for code in codes]
    note(f"backfill: {len(codes)} symbols x {len(keys)} days of {bar_resolution} bars, through Dagster's daemon")
    already_materialized = _count_materialized(stack, assets)
    with progress("partitions") as bar:
        task = bar.add_task("waiting for the daemon", total=len(codes) * len(keys))

        def show_progress(status: Backfill) -> None:
            # The backfill counts once in half a minute, the assets at once.
            completed = max(
                status.materialized + status.failed, _count_materialized(stack, assets) - already_materialized
            )
            # All are there before Dagster, which looks now and then, calls the backfill ended.
            doing = "ending the backfill" if completed >= len(codes) * len(keys) else "fetching"
            bar.update(task, completed=completed, description=doing if status.runs else None)

        # The daemon looks for backfills as it starts, and then only every half minute: it shall find this one at once.
        backfill_id = stack.client.launch_backfill(assets, keys)
        stack.start_daemon()
        backfill = stack.wait_backfill(backfill_id, show_progress)
    if backfill.status != "COMPLETED_SUCCESS":
        raise DemoFailed(
            f"the backfill ended as {backfill.status}: {backfill.failed} of {backfill.targeted} partitions failed"
            f"{'; ' + backfill.error if backfill.error else ''}",
            fix=f"see {stack.log}, or run it again",
        )
    after = _snapshot(store)
    changed = sum(before[0].get(key) != fingerprint for key, fingerprint in after[0].items())
    summary = f"{format_count(backfill.materialized, 'partition')} in {format_count(len(backfill.runs), 'run')}, "
    if before == after:
        note(summary + "nothing committed: the lake already held all of it")
    else:
        note(summary + f"{changed:,} symbol-days changed")


def _launch_upkeep(stack: Stack, source: SourceSettings) -> list[str]:
    """What schedules and sensors do some time: files are merged, what is of no use goes, and the catalog is refreshed.

    Of the periods in which bars lie, the newest two.
    """
    resolution = source.resolutions[0]
    compaction = [source.name, f"{resolution.table}_compaction"]
    periods = stack.client.partition_keys(compaction)[-2:]
    others = [["catalog"], ["ledgers_compaction"], ["vacuum"]]
    return [stack.client.launch_run(others), *(stack.client.launch_run([compaction], period) for period in periods)]


def _wait_upkeep(stack: Stack, run_ids: list[str]) -> None:
    with progress("runs") as bar:
        task = bar.add_task("merging files, vacuuming, refreshing the catalog", total=len(run_ids))
        statuses = stack.client.wait_runs(run_ids, lambda done: bar.update(task, completed=done), alive=stack.check)
    failed = [run_id for run_id, status in statuses.items() if status != "SUCCESS"]
    note(f"upkeep: {format_count(len(run_ids) - len(failed), 'run')} of compaction, vacuum and catalog")
    if failed:
        raise DemoFailed(f"a run of the upkeep failed: {stack.url}/runs/{failed[0]}", fix=f"see {stack.log}")


def _count_materialized(stack: Stack, assets: list[list[str]]) -> int:
    return sum(stats["materialized"] for stats in stack.client.partition_stats(assets).values())


def _snapshot(store: LakeStore) -> tuple[dict[tuple[object, ...], str], int]:
    """Fingerprint of every session, and the version of the table of bars."""
    from gb_pipeline.catalog.projection import table_versions
    from gb_pipeline.lake.ledger import current

    rows = current(store.tables).select("source", "symbol", "resolution", "session", "fingerprint").rows()
    return {row[:-1]: row[-1] for row in rows}, table_versions(store).get("bars_1m", -1)


def _show_lake(settings: Settings) -> None:
    from gb_pipeline.cli.status import print_status
    from gb_pipeline.health.completeness import read_completeness
    from gb_pipeline.reading.lake import Lake

    lake = Lake(open_store(settings))
    note("gb status")
    print_status(read_completeness(lake, settings, None))
    code = settings.sources[SOURCE].instruments[0].code
    bars = lake.bars(code, "1m", source=SOURCE, columns=["timestamp", "open", "high", "low", "close", "volume"])
    note(f"gb show {SOURCE}:{code}")
    print_table(bars.columns, bars.tail(5).rows())
    extremes = lake.sql(_SQL)
    note(f'gb sql "{_SQL}"')
    print_table(extremes.columns, extremes.rows())
    gaps = lake.gaps().to_dicts()
    missing = format_count(sum(gap["missing"] for gap in gaps), "missing bar")
    note(f"found: {missing} in {format_count(len(gaps), 'run')} (gb gaps)")
    for row in lake.quarantine().head(3).to_dicts():
        note(f"refused: {row['symbol']} {row['timestamp']:%Y-%m-%d %H:%M} {', '.join(row['reasons'])}")
