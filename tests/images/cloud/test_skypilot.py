"""The task for SkyPilot, word for word."""

from __future__ import annotations

import subprocess

import pytest
import yaml

from images.cloud import skypilot
from images.errors import Stop
from tests.images.cloud.golden import assert_golden, job

BUCKET = "s3://my-bucket"


def test_the_task() -> None:
    made = skypilot.task(job(nodes=1, storage=BUCKET), "A100", "azure/eastus")
    assert_golden("skypilot.yaml", made)
    assert subprocess.run(["bash", "-n"], input=yaml.safe_load(made)["run"], text=True).returncode == 0


def test_a_task_without_gpu_asks_for_cores() -> None:
    resources = yaml.safe_load(skypilot.task(job("cpu", 1, 1, BUCKET), ""))["resources"]
    assert (resources["cpus"], "accelerators" in resources) == ("4+", False)


@pytest.mark.parametrize(
    ("nodes", "storage", "gpu", "infra", "message"),
    [
        (2, BUCKET, "A100", "", r"share runs/ by a file system\n found: 2 nodes"),
        (1, "", "A100", "", "a bucket such as s3://BUCKET"),
        (1, "bucket", "A100", "", "a bucket such as s3://BUCKET"),
        (1, "s3://b b", "A100", "", "a bucket such as s3://BUCKET"),
        (1, BUCKET, "", "", "a GPU: V100"),
        (1, BUCKET, "A100", "azure; rm", "a cloud, region and zone"),
    ],
)
def test_what_skypilot_would_not_take_is_refused(nodes: int, storage: str, gpu: str, infra: str, message: str) -> None:
    with pytest.raises(Stop, match=message):
        skypilot.need(job(nodes=nodes, storage=storage), gpu, infra)


@pytest.mark.parametrize("storage", [BUCKET, "gs://b.c", "https://account.blob.core.windows.net/container"])
def test_buckets_of_several_clouds(storage: str) -> None:
    skypilot.need(job(nodes=1, storage=storage), "H100", "azure/eastus/1")
