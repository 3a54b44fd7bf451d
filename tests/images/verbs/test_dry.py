"""`invoke --dry VERB` for every verb: it ends well, and a clone is afterwards as it was before."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

import tasks
from tests.marks import Invoke

RUN = "quickstart/20260101-000000-abcdef"
LAUNCH = ("--flavor", "cpu", "--image", "r.example/train@sha256:" + "a" * 64)
BOTH = (("--runner", "docker"), ("--runner", "venv"))
WORDS: dict[str, tuple[tuple[str, ...], ...]] = {
    "build": (("--runner", "docker"), ("--runner", "venv"), ("--runner", "docker", "--image", "dev")),
    "wheelhouse": (("--flavor", "cpu"),),
    "push": (("--registry", "r.example/p"),),
    "score": (("tasks.py", "--gold", "README.md", "--runner", "docker"),),
    "reproduce": ((RUN, "--runner", "docker"), (RUN, "--runner", "venv")),
    "llamafactory": (("--runner", "docker"), ("--from", "mkdocs.yml", "--runner", "venv")),
    "azure.run": (("train",),),
    "sweep": (("--set", "lora.r=8,16", "--runner", "docker"), ("--set", "lora.r=8,16", "--runner", "venv")),
    "launch.slurm": (("--flavor", "cpu"), (*LAUNCH, "--container", "enroot")),
    "launch.kubernetes": ((*LAUNCH, "--storage", "claim"), (*LAUNCH, "--storage", "claim", "--plain")),
    "launch.skypilot": ((*LAUNCH, "--storage", "s3://bucket"),),
    "launch.azureml": ((*LAUNCH, "--compute", "gpu", "--storage", "azureml://datastores/store/paths/pintune"),),
    **dict.fromkeys(("fetch", "data", "train", "evaluate", "export", "ask", "serve", "mcp", "webui"), BOTH),
}  # a call without further words for every other verb
DOCTOR = ("doctor",)  # reports what is missing here by its exit status, and has nothing to run
NEEDS_RELEASE = ("push", "pull")  # stop without a release


def _tree(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in folder.rglob("*")
    }


@pytest.mark.parametrize("verb", tasks.ns.task_names)
def test_a_dry_call_leaves_nothing_on_disk(call: Invoke, bare: Path, tmp_path: Path, verb: str) -> None:
    if verb == "reproduce":
        recipe, environment = {"data": {"source": "sample"}}, {"flavor": "cpu"}
        run = bare / "runs" / RUN
        run.mkdir(parents=True)
        made = {"environment": environment, "recipe": recipe, "outputs": {}}
        (run / "manifest.json").write_text(json.dumps(made), encoding="utf-8")
    (tmp_path / "tmp").mkdir()
    before = _tree(bare)
    for words in WORDS.get(verb, ((),)):
        done = call("--dry", verb, *words, TMPDIR=str(tmp_path / "tmp"))
        assert done.returncode == 0 or verb in (*DOCTOR, *NEEDS_RELEASE), done.stderr
        assert "Traceback" not in done.stderr
        assert _tree(bare).items() ^ before.items() == set(), words
    assert not list((tmp_path / "tmp").iterdir())
