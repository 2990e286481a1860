"""The files of a deployment: every program, option, extra, variable and path in them exists, and what checks them here says so."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.specifiers import SpecifierSet

from gb_pipeline import Lake
from gb_pipeline.api.options import DEFAULT_PORT, ServeOptions
from gb_pipeline.api.serving import refuse_open_door
from gb_pipeline.api.tokens import TokenStore
from gb_pipeline.dagster_runtime import container
from gb_pipeline.dagster_runtime.container import CODE_PORT, PAGE_PORT, parse

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("code", "page", "daemon")
DEPLOY = ROOT / "deploy"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SERVICES = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))["services"]
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")


def run(*command: str, **more) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, **more)


def test_the_image_has_a_python_that_the_package_takes_and_extras_that_it_has() -> None:
    (version,) = set(re.findall(r"^FROM python:(\d+\.\d+)-", DOCKERFILE, re.MULTILINE))
    assert SpecifierSet(PROJECT["requires-python"]).contains(version)
    assert set(re.findall(r"--extra (\w+)", DOCKERFILE)) <= set(PROJECT["optional-dependencies"])


def test_what_the_image_copies_is_there_and_is_not_ignored() -> None:
    copied = [path for line in re.findall(r"^COPY ([^-\n]+)$", DOCKERFILE, re.MULTILINE) for path in line.split()[:-1]]
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[0] == "!"}

    assert {"pyproject.toml", "uv.lock", "gb_pipeline"} <= set(copied) == kept
    assert all((ROOT / path).exists() for path in copied)


def test_the_steps_of_the_image_install_a_package_that_works_without_this_folder(tmp_path: Path) -> None:
    """The same commands in an empty folder, with what the Dockerfile copies and nothing else."""
    uv = shutil.which("uv")
    assert uv is not None
    for path in ("pyproject.toml", "uv.lock", "README.md", "LICENSE"):
        shutil.copy(ROOT / path, tmp_path)
    shutil.copytree(ROOT / "gb_pipeline", tmp_path / "gb_pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    (step,) = re.findall(r"^RUN uv (sync .*--no-editable)$", DOCKERFILE, re.MULTILINE)
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}

    built = run(uv, *step.split(), "--python", sys.executable, cwd=tmp_path, env=environment)
    assert built.returncode == 0, built.stderr
    shutil.rmtree(tmp_path / "gb_pipeline")
    programs = tmp_path / ".venv" / "bin"
    said = run(str(programs / "gb"), "--version", cwd=tmp_path, env=environment)
    assert (said.returncode, PROJECT["version"] in said.stdout) == (0, True)
    for program in ("dagster", "dagster-daemon", "dagster-webserver"):
        assert (programs / program).exists()


def test_the_containers_agree_with_each_other_and_with_the_package() -> None:
    template = (ROOT / "gb_pipeline" / "dagster_runtime" / "dagster.postgres.yaml").read_text(encoding="utf-8")
    asked = set(re.findall(r"env: (DAGSTER_\w+)", template))
    for name in PARTS:
        service = SERVICES[name]
        assert asked <= set(service["environment"])
        assert service["environment"]["DAGSTER_POSTGRES_HOST"] == "postgres"
        assert service["command"][:3] == ["python", "-m", container.__name__]
        started = parse(service["command"][3:])
        assert started.role == name
        assert (started.code, started.host) == (f"code:{CODE_PORT}", "0.0.0.0")
        assert "/project/.dagster" in service["volumes"]
    # Credentials are where runs are and where streams are heard, and nowhere else.
    assert {name for name, service in SERVICES.items() if "env_file" in service} == {"code", "collector", "api"}
    assert SERVICES["collector"]["command"][:2] == ["gb", "collect"]
    # A port without an address is open to the whole network.
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert published == [f"127.0.0.1:{port}:{port}" for port in (PAGE_PORT, DEFAULT_PORT)]


def test_the_api_of_the_containers_listens_where_others_reach_it_and_needs_a_token(tmp_path: Path) -> None:
    service = SERVICES["api"]
    assert service["profiles"] == ["api"] and service["command"][:2] == ["gb", "serve"]
    grace = int(service["stop_grace_period"].removesuffix("s"))
    assert grace > ServeOptions().shutdown_seconds
    lake = tmp_path / "lake"
    Lake.open(lake, create=True)
    arguments = [*service["command"], "--lake", str(lake), "--port", "0"]
    gb = str(Path(sys.executable).parent / "gb")
    refused = run(gb, *arguments[1:])
    assert refused.returncode == 2 and "gb token create" in refused.stderr
    assert run(gb, "token", "create", "dashboard", "--scope", "read", "--lake", str(lake)).returncode == 0
    names = [arguments[place + 1] for place, word in enumerate(arguments) if word == "--allow-host"]
    refuse_open_door(ServeOptions(host="0.0.0.0", allowed_hosts=tuple(names)), TokenStore(lake / "state"))


def test_the_image_knows_where_project_and_history_are_and_is_nobody_of_rights() -> None:
    assert "GB_CONFIG=/project/gb.yaml DAGSTER_HOME=/project/.dagster" in DOCKERFILE
    last = DOCKERFILE.rpartition("FROM ")[2]
    assert re.findall(r"^USER (\S+)$", last, re.MULTILINE) == ["10001"]
    assert 'ENTRYPOINT ["tini", "--"]' in last


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("gb_pipeline", r"up --port \d+"), ("gb_collector", r"collect --json --metrics-port \d+")],
)
def test_systemd_understands_the_units(tmp_path: Path, name: str, arguments: str) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        (pytest.fail if os.environ.get("GB_REQUIRE_SERVICES") == "1" else pytest.skip)("systemd is not installed")
    text = (DEPLOY / f"{name}.service").read_text(encoding="utf-8")
    (command,) = re.findall(rf"^ExecStart=(\S+) {arguments}$", text, re.MULTILINE)
    # The program and the user are those of the machine that it is for.
    unit = tmp_path / f"{name}.service"
    here = text.replace(command, str(Path(sys.executable).parent / "gb")).replace("User=gb\nGroup=gb\n", "")
    unit.write_text(here, encoding="utf-8")

    told = run(program, "verify", str(unit))
    assert (told.returncode, f"{name}.service:" in told.stderr) == (0, False), told.stderr
