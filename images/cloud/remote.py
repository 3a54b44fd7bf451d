"""Commands that reach the VM, by SSH alone: a job, its log, its runs. Pure functions; nothing is run here."""

from __future__ import annotations

import shlex

from images.cloud.azure import USER, az
from images.cloud.command import Command

HOME = "/srv/pintune"  # the checkout on the VM
PORTS = (8888, 7860, 8000, 6006)  # notebook, webui, serve, tensorboard


def ip(name: str) -> Command:
    """The address of the VM."""
    words = ("--show-details", "--resource-group", name, "--name", name, "--query", "publicIps", "--output", "tsv")
    return az("the address of the VM", "vm", "show", *words, into="IP")


def ssh(folder: str, *remote: str, why: str, options: tuple[str, ...] = ()) -> Command:
    """A command on the VM, or a shell. The VM's host key is kept from the first connection on, and compared later."""
    return Command(why, ("ssh", *_ssh_options(folder), *options, f"{USER}@$IP", *remote))


def tunnels() -> tuple[str, ...]:
    """Options of ssh with which the ports of services on the VM are those of this machine."""
    return tuple(word for port in PORTS for word in ("-L", f"{port}:127.0.0.1:{port}"))


def _ssh_options(folder: str) -> tuple[str, ...]:
    known = f"UserKnownHostsFile={folder}/known_hosts"
    return ("-o", "StrictHostKeyChecking=accept-new", "-o", known, "-o", "ConnectTimeout=20")


def folder(name: str) -> str:
    """Where the files of a VM are, below the checkout."""
    return f".pintune/azure/{name}"


def send(name: str, folder: str, lines: list[str]) -> list[Command]:
    """Send the checkout's commit and a job, a line for each verb, to the VM, and start the job."""
    push = ("git", "-c", f"core.sshCommand={_over(folder)}", "push", "--quiet", "--force", f"ssh://{USER}@$IP{HOME}")
    start = shlex.join(["sudo", "pintune-job", "start", *lines])  # for the shell on the other side
    return [
        ip(name),
        ssh(folder, "sudo", "pintune-job", "ready", why="wait until the VM can take a job; it has at most one"),
        Command("send the commit", (*push, "HEAD:refs/heads/sent")),
        ssh(folder, start, why="start the job"),
    ]


def fetch(folder: str) -> Command:
    """Copy runs from the VM; nothing here is removed."""
    copy = ("rsync", "--archive", "--partial", "--rsh", _over(folder), f"{USER}@$IP:{HOME}/runs/", "runs/")
    return Command("copy runs; none that is here is removed", copy)


def _over(folder: str) -> str:
    return " ".join(("ssh", *_ssh_options(folder)))


def save(name: str, folder: str) -> list[Command]:
    """Copy runs from the VM's disk to the blobs."""
    return [ip(name), ssh(folder, "sudo", "systemctl", "start", "pintune-save", why="copy runs to the blobs first")]
