"""The verbs azure.*: a GPU VM on Azure. Those that change something print their commands, and run them with --yes."""

from __future__ import annotations

import datetime
import os
import sys

from invoke.collection import Collection
from invoke.context import Context
from invoke.exceptions import Exit
from invoke.tasks import task

from images import git, matrix
from images.cloud import az, azure, remote
from images.cloud import sizes as all_sizes
from images.cloud.command import Command, script
from images.errors import Stop, reported
from images.verbs import azure_down, azure_job, azure_up, cli

NAME = "of the resource group and the VM (default pintune)"
YES = "run the commands, instead of printing them"


@task(
    help={
        "size": "the size of VM; --sizes lists them (default Standard_NC24ads_A100_v4)",
        "location": "the region (default eastus)",
        "spot": "a Spot VM: far cheaper, stopped when Azure needs it; azure.up starts it again and its job resumes",
        "address": "the IPv4 address that SSH may come from (default: yours, as api.ipify.org sees it)",
        "registry": "the registry to pull the image from, such as NAME.azurecr.io/pintune (default PINTUNE_REGISTRY)",
        "storage": "name of the storage account that runs are copied to (default: made from your user and machine)",
        "shutdown": "time of day in UTC, hhmm, when the VM is switched off; or never (default 2300)",
        "ssh_key": "file of a public key (default: the one in ~/.ssh, made if it is missing)",
        "sizes": "list the sizes, their GPUs, prices and flavors, and make nothing",
        "name": NAME,
        "yes": YES,
    }
)
def up(
    c: Context,
    size: str = "Standard_NC24ads_A100_v4",
    location: str = "eastus",
    spot: bool = False,
    address: str = "",
    registry: str = "",
    storage: str = "",
    shutdown: str = "2300",
    ssh_key: str = "",
    sizes: bool = False,
    name: str = "pintune",
    yes: bool = False,
) -> None:
    """Make a GPU VM on Azure, or start it again."""
    with reported():
        if sizes:
            print(all_sizes.table())
            return
        registry = registry or os.environ.get("PINTUNE_REGISTRY", "")
        asked = azure_up.wanted(name, location, size, spot, address, registry, storage, shutdown, ssh_key)
        if _prints(c, yes):
            print(azure_up.shown(asked))
        else:
            azure_up.up(asked)


@task(help={"name": NAME})
def status(c: Context, name: str = "pintune") -> None:
    """Show the VM, what else there is, and what it costs."""
    with reported():
        azure_up.need_name(name)
        if c.config.run.dry:
            print(script([azure.group(name), azure.vm(name), azure.resources(name)]))
        else:
            azure_down.status(name)


@task(help={"name": NAME, "yes": YES})
def run(c: Context, name: str = "pintune", yes: bool = False) -> None:
    """Run the verbs after it on the VM instead: invoke azure.run build train export."""
    with reported():
        lines = azure_job.after(cli.known(), sys.argv[1:], "azure.run")
        _send(c, name, lines, yes)
        raise Exit(code=0)  # the verbs after it are not for this machine


@task(help={"recipe": cli.SHARED["recipe"], "set_": cli.SHARED["set_"], "name": NAME, "yes": YES}, iterable=["set_"])
def train(
    c: Context, recipe: str = "", set_: list[str] | None = None, name: str = "pintune", yes: bool = False
) -> None:
    """Train, evaluate and export on the VM, with the image pulled or built first."""
    with reported():
        recipe = recipe or os.environ.get("PINTUNE_RECIPE", "quickstart")
        _send(c, name, azure_job.training(recipe, set_ or []), yes)


@task(help={"follow": "go on as lines come, until Ctrl-C", "name": NAME})
def logs(c: Context, follow: bool = False, name: str = "pintune") -> None:
    """Show what the VM's set-up and job say."""
    with reported():
        units = ("--unit", "pintune-setup", "--unit", "pintune", "--lines", "200", "--output", "cat")
        words = ("sudo", "journalctl", *units, *(("--follow",) if follow else ("--no-pager",)))
        _connect(c, name, remote.ssh(remote.folder(name), *words, why="the log"))


@task(help={"name": NAME})
def fetch(c: Context, name: str = "pintune") -> None:
    """Copy the VM's runs into runs/."""
    with reported():
        _connect(c, name, remote.fetch(remote.folder(name)))
        if not c.config.run.dry:
            print("azure  runs/ has the VM's runs; next: invoke runs")


@task(help={"command": "run this on the VM, instead of a shell", "name": NAME})
def ssh(c: Context, command: str = "", name: str = "pintune") -> None:
    """Open a shell on the VM; ports of notebook, webui, serve and tensorboard lead there meanwhile."""
    with reported():
        words = (command,) if command else ()
        options = () if command else remote.tunnels()
        _connect(c, name, remote.ssh(remote.folder(name), *words, why="a shell, with tunnels", options=options))


@task(
    help={
        "runs": "the copies of runs in the storage account too, which nothing brings back",
        "unsaved": "even if runs on the VM's disk cannot be copied first",
        "name": NAME,
        "yes": YES,
    }
)
def down(c: Context, runs: bool = False, unsaved: bool = False, name: str = "pintune", yes: bool = False) -> None:
    """Remove the VM and all that came with it, and say what still costs money."""
    with reported():
        azure_up.need_name(name)
        if _prints(c, yes):
            print(azure_down.shown(name, runs))
        else:
            azure_down.down(name, runs, unsaved)


@task(help={"days": "how many days back (default 7)", "name": NAME})
def cost(c: Context, days: int = 7, name: str = "pintune") -> None:
    """Show the list price of the VM, and what it has cost."""
    with reported():
        azure_up.need_name(name)
        if days < 1:
            raise Stop("at least 1 day", str(days), "--days", "--days 7")
        today = datetime.datetime.now(datetime.timezone.utc).date()
        commands = azure.cost(name, str(today - datetime.timedelta(days=days)), str(today))
        if c.config.run.dry:
            print(script(commands))
            return
        az.need_az()
        values: dict[str, str] = {}
        for each in commands:
            values[each.into] = az.text(each, values)
            if not each.into:
                print(f"azure  {each.why}:\n{values[''] or 'none yet'}", flush=True)


def _prints(c: Context, yes: bool) -> bool:
    return bool(c.config.run.dry) or not yes


def _connect(c: Context, name: str, command: Command) -> None:
    """Run a command that reaches the VM by its address, in this terminal; with --dry print it.

    Raises:
        Stop: no login, no VM, or it does not answer.
        Exit: the command ended on the VM with this status.
    """
    azure_up.need_name(name)
    if c.config.run.dry:
        print(script([remote.ip(name), command]))
        return
    az.need_az()
    (matrix.ROOT / remote.folder(name)).mkdir(parents=True, exist_ok=True)
    try:
        status = az.attached(command, az.run([remote.ip(name)], show=False))
    except KeyboardInterrupt:  # Ctrl-C ends what follows the log
        raise Exit(code=130) from None
    if status:
        raise Exit(code=status)


def _send(c: Context, name: str, lines: list[str], yes: bool) -> None:
    """Send the commit and a job.

    Raises:
        Stop: no commit, a VM that has a job, and as `az.run`.
    """
    azure_up.need_name(name)
    revision, dirty = git.revision()
    if not revision:
        raise Stop("a commit to send", "no git repository here", str(matrix.ROOT), "git clone the repository")
    if dirty:
        print("# what is not committed is not sent" if _prints(c, yes) else "azure  what is not committed is not sent")
    commands = remote.send(name, remote.folder(name), lines)
    if _prints(c, yes):
        print(f"{script(commands)}\n# with --yes these are run")
        return
    az.need_az()
    (matrix.ROOT / remote.folder(name)).mkdir(parents=True, exist_ok=True)
    az.run(commands)
    print(f"azure  the VM works on {revision[:12]}: {'; '.join(lines)}")
    print("azure  next: invoke azure.logs --follow, then invoke azure.fetch", flush=True)


def collection() -> Collection:
    """The verbs."""
    return Collection("azure", up, status, run, train, logs, fetch, ssh, down, cost)
