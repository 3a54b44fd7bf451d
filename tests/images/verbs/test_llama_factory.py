"""`invoke llamafactory` up to the pipeline, and `invoke export --adapter`."""

from __future__ import annotations

from pathlib import Path

import pytest

from images import matrix
from images.errors import Stop
from images.running import runner as runners
from images.running.choices import Choices
from images.running.step_call import StepCall
from images.verbs import cli
from images.verbs import llama_factory as factory
from tests.marks import Invoke

CHOICES = Choices("quickstart", "cpu", "venv", (), False)


@pytest.fixture
def printing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout in which the step prints the flags that it got, as YAML."""

    def run(choices: Choices, runner: str, call: StepCall, capture: bool = False) -> str:
        return f"# asked: {dict(call.flags)} {[file.name for file in call.files.values()]}\noutput_dir: x\n"

    monkeypatch.setattr(matrix, "ROOT", tmp_path)
    monkeypatch.setattr(cli, "runner", lambda choices, on_stderr=False: "venv")
    monkeypatch.setattr(runners, "need_environment", lambda *words, **more: None)
    monkeypatch.setattr(runners, "run", run)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_standard_output_has_the_yaml_alone(printing: Path, capsys: pytest.CaptureFixture[str]) -> None:
    factory.llamafactory(CHOICES, "", "", False)
    assert capsys.readouterr().out == "# asked: {'--output': 'runs/llama-factory/quickstart'} []\noutput_dir: x\n"


def test_results_never_go_to_a_folder_that_exists(printing: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (printing / "runs" / "llama-factory" / "quickstart").mkdir(parents=True)
    (printing / "runs" / "llama-factory" / "quickstart-2").mkdir()
    factory.llamafactory(CHOICES, "", "", False)
    assert "runs/llama-factory/quickstart-3" in capsys.readouterr().out


def test_a_file_is_written_once(printing: Path, capsys: pytest.CaptureFixture[str]) -> None:
    factory.llamafactory(CHOICES, "", "train.yaml", False)
    printed = capsys.readouterr().out
    assert (
        printed.startswith("# asked:")
        and printed.endswith("llamafactory  train.yaml\n")
        and "output_dir" not in printed
    )
    assert [file.name for file in printing.iterdir()] == ["train.yaml"]
    with pytest.raises(Stop, match="one that exists"):
        factory.llamafactory(CHOICES, "", "train.yaml", False)
    factory.llamafactory(CHOICES, "train.yaml", "mine.toml", False)
    assert (printing / "mine.toml").read_text().startswith("# asked: {} ['train.yaml']")


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("nowhere.yaml", "", False), "no such file"),
        (("a.yaml", "", True), "found: several"),
        (("", "a.yaml", True), "found: several"),
    ],
)
def test_a_call_that_means_two_things_or_nothing_is_refused(
    printing: Path, words: tuple[str, str, bool], found: str
) -> None:
    with pytest.raises(Stop, match=found):
        factory.llamafactory(CHOICES, *words)


def test_an_adapter_reaches_the_step_after_what_it_needs(call: Invoke, bare: Path) -> None:
    done = call("--dry", "export", "--adapter", "elsewhere", PINTUNE_RUNNER="venv", PINTUNE_FLAVOR="cpu")
    assert done.returncode == 1 and "no such folder" in done.stderr
    (bare / "elsewhere").mkdir()
    (bare / "elsewhere" / "adapter_config.json").write_text("{}")
    done = call("--dry", "export", "--adapter", "elsewhere", PINTUNE_RUNNER="venv", PINTUNE_FLAVOR="cpu")
    ran = [line.partition("-m pipeline ")[2] for line in done.stdout.splitlines() if "-m pipeline" in line]
    assert [line.split()[0] for line in ran] == ["fetch", "format", "export"], done.stdout + done.stderr
    assert ran[-1] == "export --recipe quickstart --adapter elsewhere"
    done = call("--dry", "export", "--adapter", "elsewhere", PINTUNE_RUNNER="docker", PINTUNE_FLAVOR="cpu")
    mounted = next(line for line in done.stdout.splitlines() if "pipeline export" in line)
    assert f"source={bare}/elsewhere,target=/pintune/elsewhere,readonly" in mounted
