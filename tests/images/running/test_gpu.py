"""What `nvidia-smi` prints on real machines, parsed."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from images.running import gpu

MIXED = gpu.parse("NVIDIA GeForce GT 1030, 6.1, 2048, 580.95.05\nNVIDIA GeForce RTX 4090, 8.9, 24564, 580.95.05\n")


@pytest.mark.parametrize("wanted", ["", "7"])
def test_no_visible_device_leaves_no_gpu(wanted: str) -> None:
    assert gpu.visible(MIXED, wanted).gpus == ()
    assert gpu.visible(MIXED, "GPU-8932f937").gpus == gpu.visible(MIXED, None).gpus == MIXED.gpus


@pytest.mark.parametrize("text", ["X, [N/A], 1, [N/A]", "X, 8.0, 1, [N/A]", "[Insufficient Permissions]", "a,b"])
def test_unexpected_output_is_reported(text: str) -> None:
    assert gpu.parse(text).trouble
    assert not gpu.parse(text).gpus


@pytest.mark.parametrize(
    ("raised", "returned", "trouble"),
    [
        (FileNotFoundError(), None, ""),
        (subprocess.TimeoutExpired("nvidia-smi", 30), None, "does not answer"),
        (None, subprocess.CompletedProcess([], 6, "No devices were found\n", ""), ""),
        (None, subprocess.CompletedProcess([], -9, "", ""), "no output"),
        (
            None,
            subprocess.CompletedProcess(
                [], 15, "NVIDIA H100, 9.0, 81559, 580.95.05\n", "Unable to determine the device handle\n"
            ),
            "Unable",
        ),
        (
            None,
            subprocess.CompletedProcess(
                [], 9, "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n", ""
            ),
            "couldn't",
        ),
    ],
)
def test_a_failing_driver_is_reported(
    monkeypatch: pytest.MonkeyPatch, raised: Any, returned: Any, trouble: str
) -> None:
    def answer(*words: Any, **options: Any) -> Any:
        if raised:
            raise raised
        return returned

    monkeypatch.setattr("subprocess.run", answer)
    seen = gpu.look()
    assert trouble in seen.trouble
    assert bool(seen.trouble) is bool(trouble)


def test_a_folder_of_the_path_that_may_not_be_read_says_nothing_of_the_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The operating system reports "permission denied" for it; the same for a folder named as the program, as root."""
    (tmp_path / "closed").mkdir(mode=0)
    (tmp_path / "odd" / "nvidia-smi").mkdir(parents=True)
    monkeypatch.setenv("PATH", f"{tmp_path / 'closed'}:{tmp_path / 'odd'}")
    assert gpu.look() == gpu.Seen()
