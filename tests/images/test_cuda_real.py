"""The CUDA train images, built for real: gigabytes of wheels, so slow. A GPU is not needed to build and to import."""

from __future__ import annotations

import json
import subprocess

import pytest

from images import gpu, matrix
from tests.conftest import ROOT
from tests.marks import Invoke

pytestmark = [pytest.mark.docker, pytest.mark.slow]


@pytest.mark.parametrize("flavor", [name for name, each in matrix.load().flavors.items() if each.cuda])
def test_torch_is_what_the_matrix_says(engine_there: None, invoke: Invoke, flavor: str) -> None:
    done = invoke("build", "--runner", "docker", "--flavor", flavor)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    words = ["docker", "run", "--rm", "--interactive", "--network", "none", f"pintune/train:{flavor}", "python", "-"]
    ran = subprocess.run(words, input=(ROOT / "tests" / "inside" / "cuda.py").read_text(), capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    told, known = json.loads(ran.stdout), matrix.load().flavor(flavor)
    assert (told["cuda"], told["available"]) == (known.cuda, False)
    assert [f"sm_{gpu.joined(each)}" for each in known.cubins] == [each for each in told["architectures"] if each.startswith("sm_")]
    assert [f"compute_{gpu.joined(each)}" for each in known.ptx] == [each for each in told["architectures"] if each.startswith("compute_")]
