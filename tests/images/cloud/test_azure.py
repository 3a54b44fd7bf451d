"""Choices become these command lines, whole."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest

from images.cloud import azure, command, remote, sizes
from images.cloud.azure import Wanted
from images.cloud.command import Command

PLAIN = Wanted(
    name="pintune",
    location="eastus",
    size=sizes.get("Standard_NC24ads_A100_v4"),
    spot=False,
    address="192.0.2.1",
    registry="",
    account="pintune0123456789ab",
    shutdown="",
    ssh_key="",
    folder=".pintune/azure/pintune",
)
FULL = dataclasses.replace(PLAIN, spot=True, address="", registry="mine01.azurecr.io/pintune", shutdown="2300")
VALUES = {
    "ADDRESS": "192.0.2.1",
    "IP": "192.0.2.7",
    "IDENTITY": "/subscriptions/0/resourceGroups/pintune/providers/Microsoft.ManagedIdentity/userAssignedIdentities/i",
    "PRINCIPAL": "11111111-1111-1111-1111-111111111111",
    "STORAGE": "/subscriptions/0/resourceGroups/pintune/providers/Microsoft.Storage/storageAccounts/s",
    "REGISTRY": "/subscriptions/0/resourceGroups/r/providers/Microsoft.ContainerRegistry/registries/mine01",
    "IDS": "/subscriptions/0/resourceGroups/pintune/providers/Microsoft.Network/publicIPAddresses/a",
    "ROLE_IDS": "/subscriptions/0/providers/Microsoft.Authorization/roleAssignments/a",
    "LOCATION": "eastus",
    "SIZE": "Standard_NC24ads_A100_v4",
}


def every_command() -> Iterator[Command]:
    """All commands that the verbs may print or run."""
    for asked in (PLAIN, FULL, *(dataclasses.replace(FULL, size=size) for size in sizes.load().values())):
        yield from (*azure.checks(asked), *azure.foundation(asked), *azure.machine(asked), azure.rule(asked))
    yield azure.group("pintune")
    yield azure.vm("pintune")
    yield azure.start("pintune")
    yield azure.resources("pintune")
    yield from remote.save("pintune", PLAIN.folder)
    yield azure.remove_vm("pintune")
    yield from azure.roles("pintune")
    yield azure.remove_roles()
    yield from (azure.tagged("pintune", runs) for runs in (False, True))
    yield azure.remove_resources()
    yield azure.remove_group("pintune")
    yield from azure.cost("pintune", "2026-11-01", "2026-11-08")
    yield from remote.send("pintune", PLAIN.folder, ["build", "train --set a=b"])
    yield remote.fetch(PLAIN.folder)


def test_the_vm_of_the_default_size() -> None:
    assert [each.shown for each in azure.machine(PLAIN)[-1:]] == [
        "az vm create --name pintune --resource-group pintune --location eastus "
        "--image Canonical:ubuntu-24_04-lts:server:latest --size Standard_NC24ads_A100_v4 "
        "--custom-data .pintune/azure/pintune/cloud-init.yaml --admin-username pintune --generate-ssh-keys "
        '--assign-identity "$IDENTITY" --nsg pintune-nsg --public-ip-sku Standard --os-disk-size-gb 256 '
        "--storage-sku StandardSSD_LRS --os-disk-delete-option Delete --nic-delete-option Delete "
        "--security-type TrustedLaunch --enable-vtpm true --enable-secure-boot true --tags pintune=pintune "
        "--output none"
    ]


def test_a_spot_vm_is_stopped_and_not_deleted_when_it_is_evicted() -> None:
    made = next(each.shown for each in azure.machine(FULL) if "vm create" in each.shown)
    assert " --priority Spot --eviction-policy Deallocate --max-price -1 " in made
    assert azure.machine(FULL)[-1].shown == (
        "az vm auto-shutdown --name pintune --resource-group pintune --location eastus --time 2300 --output none"
    )


def test_ssh_is_open_for_one_address_and_nothing_else() -> None:
    made = [each.shown for each in azure.foundation(FULL) if "nsg" in each.shown]
    assert made == [
        "az network nsg create --name pintune-nsg --resource-group pintune --location eastus --tags pintune=pintune "
        "--output none",
        "az network nsg rule create --nsg-name pintune-nsg --name ssh --priority 1000 --direction Inbound "
        "--access Allow "
        '--protocol Tcp --source-address-prefixes "$ADDRESS/32" --destination-port-ranges 22 --resource-group pintune '
        "--output none",
    ]
    assert not [each for each in every_command() if "open-port" in each.shown or "0.0.0.0" in each.shown]


def test_the_identity_may_write_runs_and_pull_images_and_no_more() -> None:
    made = [each.shown for each in azure.foundation(FULL) if "role assignment" in each.shown]
    who = '--assignee-object-id "$PRINCIPAL" --assignee-principal-type ServicePrincipal'
    assert made == [
        f"az role assignment create {who} --role 'Storage Blob Data Contributor' --scope \"$STORAGE\" --output none",
        f'az role assignment create {who} --role AcrPull --scope "$REGISTRY" --output none',
    ]
    assert not [each for each in azure.foundation(PLAIN) if "acr" in each.shown.lower()]


def test_virtual_gpus_get_microsofts_driver_without_secure_boot() -> None:
    made = [each.shown for each in azure.machine(dataclasses.replace(PLAIN, size=sizes.get("NV36ads_A10_v5")))]
    assert made[-1] == (
        "az vm extension set --vm-name pintune --resource-group pintune --name NvidiaGpuDriverLinux "
        "--publisher Microsoft.HpcCompute --output none"
    )
    assert "--security-type TrustedLaunch --enable-vtpm true --enable-secure-boot false" in made[-2]
    assert "@DRIVER@|grid" in made[2]


def test_everything_that_can_have_a_tag_has_it() -> None:
    made = [each.argv for each in (*azure.foundation(FULL), *azure.machine(FULL)) if "create" in each.argv]
    untagged = [" ".join(each[1:4]) for each in made if "pintune=pintune" not in each]
    assert untagged == [
        "network nsg rule",
        "storage container-rm create",
        "role assignment create",
        "role assignment create",
    ]


@pytest.mark.parametrize(
    ("registry", "name"),
    [
        ("mine01.azurecr.io/pintune", "mine01"),
        ("mine01.azurecr.io", "mine01"),
        ("ghcr.io/me/pintune", ""),
        ("azurecr.io.example.com/x", ""),
        ("", ""),
    ],
)
def test_only_azures_registries_need_a_role(registry: str, name: str) -> None:
    assert azure.container_registry(registry) == name


def test_a_storage_account_is_another_for_another_person() -> None:
    made = {azure.account(name, owner) for name in ("a", "b") for owner in ("me@here", "you@here")}
    assert len(made) == 4
    assert all(len(each) <= 24 and each.isalnum() and each.islower() for each in made)


def test_a_job_reaches_the_vm_quoted_for_its_shell() -> None:
    made = remote.send("pintune", "f", ["train --set 'data.source=my file.csv'"])[-1]
    assert command.filled(made.argv, VALUES)[-1] == (
        "sudo pintune-job start 'train --set '\"'\"'data.source=my file.csv'\"'\"''"
    )
