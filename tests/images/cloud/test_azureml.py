"""The command job for Azure Machine Learning, word for word."""

from __future__ import annotations

import subprocess

import pytest

from images.cloud import azureml
from images.errors import Stop
from tests.images.cloud.golden import assert_golden, job

STORE = "azureml://datastores/workspaceblobstore/paths/pintune"


def test_the_command_job() -> None:
    made = job(nodes=1, storage=STORE)
    assert_golden("azureml.yml", azureml.command_job(made, "gpu-cluster"))
    assert_golden("azureml.sh", azureml.script(made))
    assert subprocess.run(["bash", "-n"], input=azureml.script(made), text=True).returncode == 0


@pytest.mark.parametrize(
    ("nodes", "storage", "compute", "message"),
    [
        (2, STORE, "gpu", "share runs/ by a file system"),
        (1, "", "gpu", "a bucket such as azureml://"),
        (1, "s3://bucket", "gpu", "a bucket such as azureml://"),
        (1, STORE, "", "the name of a compute cluster"),
        (1, STORE, "azureml:gpu", "the name of a compute cluster"),
    ],
)
def test_what_azure_ml_would_not_take_is_refused(nodes: int, storage: str, compute: str, message: str) -> None:
    with pytest.raises(Stop, match=message):
        azureml.need(job(nodes=nodes, storage=storage), compute)
