"""A job as a command job of Azure Machine Learning (CLI and SDK v2), on a compute cluster of a workspace.

On a cluster of low priority, Azure ML starts the job again when its machine is lost. The datastore is mounted by
blobfuse, so runs are copied to it (bucket.py).
"""

from __future__ import annotations

import re

from images.cloud import bucket, yaml
from images.cloud.job import Job
from images.errors import Stop

SCHEMA = "https://azuremlschemas.azureedge.net/latest/commandJob.schema.json"
_STORAGE = r"azureml://datastores/[A-Za-z0-9_]+/paths/[\w./-]+"


def need(job: Job, compute: str) -> None:
    """Raise Stop for several nodes, no datastore, or a name that no compute cluster has."""
    bucket.need_one_node(job)
    bucket.need_address(job.storage, _STORAGE, "azureml://datastores/workspaceblobstore/paths/pintune")
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]{1,31}", compute):
        todo = "--compute NAME; az ml compute list shows them"
        raise Stop("the name of a compute cluster of the workspace", repr(compute), "--compute", todo)


def command_job(job: Job, compute: str) -> str:
    """The command job. Its script is `script`, in the folder `code`."""
    return yaml.dump(
        {
            "$schema": SCHEMA,
            "type": "command",
            "display_name": job.name,
            "experiment_name": "pintune",
            "code": "code",
            "command": "bash train.sh ${{outputs.storage}}",
            "environment": {"image": job.image},
            "compute": f"azureml:{compute}",
            "resources": {"instance_count": job.nodes, "shm_size": "1g"},
            "outputs": {"storage": {"type": "uri_folder", "path": job.storage, "mode": "rw_mount"}},
        }
    )


def script(job: Job) -> str:
    """The script that the job runs, with the datastore's mount as its argument."""
    return bucket.script(job, '"$1"', "AZUREML_RUN_ID")


def submit(spec: str) -> list[list[str]]:
    """The command that submits it; the workspace is that of `az configure --defaults`."""
    return [["az", "ml", "job", "create", "--file", spec]]
