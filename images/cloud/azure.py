"""From choices to commands: what `az` and `ssh` are asked for. Pure functions; nothing is run here."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from images.cloud import cloud_init, sizes
from images.cloud.command import Command
from images.cloud.sizes import Size

TAG = "pintune"  # each resource has this tag, with the VM's name as its value
USER = "pintune"  # of the VM
CONTAINER = "runs"  # of blobs
STORAGE = "Microsoft.Storage/storageAccounts"
DISK_GIB = 256  # the system, an image of 10 GB, a model of 7B with its merge, and runs
FIREWALL = "SSH from your address, and nothing else from outside"
ADDRESS_OF = "https://api.ipify.org"  # answers with the address that a request comes from


@dataclass(frozen=True)
class Wanted:
    """The VM that a person asks for."""

    name: str  # of the resource group and of the VM
    location: str
    size: Size
    spot: bool
    address: str  # that SSH may come from; "" for this machine's, as another server sees it
    registry: str  # the images are pulled from, "" for none
    account: str  # storage account of the runs; unique in the world
    shutdown: str  # time of day, UTC, hhmm, when the VM is switched off; "" for never
    ssh_key: str  # a public key file; "" for the one in ~/.ssh, made if it is missing
    folder: str  # of files made for this VM, below the checkout

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags of every resource."""
        return ("--tags", f"{TAG}={self.name}")

    @property
    def group(self) -> tuple[str, ...]:
        """The flag of the resource group."""
        return ("--resource-group", self.name)


def account(name: str, owner: str) -> str:
    """A name for the storage account, which must be unique in the world: 3 to 24 lower-case letters and digits."""
    return "pintune" + hashlib.sha256(f"{owner}/{name}".encode()).hexdigest()[:12]


def container_registry(registry: str) -> str:
    """The name of an Azure Container Registry such as `NAME.azurecr.io/pintune`; "" for another kind of registry."""
    found = re.match(r"([a-z0-9]{5,50})\.azurecr\.io(/|$)", registry)
    return found[1] if found else ""


def login() -> Command:
    """Who is logged in, and which subscription pays."""
    return az("the subscription that pays", "account", "show", "--query", "name", "--output", "tsv")


def offers(location: str, size: Size) -> Command:
    """Whether a region has a size: a list, empty if it does not."""
    words = ("--location", location, "--size", size.name, "--resource-type", "virtualMachines", "--output", "json")
    return az("whether the region has this size for you", "vm", "list-skus", *words)


def usage(location: str) -> Command:
    """How many vCPUs of each family are used, and the quota."""
    return az("whether the quota is enough", "vm", "list-usage", "--location", location, "--output", "json")


def group(name: str) -> Command:
    """The resource group."""
    return az("the resource group, if there is one", "group", "show", "--name", name, "--output", "json")


def resources(name: str) -> Command:
    """What is in the resource group."""
    listed = "[].{id:id,name:name,type:type,tags:tags}"
    words = ("--resource-group", name, "--query", listed, "--output", "json")
    return az("what there is", "resource", "list", *words)


def vm(name: str) -> Command:
    """The VM, with its addresses and whether it runs."""
    words = ("--show-details", "--resource-group", name, "--name", name, "--output", "json")
    return az("the VM", "vm", "show", *words)


def start(name: str) -> Command:
    """Start a VM that is stopped; its unit resumes the job."""
    return az("start the VM again; its job resumes", "vm", "start", "--resource-group", name, "--name", name)


def address() -> Command:
    """The address of this machine, as the VM sees it."""
    why = "the address that SSH may come from: yours"
    return Command(why, ("curl", "--ipv4", "--fail", "--silent", "--show-error", ADDRESS_OF), "ADDRESS")


def checks(wanted: Wanted) -> list[Command]:
    """What is looked up before anything is made."""
    return [
        login(),
        offers(wanted.location, wanted.size),
        usage(wanted.location),
        *([] if wanted.address else [address()]),
    ]


def foundation(wanted: Wanted) -> list[Command]:
    """The resource group and what the VM needs. Each command changes nothing where its resource exists."""
    made: tuple[str, ...] = (*wanted.group, "--location", wanted.location, *wanted.tags, "--output", "none")
    name, storage = wanted.name, wanted.account
    safe: tuple[str, ...] = (
        "--sku",
        "Standard_LRS",
        "--kind",
        "StorageV2",
        "--min-tls-version",
        "TLS1_2",
        "--https-only",
        "true",
    )
    safe += ("--allow-blob-public-access", "false", "--allow-shared-key-access", "false")
    runs = "where runs are copied to; no key, no public access"
    group_words = ("--name", name, "--location", wanted.location, *wanted.tags, "--output", "none")
    container = ("--storage-account", storage, "--name", CONTAINER, *wanted.group, "--output", "none")
    return [
        az("one resource group, tagged", "group", "create", *group_words),
        az(FIREWALL, "network", "nsg", "create", "--name", f"{name}-nsg", *made),
        rule(wanted),
        az(runs, "storage", "account", "create", "--name", storage, *safe, *made),
        az(runs, "storage", "container-rm", "create", *container),
        *_identity(wanted),
    ]


def rule(wanted: Wanted) -> Command:
    """Let SSH in from one address. Once more, it lets in another address instead."""
    source = f"{wanted.address or '$ADDRESS'}/32"
    words: tuple[str, ...] = (
        "--nsg-name",
        f"{wanted.name}-nsg",
        "--name",
        "ssh",
        "--priority",
        "1000",
        "--direction",
        "Inbound",
    )
    words += ("--access", "Allow", "--protocol", "Tcp", "--source-address-prefixes", source)
    words += ("--destination-port-ranges", "22", *wanted.group, "--output", "none")
    return az(FIREWALL, "network", "nsg", "rule", "create", *words)


def _identity(wanted: Wanted) -> list[Command]:
    """The identity of the VM, and what it may do: no secret is on the VM."""
    why = "who the VM is: it may write runs"
    own = ("--name", f"{wanted.name}-identity", *wanted.group)
    made = (*own, "--location", wanted.location, *wanted.tags, "--query", "id", "--output", "tsv")
    show = ("identity", "show", *own, "--query")
    storage = ("storage", "account", "show", "--name", wanted.account, *wanted.group, "--query", "id")
    commands = [
        az(why, "identity", "create", *made, into="IDENTITY"),
        az(why, *show, "principalId", "--output", "tsv", into="PRINCIPAL"),
        az(why, *storage, "--output", "tsv", into="STORAGE"),
        _role(why, "Storage Blob Data Contributor", "$STORAGE"),
    ]
    if name := container_registry(wanted.registry):
        may = "and pull images"
        shown = ("acr", "show", "--name", name, "--query", "id", "--output", "tsv")
        commands += [az(may, *shown, into="REGISTRY"), _role(may, "AcrPull", "$REGISTRY")]
    return commands


def _role(why: str, role: str, scope: str) -> Command:
    who = ("--assignee-object-id", "$PRINCIPAL", "--assignee-principal-type", "ServicePrincipal")
    return az(why, "role", "assignment", "create", *who, "--role", role, "--scope", scope, "--output", "none")


def machine(wanted: Wanted) -> list[Command]:
    """The VM itself, its driver where Microsoft's is needed, and the time when it is switched off."""
    file = f"{wanted.folder}/cloud-init.yaml"
    size = wanted.size
    what = ("--image", sizes.vm().image, "--size", size.name, "--custom-data", file)
    key = ("--ssh-key-values", wanted.ssh_key) if wanted.ssh_key else ("--generate-ssh-keys",)
    network = ("--nsg", f"{wanted.name}-nsg", "--public-ip-sku", "Standard")
    disk = ("--os-disk-size-gb", str(DISK_GIB), "--storage-sku", "StandardSSD_LRS")
    gone = ("--os-disk-delete-option", "Delete", "--nic-delete-option", "Delete")
    # evicted, it is stopped and keeps its disk; it is started again with `azure.up`
    spot = ("--priority", "Spot", "--eviction-policy", "Deallocate", "--max-price", "-1") if wanted.spot else ()
    words: tuple[str, ...] = (
        "--name",
        wanted.name,
        *wanted.group,
        "--location",
        wanted.location,
        *what,
        "--admin-username",
        USER,
    )
    words += (*key, "--assign-identity", "$IDENTITY", *network, *disk, *gone, *_security(size), *spot)
    own = ("--name", wanted.name, *wanted.group)
    values = cloud_init.values(size, wanted.registry, wanted.account, CONTAINER)
    prepare = "what the VM does at its first start: read it in this file"
    commands = [
        Command(prepare, ("mkdir", "-p", wanted.folder)),
        Command(prepare, ("rm", "-f", f"{wanted.folder}/known_hosts")),
        Command(prepare, cloud_init.command(values), output=file),
        az("the VM", "vm", "create", *words, *wanted.tags, "--output", "none"),
    ]
    if wanted.shutdown:
        words = (*own, "--location", wanted.location, "--time", wanted.shutdown, "--output", "none")
        commands.append(az(f"switched off each day at {wanted.shutdown} UTC", "vm", "auto-shutdown", *words))
    if size.driver == "grid":
        extension = ("--vm-name", wanted.name, *wanted.group, "--name", "NvidiaGpuDriverLinux")
        extension += ("--publisher", "Microsoft.HpcCompute", "--output", "none")
        commands.append(az("the driver for virtual GPUs", "vm", "extension", "set", *extension))
    return commands


def _security(size: Size) -> tuple[str, ...]:
    """Trusted Launch; without Secure Boot for the extension, whose modules nobody has signed."""
    if not size.trusted:
        return ("--security-type", "Standard")
    secure = "false" if size.driver == "grid" else "true"
    return ("--security-type", "TrustedLaunch", "--enable-vtpm", "true", "--enable-secure-boot", secure)


def cost(name: str, since: str, until: str) -> list[Command]:
    """The list price of the VM's size, and what the group has cost between two days.

    `prices.azure.com` is Azure's Retail Prices API, which needs no login.
    """
    of = ("--resource-group", name, "--name", name, "--output", "tsv", "--query")
    asked = "$filter=armRegionName eq '$LOCATION' and armSkuName eq '$SIZE' and priceType eq 'Consumption'"
    url = ("--url", "https://prices.azure.com/api/retail/prices", "--url-parameters", asked)
    rows = "Items[?contains(productName, 'Windows')==`false`].{meter:meterName,price:retailPrice,unit:unitOfMeasure}"
    price = ("rest", "--method", "get", "--skip-authorization-header", *url, "--query", rows, "--output", "table")
    mine = f"[?contains(instanceId, '/resourceGroups/{name}/')].{{day:usageStart,what:instanceName,cost:pretaxCost}}"
    used = ("consumption", "usage", "list", "--start-date", since, "--end-date", until, "--query", mine)
    listed = "list prices by the hour, in US dollars"
    return [
        az(listed, "vm", "show", *of, "location", into="LOCATION"),
        az(listed, "vm", "show", *of, "hardwareProfile.vmSize", into="SIZE"),
        az(listed, *price),
        az("what it has cost; Azure reports with a delay of a day", *used, "--output", "table"),
    ]


def remove_vm(name: str) -> Command:
    """Remove the VM, with its disk and network interface."""
    return az("the VM, with its disk", "vm", "delete", "--resource-group", name, "--name", name, "--yes")


def roles(name: str) -> list[Command]:
    """What the VM's identity may do, as ids of role assignments."""
    why = "what the VM's identity may do"
    shown = ("--name", f"{name}-identity", "--resource-group", name, "--query", "principalId", "--output", "tsv")
    listed = ("--assignee", "$PRINCIPAL", "--all", "--query", "[].id", "--output", "tsv")
    return [
        az(why, "identity", "show", *shown, into="PRINCIPAL"),
        az(why, "role", "assignment", "list", *listed, into="ROLE_IDS"),
    ]


def remove_roles() -> Command:
    """Remove role assignments."""
    return az("what the VM's identity may do", "role", "assignment", "delete", "--ids", "$ROLE_IDS")


def tagged(name: str, runs: bool) -> Command:
    """The ids of what has the tag, with `runs` the storage account too."""
    kept = "" if runs else f" && type!='{STORAGE}'"
    query = f"[?tags.{TAG}=='{name}'{kept}].id"
    words = ("--resource-group", name, "--query", query, "--output", "tsv")
    return az("what else has the tag", "resource", "list", *words, into="IDS")


def remove_resources() -> Command:
    """Remove resources by id; `az` removes those first that others depend on."""
    return az("what else has the tag", "resource", "delete", "--ids", "$IDS", "--output", "none")


def remove_group(name: str) -> Command:
    """Remove the resource group."""
    return az("the resource group, once it is empty", "group", "delete", "--name", name, "--yes")


def az(why: str, *words: str, into: str = "") -> Command:
    """A command of Azure's command line."""
    return Command(why, ("az", *words), into)
