"""A SLURM of two nodes on this machine, started from Debian's packages in a folder of its own."""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import lacking

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "squeue", "scancel", "sinfo")
_PATH = os.environ["PATH"] + ":/usr/sbin:/sbin"  # daemons are not on every PATH

# two nodes with the name of one host (NodeHostname), no cgroups, and a requeued job starts at once (cred_expire)
_CONF = """
ClusterName=pintune
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock,cred_expire=5
SlurmdParameters=config_overrides
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdPidFile={folder}/%n/slurmd.pid
SlurmdSpoolDir={folder}/%n
SlurmdLogFile={folder}/%n/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_interval=1
ReturnToService=2
KillWait=60
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=2
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=2
PartitionName=all Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
"""


@dataclass(frozen=True)
class Cluster:
    """A running SLURM."""

    environment: dict[str, str]

    def run(self, *words: str) -> str:
        """Run one of SLURM's commands; returns its output."""
        done = subprocess.run(words, env=self.environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def state(self, number: str) -> str:
        """A job's state, such as RUNNING or COMPLETED."""
        shown = self.run("scontrol", "show", "job", number)
        return shown.partition("JobState=")[2].partition(" ")[0]

    def wait(self, number: str, *states: str) -> None:
        """Wait until a job is in one of these states; fails after two minutes."""
        end = time.monotonic() + 120
        while (now := self.state(number)) not in states:
            assert time.monotonic() < end, f"job {number} is {now}"
            time.sleep(0.1)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """SLURM with its state in `folder`, until the end of the block."""
    if missing := [name for name in PROGRAMS if not shutil.which(name, path=_PATH)]:
        lacking(f"SLURM: apt-get install slurmctld slurmd slurm-client munge ({', '.join(missing)})")
    for name in ("state", "n1", "n2"):
        (folder / name).mkdir(parents=True)
    user = pwd.getpwuid(os.getuid()).pw_name  # whose jobs alone run, unless it is root
    conf, key = folder / "slurm.conf", folder / "munge.key"
    conf.write_text(_CONF.format(user=user, host=socket.gethostname(), folder=folder, ports=_free_ports(3)))
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o400)
    munge = [f"--{name}={folder / file}" for name, file in _MUNGE.items()]
    known = {key: value for key, value in os.environ.items() if not key.startswith(("SLURM_", "SBATCH_", "PINTUNE_"))}
    environment = {**known, "PATH": _PATH, "SLURM_CONF": str(conf)}
    with contextlib.ExitStack() as daemons:

        def start(*words: str) -> None:
            daemons.enter_context(_daemon(list(words), environment, folder / f"{words[0]}.out"))

        start("munged", "--foreground", "--force", *munge)
        _until(lambda: (folder / "munge.sock").exists())
        start("slurmctld", "-D", "-f", str(conf))
        for node in ("n1", "n2"):
            start("slurmd", "-D", "-N", node, "-f", str(conf))
        made = Cluster(environment)
        _until(lambda: made.run("sinfo", "--noheader", "--format", "%T %D") == "idle 2")
        yield made


_MUNGE = {
    "socket": "munge.sock",
    "key-file": "munge.key",
    "log-file": "munged.log",
    "pid-file": "munged.pid",
    "seed-file": "munged.seed",
}


@contextlib.contextmanager
def _daemon(command: list[str], environment: dict[str, str], log: Path) -> Iterator[None]:
    with log.open("ab") as out, subprocess.Popen(command, env=environment, stdout=out, stderr=out) as process:
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def _until(condition: object) -> None:
    assert callable(condition)
    end = time.monotonic() + 30
    while True:
        with contextlib.suppress(AssertionError):
            if condition():
                return
        assert time.monotonic() < end, "SLURM does not start"
        time.sleep(0.1)
