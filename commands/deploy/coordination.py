"""The place of the coordination table, and the changes of its regions that no deployment can make.

Its stack lies in one of the coordination regions, whatever their order in fleet.toml. DynamoDB fixes the regions and
the consistency of a strongly consistent table when the table is made ("How DynamoDB global tables work", developer
guide). CloudFormation makes no global table of a plain one ("Best practices for global tables", developer guide).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from botocore.exceptions import ClientError

from commands.deploy import stacks
from commands.deploy.account import Target, spoken
from commands.deploy.packaging import Package
from commands.deploy.stacks import Stack
from commands.errors import UsageError


def place(target: Target, package: Package) -> Stack:
    """The stack of the table, the one that exists or the one to make. `UsageError` if its regions cannot be had."""
    name, wanted = f"{package.stack}-coordination", package.fleet.coordination.regions
    kept: list[str] = []
    for region in wanted:
        with spoken(region):
            if (template := stacks.template(target, Stack(region, name))) is not None:
                _compare(name, _declared(template, region), wanted)
                return Stack(region, name)
            if (found := _kept(target, name, region)) is not None:
                _compare(name, found, wanted)
                kept.append(region)
    # A kept table comes back into a stack in a region that has it.
    return Stack(kept[0] if kept else wanted[0], name)


def _declared(template: Mapping[str, Any], region: str) -> frozenset[str]:
    """The regions of the table that a stack has made."""
    replicas = template["Resources"]["Coordination"]["Properties"].get("Replicas", [{"Region": region}])
    return frozenset(replica["Region"] for replica in replicas)


def _kept(target: Target, name: str, region: str) -> frozenset[str] | None:
    """The regions of a table that stayed when its stack was deleted. `None` where there is none."""
    try:
        found = target.client("dynamodb", region).describe_table(TableName=name)["Table"]
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") == "ResourceNotFoundException":
            return None
        raise
    return frozenset({region, *(replica["RegionName"] for replica in found.get("Replicas", ()))})


def _compare(name: str, found: frozenset[str], wanted: Sequence[str]) -> None:
    if found == frozenset(wanted):
        return
    had = ", ".join(f'"{region}"' for region in sorted(found))
    raise UsageError(
        f"the table {name} is in {', '.join(sorted(found))}, and [coordination] of fleet.toml says "
        f"{', '.join(wanted)}. DynamoDB changes neither the regions nor the consistency of such a table. Write "
        f"regions = [{had}] again, or deploy with another --stage, which makes a table of its own, and then remove "
        "this installation (docs/deploy.md)")
