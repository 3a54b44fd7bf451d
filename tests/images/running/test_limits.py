"""The limits of a container, as the environment sets them."""

from __future__ import annotations

import pytest

from images.errors import Stop
from images.running import limits
from images.running.limits import Limits
from tests.marks import Invoke


def test_without_variables_processes_and_tmp_are_limited() -> None:
    assert limits.of({}) == Limits(4096, "", 0, "2g")
    assert limits.of({"PINTUNE_MEMORY": "", "PINTUNE_CPUS": " "}) == Limits()


def test_variables_set_them() -> None:
    given = {"PINTUNE_PIDS": "64", "PINTUNE_MEMORY": "12G", "PINTUNE_CPUS": "0.5", "PINTUNE_TMP": "900m"}
    assert limits.of(given) == Limits(64, "12g", 0.5, "900m")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PIDS", "0"),
        ("PIDS", "many"),
        ("PIDS", "1"),
        ("PIDS", "99999999999"),
        ("PIDS", "1k"),
        ("MEMORY", "1k"),
        ("MEMORY", "6143k"),
        ("MEMORY", "99999999999g"),
        ("CPUS", "0.001"),
        ("TMP", "0"),
        ("TMP", "1k"),
        ("TMP", "2000000b"),
        ("MEMORY", "12 GiB"),
        ("MEMORY", "0"),
        ("MEMORY", "50%"),
        ("CPUS", "0"),
        ("CPUS", "0.0"),
        ("CPUS", "-1"),
        ("CPUS", "1e3"),
        ("TMP", "2g,noexec"),
    ],
)
def test_a_wrong_value_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(Stop, match=f"where: PINTUNE_{name}"):
        limits.of({f"PINTUNE_{name}": value})


def test_an_error_says_what_is_taken_and_the_smallest_values_are() -> None:
    with pytest.raises(Stop) as stopped:
        limits.of({"PINTUNE_MEMORY": "1K"})
    assert str(stopped.value) == (
        "wanted: a size of at least 6m, such as 12g or 900m\n found: '1k'\n where: PINTUNE_MEMORY\n"
        "  next: unset PINTUNE_MEMORY, or give it a size of at least 6m, such as 12g or 900m"
    )
    given = {"PINTUNE_PIDS": "2", "PINTUNE_MEMORY": "6291456b", "PINTUNE_CPUS": "0.01", "PINTUNE_TMP": "1024k"}
    assert limits.of(given) == Limits(2, "6291456b", 0.01, "1024k")


@pytest.mark.parametrize(("cpus", "processes", "threads"), [(0, 1, 0), (4, 1, 4), (3.5, 2, 1), (0.5, 1, 1), (1, 4, 1)])
def test_threads_follow_the_limit_of_cpus(cpus: float, processes: int, threads: int) -> None:
    assert limits.threads(Limits(cpus=cpus), processes) == threads


def test_a_dry_call_shows_the_limits(call: Invoke) -> None:
    given = {"PINTUNE_MEMORY": "3g", "PINTUNE_CPUS": "1", "PINTUNE_PIDS": "99", "PINTUNE_TMP": "64m"}
    done = call("--dry", "export", "--runner", "docker", PINTUNE_FLAVOR="cpu", **given)
    wanted = "size=64m --pids-limit 99 --memory 3g --memory-swap 3g --cpus 1 --network none"
    assert (done.returncode, wanted in done.stdout) == (0, True), done.stderr
