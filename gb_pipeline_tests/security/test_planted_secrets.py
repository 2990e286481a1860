"""Secrets are planted as keys, vendors repeat them in every answer, everything is logged: afterwards they are nowhere.

Keys come from the environment, from `.env` and from gb.yaml itself, through `gb fetch` with every log switched on, and through
a real Dagster that writes all logs into its event log: there keys of every origin go to one vendor, as origins are the same to all,
and every vendor repeats one of them.
"""

from __future__ import annotations

import base64
import json
import os
import sqlite3
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import duckdb
import polars as pl
import pyarrow as pa
import pytest
import yaml

from gb_pipeline.dagster_runtime.client import Backfill
from gb_pipeline.dagster_runtime.home import read_template
from gb_pipeline.dagster_runtime.instance import Stack
from gb_pipeline.providers import provider_names
from gb_pipeline.simulation import Simulation
from gb_pipeline_tests.security.leaks import leaks

# With characters that URLs and JSON write differently, and long enough to be nobody else's text.
SECRETS = {
    "GB_TEST_ENV": "PLANTED+env/8kQz-Zx71uA=",
    "GB_TEST_FILE": 'PLANTED~file\\9rTw"Yv62sB',
    "literal": "PLANTED*literal&3nHc%Ud48oE",
}
KEYED = {name: options for name, options in {"massive": ["key"], "alpaca": ["key", "secret"], "alpha_vantage": ["key"]}.items()
         if name in provider_names()}  # fmt: skip
DAY = "2024-06-11"
# Symbols tell the sources apart in the simulated vendors' faults.
ORIGINS = {"env": ("${GB_TEST_ENV}", "AAPL"), "file": ("${GB_TEST_FILE}", "KO"), "literal": (SECRETS["literal"], "MSFT"),
           "unset": ("${GB_TEST_UNSET}", "IBM")}  # fmt: skip

# What Dagster is told to fetch: a run each.
ONE = "massive"
LAUNCHED = [f"{ONE}_{origin}" for origin in ORIGINS] + [f"{name}_literal" for name in KEYED if name != ONE]

DRIVER = """
import json, logging, sys, urllib.request
logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
logging.captureWarnings(True)
from gb_pipeline.cli.app import run
control, cases = json.load(sys.stdin)
def send(method, action, body):
    urllib.request.urlopen(urllib.request.Request(control + action, json.dumps(body).encode(), method=method)).close()
for source, fault in cases:
    send("DELETE", "faults", {})
    if fault:
        send("POST", "faults", fault)
    print("\\n", json.dumps({"case": source, "exit": run(["fetch", source, "--start", DAY, "--end", NEXT, "--again"])}), flush=True)
"""


def faults(key: str, symbol: str) -> list[dict[str, Any]]:
    """Every way in which a vendor can repeat a key."""
    words = f"We have detected your API key as {key} and our standard API rate limit is 25 requests per day."
    error = json.dumps({"status": "ERROR", "error": words, "message": words, "Error Message": words})
    every: dict[str, Any] = {"match": symbol, "times": -1}
    return [
        *(every | {"status": status, "body": error} for status in (400, 401, 404, 503)),
        every | {"status": 429, "body": words, "headers": {"Retry-After": "1", "X-Key": key}},
        every | {"status": 500, "body": f"<html><a href='https://x.test/?apikey={key}'>{key}</a></html>"},
        every | {"status": 200, "body": f"<html>{key}</html>", "headers": {"Content-Type": "text/html"}},
        every | {"status": 200, "body": error},
        every | {"status": 200, "body": error[:-9]},
        every | {"status": 200, "body": json.dumps([key])},
        every | {"status": 200, "body": json.dumps({"status": "OK", "results": key, "bars": key, "ticker": key})},
        every | {"action": "redirect", "headers": {"Location": f"https://elsewhere.test/?apikey={key}#{key}"}},
        every | {"action": "reset"},
        # For Alpha Vantage these are the end of the day.
        every | {"status": 200, "body": json.dumps({"Note": words})},
        every | {"status": 200, "body": json.dumps({"Information": words})},
    ]


def chatty_bars(key: str, symbol: str) -> dict[str, Any]:
    """An answer of Massive that is in order, but for one row, and repeats the key wherever there is room."""
    row = {"t": 1718112600000, "o": 1, "h": 2, "l": 1, "c": 1.5, "v": 10, "n": 1, "vw": 1.5, "echo": key}
    rows = [row, row | {"t": 1718112660000, "h": 0.5, "vw": key}]
    body = {"ticker": symbol, "status": "OK", "adjusted": False, "queryCount": 2, "resultsCount": 2, "results": rows}
    return {"match": symbol, "times": -1, "status": 200, "body": json.dumps(body | {"request_id": key})}


@dataclass
class Played:
    """What was left when everything had happened."""

    folder: Path
    said: str
    exits: list[tuple[str, int]]
    backfill: Backfill
    variables: dict[str, set[str]]
    run_configs: str
    steps: dict[str, str]
    messages: list[str]
    commands: set[str]


def project(folder: Path, url: str) -> None:
    sources = {}
    for provider, options in KEYED.items():
        for origin, (text, symbol) in ORIGINS.items():
            sources[f"{provider}_{origin}"] = {
                "provider": provider,
                "options": {"base_url": url, **dict.fromkeys(options, text)},
                "calendar": "XNYS",
                "start": "2024-06-10",
                "end": "2024-06-13",
                "symbols": [symbol],
                "resolutions": ["1m"],
                "keep_raw": True,
                # A repeat is logged; one vendor's are enough.
                "retries": 1 if provider == "massive" else 0,
                "max_bad_fraction": 0.9,
                "daily_quota": {"calls": 1000},
            }
    (folder / "gb.yaml").write_text(yaml.safe_dump({"lake": "data", "sources": sources}), encoding="utf-8")
    escaped = SECRETS["GB_TEST_FILE"].replace("\\", "\\\\").replace('"', '\\"')
    (folder / ".env").write_text(f'GB_TEST_FILE="{escaped}"\n', encoding="utf-8")
    (folder / ".env").chmod(0o600)
    every_log = "\npython_logs:\n  python_log_level: DEBUG\n  managed_python_loggers: [root]\n"
    (folder / "dagster.yaml").write_text(read_template() + every_log, encoding="utf-8")


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    folder = tmp_path_factory.mktemp("planted")
    with Simulation(stocks=["AAPL", "KO", "MSFT", "IBM"]) as vendors:
        vendors.set_now("2024-06-20T12:00Z")
        project(folder, vendors.url)
        gone = {"GB_TEST_FILE", "GB_TEST_UNSET", "GB_CONFIG", "GB_LAKE", "DAGSTER_HOME"}
        environment = {name: value for name, value in os.environ.items() if name not in gone}
        environment |= {"GB_TEST_ENV": SECRETS["GB_TEST_ENV"], "PYTHONASYNCIODEBUG": "1"}
        said, exits = by_hand(folder, vendors.url, environment)
        yield by_dagster(folder, vendors, environment, said, exits)


def by_hand(folder: Path, url: str, environment: dict[str, str]) -> tuple[str, list[tuple[str, int]]]:
    """`gb fetch`, over and over, in one process with every log on stderr."""
    cases: list[tuple[str, dict[str, Any] | None]] = []
    for provider in KEYED:
        # One origin meets all faults: where a key came from makes no difference to what a vendor does with it.
        key, symbol = SECRETS["GB_TEST_FILE"], ORIGINS["file"][1]
        cases += [(f"{provider}_env", None), (f"{provider}_literal", None), (f"{provider}_unset", None)]
        cases += [(f"{provider}_file", chatty_bars(key, symbol))] if provider == "massive" else []
        cases += [(f"{provider}_file", fault) for fault in faults(key, symbol)]
    done = subprocess.run(
        [sys.executable, "-c", DRIVER.replace("DAY", repr(DAY)).replace("NEXT", repr("2024-06-12"))], cwd=folder, env=environment,
        input=json.dumps([f"{url}/_control/", cases]), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith(' {"case"')]
    assert len(found) == len(cases)
    return done.stdout + done.stderr, [(item["case"], item["exit"]) for item in found]


def by_dagster(
    folder: Path, vendors: Simulation, environment: dict[str, str], said: str, exits: list[tuple[str, int]]
) -> Played:
    """A backfill by a real Dagster: keys of the environment and of `.env` work, gb.yaml's is refused."""
    vendors.faults.clear()
    vendors.faults.add(**faults(SECRETS["literal"], ORIGINS["literal"][1])[1])
    unwanted = set(os.environ) - set(environment)
    with pytest.MonkeyPatch.context() as patch:
        for name in unwanted:
            patch.delenv(name)
        stack = Stack(folder, environment=environment)
    try:
        # Without its daemon: a backfill that waits for the daemon is begun at once.
        stack.start(daemon=False)
        assets = [[source, "bars_1m", ORIGINS[source.rsplit("_", 1)[1]][1]] for source in LAUNCHED]
        wanted = stack.client.launch_backfill(assets, [DAY])
        stack.start_daemon()
        commands: set[str] = set()
        backfill = stack.wait_backfill(wanted, lambda _: commands.update(list_commands()), timeout=300)
        variables = stack.graphql(
            '{ utilizedEnvVarsOrError(repositorySelector: {repositoryName: "__repository__", repositoryLocationName:'
            ' "gb_pipeline"}) { ... on EnvVarWithConsumersList { results { envVarName envVarConsumers { name } } } } }'
        )["utilizedEnvVarsOrError"]["results"]
        runs = stack.graphql(
            "{ runsOrError { ... on Runs { results { runId status runConfigYaml stepStats { stepKey status } } } } }"
        )["runsOrError"]["results"]
        messages = [message for run in runs for message in _messages(stack, run["runId"])]
    finally:
        stack.stop()
    return Played(
        folder=folder,
        said=said,
        exits=exits,
        backfill=backfill,
        variables={row["envVarName"]: {item["name"] for item in row["envVarConsumers"]} for row in variables},
        run_configs="".join(run["runConfigYaml"] for run in runs),
        # The daemon's sensor may have refreshed the catalog by now.
        steps={
            item["stepKey"].removesuffix("_bars_1m"): item["status"]
            for run in runs
            for item in run["stepStats"]
            if item["stepKey"].endswith("_bars_1m")
        },
        messages=messages,
        commands=commands,
    )


def list_commands() -> Iterator[str]:
    """The arguments of every process of this machine, as `ps` shows them to everybody."""
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            yield file.read_bytes().replace(b"\0", b" ").decode(errors="replace")


def _messages(stack: Stack, run_id: str) -> list[str]:
    found = stack.graphql(
        "query($id: ID!) { logsForRun(runId: $id) { ... on EventConnection { events { ... on MessageEvent { message }"
        " ... on ExecutionStepFailureEvent { error { message errorChain { error { message } } } } } } } }",
        id=run_id,
    )["logsForRun"]["events"]
    return [json.dumps(event) for event in found]


@pytest.mark.parametrize("name", SECRETS)
def test_no_secret_is_left_anywhere(played: Played, name: str) -> None:
    secret = SECRETS[name]
    own = [played.folder / "gb.yaml", played.folder / ".env"]
    assert leaks(secret, played.folder, apart_from=own) == []


@pytest.mark.parametrize("name", SECRETS)
def test_no_secret_is_said(played: Played, name: str, tmp_path: Path) -> None:
    (tmp_path / "said").write_text(
        f"{played.said}{played.run_configs}{played.messages}{played.commands}", encoding="utf-8"
    )
    assert leaks(SECRETS[name], tmp_path) == []


def test_the_vendors_did_repeat_the_keys_and_everything_did_happen(played: Played) -> None:
    fetches = pl.read_delta(str(played.folder / "data" / "lake" / "fetches"))
    told = fetches["message"].drop_nulls()
    assert told.str.contains("detected your API key as ***", literal=True).sum() >= 5 * len(KEYED)
    assert "DEBUG:httpcore" in played.said
    assert any("detected your API key as ***" in message for message in played.messages)
    assert any("dagster_runtime.daemon" in command for command in played.commands)
    assert any("gb_pipeline.dagster_runtime" in command for command in played.commands)
    exits = dict(reversed(played.exits))
    for provider in KEYED:
        assert exits[f"{provider}_env"] == exits[f"{provider}_literal"] == 0
        assert exits[f"{provider}_unset"] == 2
        assert {code for name, code in played.exits if name == f"{provider}_file"} >= {1, 3}
    kept = list((played.folder / "data" / "raw").rglob("*.zst"))
    assert len(kept) >= len(KEYED) + 1


def test_a_row_that_repeats_the_key_is_set_aside_without_it(played: Played) -> None:
    rows = pl.read_delta(str(played.folder / "data" / "lake" / "quarantine"))
    assert rows.height >= 1


def test_dagster_runs_with_keys_of_the_environment_and_of_env_and_fails_where_there_is_none(played: Played) -> None:
    worked = {f"{ONE}_env", f"{ONE}_file"}
    assert played.steps == {source: "SUCCESS" if source in worked else "FAILURE" for source in LAUNCHED}
    assert any("GB_TEST_UNSET is not set" in message for message in played.messages)


def test_dagsters_page_lists_the_variables_of_each_source(played: Played) -> None:
    for name, origin in (("GB_TEST_ENV", "env"), ("GB_TEST_FILE", "file"), ("GB_TEST_UNSET", "unset")):
        assert played.variables[name] == {f"{provider}_{origin}_credentials" for provider in KEYED}


@pytest.mark.parametrize("spelling", ["plain", "base64", "name", "parquet", "zst", "sqlite", "duckdb"])
def test_the_search_finds_what_is_there(tmp_path: Path, spelling: str) -> None:
    """It would be of no use if it could not."""
    secret = SECRETS["GB_TEST_ENV"]
    if spelling == "plain":
        (tmp_path / "x.log").write_text(f"GET /?apikey={quote(secret, safe='')}", encoding="utf-8")
    elif spelling == "base64":
        (tmp_path / "x").write_bytes(base64.b64encode(f"user:{secret}:more".encode()))
    elif spelling == "name":
        (tmp_path / secret.replace("/", "_").replace("PLANTED", secret.encode().hex())).touch()
    elif spelling == "parquet":
        pl.DataFrame({"a": [None, [f"x{secret}"]]}).write_parquet(tmp_path / "x.parquet", compression="zstd")
    elif spelling == "zst":
        (tmp_path / "x.zst").write_bytes(pa.compress(f"{secret} {'a' * 99}".encode(), "zstd", asbytes=True))
    elif spelling == "sqlite":
        with closing(sqlite3.connect(tmp_path / "x")) as db:
            db.execute("create table t (b blob)")
            db.execute("insert into t values (?)", (zlib.compress(f"{secret} {'a' * 99}".encode()),))
            db.commit()
    else:
        with duckdb.connect(str(tmp_path / "x.duckdb")) as db:
            db.execute("create table t as select ? as a", [secret])
    assert leaks(secret, tmp_path) != []
    assert leaks(secret + "x", tmp_path) == []
