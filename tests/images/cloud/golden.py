"""Compares a spec with the file of its name in golden/; PINTUNE_GOLDEN=write writes them anew, to be read in a diff."""

from __future__ import annotations

import os
from pathlib import Path

from images import matrix
from images.cloud import job as jobs
from images.cloud.job import Job
from images.running.choices import Choices

FOLDER = Path(__file__).with_name("golden")
IMAGE = "ghcr.io/owner/pintune/train@sha256:" + "0123456789abcdef" * 4


def job(flavor: str = "cu130", nodes: int = 2, processes: int = 4, storage: str = "", image: str = IMAGE) -> Job:
    """The job of most specs: two machines with four GPUs each, and an override that needs quotes."""
    choices = Choices("phi-4-mini-reasoning", flavor, "auto", ("lora.r=8", "data.source=data/my file.jsonl"))
    return jobs.make(choices, image, nodes, processes, storage)


def assert_golden(name: str, text: str) -> None:
    """The text is that of golden/NAME."""
    shown = text.replace(str(matrix.ROOT), "/checkout")
    file = FOLDER / name
    if os.environ.get("PINTUNE_GOLDEN") == "write":
        file.write_text(shown, encoding="utf-8")
    assert shown == file.read_text(encoding="utf-8")
