"""The caller's files: called in a step as they are outside, and brought there only where they are not there already."""

from __future__ import annotations

from pathlib import Path

import pytest

from images import matrix
from images.errors import Stop
from images.running import runner, user_files
from images.running.runner import Choices


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout of its own, in which the caller stands."""
    made = tmp_path / "checkout"
    (made / "runs" / "r" / "1").mkdir(parents=True)
    (made / "runs" / "r" / "1" / "p.json").write_text("{}")
    (made / "runs" / "r" / "latest").symlink_to("1")
    (tmp_path / "outside.json").write_text("{}")
    (made / "runs" / "linked.json").symlink_to(tmp_path / "outside.json")
    (made / "inside.json").write_text("{}")
    monkeypatch.setattr(matrix, "ROOT", made)
    monkeypatch.chdir(made)
    return made


def test_names_and_mounts(root: Path) -> None:
    outside = str(root.parent / "outside.json")
    told = {
        "inside.json": ("inside.json", ["/pintune/inside.json"]),
        "./x/../inside.json": ("inside.json", ["/pintune/inside.json"]),
        "../outside.json": (outside, [outside]),
        outside: (outside, [outside]),
        "runs/r/latest/p.json": ("runs/r/latest/p.json", []),  # in a folder that every step has
        "runs/linked.json": ("runs/linked.json", ["/pintune/runs/linked.json"]),  # only its link is
    }
    for path, (name, targets) in told.items():
        assert user_files.name(Path(path)) == name
        assert [mount.target for mount in user_files.mounts([Path(path)])] == targets
    assert len(user_files.mounts([Path("inside.json"), Path("./inside.json")])) == 1
    assert not any(mount.writable for mount in user_files.mounts([Path("inside.json")]))


def test_the_data_file_is_the_last_that_was_set(root: Path) -> None:
    (root / "mine.toml").write_text('[data]\nsource = "a.json"\n')
    assert user_files.data_file("mine.toml", ()) == Path("a.json")
    assert user_files.data_file("mine.toml", ("data.source=tatqa",)) is None
    assert user_files.data_file("quickstart", ("lora.r=8", "data.source=x.json", "data.source = 'b c.jsonl'")) == Path(
        "b c.jsonl"
    )
    assert user_files.data_file("quickstart", ()) is None
    (root / "mine.toml").write_text("[data\n")
    assert user_files.data_file("mine.toml", ()) is None


@pytest.mark.parametrize("runner_", ["docker", "venv"])
def test_only_what_reads_the_data_file_gets_it(
    runner_: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my data.jsonl").write_text("{}")
    choices = Choices("quickstart", "cpu", runner_, ("data.source=my data.jsonl",), dry=True)
    whole = tmp_path / "my data.jsonl"
    for step in ("missing", "fetch", "format", "train"):
        runner.run(choices, runner_, step)
        line = capsys.readouterr().out
        assert f"'data.source={whole}'" in line
        assert (f"source={whole},target={whole},readonly" in line) == (
            runner_ == "docker" and step in ("missing", "fetch")
        )


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Stop, match="none given"):
        user_files.file("", "a gold file", "pass --gold")
    with pytest.raises(Stop, match="no such file"):
        user_files.file(str(tmp_path), "a gold file", "pass --gold")
