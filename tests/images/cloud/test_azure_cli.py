"""Every generated command, against the real azure-cli. It needs no login: a good command ends where it asks for one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from images import matrix
from images.cloud import remote
from images.cloud.command import Command, filled
from tests.images.cloud.test_azure import VALUES, every_command

VERSION = "2.91.0"
TEXT = "Please run 'az login' to setup account."
NO_LOGIN, PRICES_URL = "rest", "/api/retail/prices?"  # asks a public address, without login
NEEDED = {  # what `az` does not require by its metadata, and Azure or a person would miss
    "vm create": {"--image", "--size", "--location", "--custom-data", "--admin-username", "--nsg", "--tags"},
    "storage account create": {"--location", "--sku", "--tags"},
    "role assignment create": {"--assignee-object-id", "--role"},
    "network nsg rule create": {"--source-address-prefixes", "--destination-port-ranges"},
}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cli() -> Path:
    """The programs of an environment with azure-cli, made once (about 3 minutes). PINTUNE_AZURE_CLI names another."""
    folder = Path(os.environ.get("PINTUNE_AZURE_CLI") or matrix.ROOT / ".pintune" / "venv" / f"azure-cli-{VERSION}")
    if not (folder / "bin" / "az").exists():
        for command in (
            [sys.executable, "-m", "venv", str(folder)],
            [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", f"azure-cli=={VERSION}"],
        ):
            done = subprocess.run(command, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr[-2000:]
    return folder / "bin"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {
        **os.environ,
        "AZURE_CONFIG_DIR": str(tmp_path_factory.mktemp("azure")),
        "AZURE_CORE_COLLECT_TELEMETRY": "no",
        "AZURE_CORE_ONLY_SHOW_ERRORS": "yes",
    }


def _words() -> Iterator[list[str]]:
    """The commands of az, each form once."""
    seen = set()
    for each in every_command():
        if each.argv[0] == "az" and (form := each.shown) not in seen:
            seen.add(form)
            yield filled(each.argv[1:], VALUES)


def _answer(cli: Path, environment: dict[str, str], words: list[str]) -> subprocess.CompletedProcess[str]:
    command = [str(cli / "az"), *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=matrix.ROOT)


def test_every_command_ends_where_a_login_is_asked_for(cli: Path, environment: dict[str, str]) -> None:
    (matrix.ROOT / remote.folder("pintune")).mkdir(parents=True, exist_ok=True)
    bad = []
    for words in _words():
        done = _answer(cli, environment, words)
        if words[0] == NO_LOGIN:  # answered, or refused where there is no network
            good = done.returncode == 0 or f"{PRICES_URL}%24filter=armRegionName+eq+%27eastus%27" in done.stderr
        else:
            good = done.returncode == 1 and TEXT in done.stderr and "Traceback" not in done.stderr
        if not good:
            bad.append(f"az {' '.join(words)}\n{done.stderr[:500]}")
    assert not bad, "\n".join(bad)


def test_the_check_sees_a_wrong_flag_and_a_wrong_value(cli: Path, environment: dict[str, str]) -> None:
    create = next(words for words in _words() if words[:2] == ["vm", "create"])
    for extra in (["--evict", "x", "--nonsense", "1"], ["--security-type", "Trusted"], ["--priority", "Cheap"]):
        done = _answer(cli, environment, [*create, *extra])
        assert TEXT not in done.stderr and done.returncode in (1, 2), extra


def test_every_command_has_what_its_metadata_requires(cli: Path, environment: dict[str, str]) -> None:
    asked = list(_words())
    checked = subprocess.run(
        [str(cli / "python"), str(Path(__file__).with_name("azure_cli.py"))],
        input=json.dumps([*asked, ["vm", "create", "--nsg-rules", "x"]]),
        capture_output=True,
        text=True,
        env=environment,
    )
    assert checked.returncode == 0, checked.stderr[-2000:]
    found = json.loads(checked.stdout)
    faults = found.pop("vm create --nsg-rules x")
    assert {"lacks --name", "lacks --resource-group", "has --nsg-rules"} <= set(faults)
    assert {command: each for command, each in found.items() if each} == {}
    for words in asked:
        for start, needed in NEEDED.items():
            assert " ".join(words[: len(start.split())]) != start or needed <= set(words), words


def test_the_login_text_is_known_to_the_verbs(cli: Path, environment: dict[str, str]) -> None:
    from images.cloud import az

    said = _answer(cli, environment, ["account", "list-locations"]).stderr
    stop = az.failure(Command("", ("az",)), said, 1)
    assert stop.todo.startswith("az login")
