"""The VM's cloud-init: its keys, and its scripts, run for real with stand-ins for root's programs."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from images import matrix
from images.cloud import cloud_init, sizes
from images.errors import Stop

KEYS = {"package_update", "packages", "apt", "write_files", "runcmd"}  # `cloud-init schema` passes unknown ones
FORMS = ["NC24ads_A100_v4", "NV36ads_A10_v5", "ND96isr_H100_v5"]


def made(size: str = FORMS[0], registry: str = "mine01.azurecr.io/pintune") -> str:
    return cloud_init.render(cloud_init.values(sizes.get(size), registry, "account", "runs"))


def files(text: str) -> dict[str, str]:
    return {each["path"]: each["content"] for each in yaml.safe_load(text)["write_files"]}


@pytest.mark.parametrize("size", FORMS)
def test_the_shell_writes_what_render_returns(size: str) -> None:
    values = cloud_init.values(sizes.get(size), "", "account", "runs")
    done = subprocess.run(cloud_init.command(values), capture_output=True, text=True, cwd=matrix.ROOT)
    assert done.stdout == cloud_init.render(values)
    assert "@" not in re.sub(r"access_token@-|\$@", "", "".join(files(done.stdout).values()))


def test_it_is_cloud_config_with_keys_that_cloud_init_knows() -> None:
    text = made()
    assert text.startswith("#cloud-config\n")
    assert set(yaml.safe_load(text)) == KEYS
    for each in yaml.safe_load(text)["write_files"]:
        assert set(each) <= {"path", "content", "permissions"}
        assert each["content"].startswith("#!") == (each.get("permissions") == "0755")


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_its_scripts_are_shell(tmp_path: Path, shell: str) -> None:
    scripts = {path: text for path, text in files(made()).items() if text.startswith("#!/bin/sh")}
    assert len(scripts) == 2
    for path, text in scripts.items():
        (tmp_path / Path(path).name).write_text(text, encoding="utf-8")
        assert subprocess.run([shell, "-n", str(tmp_path / Path(path).name)]).returncode == 0


def test_everything_is_pinned() -> None:
    text, vm = made(), sizes.vm()
    for version in (vm.docker, vm.containerd, vm.buildx, vm.toolkit):
        assert text.count(version) == 1
    setup = files(text)["/usr/local/sbin/pintune-setup"]
    for package in ("docker-ce", "docker-ce-cli", "containerd.io", "docker-buildx-plugin", "nvidia-container-toolkit"):
        assert re.search(rf'"{package}=\$[A-Z]+"', setup), package
    assert len(re.findall(r" [0-9A-F]{40} ", setup)) == 2  # a fingerprint for each repository
    assert "|| sh" not in text and "| sh" not in text


@pytest.mark.parametrize("value", ["a b", "a|b", "a&b", "x'", 'x"', "x\ny", "@REGISTRY@", "$HOME"])
def test_a_value_that_would_need_quotes_is_refused(value: str) -> None:
    with pytest.raises(Stop, match="letters, digits"):
        cloud_init.values(sizes.get(FORMS[0]), value, "account", "runs")


def test_a_template_with_another_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text("@DRIVER@ @NEW@", encoding="utf-8")
    with pytest.raises(Stop, match="NEW"):
        cloud_init.render({"DRIVER": "server"}, tmp_path / "t.yaml")
    (tmp_path / "t.yaml").write_text("@A@" + "x" * 70000, encoding="utf-8")
    with pytest.raises(Stop, match="at most 65535 bytes"):
        cloud_init.render({"A": "a"}, tmp_path / "t.yaml")


class Vm:
    """The scripts of the VM in a folder, with stand-ins that log what they are asked for."""

    def __init__(self, folder: Path, size: str = FORMS[0]) -> None:
        self.folder = folder
        self.bin, self.root = folder / "bin", folder / "root"
        self.bin.mkdir()
        for name in ("srv/pintune", "var/lib/pintune", "etc/pintune", "etc/apt/sources.list.d", "etc/apt/keyrings"):
            (self.root / name).mkdir(parents=True)
        for path, text in files(made(size)).items():
            file = self.root / path[1:]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(re.sub(r"(?<![\w/.])/(srv|var|etc)/", rf"{self.root}/\1/", text), encoding="utf-8")
            file.chmod(0o755)
        for name in ("systemctl", "chown", "usermod", "modprobe", "cloud-init"):
            self.program(name, "")
        self.program("runuser", 'shift 3; exec "$@"')
        self.program("systemctl", 'case "$1" in is-active) exit 3;; esac')

    def program(self, name: str, body: str) -> None:
        log = f'echo "{name} $*" >> {self.folder}/log'
        (self.bin / name).write_text(f"#!/bin/sh\n{log}\n{body}\n", encoding="utf-8")
        (self.bin / name).chmod(0o755)

    def run(self, name: str, *words: str) -> subprocess.CompletedProcess[str]:
        lines = (self.root / "etc/pintune/vm.env").read_text().splitlines()
        environment = {**os.environ, **dict(line.split("=", 1) for line in lines), "PATH": f"{self.bin}:/usr/bin:/bin"}
        found = next(self.root.glob(f"usr/local/*/{name}"))
        return subprocess.run([str(found), *words], capture_output=True, text=True, env=environment)

    def log(self) -> list[str]:
        file = self.folder / "log"
        return file.read_text().splitlines() if file.exists() else []


@pytest.fixture
def vm(tmp_path: Path) -> Vm:
    return Vm(tmp_path)


def _checkout(vm: Vm, invoke: str) -> Path:
    """A checkout on the VM whose tools are there, with a stand-in for invoke."""
    home = vm.root / "srv/pintune"
    git = ["git", "-C", str(home), "-c", "user.name=a", "-c", "user.email=a@example.invalid"]
    subprocess.run(["git", "init", "--quiet", str(home)], check=True)
    (home / "images/cloud").mkdir(parents=True)
    (home / "pyproject.toml").touch()
    (home / "images/cloud/runs-copy.txt").touch()
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "--quiet", "--message", "a"], check=True)
    subprocess.run([*git, "branch", "sent"], check=True)
    for name, body in (
        (".venv/bin/invoke", invoke),
        (".venv/bin/python", "echo build"),
        (".pintune/runs-copy/bin/python", ""),
    ):
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        log = f'echo "{Path(name).name} $*" >> {vm.folder}/log'
        path.write_text(f"#!/bin/sh\n{log}\n{body}\n", encoding="utf-8")
        path.chmod(0o755)
    for name in (".venv/prepared", ".pintune/runs-copy/prepared"):
        (home / name).touch()
        os.utime(home / name, (2**31, 2**31))
    vm.program("curl", """echo '{"access_token": "a", "refresh_token": "r"}'""")
    vm.program("docker", "cat > /dev/null")
    return home


def _invoked(vm: Vm) -> list[str]:
    return [line for line in vm.log() if line.startswith("invoke")]


def test_a_job_runs_its_verbs_in_order_and_once(vm: Vm) -> None:
    _checkout(vm, "")
    started = vm.run("pintune-job", "start", "prepare", "train --set 'data.source=my file'", "export")
    assert started.returncode == 0, started.stderr
    assert "systemctl start --no-block pintune.service" in vm.log()
    for _ in range(2):
        done = vm.run("pintune-job", "run")
        assert done.returncode == 0, done.stderr
    assert _invoked(vm) == ["invoke build", "invoke train --set data.source=my file", "invoke export"]
    assert any("docker login --username 00000000-0000-0000-0000-000000000000" in line for line in vm.log())
    assert "python -m images.cloud.runs_copy restore https://account.blob.core.windows.net runs" in vm.log()
    assert "all is done" in done.stdout


def test_an_interrupted_training_is_resumed_and_what_was_done_is_not_repeated(vm: Vm) -> None:
    home = _checkout(
        vm, 'case "$*" in train) sleep 0.1; mkdir -p runs/q/1; touch runs/q/1/unfinished.json; exit 75;; esac'
    )
    vm.run("pintune-job", "start", "data", "train", "export")
    assert vm.run("pintune-job", "run").returncode == 75
    assert vm.run("pintune-job", "run").returncode == 0
    assert _invoked(vm) == ["invoke data", "invoke train", "invoke train --resume", "invoke export"]
    assert (home / "runs/q/1/unfinished.json").exists()


def test_a_training_that_made_no_step_begins_anew(vm: Vm) -> None:
    home = _checkout(vm, f"[ -e {vm.folder}/second ] || {{ touch {vm.folder}/second; exit 1; }}")
    (home / "runs/q/old").mkdir(parents=True)
    (home / "runs/q/old/unfinished.json").touch()  # another job's
    os.utime(home / "runs/q/old/unfinished.json", (1, 1))
    vm.run("pintune-job", "start", "train")
    assert vm.run("pintune-job", "run").returncode == 1
    assert vm.run("pintune-job", "run").returncode == 0
    assert _invoked(vm) == ["invoke train", "invoke train"]


WAITING = 'case "$1" in is-active) exit 3;; list-jobs) echo 7 pintune.service start waiting;; esac'


@pytest.mark.parametrize("state", ["", WAITING], ids=["runs", "waits"])
def test_a_vm_with_a_job_takes_no_other(vm: Vm, state: str) -> None:
    _checkout(vm, "")
    vm.program("systemctl", state)
    for words in (("ready",), ("start", "train")):
        done = vm.run("pintune-job", *words)
        assert done.returncode == 3
        assert "invoke azure.logs shows it" in done.stderr
    assert not (vm.root / "var/lib/pintune/job").exists()


@pytest.mark.parametrize(("status", "ready"), [(0, True), (2, True), (1, False)])
def test_a_first_start_that_failed_takes_no_job(vm: Vm, status: int, ready: bool) -> None:
    vm.program("cloud-init", f"exit {status}")
    done = vm.run("pintune-job", "ready")
    assert (done.returncode == 0) == ready
    assert ready or "log/cloud-init-output.log" in done.stderr


def _installing(vm: Vm, fingerprint: str = "") -> None:
    """apt, and a driver that answers once its packages are there."""
    vm.program(
        "apt-get",
        f'case "$*" in *nvidia-utils*) touch {vm.folder}/driver;; *docker-ce*) touch {vm.folder}/docker;; esac',
    )
    vm.program("nvidia-smi", f"[ -e {vm.folder}/driver ]")
    vm.program("curl", 'while [ $# -gt 0 ]; do [ "$1" != --output ] || { shift; echo key > "$1"; }; shift; done')
    docker, nvidia = re.findall(r" ([0-9A-F]{40}) ", files(made())["/usr/local/sbin/pintune-setup"])
    right = f'case "$*" in *docker*) echo fpr:::::::::{docker}:;; *) echo fpr:::::::::{nvidia}:;; esac'
    vm.program("gpg", f"echo fpr:::::::::{fingerprint}:" if fingerprint else right)
    shown = f"case $4 in docker-ce) echo '{sizes.vm().docker}';; *) echo '{sizes.vm().toolkit}';; esac"
    vm.program("dpkg-query", f"[ -e {vm.folder}/docker ] || exit 1; {shown}")
    vm.program("uname", "echo 6.8.0-1040-azure")


def test_set_up_installs_what_is_missing_and_a_second_time_nothing(vm: Vm) -> None:
    _installing(vm)
    done = vm.run("pintune-setup")
    assert done.returncode == 0, done.stderr
    installed = [line for line in vm.log() if line.startswith("apt-get") and " install " in line]
    assert "linux-modules-nvidia-580-server-open-6.8.0-1040-azure" in installed[0]
    assert f"docker-ce={sizes.vm().docker}" in installed[1]
    (vm.folder / "log").unlink()
    assert vm.run("pintune-setup").returncode == 0
    assert not [line for line in vm.log() if line.startswith(("apt-get", "curl"))]


def test_a_key_of_somebody_else_stops_before_anything_of_it_is_installed(vm: Vm) -> None:
    _installing(vm, fingerprint="0" * 40)
    done = vm.run("pintune-setup")
    assert done.returncode == 1
    assert "nothing was installed from there" in done.stderr
    assert not [line for line in vm.log() if "docker-ce=" in line]


def test_a_driver_for_a_newer_kernel_restarts_the_vm_once(vm: Vm) -> None:
    _installing(vm)
    vm.program("modprobe", "exit 1")
    vm.program("nvidia-smi", "exit 9")
    assert vm.run("pintune-setup").returncode == 0
    assert "systemctl --no-block reboot" in vm.log()
    done = vm.run("pintune-setup")
    assert done.returncode == 1 and "the driver does not load" in done.stderr
    assert vm.log().count("systemctl --no-block reboot") == 1


def test_several_gpus_on_nvswitch_get_the_fabric_manager(tmp_path: Path) -> None:
    vm = Vm(tmp_path, FORMS[2])
    _installing(vm)
    assert vm.run("pintune-setup").returncode == 0
    assert any("install" in line and "nvidia-fabricmanager-580" in line for line in vm.log())


def test_virtual_gpus_wait_for_the_extension_and_install_no_driver(tmp_path: Path) -> None:
    vm = Vm(tmp_path, FORMS[1])
    _installing(vm)
    vm.program("sleep", f"touch {vm.folder}/driver")
    assert vm.run("pintune-setup").returncode == 0
    assert not [line for line in vm.log() if "nvidia-utils" in line or "linux-modules" in line]
    (tmp_path / "driver").unlink()
    vm.program("sleep", "")
    vm.program("seq", "echo 1 2 3")
    done = vm.run("pintune-setup")
    assert done.returncode == 1 and "NvidiaGpuDriverLinux" in done.stderr


def settings(unit: str) -> dict[str, Any]:
    return dict(re.findall(r"^(\w+)=(.*)$", files(made())[f"/etc/systemd/system/{unit}"], re.MULTILINE))


def test_the_units_resume_after_a_restart_and_let_a_training_save() -> None:
    enabled = yaml.safe_load(made())["runcmd"][-2]
    assert enabled[:2] == ["systemctl", "enable"] and {"pintune-setup.service", "pintune.service"} < set(enabled)
    job = settings("pintune.service")
    assert job["WantedBy"] == "multi-user.target" and job["Requires"] == "pintune-setup.service"
    assert int(job["TimeoutStopSec"]) > 60  # `invoke` gives a training a minute
    assert job["ExecStopPost"].endswith("pintune-job save")
