"""A job as a task of SkyPilot: a managed job on Spot machines of any cloud, which SkyPilot replaces when they are lost.

SkyPilot starts the image and logs in to it by SSH, without the image's variables: they are read from its first process.
It installs what it needs in the container as root.
"""

from __future__ import annotations

import re

from images.cloud import bucket, yaml
from images.cloud import job as jobs
from images.cloud.job import Job
from images.errors import Stop
from images.running import steps

MOUNT = "/storage"
_BUCKET = (
    r"(s3|gs|r2|oci|nebius)://[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]|https://[a-z0-9]+\.blob\.core\.windows\.net/[a-z0-9-]+"
)
_OF_IMAGE = """\
while IFS= read -r -d '' each; do
    case $each in PATH=* | PYTHON* | PINTUNE_* | HF_HOME=*) export "$each" ;; esac
done </proc/1/environ
"""


def need(job: Job, gpu: str, infra: str = "") -> None:
    """Raise Stop for several nodes, no bucket, a GPU that is unknown or does not fit the flavor, or no such cloud."""
    bucket.need_one_node(job)
    bucket.need_address(job.storage, _BUCKET, "s3://BUCKET")
    if job.gpus:
        jobs.need_gpu(job, gpu)
    if infra and not re.fullmatch(r"[a-z0-9]+(/[\w*-]+){0,2}", infra):
        raise Stop("a cloud, region and zone as SkyPilot takes them", repr(infra), "--infra", "--infra azure/eastus")


def task(job: Job, gpu: str, infra: str = "") -> str:
    """The task.

    Args:
        gpu: the GPU's name, one of gpus.GPUS.
        infra: cloud and region as SkyPilot takes them, such as azure/eastus; "" for the cheapest.
    """
    head, _, rest = bucket.script(job, MOUNT, "SKYPILOT_TASK_ID").partition("\n")
    resources = {
        **({"infra": infra} if infra else {}),
        **({"accelerators": f"{gpu}:{job.gpus}"} if job.gpus else {"cpus": "4+", "memory": "16+"}),
        "image_id": f"docker:{job.image}",
        "use_spot": True,
        "disk_size": 256,
        "job_recovery": {
            "max_restarts_on_errors": 0,
            "recover_on_exit_codes": [steps.exit_status().paused],
        },
    }
    return yaml.dump(
        {
            "name": job.name,
            "num_nodes": job.nodes,
            "resources": resources,
            "config": {"docker": {"run_options": ["--user=0", "--shm-size=1g"]}},
            "file_mounts": {MOUNT: {"source": job.storage, "mode": "MOUNT"}},
            "run": f"{head}\n{_OF_IMAGE}{rest}",
        }
    )


def submit(spec: str, job: Job) -> list[list[str]]:
    """The commands that submit it and follow it."""
    return [["sky", "jobs", "launch", "--name", job.name, spec], ["sky", "jobs", "queue"]]
