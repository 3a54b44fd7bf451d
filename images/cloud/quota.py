"""Whether a region has a size and the quota is enough, from what `az vm list-skus` and `az vm list-usage` print."""

from __future__ import annotations

from typing import Any

from images.cloud.sizes import Size
from images.errors import Stop

LOW_PRIORITY = "lowPriorityCores"  # the quota that all Spot VMs of a region share
TOTAL = "cores"  # that of all others together


def family(offers: list[dict[str, Any]], size: Size, location: str) -> str:
    """The family of a size, by which quota counts.

    Raises:
        Stop: the region does not have the size, or not for this subscription.
    """
    where = f"az vm list-skus --location {location} --size {size.name}"
    wanted, todo = f"{size.name} in {location}", f"az vm list-skus --size {size.name} --output table lists the regions"
    mine = [each for each in offers if str(each.get("name", "")).lower() == size.name.lower()]
    if not mine:
        raise Stop(wanted, "the region does not have it", where, todo)
    for limit in mine[0].get("restrictions") or ():
        if limit.get("type") == "Location":
            reason = str(limit.get("reasonCode", "restricted"))
            raise Stop(wanted, f"{reason}: not for this subscription", where, f"{todo}; or ask Azure's support for it")
    return str(mine[0]["family"])


def need(usages: list[dict[str, Any]], family: str, size: Size, spot: bool, location: str) -> None:
    """Raise Stop unless the quota has room for a size: that of its family and the total, or that of Spot VMs."""
    by_name = {str(each["name"]["value"]).lower(): each for each in usages}
    for name in (LOW_PRIORITY,) if spot else (family, TOTAL):
        each = by_name.get(name.lower())
        limit, used = (int(each["limit"]), int(each["currentValue"])) if each else (0, 0)
        if limit - used < size.vcpus:
            called = each["name"].get("localizedValue", name) if each else name
            other = "" if spot else ". Spot VMs have a quota of their own: --spot"
            raise Stop(
                f"{size.vcpus} vCPUs of {called} in {location}",
                f"{limit} allowed, {used} used",
                f"az vm list-usage --location {location} --output table",
                f"ask for {used + size.vcpus} in the portal: Quotas, Compute, {location}, {called}{other}",
            )
