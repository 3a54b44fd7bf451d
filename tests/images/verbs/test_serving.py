"""The verb serve --check: what it refuses before it asks, and the order of its steps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from images import matrix
from images.building import build
from images.errors import StepFailed, Stop
from images.running import runner
from images.running.choices import Choices
from images.services import questions, serve, start
from images.services.service import Running
from images.verbs import cli, serving
from tests.marks import NO_ENGINE, Invoke

CHOICES = Choices("quickstart", "cpu", "venv", (), False)
MERGED = "runs/quickstart/20260102-000000-b/merged"


@pytest.fixture
def done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the verb did, in a checkout with a merged model where every step succeeds."""
    (tmp_path / MERGED).mkdir(parents=True)
    (tmp_path / MERGED / "model.safetensors").touch()
    (tmp_path / MERGED / "SHA256SUMS").write_text("0  model.safetensors\n")
    did: list[str] = []
    monkeypatch.setattr(matrix, "ROOT", tmp_path)
    monkeypatch.delenv("PINTUNE_API_KEY", raising=False)
    monkeypatch.setitem(cli._reasons, "flavor", "asked for")
    monkeypatch.setattr(runner, "need_environment", lambda *words, **options: None)

    def run(choices: Choices, name: str, call: Any, capture: bool = False) -> str:
        did.append(f"{call.step.name} {call.flags['--run']}")
        for file in call.files.values():
            did.append(file.path.read_text())
        return json.dumps({"uid": "q0", "body": {}}) + "\n"

    def ask(url: str, key: str, asked: list[dict[str, Any]], say: Any) -> list[dict[str, Any]]:
        did.append(f"ask {url} {len(asked)}")
        return [{"uid": "q0", "message": {"content": "a"}}]

    monkeypatch.setattr(runner, "run", run)
    monkeypatch.setattr(questions, "ask", ask)
    monkeypatch.setattr(start, "found", lambda name: [])
    monkeypatch.setattr(start, "start", lambda service: did.append("start") or (_running("here"), 2.0))  # type: ignore[func-returns-value]
    monkeypatch.setattr(start, "stop", lambda name: did.append(f"stop {name}"))
    monkeypatch.setattr(matrix, "lock_file", lambda image, flavor: matrix.FILE)
    monkeypatch.setattr(build, "source_hash", lambda image, flavor: "0")
    return did


def _running(of: str) -> Running:
    return Running("serve", of, "http://127.0.0.1:8000/v1", "1 2 3")


STEPS = ["check_questions quickstart/20260102-000000-b", "ask http://127.0.0.1:8000/v1 1"]
LAST = ["check_answers quickstart/20260102-000000-b", '{"uid": "q0", "message": {"content": "a"}}\n']


def test_a_server_that_was_not_up_is_stopped_again_before_the_comparison(done: list[str], tmp_path: Path) -> None:
    serving.check(CHOICES, "", "127.0.0.1", 18800, False)
    assert done == [STEPS[0], "start", STEPS[1], "stop serve", *LAST]
    assert not list((tmp_path / ".pintune").iterdir())


def test_a_server_that_is_up_stays_whatever_its_address_and_settings(
    done: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    of = f"{serve.identity(serve.model(CHOICES, ''))}, with /mcp, cpu, 0.0.0.0, settings 12345678"
    monkeypatch.setattr(start, "found", lambda name: [_running(of)])
    serving.check(CHOICES, "", "127.0.0.1", 8000, False)
    assert done == [*STEPS, *LAST]


@pytest.mark.parametrize("change", ["export", "flavor", "run"])
def test_a_server_of_another_model_is_refused(
    done: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, change: str
) -> None:
    of = f"{serve.identity(serve.model(CHOICES, ''))}, cpu, 127.0.0.1, settings 12345678"
    if change == "export":
        (tmp_path / MERGED / "SHA256SUMS").write_text("1  model.safetensors\n")
    else:
        of = of.replace("cpu", "cu130") if change == "flavor" else of.replace("-b/", "-a/")
    monkeypatch.setattr(start, "found", lambda name: [_running(of)])
    with pytest.raises(
        Stop, match=r"wanted: a server of runs/quickstart/20260102-000000-b/merged, weights "
    ) as stopped:
        serving.check(CHOICES, "", "127.0.0.1", 8000, False)
    assert "invoke down --name serve" in stopped.value.todo and done == []


def test_a_failure_stops_the_server_too(done: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refused(*words: Any) -> Any:
        raise Stop("an answer", "status 400", "http://127.0.0.1:8000/v1", "correct it")

    monkeypatch.setattr(questions, "ask", refused)
    with pytest.raises(Stop, match="status 400"):
        serving.check(CHOICES, "", "127.0.0.1", 18800, False)
    assert done == [STEPS[0], "start", "stop serve"]
    assert not list((tmp_path / ".pintune").iterdir())


def test_without_an_evaluation_no_server_is_started(done: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(choices: Choices, name: str, call: Any, capture: bool = False) -> str:
        raise StepFailed(call.step.name, 1)

    monkeypatch.setattr(runner, "run", stopped)
    with pytest.raises(StepFailed, match="check_questions"):
        serving.check(CHOICES, "", "127.0.0.1", 18800, False)
    assert done == []


def test_a_folder_has_no_evaluation(done: list[str]) -> None:
    with pytest.raises(Stop, match="--check or --model"):
        serving.check(CHOICES, "models/mine", "127.0.0.1", 8000, False)


@pytest.mark.parametrize("where", ["docker", "venv"])
def test_a_dry_check_prints_its_steps(call: Invoke, where: str) -> None:
    dry = call("--dry", "serve", "--check", "--runner", where, **NO_ENGINE, PINTUNE_FLAVOR="cpu")
    assert dry.returncode == 0, dry.stderr
    ran = [line.partition("-m pipeline ")[2] for line in dry.stdout.splitlines() if "-m pipeline" in line]
    assert [words.split()[0] for words in ran] == ["check_questions", "serve", "check_answers"]
    assert ran[2].endswith("--answers .pintune/check/answers.jsonl --run quickstart/latest")
