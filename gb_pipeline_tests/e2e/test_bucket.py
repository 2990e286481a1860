"""The demo on a bucket, through the real daemon; then a machine that never saw it reads what is there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gb_pipeline.cli.demo import _project
from gb_pipeline.config.bucket import Bucket
from gb_pipeline_tests.s3.store import running_store

SYMBOLS, DAYS = 2, 3


def gb(home: Path, bucket: Bucket, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command on a machine of its own, which has nothing but the credentials."""
    home.mkdir(exist_ok=True)
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "GB_LAKE", "XDG_"))
    }
    environment |= {
        "HOME": str(home),
        "AWS_ENDPOINT_URL": str(bucket.endpoint),
        "AWS_ACCESS_KEY_ID": str(bucket.access_key_id),
        "AWS_SECRET_ACCESS_KEY": str(bucket.secret_access_key),
        "AWS_REGION": str(bucket.region),
    }
    command = [sys.executable, "-m", "gb_pipeline.cli", *arguments]
    return subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True, check=False)


def test_the_demo_fills_a_bucket_and_another_machine_reads_it(tmp_path: Path) -> None:
    project = tmp_path / "demo"
    _project(project, datetime.now(UTC).date() - timedelta(days=DAYS), SYMBOLS)
    text = (project / "gb.yaml").read_text(encoding="utf-8")
    with running_store() as server:
        bucket = server.bucket()
        assert "lake: data" in text
        (project / "gb.yaml").write_text(text.replace("lake: data", f"lake: {bucket}"), encoding="utf-8")
        told = gb(
            tmp_path / "a", bucket, "demo", "--dir", str(project), "--no-ui", "--symbols", "2", "--days", str(DAYS)
        )
        assert told.returncode == 0, told.stderr[-4000:]
        assert str(bucket.secret_access_key) not in told.stdout + told.stderr
        assert not (project / "data").exists()

        server.requests.clear()
        status = gb(tmp_path / "b", bucket, "status", "--lake", str(bucket), "--json")
        assert status.returncode == 0, status.stderr
        asked = Counter(request.method for request in server.requests)
        sql = gb(tmp_path / "b", bucket, "sql", "select count(*) as bars from bars_1m", "--lake", str(bucket), "--json")
        assert sql.returncode == 0, sql.stderr
        assert not server.listings()
        assert set(asked) <= {"GET", "HEAD"}
        print(f"status of a new machine: {dict(asked)}")
        series = json.loads(status.stdout)
        (bars,) = (row["bars"] for row in json.loads(sql.stdout))
        assert len(series) == SYMBOLS
        assert DAYS * SYMBOLS * 1440 * 0.98 < bars <= DAYS * SYMBOLS * 1440
        verified = gb(tmp_path / "b", bucket, "verify", "--lake", str(bucket))
        assert verified.returncode == 0, verified.stderr
        doctor = gb(tmp_path / "b", bucket, "doctor", "--config", str(project))
        assert "keeps conditional puts" in doctor.stdout
