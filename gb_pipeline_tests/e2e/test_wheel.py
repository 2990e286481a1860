"""The wheel, built from the sources and installed by pip into an environment of its own, is the whole package.

Nothing is downloaded: what the package stands on comes from the environment of the tests.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import time
import zipfile
from pathlib import Path

import httpx
import pytest

from gb_pipeline import Lake, __version__

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    uv = shutil.which("uv")
    if uv is None:
        pytest.skip("uv is not on the path")
    # A copy: building leaves nothing in the sources.
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "gb_pipeline", source / "gb_pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    folder = tmp_path_factory.mktemp("dist")
    command = [uv, "build", "--wheel", "--offline", "--no-build-isolation", "--python", sys.executable]
    subprocess.run([*command, "--out-dir", folder, source], check=True, capture_output=True)
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an environment in which pip has installed the wheel."""
    folder = tmp_path_factory.mktemp("installed") / ".venv"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True, capture_output=True)
    scripts = folder / "bin"
    installing = [scripts / "python", "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", wheel]
    subprocess.run(installing, check=True, capture_output=True)
    [packages] = folder.glob("lib/python*/site-packages")
    # Its libraries, after what is installed here.
    (packages / "libraries.pth").write_text(sysconfig.get_paths()["purelib"] + "\n", encoding="utf-8")
    return scripts


def own_variables() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("GB_", "PYTHON", "VIRTUAL_ENV"))}


def run(program: Path, *arguments: str, folder: Path) -> str:
    done = subprocess.run(
        [program, *arguments], cwd=folder, env=own_variables(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(wheel: Path) -> None:
    listed = subprocess.run(["git", "ls-files", "gb_pipeline"], cwd=ROOT, capture_output=True, text=True, check=True)
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert packed >= set(listed.stdout.split())
    assert all(name.startswith("gb_pipeline/") for name in packed)


def test_the_command_and_the_package_work_outside_of_the_sources(environment: Path, tmp_path: Path) -> None:
    assert run(environment / "gb", "--version", folder=tmp_path).strip() == f"gb_pipeline {__version__}"
    run(environment / "gb", "init", "my-data", folder=tmp_path)
    code = """
from datetime import date
import gb_pipeline, polars as pl
from gb_pipeline import Lake
prices = {"open": [1.5], "high": [2.0], "low": [1.0], "close": [1.75], "volume": [3]}
lake = Lake.open(create=True)
lake.put(pl.DataFrame({"date": [date(2024, 1, 2)], **prices}), source="mine", resolution="1d", symbol="AAPL", calendar="XNYS")
assert Lake.open().sql("select close::varchar from best_bars_1d").item() == "1.75000000"
print(gb_pipeline.__file__)
"""
    file = run(environment / "python", "-c", code, folder=tmp_path / "my-data")
    assert Path(file.strip()).is_relative_to(environment.parent)
    assert "mine:AAPL" in run(environment / "gb", "status", folder=tmp_path / "my-data")


def test_the_installed_package_serves_the_page(environment: Path, tmp_path: Path) -> None:
    Lake.open(tmp_path / "data", create=True)
    ready = tmp_path / "url.txt"
    command = [environment / "gb", "serve", "--lake", tmp_path / "data", "--port", "0", "--ready-file", ready]
    with (tmp_path / "serve.log").open("w", encoding="utf-8") as log:
        server = subprocess.Popen(command, cwd=tmp_path, env=own_variables(), stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 120
        while not ready.exists():
            assert server.poll() is None and time.monotonic() < deadline, (tmp_path / "serve.log").read_text()
            time.sleep(0.05)
        url = ready.read_text(encoding="utf-8")
        for name, start in (
            ("", b"<!doctype html>"),
            ("js/app.js", b"/"),
            ("vendor/NOTICE.txt", b"lightweight-charts"),
        ):
            response = httpx.get(f"{url}/page/{name}")
            assert response.status_code == 200 and response.content.lower().startswith(start), name
    finally:
        server.terminate()
        assert server.wait(60) == 0
