"""The CUDA images, built by a real engine: gigabytes of wheels, so slow. Building and importing need no GPU."""

from __future__ import annotations

import json
import subprocess
import time

import pytest

from images import engine, matrix
from images.running import flavor as flavors
from tests.conftest import ROOT
from tests.marks import Invoke

pytestmark = [pytest.mark.docker, pytest.mark.slow]


@pytest.mark.parametrize("flavor", [name for name, each in matrix.load().flavors.items() if each.cuda])
def test_torch_is_what_the_matrix_says(engine_there: None, invoke: Invoke, flavor: str) -> None:
    done = invoke("build", "--runner", "docker", "--flavor", flavor)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    words = ["docker", "run", "--rm", "--interactive", "--network", "none", f"pintune/train:{flavor}", "python", "-"]
    ran = subprocess.run(
        words, input=(ROOT / "tests" / "inside" / "cuda.py").read_text(), capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    report, known = json.loads(ran.stdout), matrix.load().flavor(flavor)
    assert (report["cuda"], report["available"]) == (known.cuda, False)
    assert [f"sm_{flavors.joined(each)}" for each in known.cubins] == [
        each for each in report["architectures"] if each.startswith("sm_")
    ]
    assert [f"compute_{flavors.joined(each)}" for each in known.ptx] == [
        each for each in report["architectures"] if each.startswith("compute_")
    ]


def test_the_webui_imports_and_serves(engine_there: None, invoke: Invoke) -> None:
    """LLaMA Factory with its own torch, torchvision and torchaudio, on a read-only root and without capabilities."""
    done = invoke("build", "--runner", "docker", "--image", "webui", "--flavor", "cu130")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    name = "pintune/webui:cu130"
    imported = subprocess.run(
        [
            "docker",
            "run",
            "--rm",
            "--network",
            "none",
            name,
            "python",
            "-c",
            "import torchvision, torchaudio, llamafactory.train.tuner",
        ],
        capture_output=True,
        text=True,
    )
    assert imported.returncode == 0, imported.stderr
    made = engine.client().containers.run(
        name,
        detach=True,
        read_only=True,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        network_mode="none",
        tmpfs={"/tmp": "exec,mode=1777", "/pintune/runs": "uid=1000"},
        healthcheck={"interval": 5 * 10**9},
    )
    try:
        for _ in range(60):
            made.reload()
            health = made.attrs["State"]["Health"]["Status"]
            if health == "healthy" or made.status == "exited":
                break
            time.sleep(2)
        assert health == "healthy", made.logs().decode()[-2000:]
    finally:
        made.remove(force=True)
