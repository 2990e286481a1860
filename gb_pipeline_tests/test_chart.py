"""The Helm chart, rendered by Helm itself: what it refuses, what Kubernetes' schemas say of the rest, and that its parts fit."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from gb_pipeline.cli import app as cli
from gb_pipeline.dagster_runtime import container
from gb_pipeline.dagster_runtime.home import POSTGRES_CONFIG, read_template

ROOT = Path(__file__).resolve().parents[1]
CHART = ROOT / "deploy" / "helm"
QUEUE = """
run_launcher:
  module: gb_pipeline.dagster_runtime.celery_launcher
  class: CeleryLauncher
  config:
    broker: {env: GB_BROKER}
"""
PROJECT = {"gb.yaml": "lake: /lake\nsources: {}\n", "dagster.yaml": read_template(POSTGRES_CONFIG)}
IN_A_BUCKET = {"gb.yaml": "lake: s3://bars/lake\n", "dagster.yaml": read_template(POSTGRES_CONFIG)}
WITH_A_QUEUE = {"gb.yaml": "lake: s3://bars/lake\n", "dagster.yaml": read_template(POSTGRES_CONFIG) + QUEUE}
LEAST: dict[str, Any] = {
    "image": {"repository": "registry.example.com/gb_pipeline"},
    "postgres": {"host": "db.example.com", "password": {"secret": "history"}},
    "project": PROJECT,
}
WORKERS = {"project": WITH_A_QUEUE, "workers": {"replicas": 3, "runs": 4, "broker": {"secret": "queue"}}}
INGRESS = {"enabled": True, "host": "bars.example.com", "tlsSecret": "bars", "annotations": {"login": "required"}}
KINDS: dict[str, dict[str, Any]] = {
    "the least": {},
    "an image that brings the project": {"project": {}},
    "a claim that exists": {"volume": {"claim": "ten-years"}},
    "a bucket and no volume": {
        "project": IN_A_BUCKET,
        "volume": {"enabled": False},
        "credentials": ["vendors", "bucket"],
    },
    "workers": WORKERS,
    "an ingress": {"page": {"ingress": INGRESS, "readOnly": True, "allowFrom": [{"namespaceSelector": {}}]}},
    "everything": {
        **WORKERS,
        "image": {"repository": "a/b", "tag": "mine", "pullPolicy": "Always", "pullSecrets": ["registry"]},
        "credentials": ["vendors"],
        "volume": {"size": "1Gi", "class": "fast"},
        "serviceAccount": {"annotations": {"role": "arn:aws:iam::1:role/bars"}},
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "data", "operator": "Exists"}],
    },
}
Objects = dict[tuple[str, str], dict[str, Any]]


def helm(*arguments: str, values: dict[str, Any] | None = None) -> subprocess.CompletedProcess[str]:
    program = shutil.which("helm")
    if program is None:
        (pytest.fail if os.environ.get("GB_REQUIRE_SERVICES") == "1" else pytest.skip)(
            "helm is not installed: tools/install_helm.py"
        )
    command = [program, *arguments, *([] if values is None else ["--values", "-"])]
    # Of the machine's own settings it reads none.
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}
    return subprocess.run(
        command, input=json.dumps(values), capture_output=True, text=True, check=False, env=environment, timeout=120
    )


def render(values: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    return helm("template", "market", str(CHART), "--namespace", "bars", values=values)


@functools.cache
def rendered(kind: str) -> Objects:
    """Every object by kind and the end of its name."""
    made = render(LEAST | KINDS[kind])
    assert made.returncode == 0, made.stderr
    documents = [document for document in yaml.safe_load_all(made.stdout) if document]
    objects = {
        (document["kind"], document["metadata"]["name"].removeprefix("market-gb-pipeline").lstrip("-")): document
        for document in documents
    }
    assert len(objects) == len(documents)
    return objects


def deployments(objects: Objects) -> dict[str, dict[str, Any]]:
    return {part: made for (kind, part), made in objects.items() if kind == "Deployment"}


def pod(deployment: dict[str, Any]) -> dict[str, Any]:
    return dict(deployment["spec"]["template"]["spec"])


def container_of(deployment: dict[str, Any]) -> dict[str, Any]:
    (only,) = pod(deployment)["containers"]
    return dict(only)


def test_it_is_of_the_version_of_the_package() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert (chart["version"], chart["appVersion"]) == (version, version)


def test_helm_finds_nothing_to_say() -> None:
    said = helm("lint", "--strict", "--quiet", str(CHART), values=LEAST)
    assert (said.returncode, said.stdout) == (0, ""), said.stdout + said.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_kubernetes_knows_every_field(kind: str) -> None:
    """From the oldest version that the chart takes to the newest whose schemas there are."""
    for manifest in rendered(kind).values():
        for version in ("1.27", "1.37"):
            kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_named_is_there(kind: str) -> None:
    """Services and policies select one part each; claims, files and accounts that pods name exist."""
    objects = rendered(kind)
    labels = {part: made["spec"]["template"]["metadata"]["labels"] for part, made in deployments(objects).items()}

    def selected(selector: dict[str, str]) -> list[str]:
        return [part for part, has in labels.items() if selector.items() <= has.items()]

    for part, made in deployments(objects).items():
        assert selected(made["spec"]["selector"]["matchLabels"]) == [part]
        assert ("ServiceAccount", "") in objects
        assert pod(made)["serviceAccountName"] == "market-gb-pipeline"
        volumes = {volume["name"]: volume for volume in pod(made)["volumes"]}
        mounts = container_of(made)["volumeMounts"]
        assert {mount["name"] for mount in mounts} == set(volumes)
        files = {mount["subPath"]: mount["mountPath"] for mount in mounts if "subPath" in mount}
        configured = objects.get(("ConfigMap", "project"), {"data": {}})["data"]
        assert files == {name: f"/project/{name}" for name in configured}
        if "lake" in volumes and kind != "a claim that exists":
            assert volumes["lake"]["persistentVolumeClaim"]["claimName"] == "market-gb-pipeline-lake"
            assert ("PersistentVolumeClaim", "lake") in objects
    for (what, name), made in objects.items():
        if what == "Service":
            assert selected(made["spec"]["selector"]) == [name]
            (port,) = made["spec"]["ports"]
            ports = {one["name"]: one["containerPort"] for one in container_of(objects["Deployment", name])["ports"]}
            assert ports[port["targetPort"]] == port["port"]
        if what == "NetworkPolicy":
            assert selected(made["spec"]["podSelector"]["matchLabels"]) == [name] or (name, "worker" in labels) == (
                "worker",
                False,
            )
        if what == "Ingress":
            (rule,) = made["spec"]["rules"]
            backend = rule["http"]["paths"][0]["backend"]["service"]
            assert ("Service", backend["name"].removeprefix("market-gb-pipeline-")) in objects


@pytest.mark.parametrize("kind", KINDS)
def test_no_pod_has_more_rights_than_it_needs(kind: str) -> None:
    for part, made in deployments(rendered(kind)).items():
        spec, only = pod(made), container_of(made)
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] == 10001
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert (spec["automountServiceAccountToken"], spec["enableServiceLinks"]) == (False, False)
        assert only["securityContext"] == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}
        }  # fmt: skip
        assert {"requests", "limits"} == set(only["resources"])
        written = {mount["mountPath"] for mount in only["volumeMounts"] if not mount.get("readOnly")}
        assert {"/project/.dagster", "/home/gb", "/tmp"} <= written
        assert ("livenessProbe" in only) == (part != "worker")
    for (what, name), made in rendered(kind).items():
        if what == "NetworkPolicy" and name == "code":
            (rule,) = made["spec"]["ingress"]
            askers = [peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"] for peer in rule["from"]]
            assert askers == ["page", "daemon"]


@pytest.mark.parametrize("kind", KINDS)
def test_each_pod_runs_a_command_that_the_package_knows(kind: str) -> None:
    objects = rendered(kind)
    parts = deployments(objects)
    assert set(parts) == {"code", "page", "daemon"} | ({"worker"} if kind in {"workers", "everything"} else set())
    for part in set(parts) - {"worker"}:
        program, arguments = container_of(parts[part])["args"][:3], container_of(parts[part])["args"][3:]
        assert program == ["python", "-m", container.__name__]
        told = container.parse(arguments)
        assert told.role == part
        assert told.read_only == (part == "page" and kind == "an ingress")
        # Page and daemon ask the service of the code server.
        if part != "code":
            name, _, port = told.code.rpartition("-code:")
            assert (name, int(port)) == ("market-gb-pipeline", container.CODE_PORT)
        # Neither may ever be there twice.
        if part != "page":
            assert (parts[part]["spec"]["replicas"], parts[part]["spec"]["strategy"]) == (1, {"type": "Recreate"})
    if "worker" in parts:
        assert container_of(parts["worker"])["args"] == ["gb", "worker", "--runs", str(4)]
        assert "worker" in {command.name or command.callback.__name__ for command in cli.app.registered_commands}
    image = container_of(parts["code"])["image"]
    assert {container_of(made)["image"] for made in parts.values()} == {image}
    assert image == ("a/b:mine" if kind == "everything" else "registry.example.com/gb_pipeline:0.2.0")


@pytest.mark.parametrize("kind", KINDS)
def test_credentials_come_from_secrets_and_only_to_whom_they_are_for(kind: str) -> None:
    template = yaml.safe_load(read_template(POSTGRES_CONFIG))
    asked = {one["env"] for one in template["run_storage"]["config"]["postgres_db"].values() if isinstance(one, dict)}
    for part, made in deployments(rendered(kind)).items():
        only = container_of(made)
        variables = {one["name"]: one for one in only["env"]}
        assert asked <= set(variables)
        secret = {name: one["valueFrom"]["secretKeyRef"] for name, one in variables.items() if "valueFrom" in one}
        assert secret.pop("DAGSTER_POSTGRES_PASSWORD") == {"name": "history", "key": "password"}
        # Every process that loads dagster.yaml needs the address of its queue.
        assert secret == ({"GB_BROKER": {"name": "queue", "key": "broker"}} if "workers" in KINDS[kind] else {})
        everything = [one["secretRef"]["name"] for one in only.get("envFrom", [])]
        assert everything == (KINDS[kind].get("credentials", []) if part in {"code", "worker"} else [])
        assert ("lake" in {volume["name"] for volume in pod(made)["volumes"]}) == (
            part == "code" and kind != "a bucket and no volume"
        )
    assert not any(what == "Secret" for what, _ in rendered(kind))


def test_a_file_that_changes_starts_the_pods_anew() -> None:
    before, after = rendered("the least"), rendered("a bucket and no volume")
    for part in ("code", "page", "daemon"):
        marks = [
            deployments(objects)[part]["spec"]["template"]["metadata"]["annotations"]["checksum/project"]
            for objects in (before, after)
        ]
        assert marks[0] != marks[1]


def test_a_lake_outlives_its_release() -> None:
    claim = rendered("the least")["PersistentVolumeClaim", "lake"]
    assert claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def values_with(lake: str, **more: Any) -> dict[str, Any]:
    return LEAST | {"project": PROJECT | {"gb.yaml": f"lake: {lake}\n"}} | more


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "repository"),
        (LEAST | {"image": {"repository": ""}}, "repository"),
        (LEAST | {"postgres": {"host": "db"}}, "secret"),
        (LEAST | {"postgres": {"password": {"secret": "history"}}}, "host"),
        (LEAST | {"replicas": 2}, "replicas"),
        (LEAST | {"volume": {"size": "much"}}, "size"),
        (LEAST | {"project": {"gb.yaml": "lake: /lake"}}, "dagster.yaml"),
        (LEAST | {"project": PROJECT | {"symbols/all.txt": "A"}}, "symbols/all.txt"),
        (LEAST | {"page": {"ingress": INGRESS | {"annotations": {}}}}, "annotations"),
        (LEAST | {"page": {"ingress": INGRESS | {"tlsSecret": ""}}}, "tlsSecret"),
        (LEAST | WORKERS | {"workers": {"replicas": 1}}, "broker"),
        (LEAST | WORKERS | {"project": IN_A_BUCKET}, "dagster.yaml names no queue"),
        (LEAST | WORKERS | {"project": WITH_A_QUEUE | PROJECT}, "need a lake in a bucket"),
        (values_with("data"), "`lake: data`, which would be lost with the pod"),
        (values_with("/lakes"), "`lake: /lakes`, which would be lost with the pod"),
        (values_with("/lake/bars", volume={"enabled": False}), "volume.enabled is false"),
        (values_with("[a"), "gb.yaml is not YAML"),
    ],
)  # fmt: skip
def test_what_would_not_work_is_refused(values: dict[str, Any], said: str) -> None:
    made = render(values)
    assert (made.returncode, made.stdout) == (1, "")
    assert said in made.stderr


@pytest.mark.parametrize("lake", ["/lake", "/lake/bars", "s3://bars/lake", "'${GB_BUCKET}'"])
def test_a_lake_that_stays_is_taken(lake: str) -> None:
    assert render(values_with(lake)).returncode == 0
