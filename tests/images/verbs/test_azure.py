"""The verbs azure.*, with stand-ins for `az`, curl and ssh on the PATH: Azure itself cannot be had here."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import recorded_az
from tests.conftest import commit_all
from tests.images.cloud.test_cloud_init import Vm
from tests.marks import Invoke

UP = ("azure.up", "--storage", "runsofmine", "--yes")


class Azure:
    """The stand-ins, and what was asked of them."""

    def __init__(self, folder: Path, call: Invoke) -> None:
        self.folder, self._call = folder, call
        self.environment = {"AZ_STATE": str(folder), "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"}
        (folder / "bin").mkdir(parents=True)
        self.program("az", f'exec {sys.executable} {recorded_az.__file__} "$@"')
        self.program("curl", "echo 192.0.2.1")
        self.program("ssh", f'echo "$@" >> {folder}/ssh')
        self.set()

    def program(self, name: str, body: str) -> None:
        """A stand-in for a program."""
        (self.folder / "bin" / name).write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
        (self.folder / "bin" / name).chmod(0o755)

    def set(self, **changes: Any) -> None:
        """Begin with a state."""
        state = {**recorded_az.fresh(), **changes}
        (self.folder / "state.json").write_text(json.dumps(state), encoding="utf-8")

    def change(self, **changes: Any) -> None:
        """Change the state."""
        state = {**self.state, **changes}
        (self.folder / "state.json").write_text(json.dumps(state), encoding="utf-8")

    @property
    def state(self) -> dict[str, Any]:
        made: dict[str, Any] = json.loads((self.folder / "state.json").read_text(encoding="utf-8"))
        return made

    def asked(self) -> list[str]:
        """The calls of az so far."""
        file = self.folder / "log"
        return [" ".join(json.loads(line)) for line in file.read_text().splitlines()] if file.exists() else []

    def changed(self) -> list[str]:
        """The calls of az that make, change or remove something."""
        return [each for each in self.asked() if not any(f" {word}" in f" {each}" for word in ("show", "list"))]

    def run(self, *words: str, **environment: str) -> Any:
        return self._call(*words, **{**self.environment, **environment})


@pytest.fixture
def azure(tmp_path: Path, call: Invoke) -> Azure:
    return Azure(tmp_path / "azure", call)


def test_up_status_down_leaves_only_the_copies_of_runs_and_says_so(azure: Azure) -> None:
    done = azure.run(*UP, "--spot")
    assert done.returncode == 0, done.stderr
    made = [" ".join(each.split()[:3]) for each in azure.changed()]
    assert made == [
        "group create --name",
        "network nsg create",
        "network nsg rule",
        "storage account create",
        "storage container-rm create",
        "identity create --name",
        "role assignment create",
        "vm create --name",
        "vm auto-shutdown --name",
    ]
    assert "--source-address-prefixes 192.0.2.1/32" in " ".join(azure.asked())
    assert "costs until invoke azure.down --yes" in done.stdout

    done = azure.run("azure.status")
    assert done.returncode == 0, done.stderr
    assert "pintune: VM running, succeeded, Standard_NC24ads_A100_v4, Spot, at 192.0.2.7" in done.stdout
    assert "by the month, also while the VM is stopped" in done.stdout

    done = azure.run("azure.down", "--yes")
    assert done.returncode == 0, done.stderr
    assert "systemctl start pintune-save" in (azure.folder / "ssh").read_text()
    assert [each["name"] for each in azure.state["resources"]] == ["runsofmine"]
    assert azure.state["group"] and not azure.state["vm"]
    assert "by GB and month" in done.stdout.partition("left in pintune")[2]
    assert any(each.startswith("role assignment delete --ids /subscriptions/") for each in azure.asked())

    done = azure.run("azure.down", "--runs", "--yes")
    assert done.returncode == 0, done.stderr
    assert azure.state["resources"] == [] and azure.state["group"] is None
    assert "nothing of it costs money" in done.stdout


def test_what_is_printed_is_what_is_run(azure: Azure) -> None:
    printed = azure.run("--dry", *UP).stdout
    assert azure.asked() == []
    azure.run(*UP)
    ran = {each.split(" --")[0] for each in azure.asked()} - {"group show"}
    commands = [line.partition("az ")[2] for line in printed.splitlines() if "az " in line and line[0] != "#"]
    assert ran == {each.split(" --")[0] for each in commands}


def test_without_yes_nothing_is_run(azure: Azure) -> None:
    for words in (UP[:-1], ("azure.down",), ("azure.train",)):
        done = azure.run(*words)
        assert done.returncode == 0, done.stderr
        assert "az " in done.stdout
    assert azure.asked() == []


@pytest.mark.parametrize("verb", [UP, ("azure.status",), ("azure.down", "--yes"), ("azure.train", "--yes")])
def test_without_a_login_it_says_how(azure: Azure, verb: tuple[str, ...]) -> None:
    azure.set(login=False)
    done = azure.run(*verb)
    assert done.returncode == 1
    assert "next: az login" in done.stderr and "Traceback" not in done.stderr
    assert azure.changed() == []


def _usage(name: str, used: int, limit: int) -> dict[str, Any]:
    return {"name": {"value": name, "localizedValue": name}, "currentValue": used, "limit": limit}


ENOUGH, FAMILY = _usage("cores", 0, 100), "StandardNCADSA100v4Family"


@pytest.mark.parametrize(
    ("changes", "flags", "message"),
    [
        ({"skus": []}, (), "the region does not have it"),
        (
            {
                "skus": [
                    {
                        "name": "Standard_NC24ads_A100_v4",
                        "family": FAMILY,
                        "restrictions": [{"type": "Location", "reasonCode": "NotAvailableForSubscription"}],
                    }
                ]
            },
            (),
            "NotAvailableForSubscription",
        ),
        ({"usages": [ENOUGH]}, (), "0 allowed, 0 used"),
        ({"usages": [ENOUGH, _usage(FAMILY, 30, 48)]}, (), "ask for 54 in the portal"),
        ({"usages": [_usage("cores", 90, 100), _usage(FAMILY, 0, 48)]}, (), "24 vCPUs of cores in eastus"),
        ({"usages": [_usage("lowPriorityCores", 0, 3), _usage(FAMILY, 0, 48)]}, ("--spot",), "3 allowed, 0 used"),
    ],
)
def test_without_the_size_or_quota_nothing_is_made(
    azure: Azure, changes: dict[str, Any], flags: tuple[str, ...], message: str
) -> None:
    azure.set(**changes)
    done = azure.run(*UP, *flags)
    assert done.returncode == 1
    assert message in done.stderr
    assert azure.changed() == [] and azure.state["group"] is None


def test_up_goes_on_where_it_was_cut_off(azure: Azure) -> None:
    azure.change(fail={"vm create": "(SkuNotAvailable) The requested VM size is currently not available in eastus."})
    done = azure.run(*UP)
    assert done.returncode == 1
    assert "a size that the region has for you" in done.stderr and "SkuNotAvailable" in done.stderr
    assert azure.state["group"] and not azure.state["vm"]
    azure.change(fail={})
    done = azure.run("azure.up", "--yes")  # the storage account that is there is used, whatever its name
    assert done.returncode == 0, done.stderr
    assert "is there; what it lacks is made" in done.stdout
    assert [each["name"] for each in azure.state["resources"] if "storage" in each["type"].lower()] == ["runsofmine"]
    assert azure.state["vm"]


@pytest.mark.parametrize(
    ("vm", "message"),
    [
        ({"provisioningState": "Failed"}, "pintune is there in state Failed"),
        ({"provisioningState": "Creating"}, "pintune is creating"),
        ({"hardwareProfile": {"vmSize": "Standard_NC4as_T4_v3"}}, "--size Standard_NC4as_T4_v3"),
    ],
)
def test_a_vm_that_is_half_made_or_another_is_named(azure: Azure, vm: dict[str, Any], message: str) -> None:
    azure.run(*UP)
    azure.change(vm={**azure.state["vm"], **vm})
    before = azure.changed()
    done = azure.run(*UP)
    assert done.returncode == 1
    assert message in done.stderr
    assert azure.changed() == before


def test_an_evicted_vm_is_started_again_and_lets_this_address_in(azure: Azure) -> None:
    azure.run(*UP, "--spot")
    azure.change(vm={**azure.state["vm"], "powerState": "VM deallocated"})
    azure.program("curl", "echo 192.0.2.99")
    done = azure.run(*UP, "--spot")
    assert done.returncode == 0, done.stderr
    assert "its job, if it has one, resumes" in done.stdout
    assert azure.state["vm"]["powerState"] == "VM running"
    assert "192.0.2.99/32" in azure.changed()[-2]


def test_down_with_nothing_there(azure: Azure) -> None:
    done = azure.run("azure.down", "--yes")
    assert done.returncode == 0
    assert "nothing to remove, and nothing costs money" in done.stdout
    assert azure.changed() == []


def test_a_group_of_somebody_else_is_left_alone(azure: Azure) -> None:
    azure.set(group={"name": "pintune", "tags": None})
    for words in (UP, ("azure.down", "--yes"), ("azure.status",)):
        done = azure.run(*words)
        assert done.returncode == 1
        assert "without the tag pintune=pintune" in done.stderr
    assert azure.changed() == []


def test_down_leaves_what_is_not_pintunes(azure: Azure) -> None:
    azure.run(*UP)
    other = {"id": "/subscriptions/0/mine", "name": "mine", "type": recorded_az.TYPES["disk"] + "x", "tags": None}
    azure.change(resources=[*azure.state["resources"], other])
    done = azure.run("azure.down", "--runs", "--yes")
    assert done.returncode == 0, done.stderr
    assert [each["name"] for each in azure.state["resources"]] == ["mine"]
    assert "not of Pintune, and left alone: mine" in done.stdout
    assert azure.state["group"]


@pytest.mark.parametrize("power", ["VM deallocated", "VM running"])
def test_down_does_not_remove_a_disk_whose_runs_it_cannot_copy(azure: Azure, power: str) -> None:
    azure.run(*UP)
    azure.change(vm={**azure.state["vm"], "powerState": power})
    azure.program("ssh", "exit 255")
    done = azure.run("azure.down", "--yes")
    assert done.returncode == 1
    assert "--unsaved" in done.stderr and azure.state["vm"]
    done = azure.run("azure.down", "--yes", "--unsaved")
    assert done.returncode == 0, done.stderr
    assert not azure.state["vm"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("azure.up", "--size", "Standard_NC24_A100"), "--size Standard_NC24ads_A100_v4"),
        (("azure.up", "--name", "a;b"), "lower-case letters"),
        (("azure.up", "--location", "East US"), "a region such as westeurope"),
        (("azure.up", "--address", "localhost"), "an IPv4 address"),
        (("azure.up", "--shutdown", "25:00"), "a time of day in UTC"),
        (("azure.up", "--storage", "My_Account"), "3 to 24 lower-case letters"),
        (("azure.up", "--registry", "https://x.azurecr.io"), "a registry without https://"),
        (("azure.run",), "invoke azure.run build train evaluate export"),
        (("azure.run", "push"), "push, which is for this machine"),
        (("azure.cost", "--days", "0"), "at least 1 day"),
    ],
)
def test_a_wrong_call_ends_with_one_message(azure: Azure, words: tuple[str, ...], message: str) -> None:
    done = azure.run(*words)
    assert done.returncode == 1
    assert message in done.stderr and "Traceback" not in done.stderr
    assert all(f"{part}: " in done.stderr for part in ("wanted", " found", " where", "  next"))
    assert azure.asked() == []


def test_without_az_it_says_how_to_get_it(azure: Azure) -> None:
    (azure.folder / "bin" / "az").unlink()
    done = azure.run(*UP, PATH=f"{azure.folder / 'bin'}:/usr/bin:/bin")
    assert done.returncode == 1
    assert "pip install azure-cli" in done.stderr


def test_the_verbs_after_run_are_sent_and_not_run_here(azure: Azure, bare: Path) -> None:
    azure.run(*UP)
    azure.program("git", 'case "$*" in *push*) echo "$@" >> $AZ_STATE/git;; *rev-parse*) echo abc;; esac')
    done = azure.run("azure.run", "--yes", "data", "--recipe", "quickstart", "train", "--set", "lora.r=8", "export")
    assert done.returncode == 0, done.stderr
    sent = (azure.folder / "ssh").read_text()
    assert "sudo pintune-job start prepare 'data --recipe quickstart'" in sent
    assert "'train --recipe quickstart --set lora.r=8' 'export --recipe quickstart --set lora.r=8'" in sent
    assert "ssh://pintune@192.0.2.7/srv/pintune HEAD:refs/heads/sent" in (azure.folder / "git").read_text()
    assert not (bare / "data").exists()


def test_a_job_reaches_the_vms_own_script_with_the_commit(azure: Azure, bare: Path, tmp_path: Path) -> None:
    """git, and the script of cloud-init, are real; ssh runs on this machine what it would run on the VM."""
    git = bare / ".git"
    git.unlink() if git.is_file() else shutil.rmtree(git, ignore_errors=True)
    subprocess.run(["git", "init", "--quiet"], cwd=bare, check=True)
    commit_all(bare)
    (tmp_path / "vm").mkdir()
    vm = Vm(tmp_path / "vm")
    subprocess.run(["git", "init", "--quiet", vm.root / "srv/pintune"], check=True)  # as runcmd does
    vm.program("sudo", f'PATH="{vm.root}/usr/local/bin:$PATH" exec "$@"')
    azure.run(*UP)
    remote = f'printf %s "$words" | sed "s|/srv/pintune|{vm.root}/srv/pintune|"'
    azure.program(
        "ssh",
        f"""until [ "${{1#pintune@}}" != "$1" ]; do shift; done; shift; words="$*"
PATH="{vm.bin}:$PATH" exec sh -c "$({remote})" """,
    )
    for number in (1, 2):
        (bare / "new").write_text(str(number), encoding="utf-8")
        commit_all(bare)
        done = azure.run("azure.run", "--yes", "train", "--set", "data.source=my file.csv")
        assert done.returncode == 0, done.stderr
        assert (vm.root / "srv/pintune/new").read_text() == str(number)
        assert (vm.root / "var/lib/pintune/job/lines").read_text().splitlines() == [
            "prepare",
            "train --set 'data.source=my file.csv'",
        ]
    assert vm.log().count("systemctl start --no-block pintune.service") == 2


def test_a_vm_with_a_job_takes_no_other(azure: Azure) -> None:
    azure.run(*UP)
    azure.program("ssh", 'echo "$@" >> $AZ_STATE/ssh; echo "the VM has a job that runs" >&2; exit 3')
    azure.program("git", 'case "$*" in *push*) echo pushed >> $AZ_STATE/git;; *rev-parse*) echo abc;; esac')
    done = azure.run("azure.train", "--yes")
    assert done.returncode == 1
    assert "the VM has a job that runs" in done.stderr
    assert not (azure.folder / "git").exists()


def test_reading_verbs_reach_the_vm_by_its_address(azure: Azure) -> None:
    azure.run(*UP)
    azure.program("rsync", 'echo "$@" >> $AZ_STATE/rsync')
    for words in (("azure.logs", "--follow"), ("azure.fetch",), ("azure.ssh",), ("azure.cost",)):
        done = azure.run(*words)
        assert done.returncode == 0, done.stderr
    log, shell = (azure.folder / "ssh").read_text().splitlines()
    assert log.endswith(
        "pintune@192.0.2.7 sudo journalctl --unit pintune-setup --unit pintune --lines 200 --output cat --follow"
    )
    assert "-L 8888:127.0.0.1:8888" in shell and shell.endswith("pintune@192.0.2.7")
    assert (azure.folder / "rsync").read_text().strip().endswith("pintune@192.0.2.7:/srv/pintune/runs/ runs/")


def test_a_stopped_vm_takes_no_job_and_shows_no_log(azure: Azure) -> None:
    azure.run(*UP)
    azure.change(vm={**azure.state["vm"], "powerState": "VM deallocated", "publicIps": ""})
    for words in (("azure.train", "--yes"), ("azure.logs",)):
        done = azure.run(*words)
        assert done.returncode == 1
        assert "invoke azure.up --yes starts it" in done.stderr
    assert not (azure.folder / "ssh").exists()


@pytest.mark.parametrize(("status", "message"), [(7, ""), (255, "a VM that answers")])
def test_a_command_on_the_vm_ends_with_its_status_and_no_answer_is_told(
    azure: Azure, status: int, message: str
) -> None:
    azure.run(*UP)
    azure.program("ssh", f"exit {status}")
    done = azure.run("azure.ssh", "--command", "false")
    assert done.returncode == (1 if message else status)
    assert message in done.stderr and bool(message) == bool(done.stderr)


def test_without_a_vm_the_reading_verbs_say_so(azure: Azure) -> None:
    for words in (("azure.logs",), ("azure.fetch",), ("azure.cost",), ("azure.train", "--yes")):
        done = azure.run(*words)
        assert done.returncode == 1
        assert "invoke azure.up makes it" in done.stderr


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("AADSTS700082: The refresh token has expired due to inactivity.", "next: az login"),
        ("(AuthorizationFailed) The client does not have authorization to perform action", "User Access Administrator"),
        ("(StorageAccountAlreadyTaken) The storage account named x is already taken.", "--storage ANOTHERNAME"),
        ("(QuotaExceeded) Operation could not be completed as it results in exceeding approved", "ask for more"),
        ("(Teapot) unheard of", "what exists is kept"),
    ],
)
def test_what_azure_says_is_told_with_what_to_do(azure: Azure, said: str, message: str) -> None:
    azure.change(fail={"storage account create": said})
    done = azure.run(*UP)
    assert done.returncode == 1
    assert message in done.stderr and said[:60] in done.stderr
