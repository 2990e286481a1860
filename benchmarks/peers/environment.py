"""The environment that the peers run in: made once from pinned requirements, outside the repository."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
PYTHON = "3.11"  # zipline has wheels for it
READY = "ready"


class PeersUnavailable(Exception):
    """The peers' environment cannot be made; the message says why and what to do."""


def cache_folder() -> Path:
    """Where benchmarks keep what is worth keeping: `$XDG_CACHE_HOME/gb_pipeline/benchmarks`."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "gb_pipeline" / "benchmarks"


def peers_python(requirements: Path = REQUIREMENTS) -> Path:
    """The interpreter of the peers' environment, which is made if it is not there.

    Raises:
        PeersUnavailable: there is no `uv`, or the packages cannot be installed.
    """
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]
    folder = cache_folder() / f"peers-{digest}"
    python = folder / "bin" / "python"
    if (folder / READY).exists() and python.exists():
        return python
    uv = shutil.which("uv")
    if uv is None:
        raise PeersUnavailable(_message("there is no `uv` on the PATH", requirements))
    folder.parent.mkdir(parents=True, exist_ok=True)
    _run([uv, "venv", "--quiet", "--clear", "--python", PYTHON, str(folder)], requirements)
    _run([uv, "pip", "install", "--quiet", "--python", str(python), "--requirements", str(requirements)], requirements)
    (folder / READY).touch()
    return python


def _run(command: list[str], requirements: Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-1500:]
        raise PeersUnavailable(_message(f"`{' '.join(command[:3])} ...` failed:\n{said}", requirements))


def _message(why: str, requirements: Path) -> str:
    return (
        f"the environment of the peers cannot be made: {why}\n"
        f"It needs uv and a package index for {requirements}. Without: `--contenders gb_pipeline` measures ours alone."
    )
