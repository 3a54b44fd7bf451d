"""Runs the commands of images/cloud/azure.py, and tells their errors in plain words."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from typing import Any

from images import matrix
from images.cloud.command import Command, filled
from images.errors import Stop, line

# What `az` says, and what to do. Texts of azure-cli 2.91 and of Azure Resource Manager's error codes
# (learn.microsoft.com: Troubleshoot common Azure deployment errors)
_LOGIN = ("a login of Azure's command line", "az login, then the same command again")
_ERRORS = (
    (r"az login|AADSTS\d+|Interactive authentication is needed|token (has )?expired", *_LOGIN),
    (r"SkuNotAvailable", "a size that the region has for you", "another --location or --size, or without --spot"),
    (r"AllocationFailed|Overconstrained", "free machines of this size", "try later, or another --location or --size"),
    (
        r"QuotaExceeded|exceeding approved|OperationNotAllowed.*[Qq]uota",
        "a quota that is enough",
        "ask for more in the portal, Quotas; or a smaller --size",
    ),
    (
        r"AuthorizationFailed|does not have authorization|RoleAssignmentUpdateNotPermitted",
        "the right to do this: Owner, or Contributor with User Access Administrator",
        "ask who owns the subscription, then the same command again",
    ),
    (r"StorageAccountAlreadyTaken|AccountNameInvalid", "a free name for the storage account", "--storage ANOTHERNAME"),
    (r"MissingSubscriptionRegistration", "a subscription that knows this service", "az provider register --namespace"),
    (r"RequestDisallowedByPolicy", "a policy that allows this", "ask who set the policy that the message names"),
    (r"ReadOnlyDisabledSubscription", "an active subscription", "az account set --subscription ANOTHER"),
)
_ABSENT = re.compile(r"ResourceGroupNotFound|ResourceNotFound|could not be found|was not found")


class Absent(Stop):
    """What was asked for does not exist."""


def need_az() -> None:
    """Raise Stop unless Azure's command line is on the PATH."""
    if not shutil.which("az"):
        todo = (
            "python3 -m venv ~/az && ~/az/bin/pip install azure-cli==2.91.0 && PATH=$HOME/az/bin:$PATH, then az login"
        )
        raise Stop("Azure's command line, az", "none on the PATH", "PATH", todo)


def run(commands: Sequence[Command], values: dict[str, str] | None = None, show: bool = True) -> dict[str, str]:
    """Run commands in order, each printed before it runs; returns the values of all variables.

    Raises:
        Stop: a command failed, or the VM has no address; the commands after it did not run.
        Absent: it failed since what it asked for does not exist.
    """
    known = dict(values or {})
    for each in commands:
        if show:
            print(f"azure  {each.shown}", flush=True)
        known[each.into] = text(each, known)
        if each.into == "IP" and not known["IP"]:
            raise Stop("a VM that runs", "it has no address", each.shown, "invoke azure.up --yes starts it")
    return known


def text(command: Command, values: dict[str, str] | None = None) -> str:
    """The output of a command, without the line's end; in a file if the command names one.

    Raises:
        Stop, Absent: as `run`.
    """
    argv = filled(command.argv, values or {})
    keep = bool(command.into or command.output) or argv[0] == "az"
    try:
        done = subprocess.run(
            argv, cwd=matrix.ROOT, text=True, stdout=subprocess.PIPE if keep else None, stderr=_errors(argv)
        )
    except OSError as error:
        raise Stop(f"the command {argv[0]}", line(error), command.shown, f"install {argv[0]}") from None
    if done.returncode:
        raise failure(command, (done.stderr or "") + (done.stdout or ""), done.returncode)
    if command.output:
        (matrix.ROOT / command.output).write_text(done.stdout, encoding="utf-8")
    return (done.stdout or "").strip()


def attached(command: Command, values: dict[str, str]) -> int:
    """Run a command in this terminal; returns its status on the VM.

    Raises:
        Stop: the VM does not answer, or the program is missing.
    """
    argv = filled(command.argv, values)
    try:
        status = subprocess.run(argv, cwd=matrix.ROOT).returncode
    except OSError as error:
        raise Stop(f"the command {argv[0]}", line(error), command.shown, f"install {argv[0]}") from None
    if status == 255 or (status and argv[0] != "ssh"):
        raise failure(command, "", status)
    return status


def _errors(argv: Sequence[str]) -> int | None:
    """What `az` and curl say is told in other words; what git, ssh and rsync say is shown as it is."""
    return subprocess.PIPE if argv[0] in ("az", "curl") else None


def found(command: Command) -> Any:
    """The JSON that a command prints; None if what it asks for does not exist.

    Raises:
        Stop: as `run`, or it prints something else.
    """
    try:
        made = text(command)
    except Absent:
        return None
    try:
        return json.loads(made or "null")
    except ValueError as error:
        raise Stop("JSON", line(error), command.shown, "run that command by hand") from None


def failure(command: Command, said: str, status: int) -> Stop:
    """What a failed command means, and what to do."""
    said = said.strip()
    for pattern, wanted, todo in _ERRORS:
        if re.search(pattern, said):
            return Stop(wanted, _first(said), command.shown, _completed(todo, said))
    if _ABSENT.search(said):
        return Absent("what the command asks for", _first(said), command.shown, "invoke azure.up makes it")
    if command.argv[0] in ("ssh", "rsync", "git"):
        return _unreachable(command, status)
    todo = "mend what it says, then the same verb again: what exists is kept. invoke azure.status lists it"
    return Stop(command.why, _first(said) or f"status {status}", command.shown, todo)


def _unreachable(command: Command, status: int) -> Stop:
    if command.argv[0] == "ssh" and status != 255:  # the status of the command on the VM
        return Stop(command.why, f"status {status}, as said above", command.shown, "invoke azure.logs")
    todo = "invoke azure.status; if your address has changed: invoke azure.up --yes, which lets the new one in"
    return Stop("a VM that answers", f"{command.argv[0]} ended with status {status}", command.shown, todo)


def _completed(todo: str, said: str) -> str:
    if not todo.endswith("--namespace"):
        return todo
    name = re.search(r"namespace '([\w.]+)'", said)
    return f"{todo} {name[1] if name else 'Microsoft.Compute'} --wait, then the same command again"


def _first(said: str) -> str:
    """The line that says what is wrong."""
    lines = [each.strip() for each in said.splitlines() if each.strip() and not each.startswith("WARNING")]
    errors = [each for each in lines if re.match(r"ERROR|\(|Code:|Message:", each)]
    return (errors or lines or [""])[0].removeprefix("ERROR: ")[:300]
