"""`gb init` and `gb doctor`: a project begins, and somebody looks whether it can work."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gb_pipeline.config.settings import Settings
from gb_pipeline.dagster_runtime.home import POSTGRES_CONFIG, read_template
from gb_pipeline.providers import Transport
from gb_pipeline_tests.cli.console import PROJECT, Gb

ROOT = Path(__file__).resolve().parents[2]


def test_a_new_project_loads(gb: Gb, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    written = gb("init", folder, "--json").json["written"]
    assert {Path(path).name for path in written} == {"gb.yaml", "dagster.yaml", ".gitignore", ".env.example"}
    assert set(Settings.load(folder).sources) == {"coinbase", "kraken"}


def test_a_new_project_may_keep_its_history_in_postgresql(gb: Gb, tmp_path: Path) -> None:
    told = gb("init", tmp_path / "new", "--postgres")
    assert "DAGSTER_POSTGRES_PASSWORD" in told.err
    written = (tmp_path / "new" / "dagster.yaml").read_text(encoding="utf-8")
    assert written == read_template(POSTGRES_CONFIG)


def test_nothing_is_overwritten(gb: Gb, tmp_path: Path) -> None:
    (tmp_path / "gb.yaml").write_text("mine", encoding="utf-8")
    told = gb("init", tmp_path)
    assert told.code == 2
    assert "already" in told.err
    assert [path.name for path in tmp_path.iterdir()] == ["gb.yaml"]
    assert (tmp_path / "gb.yaml").read_text(encoding="utf-8") == "mine"


def test_a_folder_that_cannot_be_made_is_refused(gb: Gb, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert gb("init", tmp_path / "file" / "new").code == 2


def test_the_default_project_is_the_template() -> None:
    template = ROOT / "gb_pipeline" / "cli" / "templates" / "gb.yaml"
    assert (ROOT / "gb.yaml").read_text(encoding="utf-8") == template.read_text(encoding="utf-8")


def test_the_default_project_is_in_order_without_a_network(
    gb: Gb, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GB_LAKE", str(tmp_path / "lake"))
    findings = gb("doctor", "--json", "--config", ROOT).json
    assert {item["verdict"] for item in findings} <= {"ok", "warn"}
    assert {"python", "packages", "gb.yaml", "lake", "disk", "source coinbase", "source kraken"} <= {
        item["check"] for item in findings
    }


def test_a_stored_lake_is_in_order(gb: Gb, stored: Path) -> None:
    told = gb("doctor", "--config", stored)
    assert told.code == 0
    assert "bars_1m: version" in told.out
    assert "it counts the bars that are stored" in told.out
    assert "everything is in place" in told.err


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("provider: ccxt", "provider: nope"), "no provider 'nope'"),
        (("exchange: binance", "exchange: nope"), "nope"),
        (("start: 2024-01-01", "calendar: XNYX\n    start: 2024-01-01"), "XNYX"),
        (("asset_class: crypto", "asset_class: equity"), "does not have"),
        (("lake: data", "lake: gs://bucket/lake"), "lake cannot be at gs://"),
        (("start: 2024-01-01", "start: soon"), "sources.sim.start"),
        (("start:", "strat:"), "strat"),
        (("lake: data", "lake: gb.yaml"), "cannot be written"),
    ],
)
def test_what_cannot_work_is_found(gb: Gb, project: Path, change: tuple[str, str], says: str) -> None:
    (project / "gb.yaml").write_text(PROJECT.replace(*change), encoding="utf-8")
    told = gb("doctor", "--json", "--config", project)
    assert told.code == 1
    assert says in " ".join(item["detail"] for item in told.json if item["verdict"] == "fail")


def test_credentials_are_counted_and_never_shown(gb: Gb, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SECRET", "hunter2-hunter2")
    text = PROJECT.replace("exchange: binance", 'exchange: binance, api_key: "${MY_SECRET}"')
    (project / "gb.yaml").write_text(text, encoding="utf-8")
    told = gb("doctor", "--json", "--config", project)
    assert "hunter2" not in told.out + told.err


def doctored(gb: Gb, project: Path, options: str, change: tuple[str, str] = ("", "")) -> dict[str, str]:
    text = PROJECT.replace('exchange: binance, base_url: "${GB_SIM_URL}"', options).replace(*change)
    (project / "gb.yaml").write_text(text, encoding="utf-8")
    [finding] = [item for item in gb("doctor", "--json", "-c", project).json if item["check"] == "source sim"]
    return dict(finding)


def test_a_source_is_ready_or_it_is_said_why_not(gb: Gb, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SET_KEY", "hunter2-hunter2")
    ready = doctored(gb, project, "exchange: binance")
    assert ready["verdict"] == "ok"
    assert ready["detail"].startswith("ready: ccxt, 2 symbols of 1m, 1h, calendar 24/7 with ")
    unset = doctored(gb, project, 'key: "${SET_KEY}", secret: "${UNSET_ONE}", token: "${UNSET_TWO}"', ("24/7", "XNYX"))
    assert unset["verdict"] == "fail"
    assert unset["detail"].startswith("not ready: ")
    for said in ("'secret'", "UNSET_ONE is not set", "'token'", "UNSET_TWO is not set"):
        assert said in unset["detail"]
    assert "set UNSET_ONE, or write it into the .env" in unset["fix"]
    assert "SET_KEY" not in unset["detail"].replace("UNSET", "")


SHARES = ("asset_class: crypto", "calendar: XNYS")


@pytest.mark.parametrize(("provider", "needs"), [("massive", 1), ("alpaca", 2), ("alpha_vantage", 1)])
def test_a_key_that_the_vendor_needs_and_gb_yaml_does_not_name_is_missed(
    gb: Gb, project: Path, provider: str, needs: int
) -> None:
    text = (
        PROJECT.replace("provider: ccxt", f"provider: {provider}")
        .replace(*SHARES)
        .replace("BTC-USDT, ETH-USDT", "AAPL")
    )
    (project / "gb.yaml").write_text(text.replace("exchange: binance, ", ""), encoding="utf-8")
    [found] = [item for item in gb("doctor", "--json", "-c", project).json if item["check"] == "source sim"]
    assert found["verdict"] == "fail"
    assert found["detail"].count("is missing") == needs
    assert 'write options: {key: "${SIM_KEY}"}' in found["fix"]


def test_a_key_that_is_written_out_works_and_is_warned_about(gb: Gb, project: Path) -> None:
    text = PROJECT.replace("provider: ccxt", "provider: massive").replace(*SHARES).replace("BTC-USDT, ETH-USDT", "AAPL")
    (project / "gb.yaml").write_text(text.replace("exchange: binance,", "key: hunter2-hunter2,"), encoding="utf-8")
    told = gb("doctor", "--json", "-c", project)
    [found] = [item for item in told.json if item["check"] == "source sim"]
    assert (found["verdict"], found["detail"][:6]) == ("warn", "ready:")
    assert "'key' is written out in gb.yaml" in found["detail"]
    assert "${SIM_KEY}" in found["fix"]
    assert "hunter2" not in told.out + told.err


def test_what_is_left_of_a_vendors_day_is_said_and_nothing_is_counted_by_looking(gb: Gb, project: Path) -> None:
    from gb_pipeline.config.settings import DailyQuota
    from gb_pipeline.providers.http.policy import Policy

    text = PROJECT.replace("retries: 0", "daily_quota: {calls: 2, zone: America/New_York}")
    (project / "gb.yaml").write_text(text, encoding="utf-8")
    state = project / "data" / "state"

    def found() -> dict[str, str]:
        [finding] = [item for item in gb("doctor", "--json", "-c", project).json if item["check"] == "source sim"]
        return dict(finding)

    assert "2 of 2 calls left today" in found()["detail"]
    assert not state.exists()
    transport = Transport("ccxt-binance", Policy(quota=DailyQuota(calls=2, zone="America/New_York"), state_dir=state))
    asyncio.run(transport.admit())
    assert "1 of 2 calls left today" in found()["detail"]
    asyncio.run(transport.admit())
    used_up = found()
    assert used_up["verdict"] == "warn"
    assert used_up["detail"] == "not ready: all 2 calls of today are used (America/New_York)"
    assert "it goes on after" in used_up["fix"]


def test_a_project_without_a_source_is_not_in_place(gb: Gb, tmp_path: Path) -> None:
    (tmp_path / "gb.yaml").write_text("sources: {}", encoding="utf-8")
    told = gb("doctor", "--config", tmp_path)
    assert (told.code, "everything is in place" in told.err) == (0, False)
    assert "add a source" in told.out


@pytest.mark.parametrize(
    ("dates", "says"),
    [
        ("start: 2024-01-01\n    end: 2024-01-04", "3 sessions since 2024-01-01, the last 2024-01-03"),
        ("start: 2999-01-01", "0 sessions since 2999-01-01"),
    ],
)
def test_the_sessions_of_a_source_are_those_that_a_plan_has(gb: Gb, project: Path, dates: str, says: str) -> None:
    text = (project / "gb.yaml").read_text(encoding="utf-8")
    (project / "gb.yaml").write_text(text.replace("start: 2024-01-01", dates), encoding="utf-8")
    finding = next(row for row in gb("doctor", "--json", "--config", project).json if row["check"] == "source sim")
    assert says in finding["detail"]


def test_every_reason_against_a_source_is_said_at_once(gb: Gb, project: Path) -> None:
    found = doctored(gb, project, 'key: "${UNSET_ONE}"', ("provider: ccxt", "provider: nope"))
    for said in ("UNSET_ONE is not set", "there is no provider 'nope'"):
        assert said in found["detail"]


def test_a_package_that_is_not_installed_is_named(gb: Gb, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gb_pipeline.providers import registry

    monkeypatch.setitem(registry._BUILT_IN, "needy", "gb_no_such_package:Provider")
    found = doctored(gb, project, "", ("provider: ccxt", "provider: needy"))
    assert "needs the package gb_no_such_package, which is not installed" in found["detail"]
    assert "uv pip install gb_no_such_package" in found["fix"]


def test_a_dagster_home_that_cannot_be_one_is_found(
    gb: Gb, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verdicts = {}
    (tmp_path / "empty").mkdir()
    for home in ("relative", str(tmp_path / "absent"), str(tmp_path / "empty")):
        monkeypatch.setenv("DAGSTER_HOME", home)
        [finding] = [item for item in gb("doctor", "--json", "-c", project).json if item["check"] == "DAGSTER_HOME"]
        verdicts[Path(home).name] = finding["verdict"]
    assert verdicts == {"relative": "fail", "absent": "fail", "empty": "warn"}
