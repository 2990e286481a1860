"""Failed runs and checks are told to a receiver on loopback, once, and again when they work; no address is shown."""

from __future__ import annotations

import json
import logging
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import dagster as dg
import pytest
import yaml

from gb_pipeline.cli.app import run
from gb_pipeline.config.alerts import AlertSettings
from gb_pipeline.config.settings import Settings
from gb_pipeline.errors import ConfigError
from gb_pipeline.orchestration.alerts.send import AlertError, beat, send
from gb_pipeline.orchestration.alerts.sensor import build_alert_sensor
from gb_pipeline.orchestration.alerts.state import News
from gb_pipeline.orchestration.series_group import list_series_groups
from gb_pipeline_tests.orchestration.conftest import Bench
from gb_pipeline_tests.source import imports, sources

BTC, ETH = "sim/bars_1m/BTC-USDT", "sim/bars_1m/ETH-USDT"
DAYS = ("2024-01-01", "2024-01-03")


@dataclass
class Receiver:
    """Keeps what is sent to it."""

    port: int = 0
    status: int = 200
    refuses: str = ""
    messages: list[dict[str, str]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if found.status == 200 and not self._is_refused():
                found.messages.append(json.loads(body))
            self._answer()

        def do_GET(self) -> None:
            found.calls.append(self.path)
            self._answer()

        def _is_refused(self) -> bool:
            return bool(found.refuses) and self.path.startswith(found.refuses)

        def _answer(self) -> None:
            self.send_response(500 if self._is_refused() else found.status)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found.port = server.server_port
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield found
        server.shutdown()


Watch = Callable[..., str]


@pytest.fixture
def bench(build_bench: Callable[..., Bench], receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A project whose gb.yaml names the receiver, with a token."""
    made = build_bench()
    monkeypatch.setenv("HOOK_TOKEN", "very-secret")
    path = made.settings.path
    raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    raw["alerts"] = {
        "to": [f"json://127.0.0.1:{receiver.port}/hook/${{HOOK_TOKEN}}"],
        "page": "https://dagster.example.com/",
        "heartbeat": f"http://127.0.0.1:{receiver.port}/alive/${{HOOK_TOKEN}}",
    }
    path.write_text(yaml.safe_dump(raw), encoding="utf-8")
    made.settings = Settings.load(path)
    return made


@pytest.fixture
def watch(bench: Bench) -> Watch:
    return watching(bench, bench.settings)


def watching(bench: Bench, settings: Settings) -> Watch:
    """One tick, with the cursor of the one before."""
    cursor: list[str | None] = [None]
    sensor = build_alert_sensor(settings, list(list_series_groups(settings)))

    def tick() -> str:
        with dg.build_sensor_context(instance=bench.instance, cursor=cursor[0]) as context:
            result = sensor(context)
            cursor[0] = context.cursor
        return str(result.skip_message)

    return tick


def test_a_failed_run_is_told_once_with_its_reason_and_a_link_and_then_that_it_works(bench, watch, receiver):
    watch()
    bench.simulation.faults.add(match="symbol=ETHUSDT", status=404, times=3)
    failed = bench.run(BTC, ETH, partitions=DAYS)
    assert watch() == "told of 2"
    [message] = receiver.messages
    assert message["title"] == "gb_pipeline: 2 failed"
    assert "sim/bars_1m: 1 of 6 partitions are not stored. ETH-USDT 2024-01-01" in message["message"]
    assert f"https://dagster.example.com/runs/{failed.run_id}" in message["message"]
    assert "https://dagster.example.com/assets/sim/bars_1m?view=checks" in message["message"]
    assert watch() == "nothing is new, 2 broken"

    bench.run(BTC, ETH, partitions=DAYS)
    assert watch() == "told of 2"
    assert receiver.messages[-1]["title"] == "gb_pipeline: 2 work again"
    assert watch() == "nothing is new, 0 broken"
    assert len(receiver.messages) == 2


def test_what_could_not_be_delivered_is_told_at_the_next_tick_and_no_address_is_shown(bench, watch, receiver):
    watch()
    bench.simulation.plant("gap", "ETH-USDT", start="2024-01-02T10:00:00Z", end="2024-01-02T10:05:00Z")
    bench.run(ETH, partitions=DAYS)
    receiver.status = 500
    with pytest.raises(Exception) as caught:
        watch()
    reasons = [str(caught.value), str(caught.value.__cause__)]
    assert any("could not be delivered to address 1" in reason or "no message" in reason for reason in reasons)
    assert not any("very-secret" in reason for reason in reasons)
    receiver.status = 200
    assert watch() == "told of 1"
    assert "valid_and_complete: warning: 2 of 3 partitions" in receiver.messages[-1]["message"]


def test_an_address_that_takes_nothing_keeps_no_other_from_being_told_and_none_is_told_twice(bench, watch, receiver):
    path = bench.settings.path
    raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    raw["alerts"]["to"].append(f"json://127.0.0.1:{receiver.port}/refusing/${{HOOK_TOKEN}}")
    path.write_text(yaml.safe_dump(raw), encoding="utf-8")
    tick = watching(bench, Settings.load(path))
    receiver.refuses = "/refusing"
    tick()
    receiver.calls.clear()
    bench.simulation.faults.add(match="symbol=ETHUSDT", status=404, times=3)
    bench.run(ETH, partitions=DAYS)
    for _ in range(3):
        assert tick() == "no message could be delivered to address 2 of `alerts.to`; the heartbeat waits for it"
    assert [message["title"] for message in receiver.messages] == ["gb_pipeline: 2 failed"]
    bench.run(ETH, partitions=DAYS)
    tick()
    receiver.refuses = ""
    tick()
    tick()
    titles = [message["title"] for message in receiver.messages]
    assert titles == ["gb_pipeline: 2 failed", "gb_pipeline: 2 work again", "gb_pipeline: 2 failed, 2 work again"]


def test_the_heartbeat_waits_while_nobody_can_be_told(bench, watch, receiver):
    bench.simulation.faults.add(match="symbol=ETHUSDT", status=404, times=3)
    bench.run(ETH, partitions=DAYS)
    receiver.refuses = "/hook"
    with pytest.raises(Exception, match="alerts"):
        watch()
    assert receiver.calls == []
    receiver.refuses = ""
    watch()
    assert receiver.calls == ["/alive/very-secret"]


def test_only_the_sensor_of_the_daemon_keeps_the_heart_beating():
    """So the calls end when the daemon, or the machine, does; `gb alerts --test` calls it once for a person."""
    callers = {file for file, tree in sources().items() for name, _ in imports(tree) if name.endswith(".send.beat")}
    assert callers == {"orchestration/alerts/sensor.py", "cli/alerts.py"}


def test_a_standing_check_is_told_with_the_command_that_repairs_it_and_its_end(bench, watch, receiver):
    watch()
    bench.run("health/missing_sessions", "health/disk")
    assert watch() == "told of 1"
    [message] = receiver.messages
    assert "health/missing_sessions: 120 sessions of 2 series are missing" in message["message"]
    assert "-> `gb update sim`" in message["message"]
    assert "https://dagster.example.com/assets/health/missing_sessions?view=checks" in message["message"]
    bench.run("health/missing_sessions")
    assert watch() == "nothing is new, 1 broken"

    bench.run(BTC, ETH, partitions=("2024-01-01", "2024-02-29"))
    bench.run("health/missing_sessions")
    watch()
    assert "health/missing_sessions: works again" in receiver.messages[-1]["message"]
    assert len(receiver.messages) == 2


@pytest.mark.parametrize(
    "address",
    [
        "json://127.0.0.1:{port}/hook/very-secret",
        "json://127.0.0.1:1/hook/very-secret",
        "nonsense://very-secret",
        "slack://very-secret",
        "mailto://user:very-secret@127.0.0.1:1",
    ],
)
def test_no_log_error_or_output_names_an_address(bench, receiver, caplog, capfd, address):
    caplog.set_level(logging.DEBUG)
    alerts = AlertSettings(to=[address.format(port=receiver.port)], heartbeat="http://127.0.0.1:1/very-secret")
    settings = bench.settings.model_copy(update={"alerts": alerts})
    news = [News("sim/bars_1m", "no answer", "/runs/1", failed=True)]
    said = []
    for tell in (lambda: send(settings, news), lambda: beat(settings)):
        try:
            tell()
        except AlertError as error:
            said.append("".join(traceback.format_exception(error)))
    out, err = capfd.readouterr()
    assert said, "the heartbeat's address at least does not answer"
    assert "very-secret" not in "".join([caplog.text, out, err, repr(settings), *said])
    assert logging.getLogger("httpx").isEnabledFor(logging.CRITICAL), "what was silenced speaks again"


@pytest.mark.parametrize(
    "body", [{"too": ["slack://very-secret"]}, {"heartbeat": ["very-secret"]}, {"to": {"very-secret": 1}}]
)
def test_an_unusable_section_is_an_error_that_shows_no_value(bench, body):
    path = bench.settings.path
    raw = yaml.safe_load(path.read_text(encoding="utf-8")) | {"alerts": body}
    path.write_text(yaml.safe_dump(raw), encoding="utf-8")
    with pytest.raises(ConfigError, match="alerts") as caught:
        Settings.load(path)
    assert "very-secret" not in str(caught.value)


def test_what_happened_before_the_first_look_is_not_told_of_runs(bench, watch, receiver):
    bench.simulation.faults.add(match="symbol=ETHUSDT", status=404, times=-1)
    bench.run(ETH, partitions="2024-01-01")
    watch()
    assert [message["title"] for message in receiver.messages] == ["gb_pipeline: 1 failed"], "the check is broken now"


def test_the_heartbeat_is_called_while_dagster_works(bench, watch, receiver):
    watch()
    watch()
    assert receiver.calls == ["/alive/very-secret"]


def test_the_heartbeat_comes_as_often_as_it_was_asked_for_also_after_the_clock_was_set_back(
    bench, receiver, monkeypatch
):
    alerts = bench.settings.alerts.model_copy(update={"heartbeat_every": timedelta(minutes=2)})
    watch, begin = watching(bench, bench.settings.model_copy(update={"alerts": alerts})), time.time()
    for seconds, calls in [(0, 1), (119, 1), (121, 2), (-86_400, 2), (-86_401, 2), (-86_280, 3)]:
        monkeypatch.setattr(time, "time", lambda now=begin + seconds: now)
        watch()
        assert len(receiver.calls) == calls, seconds


@pytest.mark.parametrize("every", ["10s", "2d", "soon"])
def test_a_heartbeat_that_is_too_rare_or_more_often_than_the_ticks_is_refused(every):
    with pytest.raises(ValueError, match=r"heartbeat_every"):
        AlertSettings(heartbeat_every=every)


def test_an_unset_variable_is_named_and_an_address_that_takes_nothing_told_by_its_place(bench, monkeypatch, receiver):
    receiver.status = 404
    with pytest.raises(AlertError, match=r"address 1 of `alerts\.to`"):
        send(bench.settings, [])
    monkeypatch.delenv("HOOK_TOKEN")
    with pytest.raises(ConfigError, match="HOOK_TOKEN is not set"):
        send(bench.settings, [])
    assert "very-secret" not in repr(bench.settings)


def test_the_command_says_who_is_told_and_sends_a_test(bench, receiver, capsys):
    folder: Path = bench.settings.path.parent
    assert run(["alerts", "--config", str(folder)]) == 0
    assert "1 receiver: json, and a heartbeat" in capsys.readouterr().err
    assert run(["alerts", "--test", "--config", str(folder)]) == 0
    assert "very-secret" not in capsys.readouterr().err
    assert (receiver.messages[0]["title"], receiver.calls) == ("gb_pipeline: a test", ["/alive/very-secret"])
