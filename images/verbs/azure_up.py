"""The verb azure.up: look first, then make, and go on with what is there."""

from __future__ import annotations

import dataclasses
import getpass
import ipaddress
import platform
import re
from typing import Any

from images.cloud import az, azure, quota, remote, sizes
from images.cloud.azure import Wanted
from images.cloud.command import script
from images.errors import Stop

ENDS = "# invoke azure.up with --yes runs these; invoke azure.down removes what they make"


def wanted(
    name: str, location: str, size: str, spot: bool, address: str, registry: str, storage: str, shutdown: str, key: str
) -> Wanted:
    """The VM that the flags ask for.

    Raises:
        Stop: a flag with a value that Azure, or a shell, would take for something else.
    """
    need_name(name)
    _need(
        r"[a-z][a-z0-9]+", location, "a region such as westeurope", "--location", "az account list-locations -o table"
    )
    _need(
        r"([01]\d|2[0-3])[0-5]\d|never",
        shutdown,
        "a time of day in UTC, hhmm, or never",
        "--shutdown",
        "--shutdown 2300",
    )
    account = storage or azure.account(name, f"{getpass.getuser()}@{platform.node()}")
    _need(r"[a-z0-9]{3,24}", account, "3 to 24 lower-case letters and digits", "--storage", "leave it out")
    _need(
        r"([a-z0-9][\w.-]*(:\d+)?(/[\w.-]+)*/?)?",
        registry,
        "a registry without https://",
        "--registry",
        "--registry NAME.azurecr.io/pintune",
    )
    if address:
        try:
            ipaddress.IPv4Address(address)
        except ValueError:
            todo = "leave it out, and it is looked up"
            raise Stop("an IPv4 address", repr(address), "--address", todo) from None
    time = "" if shutdown == "never" else shutdown
    return Wanted(
        name, location, sizes.get(size), spot, address, registry.rstrip("/"), account, time, key, remote.folder(name)
    )


def need_name(name: str) -> None:
    """Raise Stop unless a resource group, a VM and a tag can have this name."""
    _need(r"[a-z][a-z0-9-]{0,38}[a-z0-9]", name, "2 to 40 lower-case letters, digits and -", "--name", "--name pintune")


def _need(pattern: str, value: str, wanted: str, where: str, todo: str) -> None:
    if not re.fullmatch(pattern, value):
        raise Stop(wanted, repr(value), where, todo)


def shown(asked: Wanted) -> str:
    """The commands as a script."""
    commands = [*azure.checks(asked), *azure.foundation(asked), *azure.machine(asked)]
    return f"# {asked.size.name}: {asked.size.shown}\n{script(commands)}\n{ENDS}"


def up(asked: Wanted) -> None:
    """Make the VM, or start the one that is there.

    Raises:
        Stop: no login, quota or size, somebody else's group, a half-made VM, or a command that fails.
    """
    az.need_az()
    print(f"azure  subscription {az.text(azure.login())}", flush=True)
    group = own_group(asked.name)
    there = az.found(azure.vm(asked.name)) if group else None
    if there:
        _need_whole(there, asked)
    else:
        family = quota.family(az.found(azure.offers(asked.location, asked.size)) or [], asked.size, asked.location)
        usages = az.found(azure.usage(asked.location)) or []
        quota.need(usages, family, asked.size, asked.spot, asked.location)
    values = _address(asked)
    if there:
        az.run([azure.rule(asked)], values)
        _start(there, asked)
        return
    if group:
        print(f"azure  the resource group {asked.name} is there; what it lacks is made", flush=True)
        asked = dataclasses.replace(asked, account=_account(asked))
    az.run([*azure.foundation(asked), *azure.machine(asked)], values)
    print(f"azure  {asked.name} runs: {asked.size.shown}. It costs until invoke azure.down --yes")
    print(
        "azure  driver, Docker and GPU access take about ten minutes more; next: invoke azure.train --yes", flush=True
    )


def own_group(name: str) -> dict[str, Any] | None:
    """The resource group; None if there is none.

    Raises:
        Stop: it is there, and Pintune did not make it.
    """
    group = az.found(azure.group(name))
    if group and (group.get("tags") or {}).get(azure.TAG) != name:
        found = f"one without the tag {azure.TAG}={name}, so something else made it"
        raise Stop(f"a resource group {name} of Pintune, or none", found, "az group show", "--name ANOTHER")
    return dict(group) if group else None


def _account(asked: Wanted) -> str:
    """The storage account that is there, which has the runs so far, else the one that is asked for."""
    found = az.found(azure.resources(asked.name)) or []
    own = [each for each in found if (each.get("tags") or {}).get(azure.TAG) == asked.name]
    return next((str(each["name"]) for each in own if each["type"].lower() == azure.STORAGE.lower()), asked.account)


def _address(asked: Wanted) -> dict[str, str]:
    """The address of this machine, if none is given.

    Raises:
        Stop: it cannot be found out.
    """
    if asked.address:
        return {}
    found = az.text(azure.address())
    try:
        return {"ADDRESS": str(ipaddress.IPv4Address(found))}
    except ValueError:
        raise Stop("this machine's IPv4 address", repr(found[:60]), azure.ADDRESS_OF, "name it: --address") from None


def _need_whole(there: dict[str, Any], asked: Wanted) -> None:
    """Raise Stop if the VM that is there is half made, or is another than was asked for."""
    state, size = str(there.get("provisioningState")), str((there.get("hardwareProfile") or {}).get("vmSize"))
    own = f"--resource-group {asked.name} --name {asked.name}"
    if state in ("Creating", "Updating", "Deleting"):
        todo = f"az vm wait {own} --updated (or --deleted), then the same command again"
        raise Stop("a VM that is made, or none", f"{asked.name} is {state.lower()}", "az vm show", todo)
    if state != "Succeeded":
        todo = f"az vm reapply {own}, then the same command again; or remove it: invoke azure.down"
        raise Stop("a VM that is made, or none", f"{asked.name} is there in state {state}", "az vm show", todo)
    if size.lower() != asked.size.name.lower():
        todo = f"--size {size}; or --name ANOTHER; or invoke azure.down, then again"
        raise Stop(f"a VM {asked.name} of size {asked.size.name}, or none", size, "az vm show", todo)


def _start(there: dict[str, Any], asked: Wanted) -> None:
    power = str(there.get("powerState"))
    if power == "VM running":
        print(f"azure  {asked.name} is there and runs, at {there.get('publicIps')}; SSH is open for you", flush=True)
        return
    az.run([azure.start(asked.name)])
    print(f"azure  {asked.name} was there ({power}) and runs again; its job, if it has one, resumes", flush=True)
