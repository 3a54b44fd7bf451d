"""A job for Kubernetes: a TrainJob of Kubeflow Trainer with a runtime of its own, or an indexed Job and a Service.

The volume claim is one that all nodes mount (ReadWriteMany) and that has POSIX locks and renames, such as NFS. Pods run
as the image's user, without capabilities, with a read-only root, and talk to each other alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from images.cloud import job as jobs
from images.cloud import yaml
from images.cloud.job import Job
from images.errors import Stop
from images.running import steps

_USER = 1000  # of every image
_PORT = 29500
_QUANTITY = r"[1-9]\d*(\.\d+)?([EPTGMk]i?)?"
_SUBDOMAIN = r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?"  # a name of Kubernetes, RFC 1123
INSTANCE = "app.kubernetes.io/instance"

Spec = dict[str, Any]


@dataclass(frozen=True)
class Needs:
    """What a node needs of the cluster."""

    cpus: int = 4  # cores of each process
    memory: str = "32Gi"  # of each node


def need_names(job: Job, needs: Needs) -> None:
    """Raise Stop if Kubernetes would not take the claim's name or a quantity."""
    if not re.fullmatch(_SUBDOMAIN, job.storage):
        todo = "--storage CLAIM; kubectl get pvc lists them"
        raise Stop("the name of a volume claim with data/, models/ and runs/", repr(job.storage), "--storage", todo)
    if not re.fullmatch(_QUANTITY, needs.memory):
        raise Stop("an amount of memory as Kubernetes takes it", repr(needs.memory), "--memory", "--memory 32Gi")
    if needs.cpus < 1:
        raise Stop("at least one core for each process", str(needs.cpus), "--cpus", "--cpus 4")


def prepare(job: Job, needs: Needs) -> str:
    """The Job that fetches data and model to the volume and formats them, which may use the network."""
    name = f"{job.name}-prepare"
    fetch, form = (_container(job, step, jobs.step(job, step), needs, writes=("data", "models")) for step in _STEPS)
    pod = {"restartPolicy": "Never", "initContainers": [fetch], "containers": [form], **_pod(job)}
    spec = {"backoffLimit": 3, "template": {"metadata": {"labels": _labels(name)}, "spec": pod}}
    return yaml.dump({"apiVersion": "batch/v1", "kind": "Job", "metadata": _metadata(name), "spec": spec})


_STEPS = ("fetch", "format")


def indexed_job(job: Job, needs: Needs) -> str:
    """The plain Job with an index for each node, the Service by which they find node 0, and the wall around them."""
    paused, usage = steps.exit_status().paused, steps.exit_status().usage
    node = {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": f"metadata.annotations['{_INDEX}']"}}}
    command = _checked(job, jobs.train(job, '"$NODE"', f"{job.name}-0.{job.name}:{_PORT}"))
    container = _container(job, "train", command, needs, ("runs",), job.gpus, [node])
    spec = {
        "completionMode": "Indexed",
        "completions": job.nodes,
        "parallelism": job.nodes,
        "backoffLimit": jobs.RESTARTS * job.nodes,
        "podFailurePolicy": {
            "rules": [
                {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [usage]}},
                {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [paused]}},  # evicted, and saved
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            ]
        },
        "template": {
            "metadata": {"labels": _labels(job.name)},
            "spec": {"restartPolicy": "Never", "subdomain": job.name, "containers": [container], **_pod(job)},
        },
    }
    service = {
        "clusterIP": "None",
        "publishNotReadyAddresses": True,
        "selector": _labels(job.name),
        "ports": [{"name": "rendezvous", "port": _PORT}],
    }
    return yaml.documents(
        [
            {"apiVersion": "v1", "kind": "Service", "metadata": _metadata(job.name), "spec": service},
            _wall(job),
            {"apiVersion": "batch/v1", "kind": "Job", "metadata": _metadata(job.name), "spec": spec},
        ]
    )


_INDEX = "batch.kubernetes.io/job-completion-index"


def train_job(job: Job, needs: Needs) -> str:
    """The TrainJob, its runtime, and the wall around its pods. Kubeflow Trainer sets PET_*, and starts all nodes again
    when one fails."""
    command = _checked(job, jobs.train(job, '"$PET_NODE_RANK"', '"$PET_MASTER_ADDR:$PET_MASTER_PORT"'))
    container = _container(job, "node", command, needs, ("runs",), job.gpus)
    pod = {"restartPolicy": "Never", "containers": [container], **_pod(job)}
    template = {"metadata": {"labels": _labels(job.name)}, "spec": pod}
    node = {
        "name": "node",
        "template": {
            "metadata": {"labels": {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}},
            "spec": {"backoffLimit": 0, "template": template},
        },
    }
    runtime = {
        "mlPolicy": {"numNodes": job.nodes, "torch": {}},
        "template": {"spec": {"failurePolicy": {"maxRestarts": jobs.RESTARTS}, "replicatedJobs": [node]}},
    }
    reference = {"apiGroup": _TRAINER.partition("/")[0], "kind": "TrainingRuntime", "name": job.name}
    trainer = {"numNodes": job.nodes, "numProcPerNode": job.processes}
    spec = {"runtimeRef": reference, "trainer": trainer}
    labels = {"trainer.kubeflow.org/framework": "torch"}
    return yaml.documents(
        [
            _wall(job),
            {
                "apiVersion": _TRAINER,
                "kind": "TrainingRuntime",
                "metadata": {**_metadata(job.name), "labels": {**_labels(job.name), **labels}},
                "spec": runtime,
            },
            {"apiVersion": _TRAINER, "kind": "TrainJob", "metadata": _metadata(job.name), "spec": spec},
        ]
    )


_TRAINER = "trainer.kubeflow.org/v1alpha1"


def _checked(job: Job, command: list[str]) -> list[str]:
    """The command in a shell, for the variables in it, that first checks the image's flavor."""
    return ["sh", "-c", f"{jobs.need_flavor(job)}\nexec {jobs.shell(command)}\n"]


def _labels(name: str) -> dict[str, str]:
    return {"app.kubernetes.io/name": "pintune", INSTANCE: name}


def _metadata(name: str) -> Spec:
    return {"name": name, "labels": _labels(name)}


def _wall(job: Job) -> Spec:
    """Training has no network but the one between its nodes, and names to find them by."""
    own = {"podSelector": {"matchLabels": _labels(job.name)}}
    names = [{"port": 53, "protocol": protocol} for protocol in ("UDP", "TCP")]
    spec = {
        **own,
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [own]}],
        "egress": [{"to": [own]}, {"ports": names}],
    }
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": _metadata(job.name),
        "spec": spec,
    }


def _pod(job: Job) -> Spec:
    return {
        "terminationGracePeriodSeconds": jobs.GRACE,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumes": [
            {"name": "storage", "persistentVolumeClaim": {"claimName": job.storage}},
            {"name": "tmp", "emptyDir": {}},
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}},  # NCCL on several GPUs
        ],
    }


def _container(
    job: Job,
    name: str,
    command: list[str],
    needs: Needs,
    writes: tuple[str, ...],
    gpus: int = 0,
    more: list[Mapping[str, Any]] | None = None,
) -> Spec:
    told: list[Spec] = [{"name": key, "value": value} for key, value in jobs.environment(job).items()]
    told.append({"name": "OMP_NUM_THREADS", "value": str(needs.cpus)})
    if name == "fetch":
        key = {"name": "pintune-hub", "key": "token", "optional": True}
        told.append({"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": key}})
    folders = [
        {
            "name": "storage",
            "mountPath": f"{jobs.WORKDIR}/{each}",
            "subPath": each,
            **({} if each in writes else {"readOnly": True}),
        }
        for each in jobs.FOLDERS
    ]
    limits: Spec = {"memory": needs.memory, **({"nvidia.com/gpu": gpus} if gpus else {})}
    return {
        "name": name,
        "image": job.image,
        "command": command,
        "workingDir": jobs.WORKDIR,
        "env": [*told, *(more or [])],
        "resources": {
            "requests": {"cpu": needs.cpus * (1 if "data" in writes else job.processes), "memory": needs.memory},
            "limits": limits,
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            *folders,
            {"name": "tmp", "mountPath": "/tmp"},
            {"name": "shm", "mountPath": "/dev/shm"},
        ],
    }


def submit(prepare: str, spec: str, job: Job) -> list[list[str]]:
    """The commands that prepare the volume, wait for it, and start the training."""
    return [
        ["kubectl", "apply", "-f", prepare],
        ["kubectl", "wait", "--for=condition=complete", "--timeout=2h", f"job/{job.name}-prepare"],
        ["kubectl", "apply", "-f", spec],
    ]
