"""The verbs after azure.run become the lines of a job."""

from __future__ import annotations

import pytest

import tasks
from images.errors import Stop
from images.verbs import azure_job


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        ("build train export", ["build", "train", "export"]),
        ("train", ["prepare", "train"]),
        ("pull train --recipe a evaluate", ["pull", "train --recipe a", "evaluate --recipe a"]),
        (
            "train --set lora.r=8 --set lora.alpha=16 evaluate --set evaluation.splits=x",
            [
                "prepare",
                "train --set lora.r=8 --set lora.alpha=16",
                "evaluate --set lora.r=8 --set lora.alpha=16 --set evaluation.splits=x",
            ],
        ),
        ("train --resume --nodes 2", ["prepare", "train --resume --nodes 2"]),
        ("llamafactory --from x.yaml --run", ["prepare", "llamafactory --from x.yaml --run"]),
        ("score p.json --gold g.json", ["prepare", "score --predictions p.json --gold g.json"]),
        ("train --dry", ["prepare", "train"]),
    ],
)
def test_each_verb_has_the_flags_that_it_would_have_here(words: str, lines: list[str]) -> None:
    call = ["--dry", "runs", "azure.run", "--name", "build", *words.split()]
    made = azure_job.after(tasks.ns, call, "azure.run")
    assert [sorted(each.split()) for each in made] == [sorted(each.split()) for each in lines]
    assert [each.split()[0] for each in made] == [each.split()[0] for each in lines]


@pytest.mark.parametrize("words", ["", "lint", "train push", "azure.down", "train azure.down"])
def test_a_verb_for_this_machine_is_refused(words: str) -> None:
    with pytest.raises(Stop, match="verbs to run on the VM"):
        azure_job.after(tasks.ns, ["azure.run", *words.split()], "azure.run")


def test_the_job_of_azure_train() -> None:
    made = azure_job.training("phi-4-mini-reasoning", ["data.source=my file.csv"])
    flags = "--recipe phi-4-mini-reasoning --set 'data.source=my file.csv'"
    assert made == ["prepare", f"train {flags}", f"evaluate {flags}", f"export {flags}"]
