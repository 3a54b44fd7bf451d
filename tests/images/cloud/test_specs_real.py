"""Every spec, as its owner's tool reads it, in an environment that this test makes from the package index.

Tools accept what their engine then refuses, so that each test also shows a fault that the check finds.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from images import pip_config
from images.cloud import azureml, kubernetes, skypilot
from images.cloud.gpus import GPUS
from images.cloud.kubernetes import Needs
from tests.images.cloud.golden import job

pytestmark = [pytest.mark.slow, pytest.mark.network]

CLAIM, BUCKET, STORE = "pintune", "s3://my-bucket", "azureml://datastores/workspaceblobstore/paths/pintune"
Python = Callable[..., "subprocess.CompletedProcess[str]"]


def _environment(folder: Path, *packages: str) -> Python:
    """Run a script in a new environment with these packages; fails if it cannot be made."""
    uv = pip_config.uv()
    subprocess.run([uv, "venv", "--quiet", str(folder)], check=True)
    settings = pip_config.uv_environment(pip_config.read(), folder, [], "")
    install = [uv, "pip", "install", "--quiet", "--python", str(folder / "bin/python"), *packages]
    done = subprocess.run(install, env=settings, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr

    def run(script: str, *words: str) -> subprocess.CompletedProcess[str]:
        own = {"HOME": str(folder), "PATH": f"{folder}/bin:/usr/bin:/bin", "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"}
        command = [str(folder / "bin/python"), "-c", script, *words]
        return subprocess.run(command, env=own, capture_output=True, text=True, timeout=300)

    return run


@pytest.fixture(scope="module")
def of_kubernetes(tmp_path_factory: pytest.TempPathFactory) -> Python:
    packages = ("kubernetes-validate==1.37.0", "kubeflow-trainer-api==2.3.0")
    return _environment(tmp_path_factory.mktemp("kubernetes"), *packages)


VALIDATE = "import sys; from kubernetes_validate.__main__ import main; sys.exit(main())"


def _documents(text: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(text))


def _is_valid(python: Python, folder: Path, documents: list[dict[str, Any]]) -> bool:
    (folder / "spec.yaml").write_text(yaml.safe_dump_all(documents))
    done = python(VALIDATE, "--strict", str(folder / "spec.yaml"))
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode == 0


@pytest.mark.parametrize("flavor", ["cpu", "cu130"])
def test_kubernetes_takes_the_indexed_job(of_kubernetes: Python, tmp_path: Path, flavor: str) -> None:
    made = job(flavor, storage=CLAIM)
    documents = _documents(kubernetes.indexed_job(made, Needs())) + _documents(kubernetes.prepare(made, Needs()))
    assert [each["kind"] for each in documents] == ["Service", "NetworkPolicy", "Job", "Job"]
    for each in documents:
        assert _is_valid(of_kubernetes, tmp_path, [each]), each["kind"]
    documents[2]["spec"]["template"]["spec"]["containers"][0]["resource"] = {}
    assert not _is_valid(of_kubernetes, tmp_path, documents[2:3])


# the models drop a field that they do not know, so what is left must be what was given
READ = """
import json, sys
import kubeflow_trainer_api.models as models
given = json.load(open(sys.argv[1]))
print(json.dumps(getattr(models, "TrainerV1alpha1" + given["kind"]).from_dict(given).to_dict()))
"""


def _as_read(python: Python, folder: Path, document: dict[str, Any]) -> dict[str, Any]:
    (folder / "spec.json").write_text(json.dumps(document))
    done = python(READ, str(folder / "spec.json"))
    assert done.returncode == 0, done.stderr
    read: dict[str, Any] = json.loads(done.stdout)
    return read


@pytest.mark.parametrize("flavor", ["cpu", "cu130"])
def test_kubeflow_trainer_takes_the_train_job(of_kubernetes: Python, tmp_path: Path, flavor: str) -> None:
    wall, runtime, trained = _documents(kubernetes.train_job(job(flavor, storage=CLAIM), Needs()))
    assert _is_valid(of_kubernetes, tmp_path, [wall])
    for document in (runtime, trained):
        assert _as_read(of_kubernetes, tmp_path, document) == document
    trained["spec"]["trainer"]["nodes"] = 2
    assert _as_read(of_kubernetes, tmp_path, trained) != trained
    (node,) = runtime["spec"]["template"]["spec"]["replicatedJobs"]
    job_in_it = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "x"}, "spec": node["template"]["spec"]}
    assert _is_valid(of_kubernetes, tmp_path, [job_in_it])


SKY = """
import json, sys, sky
from pathlib import Path
task = sky.Task.from_yaml(sys.argv[1])
(resources,) = task.resources
names = Path(sky.catalog.__file__).read_text()
known = [name for name in json.loads(sys.argv[2]) if f"'{name}'" in names]
print(json.dumps([resources.accelerators, resources.use_spot, resources.extract_docker_image(), known]))
"""


def test_skypilot_takes_the_task(tmp_path: Path) -> None:
    python = _environment(tmp_path / "sky", "skypilot==0.14.1")
    made = job(nodes=1, storage=BUCKET)
    (tmp_path / "task.yaml").write_text(skypilot.task(made, "A100", "azure/eastus"))
    done = python(SKY, str(tmp_path / "task.yaml"), json.dumps([*GPUS, "A1000"]))
    assert done.returncode == 0, done.stderr[-2000:]
    accelerators, spot, image, known = json.loads(done.stdout.splitlines()[-1])
    assert (accelerators, spot, image) == ({"A100": 4}, True, made.image)
    assert known == list(GPUS)  # from_yaml takes any name
    (tmp_path / "task.yaml").write_text(skypilot.task(made, "A100").replace("use_spot", "spot"))
    assert python(SKY, str(tmp_path / "task.yaml"), "[]").returncode != 0


AZURE_ML = """
import sys
from azure.ai.ml import load_job
job = load_job(sys.argv[1])
print(job.environment.image, job.outputs["storage"].mode, job.compute)
"""


def test_azure_ml_takes_the_command_job(tmp_path: Path) -> None:
    python = _environment(tmp_path / "azure", "azure-ai-ml==1.35.2", "azure-identity")
    made = job(nodes=1, storage=STORE)
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "train.sh").write_text(azureml.script(made))
    text = azureml.command_job(made, "gpu-cluster")
    (tmp_path / "job.yml").write_text(text)
    done = python(AZURE_ML, str(tmp_path / "job.yml"))
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines()[-1].split() == [made.image, "rw_mount", "gpu-cluster"]
    (tmp_path / "job.yml").write_text(text.replace("shm_size", "shared_memory"))
    assert python(AZURE_ML, str(tmp_path / "job.yml")).returncode != 0
