"""The stacks of an installation in regions that fleet.toml no longer names.

Such a stack goes on with the fleet file in its own package. It starts jobs if its region was home, and takes over
otherwise. No region of today's fleet sees it, so every region of the partition is asked for it.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from chalicelib.aws.client import AWS_ERRORS
from chalicelib.config.declared import partition
from commands.deploy import queues, stacks
from commands.deploy.account import Target
from commands.deploy.packaging import Package
from commands.deploy.stacks import Stack
from commands.errors import UsageError


def found(target: Target, package: Package, pool: ThreadPoolExecutor) -> list[Stack]:
    """The stacks of the installation that a deployment of `package` would leave as they are."""
    own = {region.name for region in package.fleet.regions}
    return _existing(target, package.stack, package.fleet.home, own, pool)


def refuse_table(target: Target, package: Package, pool: ThreadPoolExecutor) -> None:
    """`UsageError` if the installation has its coordination table in regions that are all others than today's."""
    regions = package.fleet.coordination.regions
    for stack in _existing(target, f"{package.stack}-coordination", package.fleet.home, regions, pool):
        raise UsageError(
            f"{stack} has the coordination table of this installation, with its pauses and claims, and [coordination] "
            f"of fleet.toml says {', '.join(regions)}. DynamoDB moves no table. Write the regions that were there "
            "again, or deploy with another --stage, or delete that stack first (docs/deploy.md)")


def told(left: Iterable[Stack]) -> Iterator[str]:
    """A line for each stack, with what to do."""
    for stack in left:
        yield (f"{stack} still runs, and fleet.toml has no region {stack.region}. It goes on with the jobs and regions "
               f"of its own package. Delete it with --remove-region {stack.region}, or put the region back into "
               "fleet.toml")


def removable(target: Target, left: Iterable[Stack], wanted: Iterable[str], *, drop_messages: bool) -> list[Stack]:
    """The stacks of the regions in `wanted`. `UsageError` if one is not there, or has messages that would be lost."""
    known = {stack.region: stack for stack in left}
    for region in wanted:
        if region not in known:
            raise UsageError(f"--remove-region {region}: no stack of this installation is left there. Only regions "
                             "that fleet.toml does not have are removed")
    chosen = [known[region] for region in wanted]
    lost = [] if drop_messages else [line for stack in chosen for line in queues.messages_of(target, stack)]
    if lost:
        raise UsageError("\n".join([*lost, queues.REMEDY]))
    return chosen


def _existing(
    target: Target, name: str, home: str, without: Iterable[str], pool: ThreadPoolExecutor
) -> list[Stack]:
    others = [region for region in target.regions() if region not in set(without)]
    asked = [Stack(region, name) for region in others if partition(region) == partition(home)]
    return [stack for stack, there in zip(asked, pool.map(lambda one: _is_there(target, one), asked), strict=True)
            if there]


def _is_there(target: Target, stack: Stack) -> bool:
    """Whether the stack exists. No, in a region that the account has not enabled, may not use, or cannot reach."""
    try:
        return stacks.exists(target, stack)
    except AWS_ERRORS:
        return False
