"""Specs for Kubernetes, word for word; test_specs_real.py asks their owners' tools."""

from __future__ import annotations

import pytest
import yaml

from images.cloud import kubernetes
from images.cloud.kubernetes import Needs
from images.errors import Stop
from tests.images.cloud.golden import assert_golden, job

JOB = job(storage="pintune")


def test_the_specs() -> None:
    assert_golden("prepare.yaml", kubernetes.prepare(JOB, Needs()))
    assert_golden("train-job.yaml", kubernetes.train_job(JOB, Needs()))
    assert_golden("indexed-job.yaml", kubernetes.indexed_job(JOB, Needs()))


@pytest.mark.parametrize("made", [kubernetes.train_job(JOB, Needs()), kubernetes.indexed_job(JOB, Needs())])
def test_the_wall_and_the_service_select_the_pods(made: str) -> None:
    specs = {each["kind"]: each["spec"] for each in yaml.safe_load_all(made)}
    if "Job" in specs:
        labels = specs["Job"]["template"]["metadata"]["labels"]
        assert specs["Service"]["selector"].items() <= labels.items()
    else:
        (node,) = specs["TrainingRuntime"]["template"]["spec"]["replicatedJobs"]
        labels = node["template"]["spec"]["template"]["metadata"]["labels"]
    assert specs["NetworkPolicy"]["podSelector"]["matchLabels"].items() <= labels.items()
    preparing = yaml.safe_load(kubernetes.prepare(JOB, Needs()))["spec"]["template"]["metadata"]["labels"]
    assert not specs["NetworkPolicy"]["podSelector"]["matchLabels"].items() <= preparing.items()


@pytest.mark.parametrize(
    ("storage", "needs", "message"),
    [
        ("", Needs(), "the name of a volume claim"),
        ("My Claim", Needs(), "the name of a volume claim"),
        ("s3://bucket", Needs(), "the name of a volume claim"),
        ("claim", Needs(memory="32 GB"), "an amount of memory"),
        ("claim", Needs(cpus=0), "at least one core"),
    ],
)
def test_what_kubernetes_would_not_take_is_refused(storage: str, needs: Needs, message: str) -> None:
    with pytest.raises(Stop, match=message):
        kubernetes.need_names(job(storage=storage), needs)
