"""What several tests share: pip settings with marks to search for, the type of `invoke`, and expected values."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from images import pip_config

Invoke = Callable[..., "subprocess.CompletedProcess[str]"]

QUICKSTART_ADAPTER = "b50bc5b55f6e103499918521a6f90eafdf3bca698b01ee7aa8b047bc2641d3b5"
"""SHA-256 of the adapter that the quickstart trains on a CPU, by every runner."""

TOKEN, AUTHORITY = "pintune-token-mark.invalid", "pintune-authority-mark"


def marked_settings(folder: Path) -> dict[str, str]:
    """This machine's pip settings, with a mark in place of an index's token and one in the certificates."""
    own = pip_config.read().certificates
    bundle = folder / "certificates.pem"
    bundle.write_text((own.read_text(encoding="utf-8") if own else "") + f"\n# {AUTHORITY}\n", encoding="utf-8")
    marks = {"PIP_TRUSTED_HOST": TOKEN}
    return {**marks, "PIP_CERT": str(bundle)} if own else marks


NO_ENGINE = {"DOCKER_HOST": "unix:///nonexistent/docker.sock"}
"""An environment in which no Docker engine answers."""

SMALL = (
    "--set",
    "data.train_contexts=6",
    "--set",
    "data.evaluation_contexts=2",
    "--set",
    "training.checkpoint_steps=2",
)
"""Flags of a quickstart that takes seconds."""

RELEASE = {
    "image": "train",
    "flavor": "cpu",
    "version": "0.1.0",
    "revision": "a" * 40,
    "digest": "sha256:" + "b" * 64,
    "base": "debian@sha256:0",
    "snapshot": "",
    "lock_sha256": "c" * 64,
    "source": "d" * 64,
    "source_date_epoch": 1700000000,
}
"""The record of a release build."""
