"""The verbs azure.status and azure.down: what there is, what it costs, and removing just that."""

from __future__ import annotations

from typing import Any

from images.cloud import az, azure, remote
from images.cloud.command import script
from images.errors import Stop
from images.table import aligned
from images.verbs import azure_up

COSTS = {  # by type in lower case; other resources are free
    "microsoft.compute/virtualmachines": "by the hour, while it runs",
    "microsoft.compute/disks": "by the month, also while the VM is stopped",
    "microsoft.network/publicipaddresses": "by the hour, always",
    "microsoft.storage/storageaccounts": "by GB and month",
}


def is_own(each: dict[str, Any], name: str) -> bool:
    """Whether `azure.up` made a resource: by its tag, or a part of the VM, which cannot have one."""
    schedule = f"shutdown-computevm-{name}"
    part = f"/virtualMachines/{name}/".lower() in str(each["id"]).lower()
    return (each.get("tags") or {}).get(azure.TAG) == name or part or str(each["name"]).lower() == schedule.lower()


def listing(found: list[dict[str, Any]]) -> str:
    """Resources with what each costs."""
    rows = [(each["name"], each["type"], COSTS.get(str(each["type"]).lower(), "free")) for each in found]
    return aligned([("name", "type", "costs"), *rows])


def status(name: str) -> None:
    """Print the VM, what else there is, and what it costs.

    Raises:
        Stop: no login, or somebody else's group.
    """
    az.need_az()
    if not azure_up.own_group(name):
        print(f"azure  there is no {name}: nothing costs money. To make it: invoke azure.up")
        return
    there = az.found(azure.vm(name))
    if there:
        size, spot = (there.get("hardwareProfile") or {}).get("vmSize"), there.get("priority") == "Spot"
        state = f"{there.get('powerState')}, {str(there.get('provisioningState')).lower()}"
        print(f"azure  {name}: {state}, {size}{', Spot' if spot else ''}, at {there.get('publicIps') or 'no address'}")
        if there.get("powerState") != "VM running":
            print("azure  to start it: invoke azure.up --yes; its job resumes")
    else:
        print(f"azure  no VM; the rest of {name}:")
    print(listing(az.found(azure.resources(name)) or []), flush=True)


def shown(name: str, runs: bool) -> str:
    """The commands of `down` as a script."""
    first = [azure.resources(name), *remote.save(name, remote.folder(name)), azure.remove_vm(name)]
    rest = [*azure.roles(name), azure.remove_roles(), azure.tagged(name, runs), azure.remove_resources()]
    ends = [azure.resources(name), azure.remove_group(name)]
    return f"{script([*first, *rest, *ends])}\n# invoke azure.down --yes runs these, each only for what there is"


def down(name: str, runs: bool, unsaved: bool) -> None:
    """List what `azure.up` made, remove it, and say what still costs money.

    Args:
        runs: the storage account with the copies of runs too.
        unsaved: even if what is on the VM's disk cannot be copied first.

    Raises:
        Stop: no login, somebody else's group, runs that cannot be copied, or a command that fails.
    """
    az.need_az()
    if not azure_up.own_group(name):
        print(f"azure  there is no {name}: nothing to remove, and nothing costs money")
        return
    found = az.found(azure.resources(name)) or []
    print(f"azure  in {name}:\n{listing(found)}", flush=True)
    if any(_is_vm(each, name) for each in found):
        if not unsaved:
            _save(name)
        az.run([azure.remove_vm(name)])
    found = az.found(azure.resources(name)) or []
    own = [each for each in found if is_own(each, name)]
    if any(each["name"] == f"{name}-identity" for each in own):
        values = az.run(azure.roles(name))
        if values["ROLE_IDS"]:
            az.run([azure.remove_roles()], values)
    gone = [each["id"] for each in own if runs or str(each["type"]).lower() != azure.STORAGE.lower()]
    if gone:
        az.run([azure.remove_resources()], {"IDS": "\n".join(gone)})
    left = az.found(azure.resources(name)) or []
    if not left:
        az.run([azure.remove_group(name)])
        print(f"azure  {name} is removed; nothing of it costs money", flush=True)
        return
    print(f"azure  left in {name}:\n{listing(left)}")
    if any(is_own(each, name) and str(each["type"]).lower() == azure.STORAGE.lower() for each in left):
        print("azure  the storage account has the copies of runs; to remove it too: invoke azure.down --runs --yes")
    if others := [each["name"] for each in left if not is_own(each, name)]:
        print(f"azure  not of Pintune, and left alone: {', '.join(others)}", flush=True)


def _is_vm(each: dict[str, Any], name: str) -> bool:
    return str(each["type"]).lower() == "microsoft.compute/virtualmachines" and is_own(each, name)


def _save(name: str) -> None:
    """Copy runs from the VM's disk, which is removed with it.

    Raises:
        Stop: the VM is stopped or does not answer.
    """
    there = az.found(azure.vm(name)) or {}
    todo = "invoke azure.up --yes, then invoke azure.down --yes; or lose what is on its disk alone: --unsaved"
    if there.get("powerState") != "VM running":
        wanted = "a VM that runs, to copy runs from its disk before that is removed"
        raise Stop(wanted, str(there.get("powerState")), name, todo)
    try:
        az.run(remote.save(name, remote.folder(name)))
    except Stop as stop:
        raise Stop("runs copied from the VM's disk before that is removed", stop.found, stop.where, todo) from None
