"""Running a step: dry commands, and what stops it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from images.errors import Killed, StepFailed, Stop
from images.running import (
    container,
    environment,
    runner,
    step_call,
    steps,
)
from images.running.choices import Choices


@pytest.mark.parametrize("given", ["./mine.toml", "sub//mine.toml", "mine.toml"])
def test_a_recipe_file_is_mounted_however_its_path_is_written(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(given).parent.mkdir(exist_ok=True)
    Path(given).write_text("")
    choices = Choices(given, "cpu", "docker", dry=True)
    runner.run(choices, "docker", step_call.make(choices, "train"))
    line = capsys.readouterr().out
    whole = Path(given).resolve()
    assert f"source={whole},target={whole},readonly" in line
    assert f"--recipe {whole}" in line


def test_the_command_after_a_kill_has_the_flags_of_the_call() -> None:
    choices = Choices("mistral", "cpu", "venv", ("lora.r=8",))
    again = runner.again(choices, step_call.make(choices, "train"))
    assert again == "invoke train --resume --recipe mistral --flavor cpu --runner venv --set lora.r=8"
    again = runner.again(choices, step_call.make(choices, "train", nodes=2, processes=4))
    assert "--runner venv --nodes 2 --gpus-per-node 4 --set lora.r=8" in again
    assert runner.again(choices, step_call.make(choices, "format")).startswith("invoke data --recipe")
    assert runner.again(choices, step_call.make(choices, "llamaboard")).startswith("invoke webui --recipe")
    for name in ("score", "gguf", "check_answers", "llamafactory"):
        assert runner.again(choices, step_call.make(choices, name)) == "run the same command again"


def test_every_verb_that_repeats_a_step_is_one() -> None:
    import tasks

    named = {each.verb for each in steps.load().steps.values() if each.verb and each.recipe}
    assert named <= set(tasks.ns.task_names)


def test_a_missing_recipe_file_stops_before_anything_starts() -> None:
    with pytest.raises(Stop, match=r"mine\.toml"):
        step_call.make(Choices("mine.toml", "cpu", "venv"), "train")


def test_nodes_need_an_engine() -> None:
    choices = Choices("quickstart", "cpu", "venv")
    with pytest.raises(Stop, match="--gpus-per-node"):
        runner.run(choices, "venv", step_call.make(choices, "train", nodes=2))


@pytest.mark.parametrize("runner_", ["docker", "venv"])
def test_only_steps_that_read_the_data_file_get_it(
    runner_: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my data.jsonl").write_text("{}")
    choices = Choices("quickstart", "cpu", runner_, ("data.source=my data.jsonl",), dry=True)
    whole = tmp_path / "my data.jsonl"
    for step in ("missing", "fetch", "format", "train"):
        runner.run(choices, runner_, step_call.make(choices, step))
        line = capsys.readouterr().out
        assert f"'data.source={whole}'" in line
        assert (f"source={whole},target={whole},readonly" in line) == (
            runner_ == "docker" and step in ("missing", "fetch")
        )


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("import os; os.kill(os.getpid(), 9)", "killed by signal 9"),
        ("raise SystemExit(143)", "killed by signal 15"),  # as a shell or an engine reports it
    ],
)
def test_a_step_that_is_killed_is_reported_with_the_command_that_resumes(
    monkeypatch: pytest.MonkeyPatch, code: str, found: str
) -> None:
    command = [sys.executable, "-c", code]
    monkeypatch.setattr(environment, "for_process", lambda choices, name, call: (command, dict(os.environ)))
    choices = Choices("quickstart", "cpu", "venv")
    with pytest.raises(Killed, match=found) as stopped:
        runner.run(choices, "venv", step_call.make(choices, "train"))
    assert stopped.value.todo.startswith("free memory, then invoke train --resume")


def test_the_status_of_a_step_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    choices = Choices("quickstart", "cpu", "venv")
    for code, status in (("raise SystemExit(75)", 75), ("raise SystemExit(2)", 2)):
        command = [sys.executable, "-c", code]
        monkeypatch.setattr(environment, "for_process", lambda *words, command=command: (command, dict(os.environ)))
        with pytest.raises(StepFailed) as failed:
            runner.run(choices, "venv", step_call.make(choices, "train"))
        assert failed.value.status == status


def test_the_output_of_a_step_is_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    command = [sys.executable, "-c", "print('fetch'); print('format')"]
    monkeypatch.setattr(environment, "for_process", lambda *words: (command, dict(os.environ)))
    choices = Choices("quickstart", "cpu", "venv")
    assert runner.run(choices, "venv", step_call.make(choices, "missing"), capture=True) == "fetch\nformat\n"


def test_a_step_that_ran_out_of_memory_names_the_limit_and_the_command_that_resumes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def ran_out(*words: object) -> tuple[int, str]:
        raise container.OutOfMemory("more memory", "killed", "PINTUNE_MEMORY=1g", "raise PINTUNE_MEMORY or unset it")

    monkeypatch.setattr(runner, "_in_containers", ran_out)
    choices = Choices("quickstart", "cpu", "docker")
    with pytest.raises(Killed) as stopped:
        runner.run(choices, "docker", step_call.make(choices, "train"))
    assert stopped.value.todo.startswith("raise PINTUNE_MEMORY or unset it, then invoke train --resume")
