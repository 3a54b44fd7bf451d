"""A stand-in for `az`: it logs its words and replies as Azure's documentation says, from a state in a file.

Copied onto the PATH as `az`, with the folder of its state as the environment's AZ_STATE. The state's keys:
    login       false: nobody is logged in
    skus        what `vm list-skus` prints
    usages      what `vm list-usage` prints
    fail        {"first words of a command": "what az says"}: that command fails
    resources   what is in the resource group
    vm          what `vm show` prints, or null
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

SUBSCRIPTION = "/subscriptions/00000000-0000-0000-0000-000000000000"
TYPES = {
    "vm": "Microsoft.Compute/virtualMachines",
    "disk": "Microsoft.Compute/disks",
    "nic": "Microsoft.Network/networkInterfaces",
    "ip": "Microsoft.Network/publicIPAddresses",
    "nsg": "Microsoft.Network/networkSecurityGroups",
    "storage": "Microsoft.Storage/storageAccounts",
    "identity": "Microsoft.ManagedIdentity/userAssignedIdentities",
    "schedule": "Microsoft.DevTestLab/schedules",
}


def fresh(family: str = "StandardNCADSA100v4Family", size: str = "Standard_NC24ads_A100_v4") -> dict[str, Any]:
    """A subscription with nothing in it, and a quota that is enough."""

    def usage(value: str, shown: str, limit: int) -> dict[str, Any]:
        return {"name": {"value": value, "localizedValue": shown}, "currentValue": 0, "limit": limit}

    return {
        "login": True,
        "group": None,
        "resources": [],
        "vm": None,
        "fail": {},
        "skus": [{"name": size, "family": family, "restrictions": []}],
        "usages": [
            usage("cores", "Total Regional vCPUs", 100),
            usage("lowPriorityCores", "Total Regional Low-priority vCPUs", 100),
            usage(family, "Standard NCADS_A100_v4 Family vCPUs", 48),
        ],
    }


def main(words: list[str]) -> None:
    folder = Path(os.environ["AZ_STATE"])
    with (folder / "log").open("a", encoding="utf-8") as log:
        log.write(json.dumps(words) + "\n")
    file = folder / "state.json"
    state = json.loads(file.read_text(encoding="utf-8"))
    if not state["login"]:
        sys.exit("ERROR: Please run 'az login' to setup account.")
    for start, said in state["fail"].items():
        if " ".join(words).startswith(start):
            sys.exit(f"ERROR: {said}")
    text = reply(state, words)
    file.write_text(json.dumps(state), encoding="utf-8")
    print(text)


def reply(state: dict[str, Any], words: list[str]) -> str:
    flags = {word: words[at + 1] for at, word in enumerate(words[:-1]) if word.startswith("--")}
    name = flags.get("--resource-group") or flags.get("--name", "")
    match [word for word in words[:4] if not word.startswith("-")][:4]:
        case ["account", "show", *_]:
            return "Pay-As-You-Go"
        case ["vm", "list-skus", *_]:
            return json.dumps(state["skus"])
        case ["vm", "list-usage", *_]:
            return json.dumps(state["usages"])
        case ["group", "show", *_]:
            if not state["group"]:
                sys.exit(f"ERROR: (ResourceGroupNotFound) Resource group '{name}' could not be found.")
            return json.dumps(state["group"])
        case ["group", "create", *_]:
            state["group"] = state["group"] or {"name": name, "tags": dict([tagged(words)])}
        case ["group", "delete", *_]:
            state["group"] = None
        case ["network", "nsg", "create", *_]:
            add(state, "nsg", name, flags["--name"], words)
        case ["storage", "account", "create", *_]:
            add(state, "storage", name, flags["--name"], words)
        case ["identity", "create", *_]:
            return add(state, "identity", name, flags["--name"], words)
        case ["identity" | "storage" | "acr", *_]:
            return "11111111-1111-1111-1111-111111111111"
        case ["vm", "create", *_]:
            for kind, end in (("vm", ""), ("disk", "_OsDisk"), ("nic", "VMNic"), ("ip", "PublicIP")):
                add(state, kind, name, name + end, words)
            size, spot = flags["--size"], flags.get("--priority", "Regular")
            state["vm"] = {"provisioningState": "Succeeded", "powerState": "VM running", "publicIps": "192.0.2.7"}
            state["vm"] |= {"hardwareProfile": {"vmSize": size}, "priority": spot, "location": "eastus"}
        case ["vm", "auto-shutdown", *_]:
            add(state, "schedule", name, f"shutdown-computevm-{name}", [])
        case ["vm", "start", *_]:
            state["vm"]["powerState"] = "VM running"
        case ["vm", "show", *_]:
            if not state["vm"]:
                sys.exit(f"ERROR: (ResourceNotFound) The Resource '{TYPES['vm']}/{name}' was not found.")
            query = flags.get("--query", "")
            found = state["vm"]
            for part in query.split(".") if query else []:
                found = found[part]
            return found if query else json.dumps(found)
        case ["vm", "delete", *_]:
            state["vm"] = None
            gone = (TYPES["vm"], TYPES["disk"], TYPES["nic"])
            state["resources"] = [each for each in state["resources"] if each["type"] not in gone]
        case ["resource", "list", *_]:
            return json.dumps(state["resources"])
        case ["resource", "delete", *_]:
            ids = words[words.index("--ids") + 1 :]
            state["resources"] = [each for each in state["resources"] if each["id"] not in ids]
        case ["role", "assignment", "list", *_]:
            return f"{SUBSCRIPTION}/a\n{SUBSCRIPTION}/b"
        case ["rest" | "consumption", *_]:
            return "Meter  Price"
    return ""


def tagged(words: list[str]) -> tuple[str, str]:
    key, _, value = words[words.index("--tags") + 1].partition("=")
    return key, value


def add(state: dict[str, Any], kind: str, group: str, name: str, words: list[str]) -> str:
    id = f"{SUBSCRIPTION}/resourceGroups/{group}/providers/{TYPES[kind]}/{name}"
    tags = dict([tagged(words)]) if "--tags" in words else None
    made = {"id": id, "name": name, "type": TYPES[kind], "tags": tags}
    state["resources"] = [each for each in state["resources"] if each["id"] != id] + [made]
    return id


if __name__ == "__main__":
    main(sys.argv[1:])
